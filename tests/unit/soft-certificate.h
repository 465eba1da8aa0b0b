/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/buffer.h"
#include "evidence/ek.h"

/* EK certificates and their makers', with whatever is wrong with them. */
enum { NOW = 1700000000, DAY = 86400 };

struct certificate_spec {
        const char *subject;
        bool ca, not_ca; /* basicConstraints; neither: none */
        int path_length; /* 0: none; else one more */
        const char *key_usage, *extended_key_usage, *san, *unknown;
        int64_t from, until; /* 0: NOW - DAY, NOW + DAY */
        bool oaep;
        const char *tpm;      /* attributes of dirName:tpm, "0.2.23.133.2.1=...\n"; NULL: a software TPM's */
        const EVP_MD *digest; /* of the signature; NULL: SHA-256 */
};

/* issuer NULL: signed by itself */
X509 *certificate_new(const struct certificate_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key);
void certificate_to_blob(X509 *certificate, struct blob *ret); /* frees what was in ret */
/* TPMT_PUBLIC of an EK by template L-1 (RSA) or L-2 (P-256; with another curve where the key has one) */
void ek_public_of(EVP_PKEY *key, struct blob *ret);
/* Certificates required, and these files of them. */
struct ek_trust *trust_of(const struct blob *files, size_t n, size_t *ret_loaded);
/* A CRL of this issuer, PEM or DER's bytes; revoked: NULL, or a certificate of it. */
void crl_to_blob(X509 *issuer, EVP_PKEY *key, const X509 *revoked, int64_t from, int64_t until, struct blob *ret);
