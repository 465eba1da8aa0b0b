/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Public keys out of TPM structures, and which keys a credential is made for. That a TPM activates it is test-tpm's to show. */
#include "test.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <tss2/tss2_mu.h>

#include "crypto/credential.h"
#include "crypto/internal.h"

struct public {
        uint8_t data[sizeof(TPMT_PUBLIC)];
        size_t size;
};

static struct public marshalled(const TPMT_PUBLIC *tpmt) {
        struct public public = {};

        assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(tpmt, public.data, sizeof(public.data), &public.size), 0);
        return public;
}

static const TPMA_OBJECT EK_ATTRIBUTES = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                         TPMA_OBJECT_ADMINWITHPOLICY | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;

static TPMT_PUBLIC ec_template(EVP_PKEY *key, TPMI_ECC_CURVE curve, size_t field) {
        TPMT_PUBLIC tpmt = {
                .type = TPM2_ALG_ECC,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = EK_ATTRIBUTES,
                .parameters.eccDetail = { .symmetric = { .algorithm = TPM2_ALG_AES,
                                                         .keyBits.aes = 128,
                                                         .mode.aes = TPM2_ALG_CFB },
                                          .scheme.scheme = TPM2_ALG_NULL,
                                          .curveID = curve,
                                          .kdf.scheme = TPM2_ALG_NULL },
                .unique.ecc = { .x.size = (uint16_t) field, .y.size = (uint16_t) field },
        };
        uint8_t point[133];
        size_t size;

        assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &size), 1);
        assert_int_equal(size, 1 + 2 * field);
        memcpy(tpmt.unique.ecc.x.buffer, point + 1, field);
        memcpy(tpmt.unique.ecc.y.buffer, point + 1 + field, field);
        return tpmt;
}

static TPMT_PUBLIC rsa_template(EVP_PKEY *key, unsigned bits) {
        TPMT_PUBLIC tpmt = {
                .type = TPM2_ALG_RSA,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = EK_ATTRIBUTES,
                .parameters.rsaDetail = { .symmetric = { .algorithm = TPM2_ALG_AES,
                                                         .keyBits.aes = 128,
                                                         .mode.aes = TPM2_ALG_CFB },
                                          .scheme.scheme = TPM2_ALG_NULL,
                                          .keyBits = (uint16_t) bits },
                .unique.rsa.size = (uint16_t) (bits / 8),
        };
        BIGNUM *n = NULL;

        assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
        assert_int_equal(BN_bn2binpad(n, tpmt.unique.rsa.buffer, (int) bits / 8), bits / 8);
        BN_free(n);
        return tpmt;
}

static EVP_PKEY *p256, *p384, *rsa;

static int set_up(void **state) {
        p256 = EVP_EC_gen("P-256");
        p384 = EVP_EC_gen("P-384");
        rsa = EVP_RSA_gen(2048);
        return p256 && p384 && rsa ? 0 : -1;
}

static int tear_down(void **state) {
        EVP_PKEY_free(p256);
        EVP_PKEY_free(p384);
        EVP_PKEY_free(rsa);
        return 0;
}

static void same_key(const TPMT_PUBLIC *tpmt, EVP_PKEY *key) {
        struct public public = marshalled(tpmt);
        _cleanup_(evp_pkey_freep) EVP_PKEY *parsed = NULL;
        uint8_t a[32], b[32];

        assert_int_equal(pubkey_from_tpmt(public.data, public.size, &parsed), 0);
        assert_int_equal(EVP_PKEY_eq(parsed, key), 1);
        assert_int_equal(pubkey_digest(parsed, a), 0);
        assert_int_equal(pubkey_digest(key, b), 0);
        assert_memory_equal(a, b, 32);
}

static void keys_come_out(void **state) {
        TPMT_PUBLIC tpmt = ec_template(p256, TPM2_ECC_NIST_P256, 32);

        same_key(&tpmt, p256);
        tpmt = ec_template(p384, TPM2_ECC_NIST_P384, 48);
        same_key(&tpmt, p384);
        tpmt = rsa_template(rsa, 2048);
        same_key(&tpmt, rsa);
        tpmt.parameters.rsaDetail.exponent = 65537;
        same_key(&tpmt, rsa);
}

