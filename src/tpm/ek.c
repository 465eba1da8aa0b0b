/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/log.h"
#include "crypto/credential.h"
#include "tpm/tpm-internal.h"

/* TCG EK Credential Profile for TPM family 2.0, 2.5: NV indices (2.2.1.4) and templates (B.3, B.4), in the order of preference.
 * */
static const struct ek_kind kinds[] = {
        { 0x01c00002, 0x81010001, TPM2_ALG_RSA, 2048, false }, /* L-1 */
        { 0x01c0000a, 0x81010002, TPM2_ALG_ECC, 256, false },  /* L-2 */
        { 0x01c00012, 0x81010012, TPM2_ALG_RSA, 2048, true },  /* H-1 */
        { 0x01c00014, 0x81010014, TPM2_ALG_ECC, 256, true },   /* H-2 */
        { 0x01c00016, 0x81010016, TPM2_ALG_ECC, 384, true },   /* H-3 */
        { 0x01c0001c, 0x8101001c, TPM2_ALG_RSA, 3072, true },  /* H-6 */
};

/* B.6: policy A is PolicySecret of the endorsement hierarchy, policy C PolicyAuthorizeNV of the vendor's index, B one of the
 * two. */
struct ek_policies {
        uint8_t size;
        uint8_t a[48], b[48], c[48];
};

static const struct ek_policies policies_sha256 = {
        32,
        { 0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
          0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa },
        { 0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
          0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0 },
        { 0x37, 0x67, 0xe2, 0xed, 0xd4, 0x3f, 0xf4, 0x5a, 0x3a, 0x7e, 0x1e, 0xae, 0xfc, 0xef, 0x78, 0x64,
          0x3d, 0xca, 0x96, 0x46, 0x32, 0xe7, 0xaa, 0xd8, 0x2c, 0x67, 0x3a, 0x30, 0xd8, 0x63, 0x3f, 0xde },
};

static const struct ek_policies policies_sha384 = {
        48,
        { 0x8b, 0xbf, 0x22, 0x66, 0x53, 0x7c, 0x17, 0x1c, 0xb5, 0x6e, 0x40, 0x3c, 0x4d, 0xc1, 0xd4, 0xb6,
          0x4f, 0x43, 0x26, 0x11, 0xdc, 0x38, 0x6e, 0x6f, 0x53, 0x20, 0x50, 0xc3, 0x27, 0x8c, 0x93, 0x0e,
          0x14, 0x3e, 0x8b, 0xb1, 0x13, 0x38, 0x24, 0xcc, 0xb4, 0x31, 0x05, 0x38, 0x71, 0xc6, 0xdb, 0x53 },
        { 0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
          0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
          0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12 },
        { 0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef,
          0x2b, 0x6a, 0x16, 0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5,
          0xb4, 0x94, 0x7c, 0x2d, 0x73, 0xe6, 0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65 },
};

static const struct ek_policies *policies_for(TPMI_ALG_HASH alg) {
        return alg == TPM2_ALG_SHA384 ? &policies_sha384 : &policies_sha256;
}

void ek_policy_branches(TPMI_ALG_HASH alg, TPML_DIGEST *ret) {
        const struct ek_policies *policies = policies_for(alg);

        *ret = (TPML_DIGEST){ .count = 2, .digests[0].size = policies->size, .digests[1].size = policies->size };
        memcpy(ret->digests[0].buffer, policies->a, policies->size);
        memcpy(ret->digests[1].buffer, policies->c, policies->size);
}

