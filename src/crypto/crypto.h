/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"
#include "crypto/fields.h"

/* Names and sizes that the whole protocol shares (docs/protocol.md, 1). */
enum {
        SHA256_SIZE = 32,
        POINT_SIZE = 65,     /* P-256, uncompressed */
        HALF_SIZE = 32,      /* U, V, K_b */
        NODE_ID_LENGTH = 52, /* characters */
        KEY_ID_SIZE = 16,    /* bytes; 32 hexadecimal digits as text */
        KEY_ID_LENGTH = 32,
        AEAD_KEY_SIZE = 32,
        AEAD_NONCE_SIZE = 12,
        AEAD_TAG_SIZE = 16,
        CODE_LENGTH = 9, /* "abcd-efgh" */
};

enum party { PARTY_TENANT, PARTY_VERIFIER };
enum purpose { PURPOSE_BOOT, PURPOSE_ENROLL, PURPOSE_ROTATE, PURPOSE_CONFIRM };
enum key_kind { KEY_VOLUMES = 1, KEY_PAYLOAD = 2 };
enum generation_state { GENERATION_STAGED = 1, GENERATION_LIVE = 2, GENERATION_RETIRED = 3 };

const char *party_to_string(enum party party);
int party_from_string(const char *text, enum party *ret);
const char *purpose_to_string(enum purpose purpose);
int purpose_from_string(const char *text, enum purpose *ret);
const char *key_kind_to_string(enum key_kind kind);
int key_kind_from_string(const char *text, enum key_kind *ret);
const char *generation_state_to_string(enum generation_state state);
int generation_state_from_string(const char *text, enum generation_state *ret);

int random_bytes(void *ret, size_t size); /* OpenSSL's RAND_priv_bytes; -EIO */
int sha256(const void *data, size_t size, uint8_t ret[static 32]);
int hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t ret[static 32]);
/* RFC 5869, extract and expand. ret gets size bytes. */
int hkdf_sha256(const struct secret *ikm, const void *salt, size_t salt_size, const void *info, size_t info_size, size_t size,
                struct secret **ret);

/* AES-256-GCM. ret: size + 16 bytes (seal), size - 16 bytes (open). -EBADMSG where the tag is wrong (ret is wiped then). */
int aead_seal(const uint8_t key[static 32], const uint8_t nonce[static 12], const void *aad, size_t aad_size, const void *data,
              size_t size, uint8_t *ret);
int aead_open(const uint8_t key[static 32], const uint8_t nonce[static 12], const void *aad, size_t aad_size, const void *data,
              size_t size, uint8_t *ret);

/* Node ids and codes (docs/protocol.md, 2). name_digest: the 32 bytes after 0x000b in the AK's Name. */
int node_id_from_digest(const uint8_t name_digest[static 32], char ret[static NODE_ID_LENGTH + 1]);
bool node_id_is_valid(const char *text);
bool key_id_is_valid(const char *text);   /* 32 lower-case hex digits */
bool incident_is_valid(const char *text); /* 16 lower-case hex digits */
int incident_new(char ret[static 17]);
int node_code(const uint8_t ek_digest[static 32], const char *node_id, char ret[static CODE_LENGTH + 1]);
/* join = SHA-256(L("tallyboot join v1", party, T)) of a token "tj1-..." (docs/protocol.md, 7). -EINVAL: not a join token. */
int join_token_new(char ret[static 37]);
/* What it is called: 16 hexadecimal digits, random, no secret. Those of before ids were made have GROUP-EXPIRY, up to 95
 * characters. */
enum { JOIN_TOKEN_ID_SIZE = 8, JOIN_TOKEN_ID_MAX = 95 };
int join_token_id_new(char ret[static 2 * JOIN_TOKEN_ID_SIZE + 1]);
bool join_token_id_is_valid(const char *text); /* either, or a token's SHA-256 in hexadecimal */
int join_token_for_party(const char *token, enum party party, uint8_t ret[static 32]);
