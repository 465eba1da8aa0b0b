/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/rotate.h"

#include <string.h>

#include "base/log.h"
#include "crypto/payload.h"

/* One key's new generation: both new halves, in locked memory from before the gate until the slots are written. */
struct rotation {
        char key_id[KEY_ID_LENGTH + 1];
        enum key_kind kind;
        uint32_t generation;
        struct secret *k_b;
};

void rotate_wipe(struct unlocker *unlocker) {
        for (size_t i = 0; i < unlocker->n_rotations; i++)
                secret_free(unlocker->rotations[i].k_b);
        free(unlocker->rotations);
        unlocker->rotations = NULL;
        unlocker->n_rotations = 0;
}

/* The highest generation that a party has ever used, if it marked the key. */
static bool is_marked(const struct wire_details *details, const char *key_id, uint32_t *ret_highest) {
        for (size_t i = 0; i < details->n_rotate; i++)
                if (strcmp(details->rotate[i].id, key_id) == 0) {
                        *ret_highest = details->rotate[i].highest;
                        return true;
                }
        return false;
}

static int take_halves(const struct conversation *conversation, const struct wire_rotate_body *body, struct rotation *ret) {
        const struct half *u = halves_find(conversation->outcomes[PARTY_TENANT].halves, body->key, body->generation);
        const struct half *v = halves_find(conversation->outcomes[PARTY_VERIFIER].halves, body->key, body->generation);
        int r;

        if (!u || !v || u->state != GENERATION_STAGED || v->state != GENERATION_STAGED)
                return -EBADMSG;
        r = split_join(u, v, &ret->k_b);
        if (r < 0)
                return r;
        ret->kind = u->kind;
        ret->generation = body->generation;
        memcpy(ret->key_id, body->key, sizeof ret->key_id);
        return 0;
}

static int rotate_key(struct unlocker *unlocker, const struct wire_rotate_body *body, struct rotation *ret) {
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;
        _cleanup_(freep) char *text = wire_rotate_body_encode(body);
        int r;

        if (!text)
                return -ENOMEM;
        r = conversation_new(PURPOSE_ROTATE, text, strlen(text), &conversation);
        if (r < 0)
                return r;
        r = unlocker_converse(unlocker, conversation);
        if (r == -ECANCELED)
                return r; /* unlocker's own conversation is gone */
        if (r < 0) {
                const struct outcome *outcomes = conversation->outcomes;

                log_warning("Key %.8s is not rotated in this boot: %s.", body->key,
                            unlocker->node->error[0] ? unlocker->node->error
                            : outcomes[0].error[0]   ? outcomes[0].error
                            : outcomes[1].error[0]   ? outcomes[1].error
                                                     : strerror(-r));
                return r;
        }
        return take_halves(conversation, body, ret);
}

int rotate_begin(struct unlocker *unlocker) {
        const struct wire_details *tenant = &unlocker->conversation->outcomes[PARTY_TENANT].details;
        const struct wire_details *verifier = &unlocker->conversation->outcomes[PARTY_VERIFIER].details;

        for (size_t i = 0; i < tenant->n_rotate; i++) {
                struct wire_rotate_body body = {};
                struct rotation rotation = {}, *rotations;
                uint32_t highest;
                int r;

                if (!is_marked(verifier, tenant->rotate[i].id, &highest))
                        continue;
                memcpy(body.key, tenant->rotate[i].id, sizeof body.key);
                body.generation = MAX(highest, tenant->rotate[i].highest) + 1;
                if (body.generation == 0)
                        continue;
                r = rotate_key(unlocker, &body, &rotation);
                if (r == -ECANCELED)
                        return r;
                if (r < 0)
                        continue;
                rotations = reallocarray(unlocker->rotations, unlocker->n_rotations + 1, sizeof *rotations);
                if (!rotations) {
                        secret_free(rotation.k_b);
                        return 0;
                }
                unlocker->rotations = rotations;
                rotations[unlocker->n_rotations++] = rotation;
        }
        return 0;
}

/* Slots of earlier tries that never became live: known by their token, wiped only where they are ours without doubt. */
static void remove_leftovers(struct luks_device *device, const struct rotation *rotation, int slot_in_use) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n = 0;

        if (luks_token_list(device, tokens, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                if (tokens[i].live || strcmp(tokens[i].key_id, rotation->key_id) != 0 || tokens[i].slot == slot_in_use)
                        continue;
                if (luks_token_owns_slot(device, tokens + i))
                        (void) luks_slot_wipe(device, tokens[i].slot);
                (void) luks_token_remove(device, tokens[i].number);
        }
}

