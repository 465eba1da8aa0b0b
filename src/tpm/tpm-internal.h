/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "tpm/tpm.h"

/* What the files of this folder share. Nobody else includes this. */

/* An EK, as the TCG EK Credential Profile 2.5 lays it out: where its certificate is, and the template. */
struct ek_kind {
        uint32_t nv;         /* index of the certificate */
        uint32_t persistent; /* where manufacturers keep the key */
        TPMI_ALG_PUBLIC type;
        uint16_t bits; /* RSA: of the modulus; ECC: of the curve */
        bool high;     /* high-range template: policy B, unique empty; else policy A, unique zero */
};

struct tpm {
        TSS2_TCTI_CONTEXT *tcti;
        ESYS_CONTEXT *esys;

        ESYS_TR ak; /* loaded; ESYS_TR_NONE: not yet */
        TPM2B_PUBLIC *ak_public;

        ESYS_TR ek; /* loaded, or an open persistent handle */
        bool ek_persistent;
        const struct ek_kind *ek_kind;
        TPM2B_PUBLIC *ek_public;

        uint16_t banks[WIRE_BANKS_MAX];
        size_t n_banks; /* 0: not asked yet */

        TSS2_RC rc; /* of what failed last */
        char error[512];
};

/* What rc means, as an errno. Pure. ret: in words, for a person; NULL: not wanted. */
int tpm_rc_to_errno(TSS2_RC rc, const char **ret);
/* The one place where a TSS2_RC becomes an errno: keeps the words for tpm_last_error(), the foreign text in the debug log. what:
 * the thing that was tried, "making the attestation key". */
int tpm_fail(struct tpm *tpm, TSS2_RC rc, const char *what);
/* The same for what we found ourselves; returns -abs(error). */
int tpm_fail_words(struct tpm *tpm, int error, const char *words);

/* Whether to send the command again, after a pause: TPM_RC_RETRY, TESTING, YIELDED, NV_RATE, for 15 s in all. */
struct tpm_wait {
        uint64_t until, pause;
};
bool tpm_again(TSS2_RC rc, struct tpm_wait *wait);

#define TPM_CALL(call)                          \
        ({                                      \
                struct tpm_wait _wait = {};     \
                TSS2_RC _rc;                    \
                do                              \
                        _rc = (call);           \
                while (tpm_again(_rc, &_wait)); \
                _rc;                            \
        })

/* An object or session that the command names is in the TPM no more: it was reset or cleared (Part 3, 24.6 flushes both
 * hierarchies). */
bool tpm_is_gone(TSS2_RC rc);

static inline void esys_freep(void *p) {
        Esys_Free(*(void **) p);
}

/* CreatePrimary in a hierarchy, ESYS_TR_RH_..., with empty authorization. */
TSS2_RC tpm_create_primary(struct tpm *tpm, ESYS_TR hierarchy, const TPM2B_PUBLIC *template, ESYS_TR *ret_handle,
                           TPM2B_PUBLIC **ret_public);
int tpm_public_to_blob(struct tpm *tpm, const TPM2B_PUBLIC *public, struct blob *ret);

/* Loads the AK, once. */
int ak_load(struct tpm *tpm);
/* Flushes a key, or forgets it where it is not there to be flushed; ESYS_TR_NONE: nothing. */
void tpm_drop(struct tpm *tpm, ESYS_TR *handle, bool persistent);
/* Forgets a key that may be gone, so that it is made again: the same one, from the same seed. */
void ak_forget(struct tpm *tpm);
void ek_forget(struct tpm *tpm);

/* The branches of policy B: policy A and policy C, for TPM2_PolicyOR. */
void ek_policy_branches(TPMI_ALG_HASH alg, TPML_DIGEST *ret);
/* Loads the EK into tpm->ek; ret_certificate: its certificate, may be empty. */
int ek_load(struct tpm *tpm, struct blob *ret_certificate);

/* NV indices from first to last, at most max. */
int nv_list(struct tpm *tpm, uint32_t first, uint32_t last, uint32_t *ret, size_t max, size_t *ret_n);
int nv_read(struct tpm *tpm, uint32_t index, struct blob *ret);

/* Values of the PCRs of mask in one bank. */
int tpm_read_pcrs(struct tpm *tpm, uint16_t bank, uint32_t mask, struct pcr_values *ret);

/* Some values of one property of TPM2_GetCapability. */
int tpm_property(struct tpm *tpm, uint32_t property, uint32_t *ret, size_t n);
