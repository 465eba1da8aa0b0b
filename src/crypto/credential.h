/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/evp.h>

#include "crypto/crypto.h"

/* TPM2_MakeCredential in software (TPM 2.0 Library, Part 1, 24 and Annexes B.10.4, C.6.4): a credential of secret (1 to 32 bytes)
 * for the object Name (34 bytes: 0x000b and a SHA-256 digest) under an EK. ek_public: TPMT_PUBLIC of an RSA-2048/3072 or ECC
 * P-256/P-384 restricted decryption key with AES-CFB. ret_id_object: TPM2B_ID_OBJECT, ret_secret: TPM2B_ENCRYPTED_SECRET, both
 * with size fields. -EBADMSG: not such a key. */
int credential_make(const void *ek_public, size_t ek_public_size, const uint8_t name[static 34], const void *secret,
                    size_t secret_size, struct blob *ret_id_object, struct blob *ret_secret);

/* EVP_PKEY from a TPMT_PUBLIC (RSA or ECC). -EBADMSG: malformed, point not on the curve, -EOPNOTSUPP: another type. */
int pubkey_from_tpmt(const void *public, size_t size, EVP_PKEY **ret);
/* EVP_PKEY of an uncompressed point of "P-256" or "P-384"; of a modulus of 2048 to 4096 bits, a multiple of 8, with the highest
 * bit set, and an exponent from 65537. -EBADMSG: not such a key. */
enum { RSA_SIZE_MIN = 256, RSA_SIZE_MAX = 512 /* bytes of the modulus */ };
int pubkey_from_point(const char *curve, const uint8_t *point, size_t size, EVP_PKEY **ret);
int pubkey_from_rsa(const uint8_t *modulus, size_t size, uint32_t exponent, EVP_PKEY **ret);
/* SHA-256 of the DER SubjectPublicKeyInfo. */
int pubkey_digest(EVP_PKEY *key, uint8_t ret[static 32]);
/* SHA-256 of a TPMT_PUBLIC's bytes: what follows 0x000b in its Name when nameAlg is SHA-256. */
int tpmt_name_digest(const void *public, size_t size, uint8_t ret[static 32]);
