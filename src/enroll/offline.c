/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/offline-blob.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* What the headers keep for the offline way (docs/protocol.md, 14). It is written before the confirmation, beside what an earlier
 * enrollment kept: a run that was cut leaves either nothing that became live, which is undone or replaced, or all of it. */

struct enroll_offline {
        struct offline_token token;
};

struct enroll_offline *enroll_offline_free(struct enroll_offline *offline) {
        if (offline)
                offline_token_done(&offline->token);
        free(offline);
        return NULL;
}

static bool is_wanted(const struct enroll *e) {
        return e->config->unlock != UNLOCK_ONLINE;
}

bool offline_is_kept(const struct volume_work *work, const struct luks_token *token) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};

        if (luks_offline_list(work->luks, &list) < 0)
                return false;
        for (size_t i = 0; i < list.n; i++)
                if (strcmp(list.items[i].node_id, token->node_id) == 0 && strcmp(list.items[i].key_id, token->key_id) == 0 &&
                    list.items[i].generation <= token->generation)
                        return true;
        return false;
}

/* The token, before anything is asked of anybody: what cannot be kept is said now. */
int offline_begin(struct enroll *e) {
        char error[512] = "", hex[65];
        int r;

        if (!is_wanted(e) || e->n_volumes == 0)
                return EXIT_OK;
        e->offline = calloc(1, sizeof(*e->offline));
        if (!e->offline)
                return EXIT_FAILED;
        r = offline_token_open(e->node, &e->offline->token);
        if (r < 0)
                snprintf(error, sizeof(error), "%s", e->node->error[0] ? e->node->error : strerror(-r));
        else
                r = offline_token_decide(&e->offline->token, e->config, error, sizeof(error));
        if (r == -ECANCELED)
                return EXIT_INTERRUPTED;
        if (r < 0) {
                log_error("unlock = %s: %s.", unlock_choice_to_string(e->config->unlock), error);
                return EXIT_TPM;
        }
        hex_write(e->offline->token.signer->sha256, 32, hex);
        say("Offline: the token wraps with %s. Its signing key: token-key-sha256 = %s",
            wrap_mechanism_to_string(e->offline->token.how.mechanism), hex);
        return EXIT_OK;
}

/* Opened again as a boot does it. */
static int make(struct enroll *e, struct volume_work *work, const struct recombine_claim *claim, const struct secret *k_b,
                struct luks_offline *blob, char *error, size_t error_size) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};
        const char *uuid = luks_device_uuid(work->luks);
        int r = offline_blob_make(&e->offline->token, uuid, claim, k_b, blob, error, error_size);

        return r < 0 ? r : offline_blob_open(&e->offline->token, e->config, e->node->id, uuid, blob, &opened, error, error_size);
}

static int write_one(struct enroll *e, struct volume_work *work, const struct recombine_claim *claim, const struct secret *k_b) {
        _cleanup_(luks_offline_done) struct luks_offline blob = {};
        char error[320] = "";
        int r = make(e, work, claim, k_b, &blob, error, sizeof(error));

        if (r < 0) {
                log_error("%s: the offline way cannot be made: %s.", work->target.device, error[0] ? error : strerror(-r));
                return r;
        }
        r = luks_offline_write(work->luks, &blob);
        if (r == -ENOSPC)
                log_error(
                        "%s: its LUKS2 header has no room for what the offline way keeps (%zu bytes): enroll fewer volumes in one run, "
                        "or tallyboot unenroll it first, or make it anew with a larger --luks2-metadata-size.",
                        work->target.device, blob.sealed.size);
        else if (r < 0)
                log_error_errno(r, "%s: what the offline way keeps cannot be written: %m.", work->target.device);
        if (r < 0)
                return r;
        work->offline_number = blob.number;
        say("%s: opens with the token alone, too: tested.", work->target.device);
        return 0;
}

int offline_write(struct enroll *e, const struct recombine_claim *claim, const struct secret *k_b) {
        for (size_t i = 0; e->offline && i < e->n_volumes; i++)
                if (!e->volumes[i].skip) {
                        int r = write_one(e, e->volumes + i, claim, k_b);

                        if (r < 0)
                                return r;
                }
        return 0;
}

int offline_undo(struct volume_work *work) {
        int r = work->offline_number >= 0 ? luks_token_remove(work->luks, work->offline_number) : 0;

        if (r >= 0)
                work->offline_number = -1;
        return r;
}

int offline_remove_others(struct volume_work *work, size_t *ret_removed) {
        return luks_offline_remove_others(work->luks, work->offline_number, ret_removed);
}
