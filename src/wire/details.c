/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "wire/json.h"

#define VERSION_MAX UINT64_MAX /* the bound of docs/protocol.md, 1, is take_u64()'s own */

void wire_payload_done(struct wire_payload *payload) {
        for (size_t i = 0; i < ELEMENTSOF(payload->keys); i++)
                blob_done(&payload->keys[i].ct);
        *payload = (struct wire_payload){};
}

static json_t *payload_key_to_json(const struct wire_payload_key *key) {
        struct put put = put_new();

        put_string(&put, "id", key->key_id);
        put_u64(&put, "generation", key->generation);
        put_bin(&put, "enc", key->enc, sizeof key->enc);
        put_blob(&put, "ct", &key->ct);
        return put_end(&put);
}

static json_t *wire_payload_to_json(const struct wire_payload *payload) {
        struct put put = put_new();
        json_t *keys = json_array();

        put_u64(&put, "version", payload->version);
        put_u64(&put, "size", payload->size);
        put_hex(&put, "sha256", payload->sha256, sizeof payload->sha256);
        for (size_t i = 0; i < payload->n_keys; i++)
                put.failed |= !put_element(keys, payload_key_to_json(payload->keys + i));
        put_json(&put, "keys", keys);
        if (payload->has_ticket)
                put_bin(&put, "ticket", payload->ticket, sizeof payload->ticket);
        return put_end(&put);
}

static int payload_key_from_json(const json_t *json, struct wire_payload_key *key) {
        struct take take = { .object = json, .error = json_is_object(json) ? 0 : -EBADMSG };

        take_key_id(&take, "id", key->key_id);
        key->generation = take_generation(&take, "generation");
        take_bin_fixed(&take, "enc", key->enc, sizeof key->enc);
        take_bin(&take, "ct", AEAD_TAG_SIZE + 1, WIRE_SEALED_KEY_MAX, &key->ct);
        return take.error;
}

static bool payload_key_twice(const struct wire_payload *payload, size_t last) {
        for (size_t i = 0; i < last; i++)
                if (strcmp(payload->keys[i].key_id, payload->keys[last].key_id) == 0 &&
                    payload->keys[i].generation == payload->keys[last].generation)
                        return true;
        return false;
}

int wire_payload_from_json(const json_t *json, struct wire_payload *ret) {
        _cleanup_(wire_payload_done) struct wire_payload payload = {};
        struct take take = { .object = json, .error = json_is_object(json) ? 0 : -EBADMSG };
        const json_t *keys;

        payload.version = take_u64(&take, "version", 1, VERSION_MAX);
        payload.size = take_u64(&take, "size", 1, UINT64_MAX);
        take_hex(&take, "sha256", payload.sha256, sizeof payload.sha256);
        keys = take_array(&take, "keys", ELEMENTSOF(payload.keys));
        for (size_t i = 0; take.error == 0 && i < json_array_size(keys); i++) {
                take.error = payload_key_from_json(json_array_get(keys, i), payload.keys + i);
                take_check(&take, !payload_key_twice(&payload, i));
                payload.n_keys = i + 1;
        }
        payload.has_ticket = take_bin_fixed_optional(&take, "ticket", payload.ticket, sizeof payload.ticket);
        if (take.error < 0)
                return take.error;

        *ret = payload;
        payload = (struct wire_payload){};
        return 0;
}

void wire_details_done(struct wire_details *details) {
        for (size_t i = 0; i < details->n_keys; i++)
                blob_done(&details->keys[i].manifest);
        free(details->keys);
        wire_payload_done(&details->payload);
        *details = (struct wire_details){};
}

static json_t *key_to_json(const struct wire_key *key) {
        struct put put = put_new();

        put_string(&put, "id", key->id);
        put_string(&put, "kind", key_kind_to_string(key->kind));
        put_u64(&put, "generation", key->generation);
        put_string(&put, "state", generation_state_to_string(key->state));
        if (key->manifest.size > 0) {
                put_blob(&put, "manifest", &key->manifest);
                put_bin(&put, "mac", key->mac, sizeof key->mac);
        }
        if (key->has_manifest_sha256)
                put_hex(&put, "manifest_sha256", key->manifest_sha256, sizeof key->manifest_sha256);
        return put_end(&put);
}

static json_t *accept_to_json(const struct wire_details *details) {
        struct put put = put_new();
        json_t *array = json_array();

        for (size_t i = 0; i < details->n_accept; i++) {
                struct put one = put_new();

                put_u64(&one, "version", details->accept[i].version);
                put_hex(&one, "sha256", details->accept[i].sha256, sizeof details->accept[i].sha256);
                put.failed |= !put_element(array, put_end(&one));
        }
        put_json(&put, "accept", array);
        return put_end(&put);
}

