/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/audit.h"
#include "evidence/token.h"
#include "service/service.h"

/* The registrar: a directory of endorsement and attestation keys. Nobody has to trust it with more: each party checks all of it
 * again. */

enum { REGISTER_CHALLENGE_SIZE = 28, REGISTER_TOKEN_CHALLENGE_SIZE = 60, REGISTER_TTL_MS = 120000 };

/* What follows from a registration once it is checked. */
struct identity {
        char id[NODE_ID_LENGTH + 1];
        bool token;                 /* else a TPM */
        char type[TOKEN_NAME_SIZE]; /* of a token's key */
        uint8_t name[34];           /* of the AK */
        struct ek_verdict ek;       /* of a token: its digest alone */
        char ek_sha256[65];
        char code[CODE_LENGTH + 1];
};

/* Stateless challenges (challenge.c): number (4) || time in ms (8) || random (16); the credential's secret is HMAC(MAC key,
 * L("tallyboot register v1", number, time, random, SHA-256 of the registration's fields)), so it proves this registration and no
 * other. */
int challenge_make(struct keystore *keystore, const struct wire_registration *registration, uint64_t now_ms,
                   uint8_t ret_challenge[static REGISTER_CHALLENGE_SIZE], uint8_t ret_secret[static 32]);
/* -ESTALE: too old; -EKEYREJECTED: the proof is not of this registration, challenge and node id. */
int challenge_check(struct keystore *keystore, const struct wire_registration *registration, const char *id, uint64_t now_ms);
/* A token opens no credential, so its challenge has what shows that it is ours: the 28 bytes above and HMAC(MAC key, L("tallyboot
 * token challenge v1", number, time, random, SHA-256 of the registration's fields)). The proof is a signature of
 * wire_token_register_message(). */
int challenge_make_token(struct keystore *keystore, const struct wire_registration *registration, uint64_t now_ms,
                         uint8_t ret_challenge[static REGISTER_TOKEN_CHALLENGE_SIZE]);
int challenge_check_token(struct keystore *keystore, const struct wire_registration *registration, const char *id,
                          uint64_t now_ms);

/* What the directory says (nodes.c). */
enum node_result { NODE_ADDED, NODE_SAME, NODE_CONFLICT, NODE_REVOKED, NODE_FULL, NODE_LIMITED };
struct node_addition {
        const struct identity *identity;
        const char *document; /* the registration as JSON, without challenge and proof */
        unsigned token_nodes; /* so many are kept */
        const struct service_call *call;
        struct audit_record record;
        enum node_result result; /* out */
        unsigned wait;           /* out: seconds, with NODE_LIMITED */
};
/* A store_fn with a struct node_addition: looks and adds in one transaction, so that two that come at once have an order. */
int node_add(struct store_txn *txn, void *userdata);

extern const struct store_migration registrar_migration; /* number 3 */
extern const struct store_migration token_migration;     /* number 5 */
extern const struct service_route registrar_node_routes[], registrar_operator_routes[];
