/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/nonce.h"

#include <string.h>

#include "service/party.h"

static void put_be(uint8_t *at, uint64_t value, size_t size) {
        for (size_t i = 0; i < size; i++)
                at[i] = (uint8_t) (value >> (8 * (size - 1 - i)));
}

static uint64_t get_be(const uint8_t *at, size_t size) {
        uint64_t value = 0;

        for (size_t i = 0; i < size; i++)
                value = value << 8 | at[i];
        return value;
}

int nonce_encode(const struct secret *mac_key, const struct nonce *nonce, const struct nonce_scope *scope,
                 uint8_t ret[static WIRE_NONCE_SIZE]) {
        uint8_t mac[32];
        int r;

        r = fields_hmac(mac_key->data, mac_key->size,
                        FIELDS(field_text("tallyboot nonce v1"), field_number(nonce->number),
                               field_text(party_to_string(scope->party)), field_text(scope->node_id),
                               field_text(purpose_to_string(scope->purpose)), field_number(nonce->time),
                               field_bytes(nonce->random, sizeof(nonce->random))),
                        mac);
        if (r < 0)
                return r;

        put_be(ret, nonce->number, 4);
        put_be(ret + 4, nonce->time, 8);
        memcpy(ret + 12, nonce->random, 16);
        memcpy(ret + 28, mac, 32);
        return 0;
}

void nonce_decode(const uint8_t data[static WIRE_NONCE_SIZE], struct nonce *ret) {
        ret->number = (uint32_t) get_be(data, 4);
        ret->time = get_be(data + 4, 8);
        memcpy(ret->random, data + 12, 16);
}

int nonce_verify(const struct secret *mac_key, const uint8_t data[static WIRE_NONCE_SIZE], const struct nonce_scope *scope,
                 uint64_t now, uint64_t ttl_ms) {
        uint8_t expected[WIRE_NONCE_SIZE];
        struct nonce nonce;
        int r;

        nonce_decode(data, &nonce);
        r = nonce_encode(mac_key, &nonce, scope, expected);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(expected, data, WIRE_NONCE_SIZE))
                return -EKEYREJECTED;

        /* The time is ours, of this replica or of another one: authentic, and still it may lie ahead of a clock that was set
         * back. */
        if (nonce.time > now)
                return nonce.time - now > NONCE_EARLY_MS ? -ESTALE : 0;
        return now - nonce.time > ttl_ms ? -ESTALE : 0;
}

int nonce_new(struct keystore *keystore, const struct nonce_scope *scope, uint64_t now, uint8_t ret[static WIRE_NONCE_SIZE]) {
        struct nonce nonce = { .time = now };
        const struct secret *key;
        int r;

        r = keystore_mac_current(keystore, &nonce.number, &key);
        if (r < 0)
                return r;
        r = random_bytes(nonce.random, sizeof(nonce.random));
        if (r < 0)
                return r;
        return nonce_encode(key, &nonce, scope, ret);
}

/* A number that no key has was made up: like a wrong MAC. */
static int mac_key(struct keystore *keystore, uint64_t number, const struct secret **ret) {
        int r;

        r = keystore_mac_get(keystore, (uint32_t) number, ret);
        return r == -ENOENT ? -EKEYREJECTED : r;
}

int nonce_check(struct keystore *keystore, const uint8_t data[static WIRE_NONCE_SIZE], const struct nonce_scope *scope,
                uint64_t now, uint64_t ttl_ms) {
        const struct secret *key;
        struct nonce nonce;
        int r;

        nonce_decode(data, &nonce);
        r = mac_key(keystore, nonce.number, &key);
        return r < 0 ? r : nonce_verify(key, data, scope, now, ttl_ms);
}

/* A row outlives its nonce, and the logs that may come with it later (release-logs.c), by an hour, so that a clock that is set
 * back brings none to life again. */