char *wire_details_encode(const struct wire_details *details) {
        struct put put = put_new();
        json_t *keys = json_array(), *rotate = details->n_rotate > 0 ? json_array() : NULL;

        for (size_t i = 0; i < details->n_keys; i++)
                put.failed |= !put_element(keys, key_to_json(details->keys + i));
        for (size_t i = 0; i < details->n_rotate; i++) {
                struct put one = put_new();

                put_string(&one, "id", details->rotate[i].id);
                put_u64(&one, "highest", details->rotate[i].highest);
                put.failed |= !put_element(rotate, put_end(&one));
        }
        put_json(&put, "keys", keys);
        if (details->n_rotate > 0)
                put_json(&put, "rotate", rotate);
        if (details->has_payload)
                put_json(&put, "payload", wire_payload_to_json(&details->payload));
        else if (details->n_accept > 0)
                put_json(&put, "payload", accept_to_json(details));
        return put_text(&put);
}

static int key_from_json(const json_t *json, struct wire_key *key) {
        struct take take = { .object = json, .error = json_is_object(json) ? 0 : -EBADMSG };
        char text[16];
        bool has_mac;

        take_key_id(&take, "id", key->id);
        take_string(&take, "kind", text, sizeof text);
        take_check(&take, key_kind_from_string(text, &key->kind) >= 0);
        key->generation = take_generation(&take, "generation");
        take_string(&take, "state", text, sizeof text);
        take_check(&take, generation_state_from_string(text, &key->state) >= 0 && key->state != GENERATION_RETIRED);
        (void) take_bin_optional(&take, "manifest", 1, WIRE_MANIFEST_MAX, &key->manifest);
        has_mac = take_bin_fixed_optional(&take, "mac", key->mac, sizeof key->mac);
        key->has_manifest_sha256 = take_hex_optional(&take, "manifest_sha256", key->manifest_sha256, sizeof key->manifest_sha256);
        take_check(&take, has_mac == (key->manifest.size > 0));
        return take.error;
}

static bool key_twice(const struct wire_details *details, size_t last) {
        for (size_t i = 0; i < last; i++)
                if (strcmp(details->keys[i].id, details->keys[last].id) == 0 &&
                    details->keys[i].generation == details->keys[last].generation)
                        return true;
        return false;
}

static void take_keys(struct take *take, struct wire_details *details) {
        const json_t *array = take_array(take, "keys", WIRE_KEYS_MAX);

        if (take->error < 0 || json_array_size(array) == 0)
                return;
        details->keys = calloc(json_array_size(array), sizeof details->keys[0]);
        if (!details->keys) {
                take->error = -ENOMEM;
                return;
        }
        details->n_keys = json_array_size(array);
        for (size_t i = 0; take->error == 0 && i < details->n_keys; i++) {
                take->error = key_from_json(json_array_get(array, i), details->keys + i);
                take_check(take, !key_twice(details, i));
        }
}

static void take_rotate(struct take *take, struct wire_details *details) {
        const json_t *array = take_array_optional(take, "rotate", ELEMENTSOF(details->rotate));

        for (size_t i = 0; take->error == 0 && i < json_array_size(array); i++) {
                const json_t *element = json_array_get(array, i);
                struct take one = { .object = element, .error = json_is_object(element) ? 0 : -EBADMSG };

                take_key_id(&one, "id", details->rotate[i].id);
                /* one more must still be a generation */
                details->rotate[i].highest = (uint32_t) take_u64(&one, "highest", 0, UINT32_MAX - 1);
                for (size_t j = 0; j < i; j++)
                        take_check(&one, strcmp(details->rotate[i].id, details->rotate[j].id) != 0);
                details->n_rotate = i + 1;
                take->error = one.error;
        }
}

static int accept_from_json(const json_t *json, struct wire_details *details) {
        struct take take = { .object = json };
        const json_t *array = take_array(&take, "accept", ELEMENTSOF(details->accept));

        for (size_t i = 0; take.error == 0 && i < json_array_size(array); i++) {
                const json_t *element = json_array_get(array, i);
                struct take one = { .object = element, .error = json_is_object(element) ? 0 : -EBADMSG };

                details->accept[i].version = take_u64(&one, "version", 1, VERSION_MAX);
                take_hex(&one, "sha256", details->accept[i].sha256, sizeof details->accept[i].sha256);
                details->n_accept = i + 1;
                take.error = one.error;
        }
        return take.error;
}

/* A tenant's payload has a version, a verifier's a list of what it accepts; never both. */
static void take_payload(struct take *take, struct wire_details *details) {
        const json_t *payload = take_object_optional(take, "payload");

        if (!payload)
                return;
        if (json_object_get(payload, "accept")) {
                take_check(take, !json_object_get(payload, "version"));
                if (take->error == 0)
                        take->error = accept_from_json(payload, details);
                return;
        }
        take->error = wire_payload_from_json(payload, &details->payload);
        take_check(take, details->payload.has_ticket);
        details->has_payload = take->error == 0;
}

int wire_details_parse(const char *text, size_t size, struct wire_details *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        _cleanup_(wire_details_done) struct wire_details details = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_keys(&take, &details);
        take_rotate(&take, &details);
        take_payload(&take, &details);
        if (take.error < 0)
                return take.error;

        *ret = details;
        details = (struct wire_details){};
        return 0;
}
