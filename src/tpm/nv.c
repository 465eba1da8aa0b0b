/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tpm/tpm-internal.h"

int nv_list(struct tpm *tpm, uint32_t first, uint32_t last, uint32_t *ret, size_t max, size_t *ret_n) {
        size_t n = 0;

        for (;;) {
                _cleanup_(esys_freep) TPMS_CAPABILITY_DATA *data = NULL;
                const TPML_HANDLE *handles;
                TPMI_YES_NO more;
                TSS2_RC rc;

                rc = TPM_CALL(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first,
                                                 TPM2_MAX_CAP_HANDLES, &more, &data));
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(tpm, rc, "listing what is in the TPM's memory");

                handles = &data->data.handles;
                for (size_t i = 0; i < handles->count && i < TPM2_MAX_CAP_HANDLES; i++) {
                        if (handles->handle[i] < first || handles->handle[i] > last || n >= max) {
                                more = TPM2_NO;
                                break;
                        }
                        ret[n++] = handles->handle[i];
                        first = handles->handle[i] + 1;
                }
                if (!more || handles->count == 0)
                        break;
        }

        *ret_n = n;
        return 0;
}

int tpm_property(struct tpm *tpm, uint32_t property, uint32_t *ret, size_t n) {
        _cleanup_(esys_freep) TPMS_CAPABILITY_DATA *data = NULL;
        const TPML_TAGGED_TPM_PROPERTY *properties;
        TPMI_YES_NO more;
        TSS2_RC rc;

        rc = TPM_CALL(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_TPM_PROPERTIES, property,
                                         n, &more, &data));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "asking the TPM what it is");

        properties = &data->data.tpmProperties;
        for (size_t i = 0; i < n; i++)
                ret[i] = 0;
        for (size_t i = 0; i < properties->count && i < TPM2_MAX_TPM_PROPERTIES; i++)
                if (properties->tpmProperty[i].property >= property && properties->tpmProperty[i].property - property < n)
                        ret[properties->tpmProperty[i].property - property] = properties->tpmProperty[i].value;
        return 0;
}

static int read_pieces(struct tpm *tpm, ESYS_TR auth, ESYS_TR handle, uint16_t total, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer all = {};
        uint32_t piece;
        int r;

        r = tpm_property(tpm, TPM2_PT_NV_BUFFER_MAX, &piece, 1);
        if (r < 0)
                return r;
        if (piece == 0 || piece > TPM2_MAX_NV_BUFFER_SIZE)
                piece = 512;

        while (all.size < total) {
                _cleanup_(esys_freep) TPM2B_MAX_NV_BUFFER *data = NULL;
                TSS2_RC rc;

                rc = TPM_CALL(Esys_NV_Read(tpm->esys, auth, handle, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                           MIN(piece, (uint32_t) (total - all.size)), (uint16_t) all.size, &data));
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(tpm, rc, "reading a certificate from the TPM");
                if (data->size == 0)
                        break;
                buffer_append(&all, data->buffer, data->size);
                if (buffer_ok(&all) < 0)
                        return -ENOMEM;
        }

        *ret = (struct blob){ .data = TAKE_PTR(all.data), .size = all.size };
        return 0;
}

/* The index's own, empty authorization, unless that is subject to lockout and the owner may read too: the owner never is, but may
 * have an authorization value. */
static ESYS_TR reader_of(const TPMS_NV_PUBLIC *public, ESYS_TR handle) {
        bool own = public->attributes & TPMA_NV_AUTHREAD, owner = public->attributes & TPMA_NV_OWNERREAD;

        return own && (!owner || public->attributes & TPMA_NV_NO_DA) ? handle : ESYS_TR_RH_OWNER;
}

int nv_read(struct tpm *tpm, uint32_t index, struct blob *ret) {
        _cleanup_(esys_freep) TPM2B_NV_PUBLIC *public = NULL;
        ESYS_TR handle = ESYS_TR_NONE;
        TSS2_RC rc;
        int r;

        rc = TPM_CALL(Esys_TR_FromTPMPublic(tpm->esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &handle));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "looking for a certificate in the TPM");

        rc = TPM_CALL(Esys_NV_ReadPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL));
        if (rc != TSS2_RC_SUCCESS)
                r = tpm_fail(tpm, rc, "looking for a certificate in the TPM");
        else
                r = read_pieces(tpm, reader_of(&public->nvPublic, handle), handle, public->nvPublic.dataSize, ret);

        (void) Esys_TR_Close(tpm->esys, &handle);
        return r;
}
