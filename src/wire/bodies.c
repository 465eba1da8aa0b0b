/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "wire/json.h"

char *wire_enroll_body_encode(const struct wire_enroll_body *body) {
        struct put put = put_new();
        json_t *keys = json_array();

        for (size_t i = 0; i < body->n_keys; i++) {
                struct put one = put_new();

                put_string(&one, "id", body->keys[i].id);
                put_string(&one, "kind", key_kind_to_string(body->keys[i].kind));
                put.failed |= !put_element(keys, put_end(&one));
        }
        put_json(&put, "keys", keys);
        return put_text(&put);
}

int wire_enroll_body_parse(const void *text, size_t size, struct wire_enroll_body *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct wire_enroll_body body = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };
        const json_t *keys = take_array(&take, "keys", ELEMENTSOF(body.keys));

        for (size_t i = 0; take.error == 0 && i < json_array_size(keys); i++) {
                const json_t *element = json_array_get(keys, i);
                struct take one = { .object = element, .error = json_is_object(element) ? 0 : -EBADMSG };
                char kind[16];

                take_key_id(&one, "id", body.keys[i].id);
                take_string(&one, "kind", kind, sizeof kind);
                take_check(&one, key_kind_from_string(kind, &body.keys[i].kind) >= 0);
                for (size_t j = 0; j < i; j++)
                        take_check(&one, strcmp(body.keys[i].id, body.keys[j].id) != 0);
                body.n_keys = i + 1;
                take.error = one.error;
        }
        if (take.error < 0)
                return take.error;

        *ret = body;
        return 0;
}

char *wire_rotate_body_encode(const struct wire_rotate_body *body) {
        struct put put = put_new();

        put_string(&put, "key", body->key);
        put_u64(&put, "generation", body->generation);
        return put_text(&put);
}

int wire_rotate_body_parse(const void *text, size_t size, struct wire_rotate_body *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct wire_rotate_body body = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_key_id(&take, "key", body.key);
        body.generation = take_generation(&take, "generation");
        if (take.error < 0)
                return take.error;

        *ret = body;
        return 0;
}

void wire_confirm_body_done(struct wire_confirm_body *body) {
        blob_done(&body->manifest);
        blob_done(&body->payload_ct);
        *body = (struct wire_confirm_body){};
}

char *wire_confirm_body_encode(const struct wire_confirm_body *body) {
        struct put put = put_new();

        put_string(&put, "key", body->key);
        put_u64(&put, "generation", body->generation);
        put_bool(&put, "opened", body->opened);
        if (body->manifest.size > 0) {
                put_blob(&put, "manifest", &body->manifest);
                put_bin(&put, "mac", body->mac, sizeof body->mac);
        }
        if (body->has_payload_public)
                put_bin(&put, "payload_public", body->payload_public, sizeof body->payload_public);
        if (body->has_payload) {
                struct put payload = put_new();

                put_u64(&payload, "version", body->payload_version);
                put_bin(&payload, "enc", body->payload_enc, sizeof body->payload_enc);
                put_blob(&payload, "ct", &body->payload_ct);
                put_json(&put, "payload", put_end(&payload));
        }
        return put_text(&put);
}

static bool take_resealed(struct take *take, struct wire_confirm_body *body) {
        struct take inner = { .object = take_object_optional(take, "payload") };

        if (!inner.object)
                return false;
        body->payload_version = take_u64(&inner, "version", 1, UINT64_MAX);
        take_bin_fixed(&inner, "enc", body->payload_enc, sizeof body->payload_enc);
        take_bin(&inner, "ct", AEAD_TAG_SIZE + 1, WIRE_SEALED_KEY_MAX, &body->payload_ct);
        take->error = inner.error;
        return true;
}

int wire_confirm_body_parse(const void *text, size_t size, struct wire_confirm_body *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        _cleanup_(wire_confirm_body_done) struct wire_confirm_body body = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };
        bool has_mac;

        take_key_id(&take, "key", body.key);
        body.generation = take_generation(&take, "generation");
        body.opened = take_bool(&take, "opened");
        (void) take_bin_optional(&take, "manifest", 1, WIRE_MANIFEST_MAX, &body.manifest);
        has_mac = take_bin_fixed_optional(&take, "mac", body.mac, sizeof body.mac);
        body.has_payload_public =
                take_bin_fixed_optional(&take, "payload_public", body.payload_public, sizeof body.payload_public);
        body.has_payload = take_resealed(&take, &body);
        take_check(&take, has_mac == (body.manifest.size > 0));
        take_check(&take, !body.has_payload || body.has_payload_public);
        /* the first confirm says what a key of its kind needs, a later one nothing */
        take_check(&take, has_mac + body.has_payload_public == (body.opened ? 0 : 1));
        if (take.error < 0)
                return take.error;

        *ret = body;
        body = (struct wire_confirm_body){};
        return 0;
}

char *wire_confirmed_encode(const struct wire_confirmed *confirmed) {
        struct put put = put_new();
        json_t *retired = json_array();

        for (size_t i = 0; i < confirmed->n_retired; i++)
                put.failed |= !put_element(retired, json_integer(confirmed->retired[i]));
        put_string(&put, "state", generation_state_to_string(GENERATION_LIVE));
        put_json(&put, "retired", retired);
        return put_text(&put);
}

int wire_confirmed_parse(const char *text, size_t size, struct wire_confirmed *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct wire_confirmed confirmed = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };
        enum generation_state state = GENERATION_STAGED;
        const json_t *retired;
        char name[16];

        take_string(&take, "state", name, sizeof name);
        take_check(&take, generation_state_from_string(name, &state) >= 0 && state == GENERATION_LIVE);
        retired = take_array(&take, "retired", ELEMENTSOF(confirmed.retired));
        for (size_t i = 0; take.error == 0 && i < json_array_size(retired); i++) {
                const json_t *element = json_array_get(retired, i);
                json_int_t generation = json_is_integer(element) ? json_integer_value(element) : 0;

                take_check(&take, generation >= 1 && generation <= UINT32_MAX);
                confirmed.retired[i] = (uint32_t) generation;
                confirmed.n_retired = i + 1;
        }
        if (take.error < 0)
                return take.error;

        *ret = confirmed;
        return 0;
}
