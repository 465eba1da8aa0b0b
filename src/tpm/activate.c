/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <tss2/tss2_mu.h>

#include "tpm/tpm-internal.h"

/* A policy session that satisfies the EK's policy. Salted with the EK, so that what the TPM answers is encrypted on its bus. */
static int start_session(struct tpm *tpm, ESYS_TR *ret) {
        static const TPMT_SYM_DEF aes = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB };
        TPMI_ALG_HASH hash = tpm->ek_public->publicArea.nameAlg;
        TSS2_RC rc;

        rc = TPM_CALL(Esys_StartAuthSession(tpm->esys, tpm->ek, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL,
                                            TPM2_SE_POLICY, &aes, hash, ret));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "starting a session with the TPM");

        /* Without CONTINUESESSION: the session ends with the command that it authorizes. */
        rc = Esys_TRSess_SetAttributes(tpm->esys, *ret, TPMA_SESSION_ENCRYPT, 0xff);
        if (rc == TSS2_RC_SUCCESS)
                rc = TPM_CALL(Esys_PolicySecret(tpm->esys, ESYS_TR_RH_ENDORSEMENT, *ret, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                                ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL));
        if (rc == TSS2_RC_SUCCESS && tpm->ek_kind->high) {
                TPML_DIGEST branches;

                ek_policy_branches(hash, &branches);
                rc = TPM_CALL(Esys_PolicyOR(tpm->esys, *ret, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &branches));
        }
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        (void) TPM_CALL(Esys_FlushContext(tpm->esys, *ret));
        return tpm_fail(tpm, rc, "using the endorsement hierarchy");
}

static int parse_credential(struct tpm *tpm, const struct wire_credential *credential, TPM2B_ID_OBJECT *ret_id_object,
                            TPM2B_ENCRYPTED_SECRET *ret_secret) {
        size_t offset = 0;
        TSS2_RC rc;

        rc = Tss2_MU_TPM2B_ID_OBJECT_Unmarshal(credential->id_object.data, credential->id_object.size, &offset, ret_id_object);
        if (rc != TSS2_RC_SUCCESS || offset != credential->id_object.size)
                return tpm_fail_words(tpm, EBADMSG, "the credential is malformed");

        offset = 0;
        rc = Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(credential->secret.data, credential->secret.size, &offset, ret_secret);
        if (rc != TSS2_RC_SUCCESS || offset != credential->secret.size)
                return tpm_fail_words(tpm, EBADMSG, "the credential is malformed");
        return 0;
}

static int load_keys(struct tpm *tpm) {
        _cleanup_(blob_done) struct blob certificate = {};
        int r;

        r = ak_load(tpm);
        if (r < 0 || tpm->ek != ESYS_TR_NONE)
                return r;
        return ek_load(tpm, &certificate);
}

static int activate_once(struct tpm *tpm, const TPM2B_ID_OBJECT *id_object, const TPM2B_ENCRYPTED_SECRET *encrypted,
                         TPM2B_DIGEST **ret) {
        ESYS_TR session = ESYS_TR_NONE;
        TSS2_RC rc;
        int r;

        r = load_keys(tpm);
        if (r < 0)
                return r;
        r = start_session(tpm, &session);
        if (r < 0)
                return r;

        rc = TPM_CALL(Esys_ActivateCredential(tpm->esys, tpm->ak, tpm->ek, ESYS_TR_PASSWORD, session, ESYS_TR_NONE, id_object,
                                              encrypted, ret));
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        (void) TPM_CALL(Esys_FlushContext(tpm->esys, session));
        return tpm_fail(tpm, rc, "opening the credential");
}

int tpm_activate(struct tpm *tpm, const struct wire_credential *credential, struct secret **ret) {
        TPM2B_ID_OBJECT id_object = {};
        TPM2B_ENCRYPTED_SECRET encrypted = {};
        TPM2B_DIGEST *opened = NULL;
        int r;

        if (tpm->ak == ESYS_TR_NONE)
                return tpm_fail_words(tpm, EINVAL, "a credential needs the attestation key");

        r = parse_credential(tpm, credential, &id_object, &encrypted);
        if (r < 0)
                return r;

        tpm->rc = TSS2_RC_SUCCESS;
        r = activate_once(tpm, &id_object, &encrypted, &opened);
        if (r < 0 && tpm_is_gone(tpm->rc)) {
                ak_forget(tpm);
                ek_forget(tpm);
                r = activate_once(tpm, &id_object, &encrypted, &opened);
        }
        if (r < 0)
                return r;

        r = opened->size > 0 ? secret_copy(opened->buffer, opened->size, ret) : -EBADMSG;
        memory_wipe(opened, sizeof(*opened));
        Esys_Free(opened);
        return r;
}
