/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <stdio.h>

#include "pkcs11/internal.h"
#include "pkcs11/wrap.h"
#include "test.h"

static struct softhsm *softhsm;
static struct pkcs11 *pkcs11;
static bool apart; /* everything is done twice: here, and with the module in a process of its own */
static const char *module = SOFTHSM_MODULE;

/* NSS's software token has what SoftHSM lacks: CKM_AES_KEY_WRAP_KWP, CKM_AES_MAC, and it does the KDF of ECDH itself. */
#define NSS_MODULE "build/tests/modules/nss-token.so"
#define NSS "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"

static void nss_token(void) {
        char path[128];

        softhsm_shell(softhsm, "mkdir nss && printf " SOFTHSM_PIN " >pin && certutil -N -d sql:nss -f pin >log 2>&1");
        (void) snprintf(path, sizeof(path), "%s/nss", softhsm->dir);
        assert_int_equal(setenv("NSS_TOKEN", path, 1), 0);
}

static int setup(void **state) {
        softhsm = softhsm_new();
        if (strcmp(module, SOFTHSM_MODULE) == 0)
                softhsm_token(softhsm, "hsm");
        else
                nss_token();
        pkcs11 = token_open("pkcs11:token=hsm", module, apart);
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "master");
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "other");
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_MAC, "cmac");
        (void) softhsm_key(pkcs11, PKCS11_GENERIC, PKCS11_USE_MAC, "hmac");
        (void) softhsm_key(pkcs11, PKCS11_GENERIC, PKCS11_USE_MAC, "hmac2");
        (void) softhsm_key(pkcs11, PKCS11_RSA, PKCS11_USE_WRAP, "rsa");
        (void) softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_WRAP, "p256");
        (void) softhsm_key(pkcs11, PKCS11_EC_P384, PKCS11_USE_WRAP, "p384");
        (void) softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "sign");
        return 0;
}

static int teardown(void **state) {
        pkcs11 = pkcs11_close(pkcs11);
        softhsm = softhsm_free(softhsm);
        return 0;
}

#define BINDING FIELDS(field_text("node"), field_number(7))
#define OTHER_BINDING FIELDS(field_text("node"), field_number(8))

static struct wrap_how how_of(enum wrap_mechanism mechanism, enum wrap_mac mac, const char *key) {
        static const char *const mac_keys[] = { NULL, "pkcs11:object=hmac", "pkcs11:object=cmac", "pkcs11:object=cmac" };

        return (struct wrap_how){ .mechanism = mechanism,
                                  .mac = mac,
                                  .key = key,
                                  .mac_key = mac_keys[mac],
                                  .generation = 3,
                                  .always_sensitive = true };
}

static void assert_open(const struct wrap_how *how, const struct blob *blob, const struct secret *expected) {
        _cleanup_(secret_freep) struct secret *opened = NULL;

        if (wrap_open(pkcs11, how, BINDING, blob->data, blob->size, &opened) < 0)
                fail_msg("%s %s: %s", wrap_mechanism_to_string(how->mechanism), wrap_mac_to_string(how->mac),
                         pkcs11_error(pkcs11));
        assert_true(secret_equal(opened, expected));
}

static bool is_refusal(int r) {
        return r == -EKEYREJECTED || r == -EBADMSG || r == -ESTALE;
}

/* Every way of spoiling a blob, and what it is refused as. */
static void assert_bound(const struct wrap_how *how, const struct blob *blob) {
        _cleanup_(secret_freep) struct secret *opened = NULL;
        struct wrap_how older = *how;
        uint8_t copy[WRAP_BLOB_MAX];

        assert_int_equal(wrap_open(pkcs11, how, OTHER_BINDING, blob->data, blob->size, &opened), -EKEYREJECTED);
        assert_int_equal(wrap_open(pkcs11, how, FIELDS(field_text("node")), blob->data, blob->size, &opened), -EKEYREJECTED);
        older.generation--;
        assert_int_equal(wrap_open(pkcs11, &older, BINDING, blob->data, blob->size, &opened), -ESTALE);
        for (size_t size = 0; size < blob->size; size++)
                assert_int_equal(wrap_open(pkcs11, how, BINDING, blob->data, size, &opened), -EBADMSG);
        for (size_t i = 0; i < blob->size; i++) {
                int r;

                memcpy(copy, blob->data, blob->size);
                copy[i] ^= i % 2 ? 0x01 : 0x80;
                r = wrap_open(pkcs11, how, BINDING, copy, blob->size, &opened);
                if (!is_refusal(r))
                        fail_msg("byte %zu of %s: %d: %s", i, wrap_mechanism_to_string(how->mechanism), r, pkcs11_error(pkcs11));
        }
        memcpy(copy, blob->data, blob->size);
        assert_int_equal(wrap_open(pkcs11, how, BINDING, copy, blob->size + 1, &opened), -EBADMSG);
        assert_null(opened);
}

