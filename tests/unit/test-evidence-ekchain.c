/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <dirent.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/file.h"
#include "ek-maker.h"

/* Chains of EK certificates that somebody made to keep us busy (invariant 3), and what is said about files that lead nowhere. */

enum { DEEP = 64 };

/* n CAs, each by the one before; the first by itself. */
static void ladder(X509 *certificates[], EVP_PKEY *certificate_keys[], size_t n) {
        for (size_t i = 0; i < n; i++) {
                char name[32];
                const struct certificate_spec spec = { .subject = name, .ca = true, .key_usage = "critical,keyCertSign" };

                (void) snprintf(name, sizeof(name), "CA %zu", i);
                certificate_keys[i] = EVP_EC_gen("P-256");
                certificates[i] = certificate_new(&spec, certificate_keys[i], i > 0 ? certificates[i - 1] : NULL,
                                                  certificate_keys[i > 0 ? i - 1 : 0]);
        }
}

static void ladder_free(X509 *certificates[], EVP_PKEY *certificate_keys[], size_t n) {
        for (size_t i = 0; i < n; i++) {
                X509_free(certificates[i]);
                EVP_PKEY_free(certificate_keys[i]);
        }
}

/* In reverse order, each twice: at rungs CAs (root included) below the leaf. */
static void expect_ladder(size_t rungs, const char *words) {
        X509 *certificates[DEEP];
        EVP_PKEY *certificate_keys[DEEP];
        struct ek_trust *trust = ek_trust_new(&(struct ek_trust_options){ .certificate_required = true });
        struct wire_registration registration = maker.registration;
        uint64_t started;
        X509 *leaf;

        ladder(certificates, certificate_keys, rungs);
        for (size_t i = 2 * rungs; i-- > 0;)
                add_certificate(trust, certificates[i / 2]);
        leaf = leaf_of(maker.ek, certificates[rungs - 1], certificate_keys[rungs - 1], NULL);
        registration.ek_certificate = (struct blob){};
        certificate_to_blob(leaf, &registration.ek_certificate);

        started = clock_monotonic_ms();
        expect_ek(trust, &registration, words);
        assert_true(clock_monotonic_ms() - started < 60000);

        blob_done(&registration.ek_certificate);
        X509_free(leaf);
        ladder_free(certificates, certificate_keys, rungs);
        ek_trust_free(trust);
}

static void chain_in_any_order_twice(void **state) {
        expect_ladder(2, NULL);
        expect_ladder(5, NULL);
        expect_ladder(9, NULL);
}

static void invariant_3_ek_chain_64_deep(void **state) {
        expect_ladder(11, "");
        expect_ladder(DEEP, "");
}

/* A by B and B by A, in the directory and in the TPM. */
static void invariant_3_ek_chain_cyclic(void **state) {
        const struct certificate_spec a_spec = { .subject = "A", .ca = true }, b_spec = { .subject = "B", .ca = true };
        X509 *a0 = certificate_new(&a_spec, maker.issuer_key, NULL, maker.issuer_key),
             *b = certificate_new(&b_spec, maker.other, a0, maker.issuer_key),
             *a = certificate_new(&a_spec, maker.issuer_key, b, maker.other),
             *leaf = leaf_of(maker.ek, a, maker.issuer_key, NULL);
        struct wire_registration registration = { .ek_public = maker.registration.ek_public };
        struct ek_trust *trust = trust_new(true, false);

        certificate_to_blob(leaf, &registration.ek_certificate);
        certificate_to_blob(a, registration.ek_chain + registration.n_ek_chain++);
        certificate_to_blob(b, registration.ek_chain + registration.n_ek_chain++);
        expect_ek(trust, &registration, "not known");
        add_certificate(trust, a);
        add_certificate(trust, b);
        expect_ek(trust, &registration, "not known");

        registration.ek_public = (struct blob){};
        wire_registration_done(&registration);
        ek_trust_free(trust);
        X509_free(a0);
        X509_free(a);
        X509_free(b);
        X509_free(leaf);
}

static void expect_leaf(X509 *leaf, EVP_PKEY *ek, const char *words) {
        struct wire_registration registration = {};
        struct ek_trust *trust = trust_new(true, false);

        add_certificate(trust, maker.issuer);
        certificate_to_blob(leaf, &registration.ek_certificate);
        ek_public_of(ek, &registration.ek_public);
        expect_ek(trust, &registration, words);
        wire_registration_done(&registration);
        ek_trust_free(trust);
        X509_free(leaf);
}