/* About one key in 256 has such a coordinate, and a TPM may send it shorter. */
static void leading_zeros_may_be_missing(void **state) {
        for (;;) {
                _cleanup_(evp_pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
                TPMT_PUBLIC tpmt = ec_template(key, TPM2_ECC_NIST_P256, 32);

                if (tpmt.unique.ecc.x.buffer[0] != 0)
                        continue;
                memmove(tpmt.unique.ecc.x.buffer, tpmt.unique.ecc.x.buffer + 1, 31);
                tpmt.unique.ecc.x.size = 31;
                same_key(&tpmt, key);
                return;
        }
}

static void refused(const TPMT_PUBLIC *tpmt, int expected) {
        struct public public = marshalled(tpmt);
        EVP_PKEY *key = NULL;

        assert_int_equal(pubkey_from_tpmt(public.data, public.size, &key), expected);
        assert_null(key);
}

static void bad_keys_are_refused(void **state) {
        const TPMT_PUBLIC ec = ec_template(p256, TPM2_ECC_NIST_P256, 32), good = rsa_template(rsa, 2048);
        TPMT_PUBLIC bad = ec;

        bad.unique.ecc.y.buffer[31] ^= 1;
        refused(&bad, -EBADMSG);
        bad = ec;
        bad.unique.ecc.x.size = 0;
        refused(&bad, -EBADMSG);
        bad = ec;
        bad.unique.ecc.x.size = 33;
        refused(&bad, -EBADMSG);
        bad = ec;
        bad.parameters.eccDetail.curveID = TPM2_ECC_NIST_P384;
        refused(&bad, -EBADMSG);
        bad.parameters.eccDetail.curveID = TPM2_ECC_BN_P256;
        refused(&bad, -EOPNOTSUPP);

        bad = good;
        bad.unique.rsa.size = 255;
        refused(&bad, -EBADMSG);
        bad = good;
        bad.parameters.rsaDetail.keyBits = 1024;
        bad.unique.rsa.size = 128;
        refused(&bad, -EBADMSG);
        bad = good;
        bad.unique.rsa.buffer[255] &= 0xfe;
        refused(&bad, -EBADMSG);
        bad = good;
        bad.unique.rsa.buffer[0] = 0;
        refused(&bad, -EBADMSG);
        bad = good;
        bad.parameters.rsaDetail.exponent = 3;
        refused(&bad, -EBADMSG);
        bad = (TPMT_PUBLIC){ .type = TPM2_ALG_KEYEDHASH, .nameAlg = TPM2_ALG_SHA256 };
        bad.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
        refused(&bad, -EOPNOTSUPP);
}

static void cut_structures_are_refused(void **state) {
        const TPMT_PUBLIC tpmt = rsa_template(rsa, 2048);
        struct public public = marshalled(&tpmt);
        EVP_PKEY *key = NULL;

        for (size_t size = 0; size < public.size; size++) {
                _cleanup_(blob_done) struct blob exact = {};

                assert_int_equal(blob_copy(public.data, size, &exact), 0);
                assert_int_equal(pubkey_from_tpmt(exact.data, size, &key), -EBADMSG);
        }
        assert_int_equal(pubkey_from_tpmt(public.data, public.size + 1, &key), -EBADMSG);
        assert_null(key);
}

static int credential(const TPMT_PUBLIC *tpmt, size_t secret_size, struct blob *object, struct blob *secret) {
        struct public public = marshalled(tpmt);
        static const uint8_t name[34] = { 0x00, 0x0b }, bytes[33];

        return credential_make(public.data, public.size, name, bytes, secret_size, object, secret);
}

static void credentials_have_their_form(void **state) {
        const TPMT_PUBLIC keys[] = { rsa_template(rsa, 2048), ec_template(p256, TPM2_ECC_NIST_P256, 32),
                                     ec_template(p384, TPM2_ECC_NIST_P384, 48) };
        static const size_t secret_sizes[] = { 2 + 256, 2 + 2 * 34, 2 + 2 * 50 };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_(blob_done) struct blob object = {}, secret = {}, again = {}, other = {};

                assert_int_equal(credential(keys + i, 32, &object, &secret), 0);
                assert_int_equal(object.size, 2 + 2 + 32 + 2 + 32);
                assert_int_equal(object.data[0] << 8 | object.data[1], object.size - 2);
                assert_int_equal(secret.size, secret_sizes[i]);
                assert_int_equal(secret.data[0] << 8 | secret.data[1], secret.size - 2);
                assert_int_equal(credential(keys + i, 32, &again, &other), 0);
                assert_memory_not_equal(object.data + 4, again.data + 4, 32); /* another seed each time */
                assert_memory_not_equal(object.data + 36, again.data + 36, 34);
        }
}

static void no_credential(const TPMT_PUBLIC *tpmt, size_t secret_size, int expected) {
        struct blob object = {}, secret = {};

        assert_int_equal(credential(tpmt, secret_size, &object, &secret), expected);
        assert_null(object.data);
        assert_null(secret.data);
}

static void keys_that_are_no_ek_get_no_credential(void **state) {
        const TPMT_PUBLIC good = rsa_template(rsa, 2048);
        TPMT_PUBLIC bad = good;

        no_credential(&good, 0, -EINVAL);
        no_credential(&good, 33, -EINVAL);
        bad.objectAttributes &= ~TPMA_OBJECT_RESTRICTED;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.objectAttributes &= ~TPMA_OBJECT_DECRYPT;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.objectAttributes |= TPMA_OBJECT_SIGN_ENCRYPT;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.parameters.rsaDetail.symmetric.algorithm = TPM2_ALG_NULL;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.parameters.rsaDetail.symmetric.keyBits.aes = 192;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.parameters.rsaDetail.symmetric.mode.aes = TPM2_ALG_CTR;
        no_credential(&bad, 32, -EBADMSG);
        bad = good;
        bad.nameAlg = TPM2_ALG_SHA1;
        no_credential(&bad, 32, -EBADMSG);
        bad = ec_template(p256, TPM2_ECC_NIST_P256, 32);
        bad.parameters.eccDetail.curveID = TPM2_ECC_BN_P256;
        no_credential(&bad, 32, -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_come_out),
                cmocka_unit_test(leading_zeros_may_be_missing),
                cmocka_unit_test(bad_keys_are_refused),
                cmocka_unit_test(cut_structures_are_refused),
                cmocka_unit_test(credentials_have_their_form),
                cmocka_unit_test(keys_that_are_no_ek_get_no_credential),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