int nonce_use(struct store_txn *txn, const uint8_t data[static WIRE_NONCE_SIZE], uint64_t ttl_ms, uint64_t now) {
        uint64_t expires;
        struct nonce nonce;
        int64_t changes;
        int r;

        r = store_exec(txn, "DELETE FROM nonces WHERE expires < $1", STORE_ARGS(store_int((int64_t) now)), NULL);
        if (r < 0)
                return r;

        nonce_decode(data, &nonce);
        expires = nonce.time + 2 * ttl_ms + LOG_UPLOAD_MS + 3600 * 1000;
        r = store_exec(txn, "INSERT INTO nonces (nonce, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                       STORE_ARGS(store_blob(data, WIRE_NONCE_SIZE), store_int((int64_t) expires)), &changes);
        if (r < 0)
                return r;
        return changes == 1 ? 0 : -EEXIST;
}

int nonce_is_fresh(struct store_txn *txn, const uint8_t data[static WIRE_NONCE_SIZE]) {
        int64_t one;
        int r;

        r = query_int(txn, "SELECT 1 FROM nonces WHERE nonce = $1", STORE_ARGS(store_blob(data, WIRE_NONCE_SIZE)), &one);
        return r == -ENOENT ? 0 : r < 0 ? r : -EEXIST;
}

int credential_secret(const struct secret *mac_key, const struct nonce_scope *scope, const uint8_t nonce[static WIRE_NONCE_SIZE],
                      struct secret **ret) {
        _cleanup_(wipe_32) uint8_t mac[32];
        struct nonce decoded;
        int r;

        nonce_decode(nonce, &decoded);
        r = fields_hmac(mac_key->data, mac_key->size,
                        FIELDS(field_text("tallyboot credential v1"), field_number(decoded.number),
                               field_text(party_to_string(scope->party)), field_text(scope->node_id),
                               field_bytes(nonce, WIRE_NONCE_SIZE)),
                        mac);
        if (r < 0)
                return r;
        return secret_copy(mac, sizeof(mac), ret);
}

int credential_secret_of_nonce(struct keystore *keystore, const struct nonce_scope *scope,
                               const uint8_t nonce[static WIRE_NONCE_SIZE], struct secret **ret) {
        const struct secret *key;
        struct nonce decoded;
        int r;

        nonce_decode(nonce, &decoded);
        r = keystore_mac_get(keystore, decoded.number, &key);
        if (r < 0)
                return r;
        return credential_secret(key, scope, nonce, ret);
}

int credential_proof(const struct secret *secret, const struct nonce_scope *scope, const uint8_t nonce[static WIRE_NONCE_SIZE],
                     const uint8_t attest_digest[static 32], uint8_t ret[static 32]) {
        return fields_hmac(secret->data, secret->size,
                           FIELDS(field_text("tallyboot proof v1"), field_text(party_to_string(scope->party)),
                                  field_text(scope->node_id), field_bytes(nonce, WIRE_NONCE_SIZE),
                                  field_bytes(attest_digest, 32)),
                           ret);
}

int ticket_encode(const struct secret *mac_key, uint32_t number, const char *node_id, uint64_t version, uint64_t expiry,
                  uint8_t ret[static WIRE_TICKET_SIZE]) {
        uint8_t mac[32];
        int r;

        r = fields_hmac(mac_key->data, mac_key->size,
                        FIELDS(field_text("tallyboot ticket v1"), field_number(number), field_text(node_id),
                               field_number(version), field_number(expiry)),
                        mac);
        if (r < 0)
                return r;

        put_be(ret, number, 4);
        put_be(ret + 4, expiry, 8);
        put_be(ret + 12, version, 8);
        memcpy(ret + 20, mac, 32);
        return 0;
}

int ticket_verify(const struct secret *mac_key, const uint8_t data[static WIRE_TICKET_SIZE], const char *node_id, uint64_t now,
                  uint64_t *ret_version) {
        uint8_t expected[WIRE_TICKET_SIZE];
        uint64_t expiry = get_be(data + 4, 8), version = get_be(data + 12, 8);
        int r;

        r = ticket_encode(mac_key, (uint32_t) get_be(data, 4), node_id, version, expiry, expected);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(expected, data, WIRE_TICKET_SIZE))
                return -EKEYREJECTED;
        if (expiry < now)
                return -ESTALE;

        *ret_version = version;
        return 0;
}

