/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tpm/seal.h"

#include <tss2/tss2_tpm2_types.h>

/* A sealed blob: what it wants of the PCRs, which key it lies under, the object. Nobody but this folder includes this. */

enum { SEALED_SECRET_SIZE = 32 };

struct sealed {
        struct tpm_seal seal;
        size_t value_size;                          /* of a PCR in this bank */
        uint8_t values[WIRE_PCRS][WIRE_DIGEST_MAX]; /* those of the mask; the gate's is zero */
        uint8_t primary[SHA256_SIZE];               /* digest of the storage key's Name */
        TPM2B_PUBLIC public;
        TPM2B_PRIVATE private;
};

/* "tbseal1" 00, bank (2), mask (4), gate (1), primary (32), the values, TPM2B_PUBLIC, TPM2B_PRIVATE; big-endian. */
int sealed_write(const struct sealed *sealed, struct blob *ret);
/* -EBADMSG also where the object is not what tpm_seal() makes of such PCRs: it may move to no other TPM, and has this policy and
 * no other authorization. So one that somebody made elsewhere, to know the secret, is not used. */
int sealed_parse(const void *data, size_t size, struct sealed *ret);

/* What the TPM is to make of it. */
int sealed_template(const struct sealed *sealed, TPM2B_PUBLIC *ret);
/* The PCRs of the policy, the gate included. */
void sealed_selection(const struct tpm_seal *seal, TPML_PCR_SELECTION *ret);
int sealed_primary_digest(const TPM2B_PUBLIC *public, uint8_t ret[static SHA256_SIZE]);