static void invariant_3_ek_certificate_by_itself(void **state) {
        expect_leaf(leaf_of(maker.issuer_key, NULL, maker.issuer_key, NULL), maker.issuer_key, "is not among the EK roots");
}

static void invariant_3_ek_of_another_curve(void **state) {
        EVP_PKEY *ek = EVP_EC_gen("P-224");

        expect_leaf(leaf_of(ek, maker.issuer, maker.issuer_key, NULL), ek, "not supported");
        EVP_PKEY_free(ek);
}

static void invariant_3_ek_weak(void **state) {
        struct certificate_spec spec = { .subject = "Weak", .ca = true, .key_usage = "critical,keyCertSign" };
        struct wire_registration registration = { .ek_public = maker.registration.ek_public };
        EVP_PKEY *key = EVP_RSA_gen(1024), *long_key = EVP_RSA_gen(2048);

        for (unsigned i = 0; i < 4; i++) { /* key; digest of the leaf; SHA-1; all right */
                X509 *issuer = certificate_new(&spec, i == 0 ? key : long_key, maker.root, maker.root_key), *leaf;
                const struct certificate_spec leaf_spec = { .subject = "unknown",
                                                            .digest = i == 1   ? EVP_md5()
                                                                      : i == 2 ? EVP_sha1()
                                                                               : NULL };
                struct ek_trust *trust = trust_new(true, false);

                leaf = certificate_new(&leaf_spec, maker.ek, issuer, i == 0 ? key : long_key);
                certificate_to_blob(leaf, &registration.ek_certificate);
                add_certificate(trust, issuer);
                expect_ek(trust, &registration, i < 2 ? "weak key or signature" : NULL);
                ek_trust_free(trust);
                X509_free(issuer);
                X509_free(leaf);
        }
        blob_done(&registration.ek_certificate);
        EVP_PKEY_free(key);
        EVP_PKEY_free(long_key);
}

static void invariant_3_ek_issuer_with_unknown_critical(void **state) {
        struct certificate_spec spec = maker_issuer_spec;
        struct wire_registration registration = { .ek_public = maker.registration.ek_public };
        struct ek_trust *trust = trust_new(true, false);
        X509 *issuer, *leaf;

        spec.unknown = "critical,what is this";
        issuer = certificate_new(&spec, maker.issuer_key, maker.root, maker.root_key);
        leaf = leaf_of(maker.ek, issuer, maker.issuer_key, NULL);
        certificate_to_blob(leaf, &registration.ek_certificate);
        certificate_to_blob(issuer, registration.ek_chain + registration.n_ek_chain++);
        expect_ek(trust, &registration, "unhandled critical extension");
        registration.ek_public = (struct blob){};
        wire_registration_done(&registration);
        ek_trust_free(trust);
        X509_free(issuer);
        X509_free(leaf);
}

/* A maker renewed its keys under the same names, and says nowhere which key it means. */
static void issuers_of_one_name_and_other_keys(void **state) {
        const struct certificate_spec root_spec = { .subject = "Maker Root", .ca = true };
        struct ek_trust *trust = ek_trust_new(&(struct ek_trust_options){ .certificate_required = true });
        X509 *root = certificate_new(&root_spec, maker.other, NULL, maker.other),
             *issuer = certificate_new(&maker_issuer_spec, maker.other, root, maker.other);

        add_certificate(trust, root);
        add_certificate(trust, issuer);
        expect_ek(trust, &maker.registration, "'CN=Maker Root'");
        add_certificate(trust, maker.root);
        add_certificate(trust, maker.issuer);
        expect_ek(trust, &maker.registration, NULL);
        ek_trust_free(trust);
        X509_free(root);
        X509_free(issuer);
}

/* Thousands of certificates of one name are searched in bounded time. */
static void many_issuers_of_one_name(void **state) {
        struct ek_trust *trust = trust_new(true, false);
        uint64_t started;

        for (unsigned i = 0; i < 1000; i++) {
                X509 *issuer = certificate_new(&maker_issuer_spec, maker.issuer_key, maker.root, maker.root_key);

                add_certificate(trust, issuer);
                X509_free(issuer);
        }
        started = clock_monotonic_ms();
        expect_ek(trust, &maker.registration, NULL);
        assert_true(clock_monotonic_ms() - started < 60000);
        ek_trust_free(trust);
}

/* What is said about the files together. */

static void collect(const char *line, void *userdata) {
        char *text = userdata;
        size_t used = strlen(text);

        (void) snprintf(text + used, 65536 - used, "%s\n", line);
}