int ticket_new(struct keystore *keystore, const char *node_id, uint64_t version, uint64_t now,
               uint8_t ret[static WIRE_TICKET_SIZE]) {
        const struct secret *key;
        uint32_t number;
        int r;

        r = keystore_mac_current(keystore, &number, &key);
        if (r < 0)
                return r;
        return ticket_encode(key, number, node_id, version, now + TICKET_TTL_MS, ret);
}

int ticket_check(struct keystore *keystore, const uint8_t data[static WIRE_TICKET_SIZE], const char *node_id, uint64_t now,
                 uint64_t *ret_version) {
        const struct secret *key;
        int r;

        r = mac_key(keystore, get_be(data, 4), &key);
        return r < 0 ? r : ticket_verify(key, data, node_id, now, ret_version);
}

/* A log ticket: number (4) || expiry (8) || SHA-256(attest) (32) || MAC (32) */
enum { AT_EXPIRY = 4, AT_DIGEST = 12, AT_MAC = 44 };

int log_ticket_encode(const struct secret *mac_key, uint32_t number, const struct nonce_scope *scope,
                      const uint8_t attest_digest[static 32], uint64_t expiry, uint8_t ret[static WIRE_LOG_TICKET_SIZE]) {
        uint8_t mac[32];
        int r;

        r = fields_hmac(mac_key->data, mac_key->size,
                        FIELDS(field_text("tallyboot log ticket v1"), field_number(number),
                               field_text(party_to_string(scope->party)), field_text(scope->node_id),
                               field_bytes(attest_digest, 32), field_number(expiry)),
                        mac);
        if (r < 0)
                return r;

        put_be(ret, number, 4);
        put_be(ret + AT_EXPIRY, expiry, 8);
        memcpy(ret + AT_DIGEST, attest_digest, 32);
        memcpy(ret + AT_MAC, mac, 32);
        return 0;
}

int log_ticket_verify(const struct secret *mac_key, const uint8_t data[static WIRE_LOG_TICKET_SIZE],
                      const struct nonce_scope *scope, uint64_t now, uint64_t grace_ms, uint8_t ret_attest_digest[static 32]) {
        uint8_t expected[WIRE_LOG_TICKET_SIZE];
        uint64_t expiry = get_be(data + AT_EXPIRY, 8);
        int r;

        r = log_ticket_encode(mac_key, (uint32_t) get_be(data, 4), scope, data + AT_DIGEST, expiry, expected);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(expected, data, WIRE_LOG_TICKET_SIZE))
                return -EKEYREJECTED;
        if (expiry < now && now - expiry > grace_ms)
                return -ESTALE;

        memcpy(ret_attest_digest, data + AT_DIGEST, 32);
        return 0;
}

int log_ticket_new(struct keystore *keystore, const struct nonce_scope *scope, const uint8_t attest_digest[static 32],
                   uint64_t expiry, uint8_t ret[static WIRE_LOG_TICKET_SIZE]) {
        const struct secret *key;
        uint32_t number;
        int r;

        r = keystore_mac_current(keystore, &number, &key);
        if (r < 0)
                return r;
        return log_ticket_encode(key, number, scope, attest_digest, expiry, ret);
}

int log_ticket_check(struct keystore *keystore, const uint8_t data[static WIRE_LOG_TICKET_SIZE], const struct nonce_scope *scope,
                     uint64_t now, uint64_t grace_ms, uint8_t ret_attest_digest[static 32]) {
        const struct secret *key;
        int r;

        r = mac_key(keystore, get_be(data, 4), &key);
        return r < 0 ? r : log_ticket_verify(key, data, scope, now, grace_ms, ret_attest_digest);
}