/* Skipped by name where the token lacks it. */
static bool token_has(const char *mechanism) {
        _cleanup_(freep) char *names = NULL;
        size_t length = strlen(mechanism);

        assert_int_equal(pkcs11_mechanisms(pkcs11, &names), 0);
        for (const char *p = strstr(names, mechanism); p; p = strstr(p + 1, mechanism))
                if (p[length] == ' ' || p[length] == '\0')
                        return true;
        print_message("skipped: the token lacks %s\n", mechanism);
        return false;
}

static void round_trip(const struct wrap_how *how) {
        _cleanup_(secret_freep) struct secret *made = NULL, *given = NULL, *copy = NULL;
        _cleanup_(blob_done) struct blob first = {}, second = {};
        struct wrap_info info;

        if (wrap_check(pkcs11, how) < 0)
                fail_msg("%s %s: %s", wrap_mechanism_to_string(how->mechanism), wrap_mac_to_string(how->mac),
                         pkcs11_error(pkcs11));
        assert_int_equal(wrap_make(pkcs11, how, BINDING, NULL, &first, &made), 0);
        assert_int_equal(made->size, 32);
        assert_open(how, &first, made);
        assert_int_equal(wrap_describe(first.data, first.size, &info), 0);
        assert_true(info.mechanism == how->mechanism && info.mac == how->mac && info.generation == 3);
        assert_true(first.size <= WRAP_BLOB_MAX);

        assert_int_equal(secret_random(48, &given), 0);
        assert_int_equal(wrap_make(pkcs11, how, BINDING, given, &second, &copy), 0);
        assert_true(secret_equal(given, copy));
        assert_open(how, &second, given);
        assert_bound(how, &first);
}

static void aes_with_all_macs(enum wrap_mechanism mechanism) {
        static const char *const macs[] = { NULL, "CKM_SHA256_HMAC", "CKM_AES_CMAC", "CKM_AES_MAC" };

        for (enum wrap_mac mac = WRAP_MAC_NONE; mac <= WRAP_MAC_AES_MAC_64; mac++) {
                struct wrap_how how = how_of(mechanism, mac, "pkcs11:object=master");

                if (mechanism == WRAP_CBC_PAD && mac == WRAP_MAC_NONE)
                        continue;
                if (!macs[mac] || token_has(macs[mac]))
                        round_trip(&how);
        }
}

static void test_kwp(void **state) {
        if (!token_has("CKM_AES_KEY_WRAP_KWP"))
                skip();
        aes_with_all_macs(WRAP_KWP);
}

static void test_key_wrap_pad(void **state) {
        if (!token_has("CKM_AES_KEY_WRAP_PAD"))
                skip();
        aes_with_all_macs(WRAP_KEY_WRAP_PAD);
}

static void test_gcm(void **state) {
        if (!token_has("CKM_AES_GCM"))
                skip();
        aes_with_all_macs(WRAP_GCM);
}

static void test_cbc_pad(void **state) {
        if (!token_has("CKM_AES_CBC_PAD"))
                skip();
        aes_with_all_macs(WRAP_CBC_PAD);
}

static void test_aes_mac(void **state) {
        struct wrap_how how = how_of(WRAP_CBC_PAD, WRAP_MAC_AES_MAC_64, "pkcs11:object=master");

        if (!token_has("CKM_AES_MAC"))
                skip();
        round_trip(&how);
}

static void test_rsa_oaep(void **state) {
        struct wrap_how how = how_of(WRAP_RSA_OAEP, WRAP_MAC_NONE, "pkcs11:object=rsa");

        if (!token_has("CKM_RSA_PKCS_OAEP"))
                skip();
        round_trip(&how);
}

static void test_ecdh(void **state) {
        struct wrap_how p256 = how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=p256");
        struct wrap_how p384 = how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=p384");

        if (!token_has("CKM_ECDH1_DERIVE"))
                skip();
        round_trip(&p256);
        round_trip(&p384);
}

