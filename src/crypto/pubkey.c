/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/credential.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "crypto/tpmt.h"

/* tss2 writes to standard error about all that it does not like: foreign bytes would make a server write lines, and a node
 * write on the console where somebody is asked for a passphrase. Before main(), for the environment is not to be changed among
 * threads. */
__attribute__((constructor)) static void quiet_tss2(void) {
        (void) setenv("TSS2_LOG", "all+none", 0);
}

int tpmt_parse(const void *public, size_t size, TPMT_PUBLIC *ret) {
        TPMT_PUBLIC parsed = {};
        size_t offset = 0;

        if (Tss2_MU_TPMT_PUBLIC_Unmarshal(public, size, &offset, &parsed) != TSS2_RC_SUCCESS || offset != size)
                return -EBADMSG;

        *ret = parsed;
        return 0;
}

const char *tpm_curve(TPMI_ECC_CURVE curve, size_t *ret_size) {
        switch (curve) {
        case TPM2_ECC_NIST_P256:
                *ret_size = 32;
                return "P-256";
        case TPM2_ECC_NIST_P384:
                *ret_size = 48;
                return "P-384";
        case TPM2_ECC_NIST_P521:
                *ret_size = 66;
                return "P-521";
        default:
                return NULL;
        }
}

/* A TPM may leave leading zeros of a coordinate out: to the size of the field. */
static bool coordinate(const TPM2B_ECC_PARAMETER *parameter, uint8_t *ret, size_t size) {
        if (parameter->size == 0 || parameter->size > size)
                return false;

        memset(ret, 0, size - parameter->size);
        memcpy(ret + size - parameter->size, parameter->buffer, parameter->size);
        return true;
}

static int ec_from_tpmt(const TPMT_PUBLIC *public, EVP_PKEY **ret) {
        uint8_t point[1 + 2 * 66] = { 0x04 };
        size_t size = 0;
        const char *group = tpm_curve(public->parameters.eccDetail.curveID, &size);

        if (!group)
                return -EOPNOTSUPP;
        if (!coordinate(&public->unique.ecc.x, point + 1, size) || !coordinate(&public->unique.ecc.y, point + 1 + size, size))
                return -EBADMSG;

        return ec_public_key(group, point, 1 + 2 * size, ret);
}

int pubkey_from_rsa(const uint8_t *modulus, size_t size, uint32_t exponent, EVP_PKEY **ret) {
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
        OSSL_PARAM_BLD *builder = NULL;
        OSSL_PARAM *params = NULL;
        EVP_PKEY *key = NULL;
        BIGNUM *n = NULL;
        bool ok;

        if (size < RSA_SIZE_MIN || size > RSA_SIZE_MAX || (modulus[0] & 0x80) == 0 || (modulus[size - 1] & 1) == 0 ||
            exponent < 65537 || (exponent & 1) == 0)
                return -EBADMSG;

        ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        builder = OSSL_PARAM_BLD_new();
        n = BN_bin2bn(modulus, (int) size, NULL);
        ok = ctx && builder && n && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
             OSSL_PARAM_BLD_push_uint(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1 &&
             (params = OSSL_PARAM_BLD_to_param(builder)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
             EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;

        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(builder);
        BN_free(n);
        if (!ok)
                return crypto_failed("RSA public key");

        *ret = key;
        return 0;
}

int pubkey_from_point(const char *curve, const uint8_t *point, size_t size, EVP_PKEY **ret) {
        return ec_public_key(curve, point, size, ret);
}

static int rsa_from_tpmt(const TPMT_PUBLIC *public, EVP_PKEY **ret) {
        const TPM2B_PUBLIC_KEY_RSA *n = &public->unique.rsa;
        uint32_t exponent = public->parameters.rsaDetail.exponent;

        if (n->size != public->parameters.rsaDetail.keyBits / 8)
                return -EBADMSG;
        return pubkey_from_rsa(n->buffer, n->size, exponent == 0 ? 65537 : exponent, ret);
}

int pubkey_from_tpmt(const void *public, size_t size, EVP_PKEY **ret) {
        TPMT_PUBLIC parsed;
        int r;

        r = tpmt_parse(public, size, &parsed);
        if (r < 0)
                return r;

        switch (parsed.type) {
        case TPM2_ALG_RSA:
                return rsa_from_tpmt(&parsed, ret);
        case TPM2_ALG_ECC:
                return ec_from_tpmt(&parsed, ret);
        default:
                return -EOPNOTSUPP;
        }
}

int pubkey_digest(EVP_PKEY *key, uint8_t ret[static 32]) {
        uint8_t *der = NULL;
        int n, r;

        n = i2d_PUBKEY(key, &der);
        if (n <= 0)
                return crypto_failed("SubjectPublicKeyInfo");

        r = sha256(der, (size_t) n, ret);
        OPENSSL_free(der);
        return r;
}

int tpmt_name_digest(const void *public, size_t size, uint8_t ret[static 32]) {
        return sha256(public, size, ret);
}