/* Token (inert), slot, test, token: whatever a power cut leaves is found by the next try. */
static int write_slot(const struct unlocker *unlocker, const struct rotation *rotation, struct luks_device *device,
                      const struct volume *volume, struct secret **ret_volume_key, struct luks_token *ret_token) {
        const struct volume_key *current = volume->opened_by;
        struct luks_token token = { .number = -1, .generation = rotation->generation };
        _cleanup_(secret_freep) struct secret *volume_key = NULL, *key = NULL;
        int r;

        memcpy(token.node_id, unlocker->node->id, sizeof token.node_id);
        memcpy(token.key_id, rotation->key_id, sizeof token.key_id);
        r = luks_unlock_slot(device, current->expected.keyslot, current->key, &volume_key);
        if (r < 0)
                return r;
        r = derive_volume_key(rotation->k_b, unlocker->node->id, rotation->generation, volume->uuid, &key);
        if (r < 0)
                return r;
        remove_leftovers(device, rotation, current->expected.keyslot);
        token.slot = luks_slot_first_free(device);
        if (token.slot < 0)
                return token.slot;
        r = luks_token_write(device, &token, false);
        if (r >= 0)
                r = luks_slot_add(device, volume_key, key, token.slot, &token.slot);
        if (r >= 0)
                r = luks_slot_test(device, token.slot, key);
        if (r >= 0)
                r = luks_token_write(device, &token, true);
        if (r < 0)
                return r;
        *ret_volume_key = TAKE_PTR(volume_key);
        *ret_token = token;
        return 0;
}

static int rotate_volume(const struct unlocker *unlocker, const struct rotation *rotation, struct volume *volume,
                         struct luks_expected *ret, struct luks_token *ret_token) {
        _cleanup_(found_done) struct found found = {};
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(secret_freep) struct secret *volume_key = NULL;
        const char *path;
        int r = discover_volume(unlocker, volume, &found);

        if (r < 0)
                return r;
        path = found.entry && found.entry->header ? found.entry->header : found.device;
        r = luks_device_open(path, &device, volume->error, sizeof volume->error);
        if (r < 0)
                return r;
        r = write_slot(unlocker, rotation, device, volume, &volume_key, ret_token);
        if (r < 0)
                return r;
        r = luks_header_read(path, &header);
        if (r < 0)
                return r;
        return luks_describe_again(header, &volume->opened_by->expected, ret_token->slot, volume_key, ret);
}

static bool is_of_key(const struct volume *volume, const struct rotation *rotation) {
        return volume->opened_by && strcmp(volume->opened_by->key_id, rotation->key_id) == 0;
}

/* New slots on every volume of the key, and the manifest that says so. */
static int rotate_volumes(struct unlocker *unlocker, const struct rotation *rotation, struct manifest *manifest,
                          struct luks_token *tokens) {
        memcpy(manifest->node_id, unlocker->node->id, sizeof manifest->node_id);
        memcpy(manifest->key_id, rotation->key_id, sizeof manifest->key_id);
        manifest->generation = rotation->generation;
        manifest->volumes = calloc(unlocker->volumes.n + 1, sizeof *manifest->volumes);
        if (!manifest->volumes)
                return -ENOMEM;
        for (size_t i = 0; i < unlocker->volumes.n; i++) {
                struct volume *volume = unlocker->volumes.items + i;
                int r;

                if (!is_of_key(volume, rotation))
                        continue;
                r = rotate_volume(unlocker, rotation, volume, manifest->volumes + manifest->n, tokens + i);
                if (r < 0)
                        return log_warning_errno(r, "%s: no new slot, key %.8s is not rotated: %m", volume->name,
                                                 rotation->key_id);
                manifest->n++;
        }
        return manifest->n > 0 ? 0 : -ENOENT;
}

static void mark_live(struct unlocker *unlocker, const struct rotation *rotation, struct luks_token *tokens) {
        for (size_t i = 0; i < unlocker->volumes.n; i++) {
                _cleanup_(found_done) struct found found = {};
                _cleanup_(luks_device_freep) struct luks_device *device = NULL;
                char error[256];

                if (!is_of_key(unlocker->volumes.items + i, rotation) ||
                    discover_volume(unlocker, unlocker->volumes.items + i, &found) < 0 ||
                    luks_device_open(found.entry && found.entry->header ? found.entry->header : found.device, &device, error,
                                     sizeof error) < 0)
                        continue;
                tokens[i].live = true;
                (void) luks_token_write(device, tokens + i, true);
        }
}

