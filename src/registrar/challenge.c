/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "registrar/registrar.h"

enum { REGISTER_RANDOM_SIZE = 16, REGISTER_SKEW_MS = 5000 /* between replicas */ };

struct challenge {
        uint32_t number;
        uint64_t time;
        uint8_t random[REGISTER_RANDOM_SIZE];
};

static int registration_hash(const struct wire_registration *registration, uint8_t ret[static 32]) {
        struct field fields[3 + ELEMENTSOF(registration->ek_chain)];
        size_t n = 0;

        fields[n++] = field_bytes(registration->ek_public.data, registration->ek_public.size);
        fields[n++] = field_bytes(registration->ek_certificate.data, registration->ek_certificate.size);
        fields[n++] = field_bytes(registration->ak_public.data, registration->ak_public.size);
        for (size_t i = 0; i < registration->n_ek_chain; i++)
                fields[n++] = field_bytes(registration->ek_chain[i].data, registration->ek_chain[i].size);
        return fields_sha256(fields, n, ret);
}

static int challenge_secret(const struct secret *mac, const struct challenge *challenge,
                            const struct wire_registration *registration, uint8_t ret[static 32]) {
        uint8_t hash[32];
        int r;

        r = registration_hash(registration, hash);
        if (r < 0)
                return r;

        return fields_hmac(mac->data, mac->size,
                           FIELDS(field_text("tallyboot register v1"), field_number(challenge->number),
                                  field_number(challenge->time), field_bytes(challenge->random, sizeof(challenge->random)),
                                  field_bytes(hash, sizeof(hash))),
                           ret);
}

static int challenge_decode(const struct blob *blob, struct challenge *ret) {
        struct reader reader = { .data = blob->data, .left = blob->size };

        if (blob->size != REGISTER_CHALLENGE_SIZE)
                return -EBADMSG;

        (void) reader_be32(&reader, &ret->number);
        (void) reader_be64(&reader, &ret->time);
        (void) reader_copy(&reader, ret->random, sizeof(ret->random));
        return 0;
}

int challenge_make(struct keystore *keystore, const struct wire_registration *registration, uint64_t now_ms,
                   uint8_t ret_challenge[static REGISTER_CHALLENGE_SIZE], uint8_t ret_secret[static 32]) {
        struct challenge challenge = { .time = now_ms };
        const struct secret *mac;
        int r;

        r = keystore_mac_current(keystore, &challenge.number, &mac);
        if (r >= 0)
                r = random_bytes(challenge.random, sizeof(challenge.random));
        if (r >= 0)
                r = challenge_secret(mac, &challenge, registration, ret_secret);
        if (r < 0)
                return r;

        for (size_t i = 0; i < 4; i++)
                ret_challenge[i] = (uint8_t) (challenge.number >> (24 - 8 * i));
        for (size_t i = 0; i < 8; i++)
                ret_challenge[4 + i] = (uint8_t) (challenge.time >> (56 - 8 * i));
        memcpy(ret_challenge + 12, challenge.random, sizeof(challenge.random));
        return 0;
}

int challenge_check(struct keystore *keystore, const struct wire_registration *registration, const char *id, uint64_t now_ms) {
        _cleanup_(wipe_32) uint8_t secret[32];
        const struct secret *mac;
        struct challenge challenge;
        uint8_t proof[32];
        int r;

        r = challenge_decode(&registration->challenge, &challenge);
        if (r < 0)
                return r;
        if (registration->proof.size != sizeof(proof))
                return -EBADMSG;
        if (challenge.time > now_ms + REGISTER_SKEW_MS || now_ms > challenge.time + REGISTER_TTL_MS)
                return -ESTALE;

        r = keystore_mac_get(keystore, challenge.number, &mac);
        if (r == -ENOENT)
                return -ESTALE;
        if (r >= 0)
                r = challenge_secret(mac, &challenge, registration, secret);
        if (r >= 0)
                r = fields_hmac(secret, sizeof(secret),
                                FIELDS(field_text("tallyboot activate v1"), field_text(id),
                                       field_bytes(registration->challenge.data, registration->challenge.size)),
                                proof);
        if (r < 0)
                return r;

        return bytes_equal_ct(proof, registration->proof.data, sizeof(proof)) ? 0 : -EKEYREJECTED;
}