static void test_iv(void **state) {
        struct wrap_how how = how_of(WRAP_CBC_PAD, WRAP_MAC_SHA256_HMAC, "pkcs11:object=master");
        _cleanup_(blob_done) struct blob blob = {};

        how.iv_by_token = true;
        round_trip(&how);
        how = how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=master");
        how.iv_by_token = true;
        assert_int_equal(wrap_make(pkcs11, &how, BINDING, NULL, &blob, NULL), -EOPNOTSUPP);
        assert_non_null(strstr(pkcs11_error(pkcs11), "makes no IV for CKM_AES_GCM"));
        assert_int_equal(wrap_check(pkcs11, &how), -EOPNOTSUPP);
}

/* Nobody who can write blobs chooses by what they are held. */
static void test_no_downgrade(void **state) {
        struct wrap_how mac = how_of(WRAP_KEY_WRAP_PAD, WRAP_MAC_SHA256_HMAC, "pkcs11:object=master"), other_mac = mac;
        struct wrap_how none = how_of(WRAP_KEY_WRAP_PAD, WRAP_MAC_NONE, "pkcs11:object=master");
        struct wrap_how gcm = how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=master"), other = gcm;
        struct wrap_how cmac = how_of(WRAP_KEY_WRAP_PAD, WRAP_MAC_AES_CMAC, "pkcs11:object=master");
        struct wrap_how ecdh = how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=p256");
        _cleanup_(blob_done) struct blob with_mac = {}, without = {}, by_gcm = {};
        _cleanup_(secret_freep) struct secret *key = NULL, *opened = NULL;

        assert_int_equal(wrap_make(pkcs11, &mac, BINDING, NULL, &with_mac, &key), 0);
        assert_int_equal(wrap_make(pkcs11, &none, BINDING, key, &without, NULL), 0);
        assert_int_equal(wrap_make(pkcs11, &gcm, BINDING, key, &by_gcm, NULL), 0);
        assert_int_equal(wrap_open(pkcs11, &mac, BINDING, without.data, without.size, &opened), -EKEYREJECTED);
        assert_int_equal(wrap_open(pkcs11, &none, BINDING, with_mac.data, with_mac.size, &opened), -EKEYREJECTED);
        assert_int_equal(wrap_open(pkcs11, &cmac, BINDING, with_mac.data, with_mac.size, &opened), -EKEYREJECTED);
        assert_int_equal(wrap_open(pkcs11, &ecdh, BINDING, by_gcm.data, by_gcm.size, &opened), -EKEYREJECTED);
        assert_open(&mac, &by_gcm, key);
        assert_open(&none, &by_gcm, key);

        other.key = "pkcs11:object=other";
        assert_int_equal(wrap_open(pkcs11, &other, BINDING, by_gcm.data, by_gcm.size, &opened), -EKEYREJECTED);
        other = none;
        other.key = "pkcs11:object=other";
        assert_int_equal(wrap_open(pkcs11, &other, BINDING, without.data, without.size, &opened), -EKEYREJECTED);
        other_mac.mac_key = "pkcs11:object=hmac2";
        assert_int_equal(wrap_open(pkcs11, &other_mac, BINDING, with_mac.data, with_mac.size, &opened), -EKEYREJECTED);
        assert_non_null(strstr(pkcs11_error(pkcs11), "its MAC is wrong"));
        assert_null(opened);
}

