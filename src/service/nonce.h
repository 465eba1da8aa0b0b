/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"
#include "wire/wire.h"

/* Nonces, credentials and tickets (docs/protocol.md, 3 and 6): made under MAC keys that a party's replicas share, so that nothing
 * is kept until they are used. The *_mac functions are pure. */

enum { NONCE_EARLY_MS = 5000, TICKET_TTL_MS = 3600 * 1000 };

struct nonce {
        uint32_t number; /* of the MAC key */
        uint64_t time;   /* milliseconds */
        uint8_t random[16];
};
struct nonce_scope {
        enum party party;
        const char *node_id;
        enum purpose purpose;
};
int nonce_encode(const struct secret *mac_key, const struct nonce *nonce, const struct nonce_scope *scope,
                 uint8_t ret[static WIRE_NONCE_SIZE]);
void nonce_decode(const uint8_t data[static WIRE_NONCE_SIZE], struct nonce *ret);
/* 0; -EKEYREJECTED: not made for this scope under this key; -ESTALE: too old, or from the future. */
int nonce_verify(const struct secret *mac_key, const uint8_t data[static WIRE_NONCE_SIZE], const struct nonce_scope *scope,
                 uint64_t now, uint64_t ttl_ms);

int nonce_new(struct keystore *keystore, const struct nonce_scope *scope, uint64_t now, uint8_t ret[static WIRE_NONCE_SIZE]);
int nonce_check(struct keystore *keystore, const uint8_t data[static WIRE_NONCE_SIZE], const struct nonce_scope *scope,
                uint64_t now, uint64_t ttl_ms);
/* -EEXIST: used before. In the transaction of what it is used for. */
int nonce_use(struct store_txn *txn, const uint8_t data[static WIRE_NONCE_SIZE], uint64_t ttl_ms, uint64_t now);

/* The secret of an enrollment's credential. */
int credential_secret(const struct secret *mac_key, const struct nonce_scope *scope, const uint8_t nonce[static WIRE_NONCE_SIZE],
                      struct secret **ret);
int credential_secret_of_nonce(struct keystore *keystore, const struct nonce_scope *scope,
                               const uint8_t nonce[static WIRE_NONCE_SIZE], struct secret **ret);
/* HMAC(secret, L("tallyboot proof v1", party, node id, nonce, SHA-256(attest))) */
int credential_proof(const struct secret *secret, const struct nonce_scope *scope, const uint8_t nonce[static WIRE_NONCE_SIZE],
                     const uint8_t attest_digest[static 32], uint8_t ret[static 32]);

int ticket_encode(const struct secret *mac_key, uint32_t number, const char *node_id, uint64_t version, uint64_t expiry,
                  uint8_t ret[static WIRE_TICKET_SIZE]);
int ticket_verify(const struct secret *mac_key, const uint8_t data[static WIRE_TICKET_SIZE], const char *node_id, uint64_t now,
                  uint64_t *ret_version);
int ticket_new(struct keystore *keystore, const char *node_id, uint64_t version, uint64_t now,
               uint8_t ret[static WIRE_TICKET_SIZE]);
int ticket_check(struct keystore *keystore, const uint8_t data[static WIRE_TICKET_SIZE], const char *node_id, uint64_t now,
                 uint64_t *ret_version);

/* A log ticket lets one node send the logs of one quote (docs/protocol.md, 3). The body may take a while longer than the ticket
 * lives. */
enum { LOG_UPLOAD_MS = 15 * 60 * 1000 };
int log_ticket_encode(const struct secret *mac_key, uint32_t number, const struct nonce_scope *scope,
                      const uint8_t attest_digest[static 32], uint64_t expiry, uint8_t ret[static WIRE_LOG_TICKET_SIZE]);
/* -EKEYREJECTED: not made for this party and node under this key; -ESTALE: expired more than grace_ms ago. The purpose is not
 * bound: the attest structure is. */
int log_ticket_verify(const struct secret *mac_key, const uint8_t data[static WIRE_LOG_TICKET_SIZE],
                      const struct nonce_scope *scope, uint64_t now, uint64_t grace_ms, uint8_t ret_attest_digest[static 32]);
int log_ticket_new(struct keystore *keystore, const struct nonce_scope *scope, const uint8_t attest_digest[static 32],
                   uint64_t expiry, uint8_t ret[static WIRE_LOG_TICKET_SIZE]);
int log_ticket_check(struct keystore *keystore, const uint8_t data[static WIRE_LOG_TICKET_SIZE], const struct nonce_scope *scope,
                     uint64_t now, uint64_t grace_ms, uint8_t ret_attest_digest[static 32]);
/* 0; -EEXIST: used before. To know early; nonce_use() is what counts. */
int nonce_is_fresh(struct store_txn *txn, const uint8_t data[static WIRE_NONCE_SIZE]);