static void review_says(void **state) {
        _cleanup_(freep) char *text = calloc(1, 65536);
        const struct certificate_spec old = { .subject = "Old Root", .ca = true, .until = NOW - 1 },
                                      lonely = { .subject = "Lonely", .ca = true }, none = { .subject = "No CA", .not_ca = true };
        struct ek_trust *trust = trust_new(true, true);
        X509 *certificates[] = { certificate_new(&old, maker.other, NULL, maker.other),
                                 certificate_new(&lonely, maker.issuer_key, maker.leaf, maker.other),
                                 certificate_new(&none, maker.issuer_key, maker.root, maker.root_key) };

        ek_trust_review(trust, NOW, collect, text);
        assert_string_equal(text, "");
        for (size_t i = 0; i < ELEMENTSOF(certificates); i++)
                add_certificate(trust, certificates[i]);
        add_crl(trust, maker.root, maker.root_key, NULL, NOW - 1);
        add_crl(trust, maker.leaf, maker.other, NULL, NOW + DAY);
        ek_trust_review(trust, NOW, collect, text);
        assert_non_null(strstr(text, "'CN=Old Root' has expired"));
        assert_non_null(strstr(
                text,
                "'CN=Lonely' leads nowhere: its issuer 'CN=unknown' is missing, or is here with another key or serial number"));
        assert_non_null(strstr(text, "'CN=No CA' is not the certificate of a CA"));
        assert_non_null(
                strstr(text, "the CRL of 'CN=Maker Root' is out of date, fetch a new one: EK certificates below it are refused"));
        assert_non_null(strstr(text, "the CRL of 'CN=unknown' is of no issuer"));
        for (size_t i = 0; i < ELEMENTSOF(certificates); i++)
                X509_free(certificates[i]);
        ek_trust_free(trust);
}

/* Real ones: two with text before them, issuers in multi-valued names, a CA with an extended key usage, signatures with SHA-1,
 * several of them twice; intermediates whose root is not there, and nine that name their issuer by the serial number of another
 * certificate of it. */
static void makers_certificates_are_reviewed(void **state) {
        static const char directory[] = "../shared/data/tpm-roots";
        static const char *const nowhere[] = { "Aliyun TPM EKMF CA", "IFX TPM EK Root CA", "Nationz TPM Manufacturing CA 001",
                                               "STM TPM ECC Root CA 01" };
        struct ek_trust *trust;
        _cleanup_(freep) char *text = calloc(1, 65536);
        DIR *dir = opendir(directory);
        size_t lines = 0;

        if (!dir)
                skip();
        trust = ek_trust_new(&(struct ek_trust_options){ .certificate_required = true });
        for (struct dirent *entry; (entry = readdir(dir));) {
                _cleanup_(freep) char *path = path_join(directory, entry->d_name);
                _cleanup_(blob_done) struct blob file = {};
                char why[128];

                if (entry->d_name[0] == '.')
                        continue;
                assert_int_equal(file_read(path, 65536, &file), 0);
                assert_int_equal(ek_trust_add_roots(trust, &file, why, sizeof(why)), 1);
                assert_string_equal(why, "");
        }
        closedir(dir);

        ek_trust_review(trust, NOW, collect, text);
        for (const char *c = text; (c = strchr(c, '\n')); c++)
                lines++;
        for (size_t i = 0; i < ELEMENTSOF(nowhere); i++) {
                char words[96];

                (void) snprintf(words, sizeof(words), "%s,", nowhere[i]);
                assert_non_null(strstr(text, words));
        }
        assert_int_equal(lines, ELEMENTSOF(nowhere) + 9);
        assert_int_equal(ek_trust_anchors(trust), 11);
        ek_trust_free(trust);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(chain_in_any_order_twice),
                cmocka_unit_test(invariant_3_ek_chain_64_deep),
                cmocka_unit_test(invariant_3_ek_chain_cyclic),
                cmocka_unit_test(invariant_3_ek_certificate_by_itself),
                cmocka_unit_test(invariant_3_ek_of_another_curve),
                cmocka_unit_test(invariant_3_ek_weak),
                cmocka_unit_test(invariant_3_ek_issuer_with_unknown_critical),
                cmocka_unit_test(issuers_of_one_name_and_other_keys),
                cmocka_unit_test(many_issuers_of_one_name),
                cmocka_unit_test(review_says),
                cmocka_unit_test(makers_certificates_are_reviewed),
        };

        return cmocka_run_group_tests(tests, make_maker, free_maker);
}