/* What is missing is named at the start. */
static void test_check(void **state) {
        struct {
                struct wrap_how how;
                int expected;
                const char *words;
        } cases[] = {
                { how_of(WRAP_KWP, WRAP_MAC_NONE, "pkcs11:object=master"), -EOPNOTSUPP, "lacks CKM_AES_KEY_WRAP_KWP" },
                { how_of(WRAP_CBC_PAD, WRAP_MAC_AES_MAC_64, "pkcs11:object=master"), -EOPNOTSUPP, "lacks CKM_AES_MAC" },
                { how_of(WRAP_CBC_PAD, WRAP_MAC_NONE, "pkcs11:object=master"), -EINVAL, "needs a MAC key" },
                { how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=none"), -ENOKEY, "no secret key" },
                { how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=hmac"), -EINVAL, "not an AES key" },
                { how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=cmac"), -EOPNOTSUPP, "wrap and unwrap by CKM_AES_GCM" },
                { how_of(WRAP_RSA_OAEP, WRAP_MAC_NONE, "pkcs11:object=p256"), -EINVAL, "not an RSA key" },
                { how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=rsa"), -EINVAL, "not an EC key" },
                { how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=sign"), -EOPNOTSUPP, "derive" },
                { how_of(WRAP_ECDH, WRAP_MAC_SHA256_HMAC, "pkcs11:object=p256"), -EINVAL, "takes no MAC key" },
                { how_of(WRAP_GCM, WRAP_MAC_NONE, "object=master"), -EINVAL, "not a PKCS#11 URI" },
        };
        struct wrap_how how = how_of(WRAP_CBC_PAD, WRAP_MAC_SHA256_HMAC, "pkcs11:object=master");
        _cleanup_(secret_freep) struct secret *small = NULL, *big = NULL;
        _cleanup_(blob_done) struct blob blob = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int r = wrap_check(pkcs11, &cases[i].how);

                if (r != cases[i].expected || !strstr(pkcs11_error(pkcs11), cases[i].words))
                        fail_msg("%zu: %d: %s", i, r, pkcs11_error(pkcs11));
        }
        how.mac_key = "pkcs11:object=cmac";
        assert_int_equal(wrap_check(pkcs11, &how), -EINVAL);
        assert_non_null(strstr(pkcs11_error(pkcs11), "not a generic secret key"));
        how.mac_key = NULL;
        assert_int_equal(wrap_check(pkcs11, &how), -EINVAL);

        how = how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=master");
        assert_int_equal(secret_random(WRAP_KEY_MIN - 1, &small), 0);
        assert_int_equal(secret_random(WRAP_KEY_MAX + 1, &big), 0);
        assert_int_equal(wrap_make(pkcs11, &how, BINDING, small, &blob, NULL), -EINVAL);
        assert_int_equal(wrap_make(pkcs11, &how, BINDING, big, &blob, NULL), -EINVAL);
}

static void test_sizes(void **state) {
        static const size_t sizes[] = { WRAP_KEY_MIN, 24, 31, 33, 64, WRAP_KEY_MAX };
        struct wrap_how hows[] = {
                how_of(WRAP_KEY_WRAP_PAD, WRAP_MAC_NONE, "pkcs11:object=master"),
                how_of(WRAP_GCM, WRAP_MAC_NONE, "pkcs11:object=master"),
                how_of(WRAP_CBC_PAD, WRAP_MAC_AES_CMAC, "pkcs11:object=master"),
                how_of(WRAP_RSA_OAEP, WRAP_MAC_NONE, "pkcs11:object=rsa"),
                how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=p256"),
        };

        for (size_t i = 0; i < ELEMENTSOF(hows); i++)
                for (size_t j = 0; j < ELEMENTSOF(sizes); j++) {
                        _cleanup_(secret_freep) struct secret *key = NULL;
                        _cleanup_(blob_done) struct blob blob = {};

                        assert_int_equal(secret_random(sizes[j], &key), 0);
                        if (hows[i].mechanism == WRAP_KEY_WRAP_PAD && sizes[j] % 8 != 0) {
                                assert_int_equal(wrap_make(pkcs11, hows + i, BINDING, key, &blob, NULL), -EINVAL);
                                continue;
                        }
                        if (wrap_make(pkcs11, hows + i, BINDING, key, &blob, NULL) < 0)
                                fail_msg("%zu bytes by %s: %s", sizes[j], wrap_mechanism_to_string(hows[i].mechanism),
                                         pkcs11_error(pkcs11));
                        assert_open(hows + i, &blob, key);
                }
}

/* Wrapping to a public key needs no PIN. */
static void test_without_login(void **state) {
        struct wrap_how ecdh = how_of(WRAP_ECDH, WRAP_MAC_NONE, "pkcs11:object=p256");
        struct wrap_how rsa = how_of(WRAP_RSA_OAEP, WRAP_MAC_NONE, "pkcs11:object=rsa");
        _cleanup_(blob_done) struct blob blob = {}, second = {};
        _cleanup_(secret_freep) struct secret *key = NULL, *pin = secret_of(SOFTHSM_PIN), *opened = NULL;
        char error[512];

        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(pkcs11_open(&(struct pkcs11_where){ "pkcs11:token=hsm", module, apart }, &pkcs11, error, sizeof(error)),
                         0);
        assert_int_equal(wrap_make(pkcs11, &ecdh, BINDING, NULL, &blob, &key), 0);
        assert_int_equal(wrap_make(pkcs11, &rsa, BINDING, NULL, &second, NULL), 0);
        assert_int_equal(wrap_open(pkcs11, &ecdh, BINDING, blob.data, blob.size, &opened), -ENOKEY);
        assert_int_equal(pkcs11_login(pkcs11, pin), 0);
        assert_open(&ecdh, &blob, key);
}

static void test_names(void **state) {
        enum wrap_mechanism mechanism;
        enum wrap_mac mac;

        for (enum wrap_mechanism m = WRAP_KWP; m <= WRAP_ECDH; m++) {
                assert_int_equal(wrap_mechanism_from_string(wrap_mechanism_to_string(m), &mechanism), 0);
                assert_int_equal(mechanism, m);
        }
        for (enum wrap_mac m = WRAP_MAC_NONE; m <= WRAP_MAC_AES_MAC_64; m++) {
                assert_int_equal(wrap_mac_from_string(wrap_mac_to_string(m), &mac), 0);
                assert_int_equal(mac, m);
        }
        assert_int_equal(wrap_mechanism_from_string("aes-mac", &mechanism), -EINVAL);
        assert_int_equal(wrap_mac_from_string("aes-mac", &mac), -EINVAL);
}

/* Some HSMs make MACs by keys of the mechanism's own type only: such a key, made by the HSM's tools, is as good. */
static void test_mac_key_of_its_own_type(void **state) {
        struct wrap_how how = how_of(WRAP_CBC_PAD, WRAP_MAC_SHA256_HMAC, "pkcs11:object=master");
        CK_OBJECT_CLASS class = CKO_SECRET_KEY;
        CK_KEY_TYPE type = CKK_SHA256_HMAC;
        CK_BBOOL yes = CK_TRUE;
        uint8_t value[32] = { 1, 2, 3 };
        CK_ATTRIBUTE attributes[] = {
                { CKA_CLASS, &class, sizeof(class) }, { CKA_KEY_TYPE, &type, sizeof(type) }, { CKA_TOKEN, &yes, sizeof(yes) },
                { CKA_PRIVATE, &yes, sizeof(yes) },   { CKA_SIGN, &yes, sizeof(yes) },       { CKA_LABEL, "own type", 8 },
                { CKA_VALUE, value, sizeof(value) },
        };
        CK_SESSION_HANDLE session;
        CK_OBJECT_HANDLE object;

        if (pkcs11->apart)
                skip(); /* the module is not in this process */
        assert_int_equal(pkcs11->f->C_OpenSession(pkcs11->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
                         CKR_OK);
        assert_int_equal(pkcs11->f->C_CreateObject(session, attributes, ELEMENTSOF(attributes), &object), CKR_OK);
        assert_int_equal(pkcs11->f->C_CloseSession(session), CKR_OK);
        how.mac_key = "pkcs11:object=own%20type";
        round_trip(&how);
}

/* Of a token that has them all, nothing may be skipped. */
static void test_nothing_is_missing(void **state) {
        static const char *const all[] = { "CKM_AES_KEY_WRAP_KWP", "CKM_AES_GCM", "CKM_AES_CBC_PAD",   "CKM_SHA256_HMAC",
                                           "CKM_AES_CMAC",         "CKM_AES_MAC", "CKM_RSA_PKCS_OAEP", "CKM_ECDH1_DERIVE" };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                assert_true(token_has(all[i]));
}

static int main_nss(void) {
        static char path[4096];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing_is_missing),
                cmocka_unit_test(test_kwp),
                cmocka_unit_test(test_gcm),
                cmocka_unit_test(test_cbc_pad),
                cmocka_unit_test(test_aes_mac),
                cmocka_unit_test(test_rsa_oaep),
                cmocka_unit_test(test_ecdh),
                cmocka_unit_test(test_without_login),
        };

        if (access(NSS, F_OK) < 0 || access("/usr/bin/certutil", X_OK) < 0) {
                print_message("skipped: NSS's software token is not installed (libnss3, libnss3-tools)\n");
                return 0;
        }
        module = realpath(NSS_MODULE, path);
        return module ? cmocka_run_group_tests_name("pkcs11-wrap, NSS", tests, setup, teardown) : 1;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kwp),           cmocka_unit_test(test_key_wrap_pad),
                cmocka_unit_test(test_gcm),           cmocka_unit_test(test_cbc_pad),
                cmocka_unit_test(test_aes_mac),       cmocka_unit_test(test_rsa_oaep),
                cmocka_unit_test(test_ecdh),          cmocka_unit_test(test_iv),
                cmocka_unit_test(test_no_downgrade),  cmocka_unit_test(test_check),
                cmocka_unit_test(test_sizes),         cmocka_unit_test(test_names),
                cmocka_unit_test(test_without_login), cmocka_unit_test(test_mac_key_of_its_own_type),
        };

        int failed = cmocka_run_group_tests_name("pkcs11-wrap", tests, setup, teardown);

        apart = true;
        failed += cmocka_run_group_tests_name("pkcs11-wrap, module apart", tests, setup, teardown);
        return failed + main_nss();
}
