/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/crypto.h"

/* The key of a node without TPM, which is in a PKCS#11 token (docs/protocol.md, 13). Pure. */

enum token_type { TOKEN_P256, TOKEN_P384, TOKEN_RSA };
enum { TOKEN_NAME_SIZE = 16 };

struct token_key { /* points into the bytes that it was read from */
        enum token_type type;
        unsigned bits;
        const uint8_t *value; /* uncompressed point, or modulus */
        size_t value_size;
        uint32_t exponent; /* RSA */
};
/* DER SubjectPublicKeyInfo of P-256, P-384 (named curve, uncompressed point) or RSA from 2048 to 4096 bits, in the one encoding
 * that DER has for a key: a key with two encodings would have two node ids. -EBADMSG: malformed; -EOPNOTSUPP: a key of another
 * type. */
int token_key_parse(const void *public, size_t size, struct token_key *ret);
void token_key_name(const struct token_key *key, char ret[static TOKEN_NAME_SIZE]); /* "P-256", "P-384", "RSA-3072" */
/* digest: SHA-256 of the SubjectPublicKeyInfo, what a TPM's EK digest is elsewhere. The id is its base32. */
int token_node_id(const void *public, size_t size, uint8_t ret_digest[static SHA256_SIZE],
                  char ret_id[static NODE_ID_LENGTH + 1]);
/* P-256 with SHA-256 and P-384 with SHA-384: r || s, of 64 or 96 bytes; RSA: PSS with SHA-256, MGF1 with SHA-256, a salt of 32
 * bytes. -EKEYREJECTED: not a signature of the message by this key; -EBADMSG, -EOPNOTSUPP: as token_key_parse(). */
int token_verify(const struct blob *public, const struct blob *message, const struct blob *signature);