static void ek_template(const struct ek_kind *kind, TPM2B_PUBLIC *ret) {
        bool large = kind->bits == 384 || kind->bits == 3072;
        const struct ek_policies *policies = policies_for(large ? TPM2_ALG_SHA384 : TPM2_ALG_SHA256);
        const TPMT_SYM_DEF_OBJECT aes = { .algorithm = TPM2_ALG_AES, .keyBits.aes = large ? 256 : 128, .mode.aes = TPM2_ALG_CFB };
        TPM2B_PUBLIC template = {
                .publicArea = {
                        .type = kind->type,
                        .nameAlg = large ? TPM2_ALG_SHA384 : TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                            TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT |
                                            (kind->high ? TPMA_OBJECT_USERWITHAUTH : 0),
                        .authPolicy.size = policies->size,
                },
        };
        TPMT_PUBLIC *public = &template.publicArea;

        memcpy(public->authPolicy.buffer, kind->high ? policies->b : policies->a, policies->size);
        if (kind->type == TPM2_ALG_RSA) {
                public->parameters.rsaDetail =
                        (TPMS_RSA_PARMS){ .symmetric = aes, .scheme.scheme = TPM2_ALG_NULL, .keyBits = kind->bits };
                public->unique.rsa.size = kind->high ? 0 : kind->bits / 8;
        } else {
                public->parameters.eccDetail = (TPMS_ECC_PARMS){
                        .symmetric = aes,
                        .scheme.scheme = TPM2_ALG_NULL,
                        .curveID = kind->bits == 384 ? TPM2_ECC_NIST_P384 : TPM2_ECC_NIST_P256,
                        .kdf.scheme = TPM2_ALG_NULL,
                };
                public->unique.ecc.x.size = public->unique.ecc.y.size = kind->high ? 0 : kind->bits / 8;
        }
        *ret = template;
}

/* Whether the certificate is of this key. Certificates that name the key's algorithm as RSA-OAEP are not read here: then false.
 * */
static bool certifies(struct tpm *tpm, const struct blob *certificate, const TPM2B_PUBLIC *public) {
        _cleanup_(blob_done) struct blob area = {};
        const unsigned char *p = certificate->data;
        EVP_PKEY *ours = NULL, *theirs;
        X509 *x509 = NULL;
        bool same = false;

        if (certificate->size == 0 || tpm_public_to_blob(tpm, public, &area) < 0 ||
            pubkey_from_tpmt(area.data, area.size, &ours) < 0)
                return false;

        x509 = d2i_X509(NULL, &p, (long) certificate->size);
        theirs = x509 ? X509_get0_pubkey(x509) : NULL;
        same = theirs && EVP_PKEY_eq(ours, theirs) == 1;

        X509_free(x509);
        EVP_PKEY_free(ours);
        return same;
}

/* Making an RSA key takes a hardware TPM seconds: use the one that its maker left there, where it is the certified one. */
static bool ek_from_persistent(struct tpm *tpm, const struct ek_kind *kind, const struct blob *certificate) {
        _cleanup_(esys_freep) TPM2B_PUBLIC *public = NULL;
        ESYS_TR handle = ESYS_TR_NONE;

        if (TPM_CALL(Esys_TR_FromTPMPublic(tpm->esys, kind->persistent, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &handle)) !=
            TSS2_RC_SUCCESS)
                return false;

        if (TPM_CALL(Esys_ReadPublic(tpm->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &public, NULL, NULL)) !=
                    TSS2_RC_SUCCESS ||
            !certifies(tpm, certificate, public)) {
                (void) Esys_TR_Close(tpm->esys, &handle);
                return false;
        }

        tpm->ek = handle;
        tpm->ek_persistent = true;
        tpm->ek_public = TAKE_PTR(public);
        return true;
}

static int ek_make(struct tpm *tpm, const struct ek_kind *kind, const struct blob *certificate) {
        TPM2B_PUBLIC template;
        TSS2_RC rc;

        tpm->ek_kind = kind;
        if (ek_from_persistent(tpm, kind, certificate))
                return 0;

        ek_template(kind, &template);
        rc = tpm_create_primary(tpm, ESYS_TR_RH_ENDORSEMENT, &template, &tpm->ek, &tpm->ek_public);
        if (rc != TSS2_RC_SUCCESS) {
                tpm->ek = ESYS_TR_NONE;
                return tpm_fail(tpm, rc, "making the endorsement key");
        }

        tpm->ek_persistent = false;
        if (certificate->size > 0 && !certifies(tpm, certificate, tpm->ek_public))
                log_debug(
                        "TPM: the certificate at NV 0x%08x is not of the key that the template gives, or its key cannot be read.",
                        kind->nv);
        return 0;
}

