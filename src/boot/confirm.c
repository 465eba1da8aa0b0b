/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/confirm.h"

#include <string.h>

#include "base/log.h"
#include "boot/offline.h"

/* All volumes that the pair's key has were opened with its generation. */
static bool opened_with(const struct unlocker *unlocker, const struct pair *pair) {
        size_t n = 0;

        if (pair->u->kind == KEY_PAYLOAD)
                return unlocker->payload_open;
        for (size_t i = 0; i < unlocker->volumes.n; i++) {
                const struct volume *volume = unlocker->volumes.items + i;

                for (size_t j = 0; j < volume->n_keys; j++)
                        if (strcmp(volume->keys[j].key_id, pair->u->key_id) == 0) {
                                if (!volume->opened_by || strcmp(volume->opened_by->key_id, pair->u->key_id) != 0 ||
                                    volume->opened_by->generation != pair->u->generation)
                                        return false;
                                n++;
                                break;
                        }
        }
        return n > 0;
}

/* The first confirm again, word for word: the tenant has it, the verifier has not. */
static int confirm_live(struct unlocker *unlocker, const struct pair *pair) {
        struct wire_confirm_body body = { .generation = pair->u->generation };
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        int r;

        memcpy(body.key, pair->u->key_id, sizeof body.key);
        if (pair->u->kind == KEY_VOLUMES) {
                body.manifest = pair->tenant->manifest;
                memcpy(body.mac, pair->tenant->mac, sizeof body.mac);
        } else {
                r = split_join(pair->u, pair->v, &k_b);
                if (r >= 0)
                        r = derive_payload_keypair(k_b, unlocker->node->id, pair->u->generation, &keypair);
                if (r < 0)
                        return r;
                memcpy(body.payload_public, keypair->public, sizeof body.payload_public);
                body.has_payload_public = true;
        }
        return unlocker_confirm(unlocker, &body, &conversation);
}

static int confirm_opened(struct unlocker *unlocker, const struct pair *pair) {
        struct wire_confirm_body body = { .generation = pair->u->generation, .opened = true };
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;

        memcpy(body.key, pair->u->key_id, sizeof body.key);
        return unlocker_confirm(unlocker, &body, &conversation);
}

/* The slots of generations that both parties have destroyed. Nobody can open them any more; they are only litter, so an error is
 * none. */
static void wipe_old_slots(struct unlocker *unlocker, const struct volume *volume, const struct pair *pair) {
        _cleanup_(found_done) struct found found = {};
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        struct luks_token tokens[LUKS_KEYSLOTS];
        char error[256];
        size_t n = 0;

        if (discover_volume(unlocker, volume, &found) < 0 ||
            luks_device_open(found.entry && found.entry->header ? found.entry->header : found.device, &device, error,
                             sizeof error) < 0 ||
            luks_token_list(device, tokens, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                if (strcmp(tokens[i].key_id, pair->u->key_id) != 0 || tokens[i].generation >= pair->u->generation ||
                    tokens[i].slot == volume->opened_by->expected.keyslot)
                        continue;
                if (luks_token_owns_slot(device, tokens + i))
                        (void) luks_slot_wipe(device, tokens[i].slot);
                (void) luks_token_remove(device, tokens[i].number);
        }
        (void) luks_offline_remove_older(device, pair->u->key_id, pair->u->generation);
}

static int tell(struct unlocker *unlocker, const struct pair *pair) {
        int r = pair->confirm ? confirm_live(unlocker, pair) : 0;

        if (r >= 0 && pair->supersedes)
                r = confirm_opened(unlocker, pair);
        if (r < 0 && r != -ECANCELED)
                log_warning_errno(r, "Key %.8s: generation %u is not confirmed, the next boot does it: %m", pair->u->key_id,
                                  pair->u->generation);
        return r;
}

/* What older generations have left on the volumes, once the token opens the new one too. */
static int clear_older(struct unlocker *unlocker, const struct pair *pair) {
        int r = offline_keep(unlocker, pair);

        for (size_t i = 0; r >= 0 && i < unlocker->volumes.n; i++)
                if (unlocker->volumes.items[i].opened_by &&
                    strcmp(unlocker->volumes.items[i].opened_by->key_id, pair->u->key_id) == 0)
                        wipe_old_slots(unlocker, unlocker->volumes.items + i, pair);
        return r;
}

int confirm_boot(struct unlocker *unlocker) {
        for (size_t i = 0; i < unlocker->pairs.n; i++) {
                const struct pair *pair = unlocker->pairs.items + i;
                int r;

                if (!opened_with(unlocker, pair))
                        continue;
                r = tell(unlocker, pair);
                if (r >= 0 && (pair->supersedes || offline_is_behind(unlocker, pair)))
                        r = clear_older(unlocker, pair);
                if (r == -ECANCELED)
                        return r; /* wiped */
        }
        return 0;
}
