/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "wire/credential.h"
#include "wire/json.h"

void wire_registration_done(struct wire_registration *registration) {
        blob_done(&registration->token_public);
        blob_done(&registration->ek_public);
        blob_done(&registration->ek_certificate);
        for (size_t i = 0; i < ELEMENTSOF(registration->ek_chain); i++)
                blob_done(registration->ek_chain + i);
        blob_done(&registration->ak_public);
        blob_done(&registration->challenge);
        blob_done(&registration->proof);
        *registration = (struct wire_registration){};
}

/* Certificates as an array of texts: an object of one member lends its encoder. */
static json_t *chain_to_json(const struct wire_registration *registration) {
        json_t *array = json_array();

        for (size_t i = 0; array && i < registration->n_ek_chain; i++) {
                struct put put = put_new();
                _cleanup_(wire_json_decrefp) json_t *element = NULL;

                put_blob(&put, "der", registration->ek_chain + i);
                element = put_end(&put);
                if (!element || !put_element(array, json_incref(json_object_get(element, "der")))) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}

static void put_tpm(struct put *put, const struct wire_registration *registration) {
        put_blob(put, "ek_public", &registration->ek_public);
        put_blob(put, "ek_certificate", &registration->ek_certificate);
        put_json(put, "ek_chain", chain_to_json(registration));
        put_blob(put, "ak_public", &registration->ak_public);
}

json_t *wire_registration_to_json(const struct wire_registration *registration) {
        struct put put = put_new();

        if (registration->token_public.size > 0)
                put_blob(&put, "token_public", &registration->token_public);
        else
                put_tpm(&put, registration);
        if (registration->challenge.size > 0)
                put_blob(&put, "challenge", &registration->challenge);
        if (registration->proof.size > 0)
                put_blob(&put, "proof", &registration->proof);
        return put_end(&put);
}

char *wire_registration_encode(const struct wire_registration *registration) {
        struct put put = { .object = wire_registration_to_json(registration) };

        put.failed = !put.object;
        return put_text(&put);
}

static void take_chain(struct take *take, struct wire_registration *registration) {
        const json_t *array = take_array(take, "ek_chain", ELEMENTSOF(registration->ek_chain));

        for (size_t i = 0; take->error == 0 && i < json_array_size(array); i++) {
                _cleanup_(wire_json_decrefp) json_t *element = json_pack("{s:O}", "der", json_array_get(array, i));
                struct take one = { .object = element, .error = element ? 0 : -ENOMEM };

                take_bin(&one, "der", 1, WIRE_CERTIFICATE_MAX, registration->ek_chain + i);
                registration->n_ek_chain = i + 1;
                take->error = one.error;
        }
}

static void take_tpm(struct take *take, struct wire_registration *registration) {
        take_bin(take, "ek_public", 1, WIRE_PUBLIC_MAX, &registration->ek_public);
        take_bin(take, "ek_certificate", 0, WIRE_CERTIFICATE_MAX, &registration->ek_certificate);
        take_chain(take, registration);
        take_bin(take, "ak_public", 1, WIRE_PUBLIC_MAX, &registration->ak_public);
}

/* A node is of one kind: nobody shall have to ask which of two keys counts. */
static bool has_tpm(const json_t *json) {
        return json_object_get(json, "ek_public") || json_object_get(json, "ek_certificate") ||
               json_object_get(json, "ek_chain") || json_object_get(json, "ak_public");
}

int wire_registration_from_json(const json_t *json, struct wire_registration *ret) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        struct take take = { .object = json };

        if (take_bin_optional(&take, "token_public", 1, WIRE_TOKEN_PUBLIC_MAX, &registration.token_public))
                take_check(&take, !has_tpm(json));
        else
                take_tpm(&take, &registration);
        (void) take_bin_optional(&take, "challenge", 1, WIRE_CREDENTIAL_MAX, &registration.challenge);
        (void) take_bin_optional(&take, "proof", 1, WIRE_CREDENTIAL_MAX, &registration.proof);
        if (take.error < 0)
                return take.error;

        *ret = registration;
        registration = (struct wire_registration){};
        return 0;
}

int wire_registration_parse(const char *text, size_t size, struct wire_registration *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);

        return json ? wire_registration_from_json(json, ret) : -EBADMSG;
}

void wire_credential_done(struct wire_credential *credential) {
        blob_done(&credential->id_object);
        blob_done(&credential->secret);
        *credential = (struct wire_credential){};
}

void put_credential(struct put *put, const struct wire_credential *credential) {
        struct put inner = put_new();

        put_blob(&inner, "id_object", &credential->id_object);
        put_blob(&inner, "secret", &credential->secret);
        put_json(put, "credential", put_end(&inner));
}

bool take_credential(struct take *take, bool optional, struct wire_credential *ret) {
        struct take inner = {
                .object = optional ? take_object_optional(take, "credential") : take_object(take, "credential"),
        };

        if (!inner.object)
                return false;
        take_bin(&inner, "id_object", 1, WIRE_CREDENTIAL_MAX, &ret->id_object);
        take_bin(&inner, "secret", 1, WIRE_CREDENTIAL_MAX, &ret->secret);
        take->error = inner.error;
        return true;
}

void wire_registered_done(struct wire_registered *registered) {
        blob_done(&registered->challenge);
        wire_credential_done(&registered->credential);
        *registered = (struct wire_registered){};
}

char *wire_registered_encode(const struct wire_registered *registered) {
        struct put put = put_new();

        put_string(&put, "id", registered->id);
        put_blob(&put, "challenge", &registered->challenge);
        if (registered->has_credential)
                put_credential(&put, &registered->credential);
        return put_text(&put);
}

int wire_registered_parse(const char *text, size_t size, struct wire_registered *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        _cleanup_(wire_registered_done) struct wire_registered registered = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_string(&take, "id", registered.id, sizeof registered.id);
        take_check(&take, node_id_is_valid(registered.id));
        take_bin(&take, "challenge", 1, WIRE_CREDENTIAL_MAX, &registered.challenge);
        registered.has_credential = take_credential(&take, true, &registered.credential);
        if (take.error < 0)
                return take.error;

        *ret = registered;
        registered = (struct wire_registered){};
        return 0;
}
