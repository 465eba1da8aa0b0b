/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/x509.h>

#include "evidence/evidence.h"

/* An ECDSA signature with SHA-256, parsed: r and s, 32 bytes each, big-endian. */
struct ecdsa_signature {
        uint8_t r[32], s[32];
};
/* TPMT_SIGNATURE (TPM 2.0 Library, Part 2, 11.3.4), exactly. -EBADMSG: malformed, or another scheme. */
int signature_parse(const void *data, size_t size, struct ecdsa_signature *ret);
/* -EKEYREJECTED: not a signature of data by this P-256 key. */
int signature_verify(EVP_PKEY *key, const struct ecdsa_signature *signature, const void *data, size_t size);

/* Self-signed certificates are anchors; everything else only helps to build paths to them. */
struct ek_roots {
        X509_STORE *anchors;
        STACK_OF(X509) * intermediates;
        size_t n_anchors;
};
