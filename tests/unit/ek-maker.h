/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "soft-certificate.h"

/* A maker of TPMs and one of its TPMs, made once, and what they are held against. */
extern const struct certificate_spec maker_issuer_spec;
struct maker { /* root <- issuer <- leaf */
        EVP_PKEY *root_key, *issuer_key, *ek, *other;
        X509 *root, *issuer, *leaf;
        struct wire_registration registration; /* the TPM has the issuer's certificate */
};
extern struct maker maker;
int make_maker(void **state); /* of a group of tests */
int free_maker(void **state);

/* tpm: attributes, as in struct certificate_spec */
X509 *leaf_of(EVP_PKEY *ek, X509 *issuer, EVP_PKEY *key, const char *tpm);
struct ek_trust *trust_new(bool certificate_required, bool crls_required); /* with the maker's root */
void add_certificate(struct ek_trust *trust, X509 *certificate);
void add_crl(struct ek_trust *trust, X509 *issuer, EVP_PKEY *key, X509 *revoked, int64_t until);
/* words NULL: accepted at NOW. Else refused, and words are in what is said. */
void expect_ek(struct ek_trust *trust, const struct wire_registration *registration, const char *words);
