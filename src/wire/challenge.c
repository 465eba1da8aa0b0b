/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/credential.h"
#include "wire/json.h"

enum { TTL_MAX = 86400 };

void wire_challenge_done(struct wire_challenge *challenge) {
        wire_credential_done(&challenge->credential);
        *challenge = (struct wire_challenge){};
}

static json_t *mask_to_json(uint32_t mask) {
        json_t *array = json_array();

        for (unsigned i = 0; array && i < WIRE_PCRS; i++) {
                if (!(mask & (UINT32_C(1) << i)))
                        continue;
                if (!put_element(array, json_integer(i))) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}

char *wire_challenge_encode(const struct wire_challenge *challenge) {
        struct put put = put_new();

        put_bin(&put, "nonce", challenge->nonce, sizeof challenge->nonce);
        put_u64(&put, "ttl", challenge->ttl);
        put_string(&put, "bank", pcr_alg_to_string(challenge->bank));
        put_json(&put, "pcrs", mask_to_json(challenge->pcrs));
        put_u64(&put, "gate", challenge->gate);
        if (challenge->has_credential)
                put_credential(&put, &challenge->credential);
        return put_text(&put);
}

/* No PCR twice. */
static uint32_t take_mask(struct take *take, const char *name) {
        const json_t *array = take_array(take, name, WIRE_PCRS);
        uint32_t mask = 0;

        for (size_t i = 0; take->error == 0 && i < json_array_size(array); i++) {
                const json_t *value = json_array_get(array, i);
                json_int_t pcr = json_is_integer(value) ? json_integer_value(value) : -1;

                take_check(take, pcr >= 0 && pcr < WIRE_PCRS && !(mask & (UINT32_C(1) << pcr)));
                if (take->error == 0)
                        mask |= UINT32_C(1) << pcr;
        }
        return mask;
}

static uint16_t take_bank(struct take *take, const char *name) {
        char text[16];
        uint16_t alg = 0;

        take_string(take, name, text, sizeof text);
        take_check(take, pcr_alg_from_string(text, &alg) >= 0);
        return alg;
}

int wire_challenge_parse(const char *text, size_t size, struct wire_challenge *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        _cleanup_(wire_challenge_done) struct wire_challenge challenge = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_bin_fixed(&take, "nonce", challenge.nonce, sizeof challenge.nonce);
        challenge.ttl = (uint32_t) take_u64(&take, "ttl", 1, TTL_MAX);
        challenge.bank = take_bank(&take, "bank");
        challenge.pcrs = take_mask(&take, "pcrs");
        challenge.gate = (uint8_t) take_u64(&take, "gate", 0, WIRE_PCRS - 1);
        challenge.has_credential = take_credential(&take, true, &challenge.credential);
        if (take.error < 0)
                return take.error;

        *ret = challenge;
        challenge = (struct wire_challenge){};
        return 0;
}

char *wire_challenge_request_encode(enum purpose purpose) {
        struct put put = put_new();

        put_string(&put, "purpose", purpose_to_string(purpose));
        return put_text(&put);
}

int wire_challenge_request_parse(const char *text, size_t size, enum purpose *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };
        enum purpose purpose = PURPOSE_BOOT;
        char name[16];

        take_string(&take, "purpose", name, sizeof name);
        take_check(&take, purpose_from_string(name, &purpose) >= 0);
        if (take.error < 0)
                return take.error;

        *ret = purpose;
        return 0;
}
