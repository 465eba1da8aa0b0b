/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "crypto/crypto.h"

/* Messages of docs/protocol.md as structs; JSON on the wire. Pure. Parsers are strict (UTF-8, no duplicate names, no NUL, missing
 * or mistyped member: -EBADMSG) and bounded. Encoders return a new string, NULL when out of memory. Every struct has a _done()
 * that frees what it owns and can be called on {}. */

enum {
        WIRE_BANKS_MAX = 4,
        WIRE_PCRS = 24,
        WIRE_DIGEST_MAX = 64,
        WIRE_NONCE_SIZE = 60,
        WIRE_TICKET_SIZE = 52,
        WIRE_REQUEST_MAX = 16384, /* bytes of any request of a node */
        WIRE_KEYS_MAX = 64,
        WIRE_LOG_TICKET_SIZE = 76,
        WIRE_FIRMWARE_LOG_MAX = 4 * 1024 * 1024,
        WIRE_IMA_LIST_MAX = 32 * 1024 * 1024,
        WIRE_LOGS_MAX = 3 * 4 + WIRE_REQUEST_MAX + WIRE_FIRMWARE_LOG_MAX + WIRE_IMA_LIST_MAX, /* the body of release/logs */
        WIRE_LOG_FROM_MAX = 1 << 30,
        WIRE_TOKEN_PUBLIC_MAX = 1024,   /* DER SubjectPublicKeyInfo of a token's key: RSA of 4096 bits has 550 */
        WIRE_TOKEN_SIGNATURE_MAX = 512, /* the same */
        WIRE_TOKEN_PREFIX_SIZE = TOKEN_PREFIX_SIZE,
};

/* PCR values of one bank; values[i] counts only where mask has bit i. alg is a TPM_ALG_ID (SHA-1 4, SHA-256 0xb, SHA-384 0xc,
 * SHA-512 0xd). */
struct pcr_bank {
        uint16_t alg;
        uint32_t mask;
        uint8_t values[WIRE_PCRS][WIRE_DIGEST_MAX];
};

struct pcr_values {
        struct pcr_bank banks[WIRE_BANKS_MAX];
        size_t n;
};

/* "sha256" and so on; size of a digest in bytes, 0 where unknown. */
int pcr_alg_from_string(const char *text, uint16_t *ret);
const char *pcr_alg_to_string(uint16_t alg);
size_t pcr_alg_size(uint16_t alg);
const struct pcr_bank *pcr_values_bank(const struct pcr_values *values, uint16_t alg);
/* {"sha256": {"0": hex, ...}} */
json_t *pcr_values_to_json(const struct pcr_values *values);
int pcr_values_from_json(const json_t *json, struct pcr_values *ret);

/* What registers a node: the POST to the registrar, and its answer to tenant and verifier. Either a TPM's keys or a token's: both
 * together are malformed. */
struct wire_registration {
        struct blob token_public;   /* DER SubjectPublicKeyInfo; not empty: a node without TPM, ek_* and ak_public are empty */
        struct blob ek_public;      /* TPMT_PUBLIC */
        struct blob ek_certificate; /* DER; may be empty in a fleet that allows it */
        struct blob ek_chain[8];    /* DER */
        size_t n_ek_chain;
        struct blob ak_public; /* TPMT_PUBLIC */
        struct blob challenge; /* activate only */
        struct blob proof;     /* activate only: of a token, its signature of wire_token_register_message() */
};
void wire_registration_done(struct wire_registration *registration);
char *wire_registration_encode(const struct wire_registration *registration);
int wire_registration_parse(const char *text, size_t size, struct wire_registration *ret);
json_t *wire_registration_to_json(const struct wire_registration *registration);
int wire_registration_from_json(const json_t *json, struct wire_registration *ret);

struct wire_credential {
        struct blob id_object; /* TPM2B_ID_OBJECT */
        struct blob secret;    /* TPM2B_ENCRYPTED_SECRET */
};
void wire_credential_done(struct wire_credential *credential);

struct wire_registered { /* answer to POST /v1/nodes */
        char id[NODE_ID_LENGTH + 1];
        struct blob challenge;
        bool has_credential; /* false: of a token */
        struct wire_credential credential;
};
void wire_registered_done(struct wire_registered *registered);
char *wire_registered_encode(const struct wire_registered *registered);
int wire_registered_parse(const char *text, size_t size, struct wire_registered *ret);

