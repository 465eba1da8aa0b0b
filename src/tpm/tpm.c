/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tpm/tpm.h"

#include <stdio.h>
#include <string.h>

#include <tss2/tss2_mu.h>

#include "base/clock.h"
#include "base/log.h"
#include "tpm/tpm-internal.h"

/* tpm_open() has no struct to leave its words in. */
static _Thread_local char open_error[512];

static int open_fail(int error, const char *tcti, const char *words) {
        (void) snprintf(open_error, sizeof(open_error), "%s: %s", tcti, words);
        return log_debug_errno(error, "TPM: %s", open_error);
}

/* tctildr says "I/O error" whatever the reason: look at the device, where it is one. */
static int open_failed(const char *tcti, TSS2_RC rc) {
        const char *device = strncmp(tcti, "device:", 7) == 0 ? tcti + 7 : NULL;

        log_debug("TPM: TCTI %s: 0x%x", tcti, rc);
        if (device && access(device, F_OK) == 0) {
                if (access(device, R_OK | W_OK) < 0)
                        return open_fail(EACCES, tcti, "may not be opened: be root, or in the group tss");
                return open_fail(EBUSY, tcti, "cannot be opened: another program has it; use the resource manager, /dev/tpmrm0");
        }
        if (device)
                return open_fail(ENODEV, tcti, "there is no TPM: is it switched on in the firmware's setup?");
        return open_fail(ENODEV, tcti, "no TPM answers there");
}

int tpm_open(const char *tcti, struct tpm **ret) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        TSS2_RC rc;

        open_error[0] = '\0';

        tpm = calloc(1, sizeof(*tpm));
        if (!tpm)
                return open_fail(ENOMEM, tcti, "out of memory");
        tpm->ak = tpm->ek = ESYS_TR_NONE;

        rc = Tss2_TctiLdr_Initialize(tcti, &tpm->tcti);
        if (rc != TSS2_RC_SUCCESS) {
                tpm->tcti = NULL;
                return open_failed(tcti, rc);
        }
        rc = Esys_Initialize(&tpm->esys, tpm->tcti, NULL);
        if (rc != TSS2_RC_SUCCESS) {
                tpm->esys = NULL;
                log_debug("TPM: Esys_Initialize: 0x%x", rc);
                return open_fail(EIO, tcti, "cannot be used");
        }

        *ret = TAKE_PTR(tpm);
        return 0;
}

void tpm_drop(struct tpm *tpm, ESYS_TR *handle, bool persistent) {
        if (*handle == ESYS_TR_NONE)
                return;
        if (persistent || Esys_FlushContext(tpm->esys, *handle) != TSS2_RC_SUCCESS)
                (void) Esys_TR_Close(tpm->esys, handle);
        *handle = ESYS_TR_NONE;
}

/* Nothing is tried again here: a busy TPM shall not hold up a boot for what a resource manager does anyway. */
struct tpm *tpm_close(struct tpm *tpm) {
        if (!tpm)
                return NULL;

        if (tpm->esys) {
                tpm_drop(tpm, &tpm->ek, tpm->ek_persistent);
                tpm_drop(tpm, &tpm->ak, false);
                Esys_Finalize(&tpm->esys);
        }
        if (tpm->tcti)
                Tss2_TctiLdr_Finalize(&tpm->tcti);
        Esys_Free(tpm->ak_public);
        Esys_Free(tpm->ek_public);
        free(tpm);
        return NULL;
}

const char *tpm_last_error(const struct tpm *tpm) {
        return tpm ? tpm->error : open_error;
}

bool tpm_again(TSS2_RC rc, struct tpm_wait *wait) {
        uint64_t now;

        if (rc == TSS2_RC_SUCCESS || tpm_rc_to_errno(rc, NULL) != -EBUSY)
                return false;

        now = clock_monotonic_ms();
        if (wait->until == 0) {
                wait->until = now + 15000;
                wait->pause = 5;
        }
        if (now + wait->pause > wait->until)
                return false;

        sleep_ms(wait->pause);
        wait->pause = MIN(2 * wait->pause, 250U);
        return true;
}

TSS2_RC tpm_create_primary(struct tpm *tpm, ESYS_TR hierarchy, const TPM2B_PUBLIC *template, ESYS_TR *ret_handle,
                           TPM2B_PUBLIC **ret_public) {
        static const TPM2B_SENSITIVE_CREATE sensitive = {};
        static const TPM2B_DATA outside = {};
        static const TPML_PCR_SELECTION none = {};

        return TPM_CALL(Esys_CreatePrimary(tpm->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                                           template, &outside, &none, ret_handle, ret_public, NULL, NULL, NULL));
}

int tpm_public_to_blob(struct tpm *tpm, const TPM2B_PUBLIC *public, struct blob *ret) {
        uint8_t data[sizeof(TPMT_PUBLIC)];
        size_t size = 0;
        TSS2_RC rc;

        rc = Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, data, sizeof(data), &size);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "writing a public key");

        return blob_copy(data, size, ret);
}
