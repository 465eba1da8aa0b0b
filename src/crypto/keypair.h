/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/crypto.h"

/* A P-256 key pair, for HPKE or for signatures. The scalar is in locked memory and becomes an EVP_PKEY only for the time of one
 * operation. */
struct keypair {
        uint8_t public[POINT_SIZE];
        struct secret *scalar; /* 32 bytes, big-endian */
};

int keypair_generate(struct keypair **ret);
/* RFC 9180, 7.1.3, DeriveKeyPair for P-256. */
int keypair_derive(const struct secret *ikm, struct keypair **ret);
struct keypair *keypair_free(struct keypair *keypair);
DEFINE_CLEANUP(struct keypair *, keypair_free)

/* ECDSA with SHA-256 over data; the signature in DER (ECDSA-Sig-Value, RFC 3279, 2.2.3), 72 bytes at most. */
enum { SIGNATURE_MAX = 72 };
int keypair_sign(const struct keypair *keypair, const void *data, size_t size, uint8_t ret[static SIGNATURE_MAX],
                 size_t *ret_size);
/* -EKEYREJECTED: not its signature over this. -EBADMSG: public is not a point of the curve. */
int point_verify(const uint8_t public[static POINT_SIZE], const void *data, size_t size, const void *signature,
                 size_t signature_size);

/* HPKE, RFC 9180, suite 0x0010, 0x0001, 0x0002. psk NULL: mode base; else mode PSK (psk of 32 bytes at the least).
 * A context seals or opens messages in order. */
struct hpke;
struct hpke_psk {
        const void *psk;
        size_t psk_size;
        const void *id;
        size_t id_size;
};

/* ret_enc: the encapsulated key, 65 bytes. -EBADMSG: recipient is not a point of the curve. */
int hpke_sender(const uint8_t recipient[static POINT_SIZE], const void *info, size_t info_size, const struct hpke_psk *psk,
                uint8_t ret_enc[static POINT_SIZE], struct hpke **ret);
int hpke_receiver(const struct keypair *keypair, const uint8_t enc[static POINT_SIZE], const void *info, size_t info_size,
                  const struct hpke_psk *psk, struct hpke **ret);
int hpke_seal(struct hpke *hpke, const void *aad, size_t aad_size, const void *data, size_t size, struct blob *ret);
/* -EBADMSG where it was sealed to another key, with other info or aad, or out of order. The plaintext is in locked memory. */
int hpke_open(struct hpke *hpke, const void *aad, size_t aad_size, const void *data, size_t size, struct secret **ret);
struct hpke *hpke_free(struct hpke *hpke);
DEFINE_CLEANUP(struct hpke *, hpke_free)
