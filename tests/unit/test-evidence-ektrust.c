/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/encode.h"
#include "crypto/credential.h"
#include "ek-maker.h"

/* What EKs are held against beside a path to a root: CRLs, the list of those that need no certificate, rules of refusal
 * (invariant 3). */

static void expect_proof(struct ek_trust *trust, const struct wire_registration *registration, enum ek_proof proof) {
        struct ek_verdict verdict;
        char error[320] = "";

        if (ek_check(trust, registration, NOW, &verdict, error, sizeof(error)) < 0)
                fail_msg("refused: %s", error);
        assert_string_equal(ek_proof_to_string(verdict.proof), ek_proof_to_string(proof));
}

static void invariant_3_ek_revoked(void **state) {
        for (unsigned required = 0; required < 2; required++) {
                struct ek_trust *trust = trust_new(true, required);

                add_crl(trust, maker.root, maker.root_key, NULL, NOW + DAY);
                add_crl(trust, maker.issuer, maker.issuer_key, maker.root, NOW + DAY); /* another's number */
                expect_ek(trust, &maker.registration, NULL);
                ek_trust_free(trust);

                trust = trust_new(true, required);
                add_crl(trust, maker.root, maker.root_key, NULL, NOW + DAY);
                add_crl(trust, maker.issuer, maker.issuer_key, maker.leaf, NOW + DAY);
                expect_ek(trust, &maker.registration, "'CN=unknown' was revoked by its issuer 'CN=Maker Issuer'");
                ek_trust_free(trust);

                trust = trust_new(true, required);
                add_crl(trust, maker.root, maker.root_key, maker.issuer, NOW + DAY);
                add_crl(trust, maker.issuer, maker.issuer_key, NULL, NOW + DAY);
                expect_ek(trust, &maker.registration, "'CN=Maker Issuer' was revoked by its issuer 'CN=Maker Root'");
                ek_trust_free(trust);
        }
}

static void revoked_since(struct ek_trust *trust, const struct blob *certificates, int64_t now, const char *words) {
        static const uint8_t digest[32] = { 1 };
        char why[320] = "";

        assert_int_equal(ek_certificates_revoked(trust, digest, certificates, now, why, sizeof(why)), words != NULL);
        if (words && !strstr(why, words))
                fail_msg("said: %s", why);
        ek_trust_free(trust);
}

static struct ek_trust *trust_with(X509 *issuer, EVP_PKEY *key, X509 *revoked, int64_t until) {
        struct ek_trust *trust = trust_new(true, false);

        add_crl(trust, issuer, key, revoked, until);
        return trust;
}

/* What was accepted once: only a CRL of its issuers changes that, at any later time. */
static void invariant_3_ek_revoked_since(void **state) {
        enum { LATER = NOW + 1000 * DAY };
        struct wire_registration with_garbage = maker.registration;
        struct blob certificates = {}, garbage = { (uint8_t *) "\x30\x03\x02\x01\x01", 5 }, cut;
        char error[160], listed[80];
        struct ek_trust *trust;

        with_garbage.ek_chain[with_garbage.n_ek_chain++] = garbage;
        assert_int_equal(ek_certificates_pack(&with_garbage, &certificates), 0);
        assert_int_equal(certificates.size, maker.registration.ek_certificate.size + maker.registration.ek_chain[0].size);

        revoked_since(trust_new(true, false), &certificates, NOW, NULL);
        revoked_since(trust_new(true, true), &certificates, NOW, NULL); /* that a list is missing says nothing of this one */
        revoked_since(trust_with(maker.issuer, maker.issuer_key, NULL, NOW + DAY), &certificates, LATER, NULL);
        revoked_since(trust_with(maker.issuer, maker.other, maker.leaf, NOW + DAY), &certificates, NOW, NULL); /* not its word */
        revoked_since(trust_with(maker.issuer, maker.issuer_key, maker.leaf, NOW + DAY), &certificates, NOW,
                      "'CN=unknown' was revoked by its issuer 'CN=Maker Issuer'");
        revoked_since(trust_with(maker.issuer, maker.issuer_key, maker.leaf, NOW + DAY), &certificates, LATER, "was revoked");
        revoked_since(trust_with(maker.root, maker.root_key, maker.issuer, NOW + DAY), &certificates, NOW,
                      "'CN=Maker Issuer' was revoked by its issuer 'CN=Maker Root'");

        (void) snprintf(listed, sizeof(listed), "01%062d\n", 0);
        trust = trust_with(maker.issuer, maker.issuer_key, maker.leaf, NOW + DAY);
        assert_int_equal(ek_trust_add_listed(trust, &(struct blob){ (uint8_t *) listed, strlen(listed) }, error, sizeof(error)),
                         1);
        revoked_since(trust, &certificates, NOW, NULL);

        for (size_t size = 0; size < certificates.size; size += 97) {
                cut = (struct blob){ certificates.data, size };
                trust = trust_with(maker.root, maker.root_key, maker.issuer, NOW + DAY);
                revoked_since(trust, &cut, NOW, NULL);
        }
        blob_done(&certificates);
}