static int finish_volumes(struct unlocker *unlocker, const struct rotation *rotation) {
        struct wire_confirm_body body = { .generation = rotation->generation };
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(freep) struct luks_token *tokens = calloc(unlocker->volumes.n + 1, sizeof *tokens);
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(freep) char *text = NULL;
        int r;

        if (!tokens)
                return -ENOMEM;
        r = rotate_volumes(unlocker, rotation, &manifest, tokens);
        if (r < 0)
                return r;
        text = manifest_format(&manifest);
        if (!text)
                return -ENOMEM;
        memcpy(body.key, rotation->key_id, sizeof body.key);
        body.manifest = (struct blob){ (uint8_t *) text, strlen(text) };
        r = derive_manifest_key(rotation->k_b, unlocker->node->id, rotation->generation, &key);
        if (r >= 0)
                r = manifest_mac(key, text, strlen(text), body.mac);
        if (r >= 0)
                r = unlocker_confirm(unlocker, &body, &conversation);
        if (r != -ECANCELED && conversation && conversation->outcomes[PARTY_TENANT].result == 0)
                mark_live(unlocker, rotation, tokens);
        return r;
}

/* The archive's length from the file's: a tag of 16 bytes for each record of 64 KiB. */
static uint64_t archive_length(uint64_t file_size) {
        uint64_t sealed = file_size - PAYLOAD_HEADER_SIZE, record = PAYLOAD_RECORD_SIZE + AEAD_TAG_SIZE;

        return sealed - (sealed + record - 1) / record * AEAD_TAG_SIZE;
}

/* The payload's content key, opened with the generation that the tenant sealed it to, sealed to the new one. */
static int reseal(struct unlocker *unlocker, const struct rotation *rotation, struct wire_confirm_body *body) {
        const struct wire_payload *payload = &unlocker->conversation->outcomes[PARTY_TENANT].details.payload;
        struct payload_header header = { .version = payload->version };
        uint8_t bytes[PAYLOAD_HEADER_SIZE];
        int r = -ENOKEY;

        if (!unlocker->conversation->outcomes[PARTY_TENANT].details.has_payload ||
            payload->size < PAYLOAD_HEADER_SIZE + AEAD_TAG_SIZE)
                return 0;
        header.length = archive_length(payload->size);
        memcpy(header.node_id, unlocker->node->id, sizeof header.node_id);
        payload_header_encode(&header, bytes);
        for (size_t i = 0; i < payload->n_keys && r < 0; i++) {
                const struct wire_payload_key *sealed = payload->keys + i;
                _cleanup_(secret_freep) struct secret *k_b = NULL, *content_key = NULL;
                _cleanup_(keypair_freep) struct keypair *keypair = NULL;

                for (size_t j = 0; j < unlocker->pairs.n && !k_b; j++) {
                        const struct pair *pair = unlocker->pairs.items + j;

                        if (strcmp(pair->u->key_id, rotation->key_id) == 0 && strcmp(sealed->key_id, rotation->key_id) == 0 &&
                            pair->u->generation == sealed->generation)
                                (void) split_join(pair->u, pair->v, &k_b);
                }
                if (!k_b || derive_payload_keypair(k_b, unlocker->node->id, sealed->generation, &keypair) < 0)
                        continue;
                r = payload_key_open(keypair, bytes, sealed->key_id, sealed->generation, sealed->enc, sealed->ct.data,
                                     sealed->ct.size, &content_key);
                if (r >= 0)
                        r = payload_key_seal(body->payload_public, bytes, rotation->key_id, rotation->generation, content_key,
                                             body->payload_enc, &body->payload_ct);
        }
        if (r < 0)
                return r;
        body->has_payload = true;
        body->payload_version = payload->version;
        return 0;
}

static int finish_payload(struct unlocker *unlocker, const struct rotation *rotation) {
        _cleanup_(wire_confirm_body_done) struct wire_confirm_body body = { .generation = rotation->generation };
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        int r = derive_payload_keypair(rotation->k_b, unlocker->node->id, rotation->generation, &keypair);

        if (r < 0)
                return r;
        memcpy(body.key, rotation->key_id, sizeof body.key);
        memcpy(body.payload_public, keypair->public, sizeof body.payload_public);
        body.has_payload_public = true;
        r = reseal(unlocker, rotation, &body);
        return r < 0 ? r : unlocker_confirm(unlocker, &body, &conversation);
}

int rotate_finish(struct unlocker *unlocker) {
        for (size_t i = 0; i < unlocker->n_rotations; i++) {
                const struct rotation *rotation = unlocker->rotations + i;
                int r = rotation->kind == KEY_VOLUMES ? finish_volumes(unlocker, rotation) : finish_payload(unlocker, rotation);

                if (r == -ECANCELED)
                        return r; /* wiped */
                if (r < 0)
                        log_warning_errno(r, "Key %.8s: generation %u is not in use yet, the next boot tries again: %m",
                                          rotation->key_id, rotation->generation);
                else
                        log_info("Key %.8s: generation %u is in use from the next boot on.", rotation->key_id,
                                 rotation->generation);
        }
        rotate_wipe(unlocker);
        return 0;
}
