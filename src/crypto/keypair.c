/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/keypair.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <string.h>

#include "crypto/hpke.h"
#include "crypto/internal.h"

enum { SCALAR_SIZE = 32 };

/* Order of P-256 (FIPS 186-4, D.1.2.3). */
static const uint8_t ORDER[SCALAR_SIZE] = {
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};

struct keypair *keypair_free(struct keypair *keypair) {
        if (!keypair)
                return NULL;

        secret_free(keypair->scalar);
        free(keypair);
        return NULL;
}

static int keypair_new(struct keypair **ret) {
        _cleanup_(keypair_freep) struct keypair *keypair = calloc(1, sizeof(*keypair));
        int r;

        if (!keypair)
                return -ENOMEM;

        r = secret_new(SCALAR_SIZE, &keypair->scalar);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(keypair);
        return 0;
}

int keypair_generate(struct keypair **ret) {
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        _cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
        BIGNUM *scalar = BN_secure_new();
        size_t size;
        int r;

        r = keypair_new(&keypair);
        if (r == 0) {
                key = EVP_EC_gen("P-256");
                if (!scalar || !key ||
                    EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, keypair->public, POINT_SIZE, &size) != 1 ||
                    size != POINT_SIZE || EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) != 1 ||
                    BN_bn2binpad(scalar, keypair->scalar->data, SCALAR_SIZE) != SCALAR_SIZE)
                        r = crypto_failed("making a P-256 key");
        }
        BN_clear_free(scalar);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(keypair);
        return 0;
}

/* From 1 to the order - 1, in time that does not depend on the scalar's bytes. */
static bool scalar_is_valid(const uint8_t scalar[static SCALAR_SIZE]) {
        unsigned borrow = 0, any = 0;

        for (int i = SCALAR_SIZE - 1; i >= 0; i--) {
                borrow = ((unsigned) scalar[i] - ORDER[i] - borrow) >> 8 & 1;
                any |= scalar[i];
        }

        return borrow == 1 && any != 0;
}

/* scalar * G. OpenSSL multiplies the generator in constant time. */
static int scalar_public(const uint8_t scalar[static SCALAR_SIZE], uint8_t ret[static POINT_SIZE]) {
        EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
        EC_POINT *point = group ? EC_POINT_new(group) : NULL;
        BIGNUM *number = BN_secure_new();
        bool ok;

        ok = point && number && BN_bin2bn(scalar, SCALAR_SIZE, number);
        if (ok) {
                BN_set_flags(number, BN_FLG_CONSTTIME);
                ok = EC_POINT_mul(group, point, number, NULL, NULL, NULL) == 1 &&
                     EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, ret, POINT_SIZE, NULL) == POINT_SIZE;
        }

        BN_clear_free(number);
        EC_POINT_free(point);
        EC_GROUP_free(group);
        return ok ? 0 : crypto_failed("public key of a scalar");
}

int keypair_derive(const struct secret *ikm, struct keypair **ret) {
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        _cleanup_(wipe_32) uint8_t prk[32];
        int r;

        r = keypair_new(&keypair);
        if (r < 0)
                return r;
        r = kem_extract(NULL, 0, "dkp_prk", &(struct part){ ikm->data, ikm->size }, prk);
        if (r < 0)
                return r;

        /* The mask of the first byte is 0xff for P-256; a candidate fails once in 2^32. */
        for (unsigned counter = 0; counter < 256; counter++) {
                const uint8_t c = (uint8_t) counter;

                r = kem_expand(prk, "candidate", &(struct part){ &c, 1 }, keypair->scalar->data, SCALAR_SIZE);
                if (r < 0)
                        return r;
                if (!scalar_is_valid(keypair->scalar->data))
                        continue;

                r = scalar_public(keypair->scalar->data, keypair->public);
                if (r < 0)
                        return r;
                *ret = TAKE_PTR(keypair);
                return 0;
        }

        return -EIO;
}

int ec_public_key(const char *group, const uint8_t *point, size_t size, EVP_PKEY **ret) {
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *) group, 0),
                OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (uint8_t *) point, size),
                OSSL_PARAM_construct_end(),
        };
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
        EVP_PKEY *key = NULL;

        /* OpenSSL would take the hybrid forms too, which are other bytes for the same key. */
        if (size < 1 || point[0] != 0x04)
                return -EBADMSG;

        ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
        if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1)
                return crypto_failed("EC key");
        if (EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
                (void) crypto_failed("EC public key");
                return -EBADMSG;
        }

        *ret = key;
        return 0;
}

int ecdh(EVP_PKEY *own, EVP_PKEY *peer, uint8_t *ret, size_t size) {
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
        size_t written = size;

        /* No second validation of the peer: ec_public_key() takes points of the curve only, and the NIST curves have cofactor
         * 1. */
        if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) != 1 ||
            EVP_PKEY_derive(ctx, ret, &written) != 1 || written != size)
                return crypto_failed("ECDH");

        return 0;
}

static int private_key(const struct keypair *keypair, EVP_PKEY **ret) {
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
        BIGNUM *scalar = BN_secure_new();
        OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        OSSL_PARAM *params = NULL;
        EVP_PKEY *key = NULL;
        bool ok;

        ok = ctx && scalar && builder && BN_bin2bn(keypair->scalar->data, SCALAR_SIZE, scalar) &&
             OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
             OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, keypair->public, POINT_SIZE) == 1 &&
             OSSL_PARAM_BLD_push_BN_pad(builder, OSSL_PKEY_PARAM_PRIV_KEY, scalar, SCALAR_SIZE) == 1 &&
             (params = OSSL_PARAM_BLD_to_param(builder)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
             EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) == 1;

        /* The parameters hold the scalar too; those of a BN_secure_new() one are cleared when they are freed. */
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(builder);
        BN_clear_free(scalar);
        if (!ok)
                return crypto_failed("P-256 private key");

        *ret = key;
        return 0;
}

int keypair_ecdh(const struct keypair *keypair, const uint8_t peer[static POINT_SIZE], uint8_t ret[static 32]) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *own = NULL, *other = NULL;
        int r;

        r = ec_public_key("P-256", peer, POINT_SIZE, &other);
        if (r < 0)
                return r;
        r = private_key(keypair, &own);
        if (r < 0)
                return r;

        return ecdh(own, other, ret, 32);
}

int keypair_sign(const struct keypair *keypair, const void *data, size_t size, uint8_t ret[static SIGNATURE_MAX],
                 size_t *ret_size) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
        EVP_MD_CTX *ctx;
        size_t written = SIGNATURE_MAX;
        bool ok;
        int r;

        r = private_key(keypair, &key);
        if (r < 0)
                return r;

        ctx = EVP_MD_CTX_new();
        ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
             EVP_DigestSign(ctx, ret, &written, data, size) == 1;
        EVP_MD_CTX_free(ctx);
        if (!ok)
                return crypto_failed("ECDSA");

        *ret_size = written;
        return 0;
}

int point_verify(const uint8_t public[static POINT_SIZE], const void *data, size_t size, const void *signature,
                 size_t signature_size) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *key = NULL;
        EVP_MD_CTX *ctx;
        bool ok;
        int r;

        r = ec_public_key("P-256", public, POINT_SIZE, &key);
        if (r < 0)
                return r;

        ctx = EVP_MD_CTX_new();
        if (!ctx)
                return -ENOMEM;
        ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
             EVP_DigestVerify(ctx, signature, signature_size, data, size) == 1;
        EVP_MD_CTX_free(ctx);
        if (!ok)
                (void) crypto_failed("ECDSA verification");
        return ok ? 0 : -EKEYREJECTED;
}
