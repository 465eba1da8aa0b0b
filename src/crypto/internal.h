/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share; nobody else includes it but their tests. */

#include <openssl/evp.h>

#include "crypto/keypair.h"

struct part {
        const void *data;
        size_t size;
};

#define PARTS(...) ((const struct part[]){ __VA_ARGS__ }), (sizeof((const struct part[]){ __VA_ARGS__ }) / sizeof(struct part))
#define TEXT_PART(text) ((struct part){ (text), strlen(text) })

static inline void evp_pkey_freep(EVP_PKEY **p) {
        EVP_PKEY_free(*p);
}

static inline void evp_pkey_ctx_freep(EVP_PKEY_CTX **p) {
        EVP_PKEY_CTX_free(*p);
}

/* The one place where OpenSSL's errors become ours: what OpenSSL says goes to the debug log, -EIO is returned. */
int crypto_failed(const char *what);

enum tpm_hash { HASH_SHA256, HASH_SHA384, HASH_SHA512 };
enum { HASH_SIZE_MAX = 64 };
size_t hash_size(enum tpm_hash hash);
const EVP_MD *hash_md(enum tpm_hash hash);
/* Digest and HMAC of the parts, one after the other. ret: hash_size(hash) bytes. */
int hash_parts(enum tpm_hash hash, const struct part *parts, size_t n, uint8_t *ret);
int hmac_parts(enum tpm_hash hash, const void *key, size_t key_size, const struct part *parts, size_t n, uint8_t *ret);

/* RFC 5869, 2.3. ret gets size bytes, 255 * 32 at most. */
int hkdf_expand(const uint8_t prk[static 32], const struct part *info, size_t n, uint8_t *ret, size_t size);

/* AES-GCM with a key of 16 or 32 bytes. */
int gcm_seal(const uint8_t *key, size_t key_size, const uint8_t nonce[static 12], const struct part *aad, const void *data,
             size_t size, uint8_t *ret);
int gcm_open(const uint8_t *key, size_t key_size, const uint8_t nonce[static 12], const struct part *aad, const void *data,
             size_t size, uint8_t *ret);

/* An EC public key from its uncompressed point. -EBADMSG: not a point of the curve. */
int ec_public_key(const char *group, const uint8_t *point, size_t size, EVP_PKEY **ret);
/* The x coordinate of the shared point: ret gets size bytes, the size of the field. */
int ecdh(EVP_PKEY *own, EVP_PKEY *peer, uint8_t *ret, size_t size);

/* HPKE with the ephemeral key given and an AEAD key of 16 bytes too, for the vectors of RFC 9180, A.3. */
int hpke_sender_with(const struct keypair *ephemeral, size_t key_size, const uint8_t recipient[static POINT_SIZE],
                     const struct part *info, const struct hpke_psk *psk, struct hpke **ret);
int hpke_receiver_with(const struct keypair *keypair, size_t key_size, const uint8_t enc[static POINT_SIZE],
                       const struct part *info, const struct hpke_psk *psk, struct hpke **ret);