static void invariant_3_ek_crl_missing(void **state) {
        struct ek_trust *trust = trust_new(true, true);

        expect_ek(trust, &maker.registration, "no CRL of 'CN=Maker Issuer'");
        add_crl(trust, maker.issuer, maker.issuer_key, NULL, NOW + DAY);
        expect_ek(trust, &maker.registration, "no CRL of 'CN=Maker Root'");
        add_crl(trust, maker.root, maker.root_key, NULL, NOW + DAY);
        expect_ek(trust, &maker.registration, NULL);
        ek_trust_free(trust);

        trust = trust_new(true, false); /* not asked for: one issuer's is heeded, the other's not missed */
        expect_ek(trust, &maker.registration, NULL);
        add_crl(trust, maker.root, maker.root_key, maker.issuer, NOW + DAY);
        expect_ek(trust, &maker.registration, "revoked");
        ek_trust_free(trust);
}

static void invariant_3_ek_crl_out_of_date(void **state) {
        struct ek_trust *trust = trust_new(true, true);

        add_crl(trust, maker.root, maker.root_key, NULL, NOW + DAY);
        add_crl(trust, maker.issuer, maker.issuer_key, NULL, NOW - 1);
        expect_ek(trust, &maker.registration, "the CRL of 'CN=Maker Issuer' is out of date");
        add_crl(trust, maker.issuer, maker.issuer_key, NULL, NOW + DAY); /* the new one beside the old */
        expect_ek(trust, &maker.registration, NULL);
        ek_trust_free(trust);

        trust = trust_new(true, false);
        add_crl(trust, maker.issuer, maker.issuer_key, NULL, NOW - 1);
        expect_ek(trust, &maker.registration, NULL);
        ek_trust_free(trust);

        trust = trust_new(true, false); /* what it revoked stays revoked */
        add_crl(trust, maker.issuer, maker.issuer_key, maker.leaf, NOW - 1);
        expect_ek(trust, &maker.registration, "revoked");
        ek_trust_free(trust);
}

static void invariant_3_ek_crl_of_another_key(void **state) {
        struct ek_trust *trust = trust_new(true, false);

        add_crl(trust, maker.issuer, maker.other, NULL, NOW + DAY);
        expect_ek(trust, &maker.registration, "CRL signature failure");
        ek_trust_free(trust);
}

static void crl_files(void **state) {
        static const char broken[] = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
        struct ek_trust *trust = trust_new(true, false);
        struct blob file = { .data = (uint8_t *) broken, .size = strlen(broken) };
        char why[128];

        assert_int_equal(ek_trust_add_crls(trust, &file, why, sizeof(why)), 0);
        assert_non_null(strstr(why, "number 1 in it is no CRL"));
        assert_int_equal(ek_trust_add_roots(trust, &file, why, sizeof(why)), 0);
        assert_string_equal(why, "holds no certificate");
        file = (struct blob){ .data = (uint8_t *) "0\x03\x02\x01\x01", .size = 5 };
        assert_int_equal(ek_trust_add_crls(trust, &file, why, sizeof(why)), 0);
        assert_string_equal(why, "not a CRL in DER");
        file.size = 0;
        assert_int_equal(ek_trust_add_crls(trust, &file, why, sizeof(why)), 0);
        assert_string_equal(why, "holds no CRL");
        ek_trust_free(trust);
}

static int add_list(struct ek_trust *trust, const char *text, char error[static 128]) {
        const struct blob file = { .data = (uint8_t *) text, .size = strlen(text) };

        error[0] = '\0';
        return ek_trust_add_listed(trust, &file, error, 128);
}

