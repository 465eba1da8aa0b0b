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

/* A condition of a rule; NULL or false: none. */
struct ek_rule {
        char *manufacturer, *model, *version;
        bool has_firmware;
        uint32_t lowest, highest; /* TPM_PT_FIRMWARE_VERSION_1 */
};

struct ek_trust {
        struct ek_trust_options options;
        X509_STORE *anchors; /* and the CRLs */
        STACK_OF(X509) * roots, *intermediates;
        STACK_OF(X509_CRL) * crls;
        uint8_t (*listed)[32];
        size_t n_listed;
        struct ek_rule *rules;
        size_t n_rules;
};

bool ek_is_listed(const struct ek_trust *trust, const uint8_t digest[static 32]);
void ek_identity_read(X509 *certificate, struct ek_identity *ret);
/* The rule, of those without a condition on firmware, that refuses this TPM. */
bool ek_identity_refused(const struct ek_trust *trust, const struct ek_identity *tpm, char *ret_why, size_t size);
void ek_rules_done(struct ek_trust *trust);
void ek_name_to_text(const X509_NAME *name, char *ret, size_t size); /* RFC 2253, safe for a terminal */
