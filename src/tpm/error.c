/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include <tss2/tss2_rc.h>

#include "base/log.h"
#include "tpm/tpm-internal.h"

#define GONE                                                                                                                      \
        "the TPM was reset or cleared, or another program emptied it, while we used it: try again; after TPM2_Clear an operator " \
        "has to say \"tallyctl node accept-reset\""

/* Response codes of the TPM itself (TPM 2.0 Library, Part 2, 6.6.3), without handle, session or parameter number. */
static const struct {
        TSS2_RC code;
        int error;
        const char *words;
} codes[] = {
        { TPM2_RC_LOCKOUT, EPERM,
          "the TPM is in dictionary-attack lockout: wait until it ends, or end it with tpm2_dictionarylockout --clear-lockout" },
        { TPM2_RC_BAD_AUTH, EACCES,
          "an authorization value is set on the endorsement hierarchy: remove it with tpm2_changeauth -c endorsement" },
        { TPM2_RC_AUTH_FAIL, EACCES,
          "an authorization value is set where none may be: remove it with tpm2_changeauth, -c endorsement or -c owner" },
        { TPM2_RC_AUTH_UNAVAILABLE, EACCES, "the TPM does not allow this authorization" },
        { TPM2_RC_NV_AUTHORIZATION, EACCES, "the NV index may not be read" },
        { TPM2_RC_HIERARCHY, EACCES, "the endorsement hierarchy is disabled: enable it in the firmware's setup" },
        { TPM2_RC_POLICY_FAIL, EACCES, "the key's policy is not the one of the TCG's templates" },
        { TPM2_RC_FAILURE, EIO,
          "the TPM is in failure mode: switch the machine off and on; if that does not help, the TPM is broken" },
        { TPM2_RC_INITIALIZE, EIO, "the firmware has not started the TPM: update the firmware, or look at its TPM setting" },
        { TPM2_RC_REBOOT, EIO, "the TPM wants a restart: switch the machine off and on" },
        { TPM2_RC_UPGRADE, EIO, "the TPM is in the middle of a firmware update: finish it" },
        { TPM2_RC_OBJECT_MEMORY, ENOMEM,
          "the TPM is out of memory for objects: use /dev/tpmrm0, or flush with tpm2_flushcontext -t" },
        { TPM2_RC_OBJECT_HANDLES, ENOMEM, "the TPM is out of handles for objects: flush with tpm2_flushcontext -t, or restart" },
        { TPM2_RC_SESSION_MEMORY, ENOMEM, "the TPM is out of memory for sessions: flush with tpm2_flushcontext -l, or restart" },
        { TPM2_RC_SESSION_HANDLES, ENOMEM, "the TPM is out of sessions: flush with tpm2_flushcontext -s, or restart" },
        { TPM2_RC_MEMORY, ENOMEM, "the TPM is out of memory: flush with tpm2_flushcontext, or restart" },
        { TPM2_RC_RETRY, EBUSY, "the TPM is busy" },
        { TPM2_RC_YIELDED, EBUSY, "the TPM is busy" },
        { TPM2_RC_TESTING, EBUSY, "the TPM is still testing itself" },
        { TPM2_RC_CANCELED, EBUSY, "the TPM was told to stop" },
        { TPM2_RC_PCR_CHANGED, EBUSY, "PCRs keep changing" },
        { TPM2_RC_NV_RATE, EBUSY, "the TPM rations writes to its memory" },
        { TPM2_RC_NV_UNAVAILABLE, EBUSY, "the TPM's memory cannot be written at the moment" },
        { TPM2_RC_CURVE, EOPNOTSUPP, "the TPM does not know this curve" },
        { TPM2_RC_ASYMMETRIC, EOPNOTSUPP, "the TPM does not know this kind of key" },
        { TPM2_RC_TYPE, EOPNOTSUPP, "the TPM does not know this kind of key" },
        { TPM2_RC_KEY_SIZE, EOPNOTSUPP, "the TPM does not know this size of key" },
        { TPM2_RC_SCHEME, EOPNOTSUPP, "the TPM does not know this signature scheme" },
        { TPM2_RC_SYMMETRIC, EOPNOTSUPP, "the TPM does not know this cipher" },
        { TPM2_RC_HASH, EOPNOTSUPP, "the TPM does not know this hash" },
        { TPM2_RC_COMMAND_CODE, EOPNOTSUPP, "the TPM does not know this command" },
        { TPM2_RC_INTEGRITY, EKEYREJECTED, "the credential was made for another TPM, or was changed" },
        { TPM2_RC_HANDLE, ENOENT, "there is no such thing in the TPM" },
        { TPM2_RC_DISABLED, EACCES, "the TPM has this command switched off: look at the firmware's setup" },
        { TPM2_RC_REFERENCE_H0, EIO, GONE },
        { TPM2_RC_REFERENCE_H1, EIO, GONE },
        { TPM2_RC_REFERENCE_H2, EIO, GONE },
        { TPM2_RC_REFERENCE_S0, EIO, GONE },
        { TPM2_RC_REFERENCE_S1, EIO, GONE },
        { TPM2_RC_REFERENCE_S2, EIO, GONE },
};

/* Part 2, 6.6.2, figure 4: format 1 has six bits of error, the rest says where. */
static TSS2_RC strip_position(TSS2_RC code) {
        return code & TPM2_RC_FMT1 ? code & 0xbfU : code & 0xfffU;
}

int tpm_rc_to_errno(TSS2_RC rc, const char **ret) {
        TSS2_RC layer = rc & TSS2_RC_LAYER_MASK, code = rc & 0xffffU;
        bool resource_manager = layer == TSS2_RESMGR_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER;
        const char *words = "the TPM reports an error";
        int error = EIO;

        /* The kernel's resource manager answers for the TPM, with its own layer number. */
        if (layer == TSS2_TPM_RC_LAYER || (resource_manager && code >= TPM2_RC_FMT1)) {
                for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                        if (codes[i].code == strip_position(code)) {
                                words = codes[i].words;
                                error = codes[i].error;
                                break;
                        }
        } else if (code == TSS2_BASE_RC_MEMORY) {
                words = "out of memory";
                error = ENOMEM;
        } else if (code == TSS2_BASE_RC_TRY_AGAIN) {
                words = "the TPM is busy";
                error = EBUSY;
        } else if (layer == TSS2_TCTI_RC_LAYER)
                words = "the TPM does not answer";

        if (ret)
                *ret = words;
        return -error;
}

bool tpm_is_gone(TSS2_RC rc) {
        const char *words;

        (void) tpm_rc_to_errno(rc, &words);
        return strcmp(words, GONE) == 0;
}

int tpm_fail(struct tpm *tpm, TSS2_RC rc, const char *what) {
        const char *words;
        int r = tpm_rc_to_errno(rc, &words);

        tpm->rc = rc;
        if (r == -EIO)
                (void) snprintf(tpm->error, sizeof(tpm->error), "%s: %s (0x%x, %s)", what, words, rc, Tss2_RC_Decode(rc));
        else
                (void) snprintf(tpm->error, sizeof(tpm->error), "%s: %s", what, words);
        return log_debug_errno(r, "TPM: %s: 0x%x, %s", what, rc, Tss2_RC_Decode(rc));
}

int tpm_fail_words(struct tpm *tpm, int error, const char *words) {
        (void) snprintf(tpm->error, sizeof(tpm->error), "%s", words);
        return log_debug_errno(error, "TPM: %s", words);
}
