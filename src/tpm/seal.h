/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "tpm/tpm.h"

/* A secret that one TPM alone gives back, and only while its PCRs have the values that they had, and its gate PCR is still zero:
 * closing that (tpm_seal_gate_close) ends it until the machine is switched off and on. docs/keys.md, "In the TPM". */

enum { SEALED_MAX = 4096 }; /* bytes of a sealed blob */

struct tpm_seal {
        uint16_t bank; /* TPM2_ALG_ID; 0: SHA-256 where the TPM has it, else its first bank */
        uint32_t mask; /* PCRs whose present values are needed again */
        unsigned gate; /* must be zero; see tpm_seal_gate_is_valid() */
};

/* 8 to 15 (only a restart makes them zero again) and not 10, which the kernel's IMA extends. */
bool tpm_seal_gate_is_valid(unsigned pcr);
/* One PCR or more of 0 to 22, the gate not among them, nor 16, which every program may reset. */
bool tpm_seal_is_valid(const struct tpm_seal *seal);

/* secret: 32 bytes. The gate may be closed already: what is sealed can be opened after the next start. ret is no secret, and not
 * for another TPM. -EINVAL: seal is not valid, or a PCR of mask has never been extended (words in tpm_last_error()). */
int tpm_seal(struct tpm *tpm, const struct tpm_seal *seal, const struct secret *secret, struct blob *ret);
/* -EBADMSG: not a sealed blob, or not as tpm_seal() makes it. -EKEYREJECTED: of another TPM, or of this one before it was
 * cleared. -EALREADY: the gate is closed. -EACCES: PCRs changed (the words name them), or the owner's authorization value is
 * set. */
int tpm_unseal(struct tpm *tpm, const void *data, size_t size, struct secret **ret);
/* What a blob wants, without a TPM. -EBADMSG. */
int tpm_sealed_read(const void *data, size_t size, struct tpm_seal *ret);

/* Extends the PCR in every bank, where it is still zero in one, and reads it back. -EIO: it can not be closed. */
int tpm_seal_gate_close(struct tpm *tpm, unsigned pcr);
/* ret: mask of those of PCR 8 to 15 that can be a gate and are zero in every bank. */
int tpm_seal_gates_open(struct tpm *tpm, uint32_t *ret);
