/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "swtpm.h"

/* Stands between us and a software TPM, and makes it behave as hardware does on a bad day. */
enum tpm_proxy_mode {
        TPM_PROXY_RECORD,      /* nothing; bytes of both directions go to the file "traffic" in the TPM's directory */
        TPM_PROXY_PCR_CHANGES, /* the first count times that PCRs are read, PCR 14 was extended just before */
        TPM_PROXY_BUSY,        /* the first count commands are answered with TPM_RC_RETRY */
        TPM_PROXY_FAILURE,     /* every command is answered with TPM_RC_FAILURE */
        TPM_PROXY_FAIL_AT,     /* the command of that number (1: the first; not TPM2_FlushContext) is answered with code, once */
        TPM_PROXY_CLEARS,      /* the first count times that a key is used, TPM2_Clear came just before */
        TPM_PROXY_RESETS,      /* ... the power was cut and the TPM started again just before */
        TPM_PROXY_CUT,         /* every answer is cut in its middle and the connection closed */
};

struct tpm_proxy {
        char tcti[128];
        pid_t pid;
        struct tpm_proxy_seen { /* shared with it */
                unsigned commands;
                bool acted;
        } * seen;
        uint32_t code; /* FAIL_AT: set before the start */
};
void tpm_proxy_start(const struct swtpm *swtpm, enum tpm_proxy_mode mode, unsigned count, struct tpm_proxy *ret);
void tpm_proxy_stop(struct tpm_proxy *proxy);