struct wire_challenge { /* a party's answer */
        uint8_t nonce[WIRE_NONCE_SIZE];
        uint32_t ttl; /* seconds */
        uint16_t bank;
        uint32_t pcrs; /* mask */
        uint8_t gate;
        bool has_credential;
        struct wire_credential credential;
};
void wire_challenge_done(struct wire_challenge *challenge);
char *wire_challenge_encode(const struct wire_challenge *challenge);
int wire_challenge_parse(const char *text, size_t size, struct wire_challenge *ret);
char *wire_challenge_request_encode(enum purpose purpose);
int wire_challenge_request_parse(const char *text, size_t size, enum purpose *ret);

struct wire_evidence { /* the body of a release request: a quote, or a token's signature; both together are malformed */
        enum purpose purpose;
        uint8_t nonce[2][WIRE_NONCE_SIZE]; /* index: enum party */
        bool has_nk;
        uint8_t nk[POINT_SIZE];
        struct blob attest;    /* TPMS_ATTEST */
        struct blob signature; /* TPMT_SIGNATURE */
        struct pcr_values pcrs;
        struct blob token_signature; /* of wire_token_evidence_message(); with it no attest, signature, pcrs and proof */
        struct blob body;            /* empty: none */
        bool has_proof, has_join;
        uint8_t proof[32], join[32];
};
void wire_evidence_done(struct wire_evidence *evidence);
char *wire_evidence_encode(const struct wire_evidence *evidence);
int wire_evidence_parse(const char *text, size_t size, struct wire_evidence *ret);
/* SHA-256(NK) and SHA-256(body), or no bytes: the fields of the quote. */
int wire_qualifying_data(const char *node_id, enum purpose purpose, const uint8_t *nk /* NULL: none */,
                         const uint8_t nonces[static 2][WIRE_NONCE_SIZE], const struct blob *body, uint8_t ret[static 32]);

/* What a token's key signs (docs/protocol.md, 13): a fixed prefix of 64 bytes, then L(...) of the challenge's, or of the same
 * fields as the quote's. SHA-256 of the evidence message is the aad of what is sealed in answer to it. */
int wire_token_register_message(const char *node_id, const struct blob *challenge, struct blob *ret);
int wire_token_evidence_message(const char *node_id, enum purpose purpose, const uint8_t *nk /* NULL: none */,
                                const uint8_t nonces[static 2][WIRE_NONCE_SIZE], const struct blob *body, struct blob *ret);

struct wire_sealed { /* answer to boot, enroll, rotate */
        uint8_t enc[POINT_SIZE];
        struct blob halves;
        struct blob details;
};
void wire_sealed_done(struct wire_sealed *sealed);
char *wire_sealed_encode(const struct wire_sealed *sealed);
int wire_sealed_parse(const char *text, size_t size, struct wire_sealed *ret);

struct wire_payload_key { /* a content key, sealed to one generation */
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        uint8_t enc[POINT_SIZE];
        struct blob ct;
};
struct wire_payload {
        uint64_t version;
        uint64_t size; /* of the file */
        uint8_t sha256[32];
        struct wire_payload_key keys[8];
        size_t n_keys;
        uint8_t ticket[WIRE_TICKET_SIZE];
        bool has_ticket;
};
void wire_payload_done(struct wire_payload *payload);
int wire_payload_from_json(const json_t *json, struct wire_payload *ret);

struct wire_key { /* one entry of "keys" in the details */
        char id[KEY_ID_LENGTH + 1];
        enum key_kind kind;
        uint32_t generation;
        enum generation_state state;
        struct blob manifest;     /* tenant: the bytes; empty: none */
        uint8_t mac[32];          /* tenant */
        bool has_manifest_sha256; /* verifier */
        uint8_t manifest_sha256[32];
};
struct wire_details { /* the second sealed message: no secrets */
        struct wire_key *keys;
        size_t n_keys;
        struct {
                char id[KEY_ID_LENGTH + 1];
                uint32_t highest;
        } rotate[8];
        size_t n_rotate;
        bool has_payload; /* tenant */
        struct wire_payload payload;
        struct {
                uint64_t version;
                uint8_t sha256[32];
        } accept[4]; /* verifier */
        size_t n_accept;
};
void wire_details_done(struct wire_details *details);
char *wire_details_encode(const struct wire_details *details);
int wire_details_parse(const char *text, size_t size, struct wire_details *ret);

