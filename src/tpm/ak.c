/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "crypto/credential.h"
#include "tpm/tpm-internal.h"

/* docs/protocol.md, 2. The same template gives the same key at every boot, for the TPM derives it from its endorsement seed. */
static int ak_template(TPM2B_PUBLIC *ret) {
        static const char label[] = "tallyboot ak v1";
        TPM2B_PUBLIC template = {
                .publicArea = {
                        .type = TPM2_ALG_ECC,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                            TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED |
                                            TPMA_OBJECT_SIGN_ENCRYPT,
                        .parameters.eccDetail = {
                                .symmetric.algorithm = TPM2_ALG_NULL,
                                .scheme = { .scheme = TPM2_ALG_ECDSA, .details.ecdsa.hashAlg = TPM2_ALG_SHA256 },
                                .curveID = TPM2_ECC_NIST_P256,
                                .kdf.scheme = TPM2_ALG_NULL,
                        },
                        .unique.ecc.x.size = SHA256_SIZE,
                },
        };
        int r;

        r = sha256(label, strlen(label), template.publicArea.unique.ecc.x.buffer);
        if (r < 0)
                return r;

        *ret = template;
        return 0;
}

void ak_forget(struct tpm *tpm) {
        tpm_drop(tpm, &tpm->ak, false);
        Esys_Free(tpm->ak_public);
        tpm->ak_public = NULL;
}

int ak_load(struct tpm *tpm) {
        TPM2B_PUBLIC template;
        TSS2_RC rc;
        int r;

        if (tpm->ak != ESYS_TR_NONE)
                return 0;

        r = ak_template(&template);
        if (r < 0)
                return tpm_fail_words(tpm, r, "making the attestation key: no SHA-256");

        rc = tpm_create_primary(tpm, ESYS_TR_RH_ENDORSEMENT, &template, &tpm->ak, &tpm->ak_public);
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        tpm->ak = ESYS_TR_NONE;
        r = tpm_fail(tpm, rc, "making the attestation key");
        if (r == -EOPNOTSUPP)
                return tpm_fail_words(
                        tpm, r,
                        "the TPM cannot make the attestation key: it has no ECDSA on P-256 with SHA-256, which is needed");
        return r;
}

int tpm_make_ak(struct tpm *tpm, struct blob *ret_public, char ret_node_id[static NODE_ID_LENGTH + 1]) {
        _cleanup_(blob_done) struct blob public = {};
        uint8_t digest[SHA256_SIZE];
        char node_id[NODE_ID_LENGTH + 1];
        int r;

        r = ak_load(tpm);
        if (r < 0)
                return r;

        r = tpm_public_to_blob(tpm, tpm->ak_public, &public);
        if (r < 0)
                return r;

        r = tpmt_name_digest(public.data, public.size, digest);
        if (r < 0)
                return r;

        r = node_id_from_digest(digest, node_id);
        if (r < 0)
                return r;

        memcpy(ret_node_id, node_id, sizeof(node_id));
        *ret_public = public;
        public = (struct blob){};
        return 0;
}
