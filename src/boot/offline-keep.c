/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "boot/offline-blob.h"
#include "boot/offline.h"

/* After a rotation the headers still keep the generation before. What they keep is made anew in the next boot with halves, by the
 * token, before the older generation's slots go. Nobody vouches for the token and nobody watches a boot, and what the token is
 * given opens the volumes. So it has to prove that it is the one of the enrollment: it must open the older blob, and the K_b in
 * that must open the older slot of this volume. Where it cannot, all stays as it was: an older generation that opens is better
 * than none. */

static bool is_of_pair(const struct volume *volume, const struct pair *pair) {
        return volume->opened_by && strcmp(volume->opened_by->key_id, pair->u->key_id) == 0;
}

static const char *metadata(const struct found *found) {
        return found->entry && found->entry->header ? found->entry->header : found->device;
}

/* What a volume keeps of the pair's key: the newest of older generations, and whether it has the pair's. */
struct kept {
        const struct luks_offline *older;
        bool current;
};

static struct kept find_kept(const struct luks_offline_list *list, const struct pair *pair) {
        struct kept kept = {};

        for (size_t i = 0; i < list->n; i++) {
                const struct luks_offline *blob = list->items + i;

                if (strcmp(blob->key_id, pair->u->key_id) != 0)
                        continue;
                if (blob->generation == pair->u->generation)
                        kept.current = true;
                else if (blob->generation < pair->u->generation && (!kept.older || blob->generation > kept.older->generation))
                        kept.older = blob;
        }
        return kept;
}

bool offline_is_behind(const struct unlocker *unlocker, const struct pair *pair) {
        bool behind = false;

        for (size_t i = 0; unlocker->config->unlock != UNLOCK_ONLINE && i < unlocker->volumes.n && !behind; i++) {
                _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
                _cleanup_(found_done) struct found found = {};
                char uuid[LUKS_UUID_LENGTH + 1];

                if (is_of_pair(unlocker->volumes.items + i, pair) &&
                    discover_volume(unlocker, unlocker->volumes.items + i, &found) >= 0 &&
                    luks_offline_probe(metadata(&found), uuid, &list) >= 0)
                        behind = find_kept(&list, pair).older != NULL;
        }
        return behind;
}

static struct recombine_claim claim_of(const struct unlocker *unlocker, const struct pair *pair) {
        return (struct recombine_claim){ .node_id = unlocker->node->id,
                                         .key_id = pair->u->key_id,
                                         .generation = pair->u->generation,
                                         .manifest = &pair->tenant->manifest,
                                         .mac = pair->tenant->mac };
}

static const struct luks_expected *find_expected(const struct manifest *manifest, const char *uuid) {
        for (size_t i = 0; i < manifest->n; i++)
                if (strcmp(manifest->volumes[i].uuid, uuid) == 0)
                        return manifest->volumes + i;
        return NULL;
}

/* Only who has the volume key can have made a slot that gives it. Which key that is the manifest of the halves says, and nothing
 * that was found on the disk. */
static int prove(const struct unlocker *unlocker, const struct pair *pair, const char *uuid, struct luks_device *device,
                 const struct offline_opened *older) {
        const struct recombine_claim claim = claim_of(unlocker, pair);
        _cleanup_(secret_freep) struct secret *k_b = NULL, *key = NULL, *volume_key = NULL;
        _cleanup_(manifest_done) struct manifest manifest = {};
        const struct luks_expected *ours, *theirs = find_expected(&older->volumes, uuid);
        char why[256];
        int r = split_join(pair->u, pair->v, &k_b);

        if (r >= 0)
                r = recombine_claimed_manifest(&claim, k_b, &manifest, why, sizeof why);
        ours = r >= 0 ? find_expected(&manifest, uuid) : NULL;
        if (r >= 0 && (!ours || !theirs))
                r = -EKEYREJECTED;
        if (r >= 0)
                r = derive_volume_key(older->k_b, unlocker->node->id, older->generation, uuid, &key);
        if (r >= 0)
                r = luks_unlock_slot(device, theirs->keyslot, key, &volume_key);
        if (r < 0)
                return r;
        return luks_fingerprint_is(volume_key, uuid, ours->fingerprint) ? 0 : -EKEYREJECTED;
}

