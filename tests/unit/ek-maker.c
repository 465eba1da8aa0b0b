/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ek-maker.h"

#include "test.h"

static const struct certificate_spec root_spec = { .subject = "Maker Root",
                                                   .ca = true,
                                                   .key_usage = "critical,keyCertSign,cRLSign" };
const struct certificate_spec maker_issuer_spec = { .subject = "Maker Issuer",
                                                    .ca = true,
                                                    .key_usage = "critical,keyCertSign,cRLSign" };

struct maker maker;

X509 *leaf_of(EVP_PKEY *ek, X509 *issuer, EVP_PKEY *key, const char *tpm) {
        const struct certificate_spec spec = {
                .subject = "unknown",
                .not_ca = true,
                .key_usage = "critical,keyEncipherment",
                .extended_key_usage = "2.23.133.8.1",
                .san = "critical,dirName:tpm",
                .tpm = tpm,
        };

        return certificate_new(&spec, ek, issuer, key);
}

void add_certificate(struct ek_trust *trust, X509 *certificate) {
        struct blob file = {};
        char why[128];

        certificate_to_blob(certificate, &file);
        assert_int_equal(ek_trust_add_roots(trust, &file, why, sizeof(why)), 1);
        assert_string_equal(why, "");
        blob_done(&file);
}

struct ek_trust *trust_new(bool certificate_required, bool crls_required) {
        struct ek_trust *trust = ek_trust_new(&(struct ek_trust_options){ certificate_required, crls_required });

        assert_non_null(trust);
        add_certificate(trust, maker.root);
        return trust;
}

void add_crl(struct ek_trust *trust, X509 *issuer, EVP_PKEY *key, X509 *revoked, int64_t until) {
        struct blob file = {};
        char why[128];

        crl_to_blob(issuer, key, revoked, NOW - DAY, until, &file);
        assert_int_equal(ek_trust_add_crls(trust, &file, why, sizeof(why)), 1);
        assert_string_equal(why, "");
        blob_done(&file);
}

void expect_ek(struct ek_trust *trust, const struct wire_registration *registration, const char *words) {
        struct ek_verdict verdict;
        char error[320] = "";
        int r = ek_check(trust, registration, NOW, &verdict, error, sizeof(error));

        if (!words && r < 0)
                fail_msg("refused: %s", error);
        if (words) {
                assert_int_equal(r, -EKEYREJECTED);
                if (!strstr(error, words))
                        fail_msg("said: %s", error);
        }
}

int make_maker(void **state) {
        maker.root_key = EVP_EC_gen("P-256");
        maker.issuer_key = EVP_EC_gen("P-256");
        maker.other = EVP_EC_gen("P-256");
        maker.ek = EVP_RSA_gen(2048);
        maker.root = certificate_new(&root_spec, maker.root_key, NULL, maker.root_key);
        maker.issuer = certificate_new(&maker_issuer_spec, maker.issuer_key, maker.root, maker.root_key);
        maker.leaf = leaf_of(maker.ek, maker.issuer, maker.issuer_key, NULL);
        ek_public_of(maker.ek, &maker.registration.ek_public);
        certificate_to_blob(maker.leaf, &maker.registration.ek_certificate);
        certificate_to_blob(maker.issuer, maker.registration.ek_chain + maker.registration.n_ek_chain++);
        return 0;
}

int free_maker(void **state) {
        EVP_PKEY_free(maker.root_key);
        EVP_PKEY_free(maker.issuer_key);
        EVP_PKEY_free(maker.other);
        EVP_PKEY_free(maker.ek);
        X509_free(maker.root);
        X509_free(maker.issuer);
        X509_free(maker.leaf);
        wire_registration_done(&maker.registration);
        return 0;
}
