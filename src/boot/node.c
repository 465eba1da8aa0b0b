/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/converse.h"

#include <stdio.h>
#include <string.h>

int node_new(struct config *config, const char *incident, struct node **ret) {
        _cleanup_(node_freep) struct node *node = calloc(1, sizeof *node);
        struct http_client_options options = {
                .ca_file = config->ca,
                .connect_timeout_ms = config->connect_timeout * 1000,
                .timeout_ms = config->exchange_timeout * 1000,
                .not_before = config->not_before,
        };
        int r;

        if (!node)
                return -ENOMEM;
        node->config = config;
        node->cancel_fd = -1;
        if (incident)
                snprintf(node->incident, sizeof node->incident, "%s", incident);
        else {
                r = incident_new(node->incident);
                if (r < 0)
                        return r;
        }
        options.incident = node->incident;
        r = http_client_new(&options, &node->http);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(node);
        return 0;
}

static int tpm_failed(struct node *node, int r) {
        if (r == -ENODEV)
                snprintf(node->error, sizeof node->error, "there is no TPM at %s; is it switched on in the firmware?",
                         node->config->tpm);
        else
                snprintf(node->error, sizeof node->error, "TPM: %s",
                         node->tpm && tpm_last_error(node->tpm)[0] ? tpm_last_error(node->tpm) : strerror(-r));
        return r;
}

int node_attach_tpm(struct node *node) {
        int r;

        if (!node->tpm) {
                r = tpm_open(node->config->tpm, &node->tpm);
                if (r < 0)
                        return tpm_failed(node, r);
        }
        if (node->has_id)
                return 0;
        r = tpm_make_ak(node->tpm, &node->ak_public, node->id);
        if (r < 0)
                return tpm_failed(node, r);
        node->has_id = true;
        return 0;
}

int node_make_nk(struct node *node) {
        return node->nk ? 0 : keypair_generate(&node->nk);
}

void node_wipe_nk(struct node *node) {
        node->nk = keypair_free(node->nk);
}

struct node *node_free(struct node *node) {
        if (!node)
                return NULL;
        node_wipe_nk(node);
        tpm_close(node->tpm);
        http_client_free(node->http);
        blob_done(&node->ak_public);
        free(node);
        return NULL;
}
