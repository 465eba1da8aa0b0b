/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/token.h"
#include "registrar/registrar.h"

enum { REGISTER_RANDOM_SIZE = 16, REGISTER_SKEW_MS = 5000 /* between replicas */ };

struct challenge {
        uint32_t number;
        uint64_t time;
        uint8_t random[REGISTER_RANDOM_SIZE];
};

static int registration_hash(const struct wire_registration *registration, uint8_t ret[static 32]) {
        const struct blob *token = &registration->token_public;
        struct field fields[3 + ELEMENTSOF(registration->ek_chain)];
        size_t n = 0;

        if (token->size > 0)
                return fields_sha256(FIELDS(field_bytes(token->data, token->size)), ret);
        fields[n++] = field_bytes(registration->ek_public.data, registration->ek_public.size);
        fields[n++] = field_bytes(registration->ek_certificate.data, registration->ek_certificate.size);
        fields[n++] = field_bytes(registration->ak_public.data, registration->ak_public.size);
        for (size_t i = 0; i < registration->n_ek_chain; i++)
                fields[n++] = field_bytes(registration->ek_chain[i].data, registration->ek_chain[i].size);
        return fields_sha256(fields, n, ret);
}

static int challenge_mac(const char *label, const struct secret *mac, const struct challenge *challenge,
                         const struct wire_registration *registration, uint8_t ret[static 32]) {
        uint8_t hash[32];
        int r;

        r = registration_hash(registration, hash);
        if (r < 0)
                return r;

        return fields_hmac(mac->data, mac->size,
                           FIELDS(field_text(label), field_number(challenge->number), field_number(challenge->time),
                                  field_bytes(challenge->random, sizeof(challenge->random)), field_bytes(hash, sizeof(hash))),
                           ret);
}

static int challenge_secret(const struct secret *mac, const struct challenge *challenge,
                            const struct wire_registration *registration, uint8_t ret[static 32]) {
        return challenge_mac("tallyboot register v1", mac, challenge, registration, ret);
}

static int challenge_decode(const struct blob *blob, size_t size, struct challenge *ret) {
        struct reader reader = { .data = blob->data, .left = blob->size };

        if (blob->size != size)
                return -EBADMSG;

        (void) reader_be32(&reader, &ret->number);
        (void) reader_be64(&reader, &ret->time);
        (void) reader_copy(&reader, ret->random, sizeof(ret->random));
        return 0;
}

static int challenge_new(struct keystore *keystore, uint64_t now_ms, struct challenge *ret, const struct secret **ret_mac,
                         uint8_t ret_encoded[static REGISTER_CHALLENGE_SIZE]) {
        struct challenge challenge = { .time = now_ms };
        int r;

        r = keystore_mac_current(keystore, &challenge.number, ret_mac);
        if (r >= 0)
                r = random_bytes(challenge.random, sizeof(challenge.random));
        if (r < 0)
                return r;

        for (size_t i = 0; i < 4; i++)
                ret_encoded[i] = (uint8_t) (challenge.number >> (24 - 8 * i));
        for (size_t i = 0; i < 8; i++)
                ret_encoded[4 + i] = (uint8_t) (challenge.time >> (56 - 8 * i));
        memcpy(ret_encoded + 12, challenge.random, sizeof(challenge.random));
        *ret = challenge;
        return 0;
}

int challenge_make(struct keystore *keystore, const struct wire_registration *registration, uint64_t now_ms,
                   uint8_t ret_challenge[static REGISTER_CHALLENGE_SIZE], uint8_t ret_secret[static 32]) {
        struct challenge challenge;
        const struct secret *mac;
        int r;

        r = challenge_new(keystore, now_ms, &challenge, &mac, ret_challenge);
        return r < 0 ? r : challenge_secret(mac, &challenge, registration, ret_secret);
}

/* Reads a challenge of this size, of its time, and the key that it was made under. */
static int challenge_read(struct keystore *keystore, const struct blob *blob, size_t size, uint64_t now_ms, struct challenge *ret,
                          const struct secret **ret_mac) {
        int r;

        r = challenge_decode(blob, size, ret);
        if (r < 0)
                return r;
        if (ret->time > now_ms + REGISTER_SKEW_MS || now_ms > ret->time + REGISTER_TTL_MS)
                return -ESTALE;

        r = keystore_mac_get(keystore, ret->number, ret_mac);
        return r == -ENOENT ? -ESTALE : r;
}

int challenge_check(struct keystore *keystore, const struct wire_registration *registration, const char *id, uint64_t now_ms) {
        _cleanup_(wipe_32) uint8_t secret[32];
        const struct secret *mac;
        struct challenge challenge;
        uint8_t proof[32];
        int r;

        if (registration->proof.size != sizeof(proof))
                return -EBADMSG;
        r = challenge_read(keystore, &registration->challenge, REGISTER_CHALLENGE_SIZE, now_ms, &challenge, &mac);
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

static int token_mac(const struct secret *mac, const struct challenge *challenge, const struct wire_registration *registration,
                     uint8_t ret[static 32]) {
        return challenge_mac("tallyboot token challenge v1", mac, challenge, registration, ret);
}

int challenge_make_token(struct keystore *keystore, const struct wire_registration *registration, uint64_t now_ms,
                         uint8_t ret_challenge[static REGISTER_TOKEN_CHALLENGE_SIZE]) {
        struct challenge challenge;
        const struct secret *mac;
        int r;

        r = challenge_new(keystore, now_ms, &challenge, &mac, ret_challenge);
        return r < 0 ? r : token_mac(mac, &challenge, registration, ret_challenge + REGISTER_CHALLENGE_SIZE);
}

int challenge_check_token(struct keystore *keystore, const struct wire_registration *registration, const char *id,
                          uint64_t now_ms) {
        _cleanup_(blob_done) struct blob message = {};
        const struct secret *mac;
        struct challenge challenge;
        uint8_t expected[32];
        int r;

        r = challenge_read(keystore, &registration->challenge, REGISTER_TOKEN_CHALLENGE_SIZE, now_ms, &challenge, &mac);
        if (r >= 0)
                r = token_mac(mac, &challenge, registration, expected);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(expected, registration->challenge.data + REGISTER_CHALLENGE_SIZE, sizeof(expected)))
                return -EKEYREJECTED;

        r = wire_token_register_message(id, &registration->challenge, &message);
        if (r < 0)
                return r;
        r = token_verify(&registration->token_public, &message, &registration->proof);
        return r == -EOPNOTSUPP || r == -EBADMSG ? -EKEYREJECTED : r;
}
