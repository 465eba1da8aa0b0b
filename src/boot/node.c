/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/node.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "boot/token.h"
#include "crypto/credential.h"
#include "crypto/keypair.h"

int node_new(struct config *config, const char *incident, struct node **ret) {
        _cleanup_(node_freep) struct node *node = calloc(1, sizeof *node);
        struct http_client_options options = {
                .ca_file = config->ca,
                .connect_timeout_ms = config->connect_timeout * 1000,
                .timeout_ms = config->exchange_timeout * 1000,
                .load_ahead = config->unlock != UNLOCK_OFFLINE,
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

static int attach_tpm(struct node *node) {
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

int node_attach(struct node *node) {
        return node->kind == NODE_TOKEN ? token_attach(node) : attach_tpm(node);
}

static int ek_digest(struct node *node, uint8_t ret[static 32]) {
        _cleanup_(blob_done) struct blob public = {}, certificate = {};
        struct blob chain[8] = {};
        EVP_PKEY *key = NULL;
        size_t n = 0;
        int r = tpm_read_ek(node->tpm, &public, &certificate, chain, &n);

        if (r < 0) {
                snprintf(node->error, sizeof(node->error), "TPM: the endorsement key cannot be read: %s",
                         tpm_last_error(node->tpm));
                return r;
        }
        for (size_t i = 0; i < n; i++)
                blob_done(chain + i);
        r = pubkey_from_tpmt(public.data, public.size, &key);
        if (r < 0)
                return r;
        r = pubkey_digest(key, ret);
        EVP_PKEY_free(key);
        return r;
}

int node_digest(struct node *node, uint8_t ret_sha256[static 32], char ret_code[static CODE_LENGTH + 1]) {
        int r = node_attach(node);

        if (r >= 0 && node->kind == NODE_TPM)
                r = ek_digest(node, ret_sha256);
        else if (r >= 0)
                memcpy(ret_sha256, node->token->sha256, SHA256_SIZE);
        return r < 0 ? r : node_code(ret_sha256, node->id, ret_code);
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
        token_free(node->token);
        http_client_free(node->http);
        blob_done(&node->ak_public);
        free(node);
        return NULL;
}

int node_wait(struct node *node, int fd, uint64_t ms) {
        uint64_t end = clock_monotonic_ms() + ms;

        for (;;) {
                struct pollfd fds[2] = { { fd, POLLIN, 0 }, { node->cancel_fd, POLLIN, 0 } };
                uint64_t now = clock_monotonic_ms();
                int n = poll(fds, 2, now >= end ? 0 : (int) MIN(end - now, (uint64_t) 3600000));

                if (n > 0 && fds[1].revents) {
                        int r = node->waiting.answer ? node->waiting.answer(node->waiting.userdata) : -ECANCELED;

                        if (r < 0)
                                return r;
                }
                if (n > 0 && fds[0].revents)
                        return 1;
                if (now >= end)
                        return 0;
        }
}

int node_meanwhile(struct node *node, int fd) {
        return node->waiting.meanwhile ? node->waiting.meanwhile(node->waiting.userdata, fd) : 0;
}

void node_say(struct node *node, const char *format, ...) {
        char text[512];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (node->waiting.say)
                node->waiting.say(node->waiting.userdata, text);
        else
                log_warning("%s.", text);
}