struct wire_enroll_body {
        struct {
                char id[KEY_ID_LENGTH + 1];
                enum key_kind kind;
        } keys[8];
        size_t n_keys;
};
char *wire_enroll_body_encode(const struct wire_enroll_body *body);
int wire_enroll_body_parse(const void *text, size_t size, struct wire_enroll_body *ret);

struct wire_rotate_body {
        char key[KEY_ID_LENGTH + 1];
        uint32_t generation;
};
char *wire_rotate_body_encode(const struct wire_rotate_body *body);
int wire_rotate_body_parse(const void *text, size_t size, struct wire_rotate_body *ret);

struct wire_confirm_body {
        char key[KEY_ID_LENGTH + 1];
        uint32_t generation;
        bool opened;
        struct blob manifest; /* empty: none */
        uint8_t mac[32];
        bool has_payload_public;
        uint8_t payload_public[POINT_SIZE];
        bool has_payload; /* a rotation's re-sealed content key */
        uint64_t payload_version;
        uint8_t payload_enc[POINT_SIZE];
        struct blob payload_ct;
};
void wire_confirm_body_done(struct wire_confirm_body *body);
char *wire_confirm_body_encode(const struct wire_confirm_body *body);
int wire_confirm_body_parse(const void *text, size_t size, struct wire_confirm_body *ret);

struct wire_confirmed {
        uint32_t retired[64];
        size_t n_retired;
};
char *wire_confirmed_encode(const struct wire_confirmed *confirmed);
int wire_confirmed_parse(const char *text, size_t size, struct wire_confirmed *ret);

/* RFC 9457. name is the last part of the type. */
struct wire_problem {
        char name[32];
        char title[256];
        int status;
        char incident[17]; /* "" where unknown */
};
char *wire_problem_encode(const struct wire_problem *problem);
int wire_problem_parse(const char *text, size_t size, struct wire_problem *ret);
/* The table of docs/protocol.md, 11: status for a name (500 where unknown). */
int wire_problem_status(const char *name);

/* The problem logs-wanted: what it has beside the members of every problem. At least one log; firmware is sent whole. */
struct wire_logs_wanted {
        bool firmware, ima;
        uint64_t ima_from; /* entries that the party has replayed already */
        uint8_t ticket[WIRE_LOG_TICKET_SIZE];
};
char *wire_logs_wanted_encode(const struct wire_problem *problem, const struct wire_logs_wanted *wanted);
int wire_logs_wanted_parse(const char *text, size_t size, struct wire_logs_wanted *ret);

struct wire_span { /* bytes of somebody else */
        const uint8_t *data;
        size_t size;
};
/* The body of release/logs: L(evidence JSON, firmware log, IMA list); empty: not asked for. -EBADMSG; -E2BIG: one is over its
 * limit. */
struct wire_logs {
        struct wire_span evidence, firmware, ima;
};
int wire_logs_parse(const void *data, size_t size, struct wire_logs *ret); /* points into data */
int wire_logs_encode(const struct wire_logs *logs, struct buffer *ret);    /* appends */

/* Helpers for everything else that speaks JSON with these rules (operator routes, tallyctl, manifest). */
json_t *wire_json_parse(const void *text, size_t size);                                 /* NULL: malformed or not an object */
int wire_get_bin(const json_t *object, const char *name, size_t max, struct blob *ret); /* -EBADMSG; absent: -ENOENT */
int wire_get_bin_fixed(const json_t *object, const char *name, void *ret, size_t size); /* the same */
int wire_get_hex_fixed(const json_t *object, const char *name, void *ret, size_t size);
int wire_get_string(const json_t *object, const char *name, char *ret, size_t size); /* fits with its NUL, else -EBADMSG */
int wire_get_u64(const json_t *object, const char *name, uint64_t max, uint64_t *ret);
int wire_get_bool(const json_t *object, const char *name, bool *ret);
int wire_set_bin(json_t *object, const char *name, const void *data, size_t size);
int wire_set_hex(json_t *object, const char *name, const void *data, size_t size);