static int make_anew(struct unlocker *unlocker, const struct pair *pair, struct offline_token *token, const char *uuid,
                     struct luks_offline *ret, char *error, size_t error_size) {
        const struct recombine_claim claim = claim_of(unlocker, pair);
        _cleanup_(offline_opened_done) struct offline_opened opened = {};
        _cleanup_(luks_offline_done) struct luks_offline blob = {};
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        int r = split_join(pair->u, pair->v, &k_b);

        if (r >= 0)
                r = offline_blob_make(token, uuid, &claim, k_b, &blob, error, error_size);
        if (r >= 0)
                r = offline_blob_open(token, unlocker->config, unlocker->node->id, uuid, &blob, &opened, error, error_size);
        if (r < 0)
                return r;
        *ret = blob;
        blob = (struct luks_offline){};
        return 0;
}

/* The new one takes the older one's place in one write of the header: whatever a power cut leaves, there is one that opens. */
static int renew_volume(struct unlocker *unlocker, const struct pair *pair, struct offline_token *token, struct volume *volume,
                        char *error, size_t error_size) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        _cleanup_(luks_offline_done) struct luks_offline blob = {};
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        _cleanup_(found_done) struct found found = {};
        struct kept kept;
        int r = discover_volume(unlocker, volume, &found);

        if (r >= 0)
                r = luks_device_open(metadata(&found), &device, error, error_size);
        if (r >= 0)
                r = luks_offline_list(device, &list);
        if (r < 0)
                return r;
        kept = find_kept(&list, pair);
        if (kept.current || !kept.older)
                return 0;
        r = offline_blob_open(token, unlocker->config, unlocker->node->id, volume->uuid, kept.older, &opened, error, error_size);
        if (r >= 0 && prove(unlocker, pair, volume->uuid, device, &opened) < 0) {
                snprintf(error, error_size, "the token does not prove that it is the one of the enrollment");
                r = -EKEYREJECTED;
        }
        if (r >= 0)
                r = offline_token_decide(token, unlocker->config, error, error_size);
        if (r >= 0)
                r = make_anew(unlocker, pair, token, volume->uuid, &blob, error, error_size);
        if (r < 0)
                return r;
        blob.number = kept.older->number;
        return luks_offline_write(device, &blob);
}

static bool needs_a_person(const struct node *node) {
        const struct config *config = node->config;

        return !(node->token && offline_is_token(node->token->pkcs11, config->token_key, config->offline_key)) &&
               config->token_pin.kind != PIN_FILE && config->token_pin.kind != PIN_CREDENTIAL;
}

/* One look at the token, nobody is asked: the volumes are open, and the boot does not wait for this. */
static int open_token(struct node *node, struct offline_token *ret, char *error, size_t error_size) {
        const struct node_waiting waiting = node->waiting;
        int r;

        if (needs_a_person(node)) {
                snprintf(error, error_size, "its PIN would have to be typed");
                return -EACCES;
        }
        node->waiting =
                (struct node_waiting){ .run_dir = waiting.run_dir, .answer = waiting.answer, .userdata = waiting.userdata };
        r = offline_token_open(node, ret);
        node->waiting = waiting;
        if (r < 0)
                snprintf(error, error_size, "%s", node->error);
        node->error[0] = '\0';
        return r;
}

int offline_keep(struct unlocker *unlocker, const struct pair *pair) {
        _cleanup_(offline_token_done) struct offline_token token = {};
        char error[512] = "";
        int r;

        if (!offline_is_behind(unlocker, pair))
                return 0;
        r = open_token(unlocker->node, &token, error, sizeof error);
        for (size_t i = 0; r >= 0 && i < unlocker->volumes.n; i++)
                if (is_of_pair(unlocker->volumes.items + i, pair))
                        r = renew_volume(unlocker, pair, &token, unlocker->volumes.items + i, error, sizeof error);
        if (r >= 0) {
                log_info("Key %.8s: the token opens generation %u offline from now on.", pair->u->key_id, pair->u->generation);
                return 0;
        }
        if (r == -ECANCELED)
                return r;
        log_warning(
                "Key %.8s: offline the token still opens an older generation than %u, whose keyslot therefore stays: %s. The next boot "
                "tries again; tallyboot enroll --again does it at once.",
                pair->u->key_id, pair->u->generation, error[0] ? error : strerror(-r));
        return -EAGAIN;
}