/* A TPM without a certificate, known by its digest. */
static void invariant_3_ek_listed(void **state) {
        struct wire_registration registration = maker.registration;
        struct ek_trust *trust = trust_new(true, true);
        uint8_t digest[32];
        char hex[65], text[320], error[128];

        assert_int_equal(pubkey_digest(maker.ek, digest), 0);
        hex_write(digest, sizeof(digest), hex);
        registration.ek_certificate = (struct blob){};
        expect_ek(trust, &registration, hex);

        (void) snprintf(text, sizeof(text), "# machines of 2016\n\t%s  rack 2\r\n\n%064d rack 1\n%064d", hex, 1, 2);
        assert_int_equal(add_list(trust, text, error), 3);
        expect_proof(trust, &registration, EK_LISTED);
        expect_proof(trust, &maker.registration, EK_LISTED); /* its certificate is not asked for */

        registration.ek_public = (struct blob){};
        assert_int_equal(blob_copy(maker.registration.ek_public.data, maker.registration.ek_public.size, &registration.ek_public),
                         0);
        registration.ek_public.data[5] ^= 1; /* a key that is not restricted */
        expect_ek(trust, &registration, "restricted decryption key");
        blob_done(&registration.ek_public);
        ek_trust_free(trust);
}

static void invariant_3_ek_not_listed(void **state) {
        struct wire_registration registration = maker.registration;
        struct ek_trust *trust = trust_new(true, false);
        char text[256], error[128];

        registration.ek_certificate = (struct blob){};
        (void) snprintf(text, sizeof(text), "%064d\n%064d\n", 7, 3);
        assert_int_equal(add_list(trust, text, error), 2);
        expect_ek(trust, &registration, "no EK certificate");
        ek_trust_free(trust);
}

static void list_of_nonsense(void **state) {
        static const char *const texts[] = { "x", "\n#\n0123\n", "# a\n%", "\xff\xfe" };
        struct ek_trust *trust = trust_new(true, false);
        char text[128], error[128];

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                assert_int_equal(add_list(trust, texts[i], error), -EBADMSG);
                assert_non_null(strstr(error, "64 hexadecimal digits"));
        }
        assert_int_equal(add_list(trust, "\n#\n0123\n", error), -EBADMSG);
        assert_non_null(strstr(error, "line 3"));
        (void) snprintf(text, sizeof(text), "%065d", 1);
        assert_int_equal(add_list(trust, text, error), -EBADMSG);
        ek_trust_free(trust);
}

/* ek-certificates = optional. A certificate that is there must be right all the same. */
static void certificates_optional(void **state) {
        struct wire_registration registration = maker.registration;
        struct ek_trust *trust = trust_new(false, false), *empty = ek_trust_new(&(struct ek_trust_options){});

        expect_proof(trust, &maker.registration, EK_CERTIFIED);
        registration.ek_certificate = (struct blob){};
        expect_proof(trust, &registration, EK_UNPROVEN);
        registration.ek_certificate = (struct blob){ .data = (uint8_t *) "0", .size = 1 };
        expect_ek(trust, &registration, "malformed");
        expect_proof(empty, &registration, EK_UNPROVEN); /* nothing to hold it against */
        ek_trust_free(trust);
        ek_trust_free(empty);
}

/* Rules. */

#define IFX "0.2.23.133.2.1=id:49465800\n1.2.23.133.2.2=SLB9670\n2.2.23.133.2.3=id:0755\n"

static int refuse(const char *rules, const char *tpm, char error[static 320]) {
        struct wire_registration registration = maker.registration;
        X509 *leaf = leaf_of(maker.ek, maker.issuer, maker.issuer_key, tpm);
        struct ek_trust *trust = trust_new(true, false);
        struct ek_verdict verdict;
        int r;

        registration.ek_certificate = (struct blob){};
        certificate_to_blob(leaf, &registration.ek_certificate);
        r = ek_trust_refuse(trust, rules, error, 320);
        if (r >= 0)
                r = ek_check(trust, &registration, NOW, &verdict, error, 320);
        blob_done(&registration.ek_certificate);
        X509_free(leaf);
        ek_trust_free(trust);
        return r;
}

static void invariant_3_ek_of_a_refused_tpm(void **state) {
        static const char *const refused[] = { "manufacturer=IFX",
                                               "manufacturer=ifx",
                                               " manufacturer = id:49465800 ",
                                               "manufacturer=NTC; manufacturer=IFX,model=SLB*",
                                               "model=slb96?0",
                                               "version=id:07*",
                                               "manufacturer=IFX,model=SLB9670,version=id:0755" },
                                 *const passed[] = { "",
                                                     " ; ",
                                                     "manufacturer=NTC",
                                                     "manufacturer=IFX,model=SLB9665",
                                                     "manufacturer=IFX,version=id:08*",
                                                     "manufacturer=IFX,firmware=7.0-7.85",
                                                     "firmware=0.0-65535.65535" };
        char error[320];

        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                error[0] = '\0';
                assert_int_equal(refuse(refused[i], IFX, error), -EKEYREJECTED);
                if (!strstr(error, "ek-refuse is for TPMs like this: IFX, SLB9670, id:0755"))
                        fail_msg("%s: %s", refused[i], error);
        }
        for (size_t i = 0; i < ELEMENTSOF(passed); i++)
                if (refuse(passed[i], IFX, error) < 0)
                        fail_msg("%s: %s", passed[i], error);
}