static const struct ek_kind *choose_kind(const uint32_t *indices, size_t n) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                for (size_t k = 0; k < n; k++)
                        if (indices[k] == kinds[i].nv)
                                return kinds + i;
        return NULL;
}

void ek_forget(struct tpm *tpm) {
        tpm_drop(tpm, &tpm->ek, tpm->ek_persistent);
        Esys_Free(tpm->ek_public);
        tpm->ek_public = NULL;
}

int ek_load(struct tpm *tpm, struct blob *ret_certificate) {
        _cleanup_(blob_done) struct blob certificate = {};
        const struct ek_kind *kind;
        uint32_t indices[64];
        size_t n;
        int r;

        r = nv_list(tpm, 0x01c00000, 0x01c000ff, indices, ELEMENTSOF(indices), &n);
        if (r < 0)
                return r;

        kind = choose_kind(indices, n);
        if (kind) {
                r = nv_read(tpm, kind->nv, &certificate);
                if (r < 0)
                        return r;
        }

        if (tpm->ek == ESYS_TR_NONE) {
                r = ek_make(tpm, kind ? kind : kinds, &certificate);
                if (r == -EOPNOTSUPP && !kind) /* no certificate and no RSA */
                        r = ek_make(tpm, kinds + 1, &certificate);
                if (r < 0)
                        return r;
        }

        *ret_certificate = certificate;
        certificate = (struct blob){};
        return 0;
}

/* Size of the DER object at the start of data, its header included; 0: there is none. */
static size_t der_size(const uint8_t *data, size_t size) {
        size_t length, header = 2;

        if (size < 2 || data[0] != 0x30)
                return 0;

        length = data[1];
        if (length == 0x81 && size >= 3) {
                length = data[2];
                header = 3;
        } else if (length == 0x82 && size >= 4) {
                length = (size_t) data[2] << 8 | data[3];
                header = 4;
        } else if (length >= 0x80)
                return 0;
        return header + length <= size ? header + length : 0;
}

/* The chain (2.2.1.5.2): certificates one after the other, over as many indices as they need. */
static int read_chain(struct tpm *tpm, struct blob *chain, size_t *ret_n) {
        _cleanup_(buffer_done) struct buffer all = {};
        uint32_t indices[32];
        size_t n, size, n_chain = 0;
        int r;

        r = nv_list(tpm, 0x01c00100, 0x01c001ff, indices, ELEMENTSOF(indices), &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                _cleanup_(blob_done) struct blob part = {};

                r = nv_read(tpm, indices[i], &part);
                if (r >= 0)
                        buffer_append(&all, part.data, part.size);
        }
        if (r >= 0)
                r = buffer_ok(&all);

        for (size_t at = 0; r >= 0 && n_chain < 8 && (size = der_size(all.data + at, all.size - at)) > 0; at += size) {
                r = blob_copy(all.data + at, size, chain + n_chain);
                if (r >= 0)
                        n_chain++;
        }

        if (r < 0) {
                while (n_chain > 0)
                        blob_done(chain + --n_chain);
                return r;
        }
        *ret_n = n_chain;
        return 0;
}

int tpm_read_ek(struct tpm *tpm, struct blob *ret_public, struct blob *ret_certificate, struct blob *chain, size_t *ret_n_chain) {
        _cleanup_(blob_done) struct blob certificate = {}, public = {};
        size_t size;
        int r;

        r = ek_load(tpm, &certificate);
        if (r < 0)
                return r;

        /* Makers pad the index: keep the certificate alone. */
        size = der_size(certificate.data, certificate.size);
        if (size > 0)
                certificate.size = size;

        r = tpm_public_to_blob(tpm, tpm->ek_public, &public);
        if (r < 0)
                return r;

        r = read_chain(tpm, chain, ret_n_chain);
        if (r < 0)
                return r;

        *ret_public = public;
        *ret_certificate = certificate;
        public = certificate = (struct blob){};
        return 0;
}
