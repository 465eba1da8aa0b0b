/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/x509.h>

#include "registrar/registrar.h"
#include "scratch.h"

static char directory[64];
static struct store *store;
static struct keystore *keystore;
static const char id[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const uint64_t now = 1800000000000;

static int setup(void **state) {
        const struct store_migration migrations[] = {
                audit_migration, keystore_migration, registrar_migration, { 4, keystore_migration_generations }
        };
        char path[128], master[128], error[256];

        (void) state;
        if (scratch_make(directory) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        (void) snprintf(master, sizeof(master), "%s/master", directory);
        if (keystore_create_master(master) < 0)
                return -1;
        if (store_open(path, "registrar", migrations, ELEMENTSOF(migrations), &store, error, sizeof(error)) < 0)
                return -1;
        return keystore_open(
                &(struct keystore_options){
                        .master = { .kind = KEYSTORE_FILE, .text = (char *) master, .path = (char *) master } },
                store, "registrar", &keystore, error, sizeof(error));
}

static int teardown(void **state) {
        (void) state;
        keystore = keystore_close(keystore);
        store = store_close(store);
        return scratch_remove(directory);
}

static struct wire_registration registration_new(void) {
        struct wire_registration registration = { .n_ek_chain = 1 };

        assert_int_equal(blob_copy("ek", 2, &registration.ek_public), 0);
        assert_int_equal(blob_copy("certificate", 11, &registration.ek_certificate), 0);
        assert_int_equal(blob_copy("chain", 5, &registration.ek_chain[0]), 0);
        assert_int_equal(blob_copy("ak", 2, &registration.ak_public), 0);
        return registration;
}

/* Challenge and right proof, as a TPM would come to it. */
static void solve(struct wire_registration *registration) {
        uint8_t challenge[REGISTER_CHALLENGE_SIZE], secret[32], proof[32];

        assert_int_equal(challenge_make(keystore, registration, now, challenge, secret), 0);
        assert_int_equal(fields_hmac(secret, sizeof(secret),
                                     FIELDS(field_text("tallyboot activate v1"), field_text(id),
                                            field_bytes(challenge, sizeof(challenge))),
                                     proof),
                         0);
        assert_int_equal(blob_copy(challenge, sizeof(challenge), &registration->challenge), 0);
        assert_int_equal(blob_copy(proof, sizeof(proof), &registration->proof), 0);
}

static void test_challenge(void **state) {
        _cleanup_(wire_registration_done) struct wire_registration registration = registration_new();

        (void) state;
        solve(&registration);
        assert_int_equal(challenge_check(keystore, &registration, id, now), 0);
        assert_int_equal(challenge_check(keystore, &registration, "another", now), -EKEYREJECTED);
        registration.proof.data[31] ^= 1;
        assert_int_equal(challenge_check(keystore, &registration, id, now), -EKEYREJECTED);
        registration.proof.size--;
        assert_int_equal(challenge_check(keystore, &registration, id, now), -EBADMSG);
}

static void test_expired(void **state) {
        _cleanup_(wire_registration_done) struct wire_registration registration = registration_new();

        (void) state;
        solve(&registration);
        assert_int_equal(challenge_check(keystore, &registration, id, now + REGISTER_TTL_MS), 0);
        assert_int_equal(challenge_check(keystore, &registration, id, now + REGISTER_TTL_MS + 1), -ESTALE);
        assert_int_equal(challenge_check(keystore, &registration, id, now - 60000), -ESTALE);
}

/* Each field of the registration, and a byte that goes from one to the next. */
static void test_bound(void **state) {
        (void) state;
        for (int i = 0; i < 6; i++) {
                _cleanup_(wire_registration_done) struct wire_registration registration = registration_new();

                solve(&registration);
                if (i == 0)
                        registration.ek_public.data[0] ^= 1;
                else if (i == 1)
                        registration.ek_certificate.data[0] ^= 1;
                else if (i == 2)
                        registration.ek_chain[0].data[0] ^= 1;
                else if (i == 3)
                        registration.ak_public.data[0] ^= 1;
                else if (i == 4)
                        registration.n_ek_chain = 0;
                else {
                        registration.ek_public.size = 1;
                        memcpy(registration.ek_certificate.data, "kcertificat", 11);
                }
                assert_int_equal(challenge_check(keystore, &registration, id, now), -EKEYREJECTED);
                blob_done(&registration.ek_chain[0]);
                registration.n_ek_chain = 0;
        }
}

static void test_random(void **state) {
        _cleanup_(wire_registration_done) struct wire_registration registration = registration_new();
        uint8_t challenges[2][REGISTER_CHALLENGE_SIZE], secrets[2][32];

        (void) state;
        for (int i = 0; i < 2; i++)
                assert_int_equal(challenge_make(keystore, &registration, now, challenges[i], secrets[i]), 0);
        assert_memory_not_equal(challenges[0] + 12, challenges[1] + 12, 16);
        assert_memory_not_equal(secrets[0], secrets[1], 32);
}

/* r || s of a P-256 key, of whatever challenge is there. */
static void sign_token(EVP_PKEY *key, struct wire_registration *registration) {
        _cleanup_(blob_done) struct blob message = {};
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        uint8_t der[80], raw[64];
        const uint8_t *at = der;
        size_t size = sizeof(der);
        ECDSA_SIG *pair;

        assert_int_equal(wire_token_register_message(id, &registration->challenge, &message), 0);
        assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
        assert_int_equal(EVP_DigestSign(ctx, der, &size, message.data, message.size), 1);
        pair = d2i_ECDSA_SIG(NULL, &at, (long) size);
        assert_true(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32) == 32 &&
                    BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32) == 32);
        ECDSA_SIG_free(pair);
        EVP_MD_CTX_free(ctx);
        blob_done(&registration->proof);
        assert_int_equal(blob_copy(raw, sizeof(raw), &registration->proof), 0);
}