/* What a certificate does not say, or says twice, or in characters that end a text, is taken to be what is refused. */
static void invariant_3_ek_of_a_tpm_that_says_nothing(void **state) {
        static const char *const tpms[] = { "0.2.23.133.2.2=SLB9670\n", "0.2.23.133.2.11=id:4E544300\n",
                                            "0.2.23.133.2.1=id:4E544300\n1.2.23.133.2.1=id:4E544300\n" };
        char error[320];

        for (size_t i = 0; i < ELEMENTSOF(tpms); i++)
                if (refuse("manufacturer=IFX", tpms[i], error) != -EKEYREJECTED)
                        fail_msg("case %zu passed", i);
        assert_int_equal(refuse("manufacturer=IFX", "0.2.23.133.2.1=id:4E544300\n", error), 0);
}

static void rules_of_nonsense(void **state) {
        static const char *const rules[] = { "IFX",
                                             "manufacturer",
                                             "manufacturer=",
                                             "vendor=IFX",
                                             "model=a,model=b",
                                             "firmware=7",
                                             "firmware=7.1-",
                                             "firmware=7.2-7.1",
                                             "firmware=7.65536",
                                             "firmware=-1.0",
                                             "manufacturer=IFX;nonsense",
                                             "manufacturer=0123456789012345678901234567890" };
        char error[320];

        for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                assert_int_equal(refuse(rules[i], IFX, error), -EINVAL);
                if (!strstr(error, "is no rule"))
                        fail_msg("%s: %s", rules[i], error);
        }
}

static void invariant_3_firmware_refused(void **state) {
        const struct ek_identity tpm = { "IFX", "SLB9670", "id:0755" }, silent = {};
        const uint64_t v7_85 = UINT64_C(0x0007005500112233);
        struct ek_trust *trust = trust_new(true, false);
        char why[224];

        assert_int_equal(ek_trust_refuse(trust, "manufacturer=IFX, model=SLB9670, firmware=7.60-7.85", why, sizeof(why)), 0);
        assert_true(ek_firmware_refused(trust, &tpm, v7_85, why, sizeof(why)));
        assert_string_equal(why, "rule 1 of ek-refuse: IFX SLB9670, firmware 7.85");
        assert_true(ek_firmware_refused(trust, &tpm, UINT64_C(0x0007003c00000000), why, sizeof(why)));
        assert_false(ek_firmware_refused(trust, &tpm, UINT64_C(0x0007003b00000000), why, sizeof(why)));
        assert_false(ek_firmware_refused(trust, &tpm, UINT64_C(0x0007005600000000), why, sizeof(why)));
        assert_true(ek_firmware_refused(trust, &silent, v7_85, why, sizeof(why)));
        assert_false(ek_firmware_refused(trust, NULL, v7_85, why, sizeof(why)));
        ek_trust_free(trust);

        trust = trust_new(true, false);
        assert_int_equal(ek_trust_refuse(trust, "manufacturer=NTC,firmware=7.85; firmware=1.2", why, sizeof(why)), 0);
        assert_false(ek_firmware_refused(trust, &tpm, v7_85, why, sizeof(why)));
        assert_true(ek_firmware_refused(trust, NULL, UINT64_C(0x0001000200000000), why, sizeof(why)));
        ek_trust_free(trust);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(invariant_3_ek_revoked),
                cmocka_unit_test(invariant_3_ek_revoked_since),
                cmocka_unit_test(invariant_3_ek_crl_missing),
                cmocka_unit_test(invariant_3_ek_crl_out_of_date),
                cmocka_unit_test(invariant_3_ek_crl_of_another_key),
                cmocka_unit_test(crl_files),
                cmocka_unit_test(invariant_3_ek_listed),
                cmocka_unit_test(invariant_3_ek_not_listed),
                cmocka_unit_test(list_of_nonsense),
                cmocka_unit_test(certificates_optional),
                cmocka_unit_test(invariant_3_ek_of_a_refused_tpm),
                cmocka_unit_test(invariant_3_ek_of_a_tpm_that_says_nothing),
                cmocka_unit_test(rules_of_nonsense),
                cmocka_unit_test(invariant_3_firmware_refused),
        };

        return cmocka_run_group_tests(tests, make_maker, free_maker);
}
