/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/evp.h>

#include "evidence/evidence.h"

/* Quotes made without a TPM, so that each of their bytes can be what no TPM would write. */
struct soft_ak {
        EVP_PKEY *key;
        struct blob public; /* TPMT_PUBLIC by the template */
        char id[NODE_ID_LENGTH + 1];
};
void soft_ak_new(struct soft_ak *ret);
void soft_ak_done(struct soft_ak *ak);

struct soft_quote {
        uint32_t magic;
        uint16_t type;
        bool extra_given; /* else: what the evidence asks for */
        uint8_t extra[64];
        size_t extra_size;
        uint32_t reset, restart;
        struct {
                uint16_t alg;
                uint32_t mask;
                uint8_t bitmap_size; /* 0: 3 */
        } selections[17];
        size_t n_selections;
        bool digest_given; /* else: of the evidence's values in the selection */
        uint8_t digest[64];
        size_t digest_size;
        struct blob tail; /* bytes after the structure */
};

/* A boot that is right in every way: SHA-256, PCRs 0-9, 11-14 and an open gate, 15. */
void soft_evidence(struct wire_evidence *ret, struct soft_quote *ret_quote);
/* The attest structure of quote, into evidence, and its signature. */
void soft_attest(const struct soft_ak *ak, const struct soft_quote *quote, struct wire_evidence *evidence);
void soft_sign(const struct soft_ak *ak, struct wire_evidence *evidence);