static void name_token(EVP_PKEY *key, struct wire_registration *registration) {
        uint8_t *public = NULL;
        int n = i2d_PUBKEY(key, &public);

        assert_true(n > 0);
        blob_done(&registration->token_public);
        assert_int_equal(blob_copy(public, (size_t) n, &registration->token_public), 0);
        OPENSSL_free(public);
}

/* Challenge and right proof, as a token would come to it. */
static void solve_token(EVP_PKEY *key, struct wire_registration *registration) {
        uint8_t challenge[REGISTER_TOKEN_CHALLENGE_SIZE];

        name_token(key, registration);
        assert_int_equal(challenge_make_token(keystore, registration, now, challenge), 0);
        assert_int_equal(blob_copy(challenge, sizeof(challenge), &registration->challenge), 0);
        sign_token(key, registration);
}

static void test_token(void **state) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        EVP_PKEY *key = EVP_EC_gen("P-256");

        (void) state;
        solve_token(key, &registration);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now + REGISTER_TTL_MS), 0);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now + REGISTER_TTL_MS + 1), -ESTALE);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now - 60000), -ESTALE);
        assert_int_equal(challenge_check_token(keystore, &registration, "another", now), -EKEYREJECTED);
        registration.proof.data[63] ^= 1;
        assert_int_equal(challenge_check_token(keystore, &registration, id, now), -EKEYREJECTED);

        registration.challenge.size = REGISTER_CHALLENGE_SIZE;
        sign_token(key, &registration);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now), -EBADMSG);
        EVP_PKEY_free(key);
}

/* Signed by the right key, but not ours: each byte changed, or made for another key. */
static void test_token_challenge_is_ours(void **state) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        EVP_PKEY *key = EVP_EC_gen("P-256"), *another = EVP_EC_gen("P-256");

        (void) state;
        solve_token(key, &registration);
        for (size_t i = 0; i < REGISTER_TOKEN_CHALLENGE_SIZE; i++) {
                registration.challenge.data[i] ^= 1;
                sign_token(key, &registration);
                assert_true(challenge_check_token(keystore, &registration, id, now) < 0);
                registration.challenge.data[i] ^= 1;
        }
        sign_token(key, &registration);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now), 0);

        name_token(another, &registration);
        sign_token(another, &registration);
        assert_int_equal(challenge_check_token(keystore, &registration, id, now), -EKEYREJECTED);
        EVP_PKEY_free(key);
        EVP_PKEY_free(another);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_challenge), cmocka_unit_test(test_expired), cmocka_unit_test(test_bound),
                cmocka_unit_test(test_random),    cmocka_unit_test(test_token),   cmocka_unit_test(test_token_challenge_is_ours),
        };

        return cmocka_run_group_tests_name("registrar", tests, setup, teardown);
}
