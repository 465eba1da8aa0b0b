/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <dirent.h>

#include "base/file.h"
#include "crypto/credential.h"
#include "evidence/evidence.h"
#include "soft-certificate.h"

/* ek_check() against chains made here: each takes what is right and spoils one thing (invariant 3: the EK certificate is checked
 * by each party for itself). And against the chain of a software TPM, tests/vectors/ek. */

static const struct certificate_spec root_spec = { .subject = "Maker Root", .ca = true, .key_usage = "critical,keyCertSign" };
static const struct certificate_spec issuer_spec = { .subject = "Maker Issuer", .ca = true, .key_usage = "critical,keyCertSign" };
static const struct certificate_spec leaf_spec = {
        .subject = "unknown",
        .not_ca = true,
        .key_usage = "critical,keyEncipherment",
        .extended_key_usage = "2.23.133.8.1",
        .san = "critical,dirName:tpm",
};

static EVP_PKEY *keys[4]; /* made once */
enum { ROOT, ISSUER, EK, OTHER };

/* Root, issuer, EK certificate; by default the directory holds the root, and the TPM the issuer. */
struct chain {
        struct certificate_spec root, issuer, leaf;
        EVP_PKEY *ek;
        bool root_elsewhere;                           /* not in the directory */
        bool issuer_in_roots;                          /* in the directory */
        bool issuer_elsewhere;                         /* not with the TPM */
        bool root_with_tpm;                            /* the TPM carries it too */
        EVP_PKEY *root_signs_with, *issuer_signs_with; /* NULL: their own keys */
        int64_t now;
        struct wire_registration registration;
        struct ek_verdict verdict;
        char error[256];
};

static struct chain right_chain(void) {
        return (struct chain){ .root = root_spec, .issuer = issuer_spec, .leaf = leaf_spec, .ek = keys[EK], .now = NOW };
}

static void chain_build(struct chain *chain, struct ek_trust **ret_trust) {
        X509 *root = certificate_new(&chain->root, keys[ROOT], NULL, keys[ROOT]);
        X509 *issuer =
                certificate_new(&chain->issuer, keys[ISSUER], root, chain->root_signs_with ? chain->root_signs_with : keys[ROOT]);
        X509 *leaf = certificate_new(&chain->leaf, chain->ek, issuer,
                                     chain->issuer_signs_with ? chain->issuer_signs_with : keys[ISSUER]);
        struct blob files[2] = {};
        size_t n = 0, loaded;

        if (!chain->root_elsewhere)
                certificate_to_blob(root, files + n++);
        if (chain->issuer_in_roots)
                certificate_to_blob(issuer, files + n++);
        *ret_trust = trust_of(files, n, &loaded);
        assert_int_equal(loaded, n);
        blob_done(files);
        blob_done(files + 1);

        certificate_to_blob(leaf, &chain->registration.ek_certificate);
        ek_public_of(chain->ek, &chain->registration.ek_public);
        if (!chain->issuer_elsewhere)
                certificate_to_blob(issuer, chain->registration.ek_chain + chain->registration.n_ek_chain++);
        if (chain->root_with_tpm)
                certificate_to_blob(root, chain->registration.ek_chain + chain->registration.n_ek_chain++);
        X509_free(root);
        X509_free(issuer);
        X509_free(leaf);
}

/* words NULL: must be accepted. Else refused, and words are in what is said. */
static void expect(struct chain *chain, const char *words) {
        struct ek_trust *trust;
        int r;

        chain_build(chain, &trust);
        r = ek_check(trust, &chain->registration, chain->now, &chain->verdict, chain->error, sizeof(chain->error));
        if (!words && r < 0)
                fail_msg("refused: %s", chain->error);
        if (words) {
                assert_int_equal(r, -EKEYREJECTED);
                if (!strstr(chain->error, words))
                        fail_msg("said: %s", chain->error);
        }
        ek_trust_free(trust);
        wire_registration_done(&chain->registration);
        chain->registration = (struct wire_registration){};
}

static void right_chains_are_accepted(void **state) {
        struct chain chain = right_chain();
        uint8_t digest[32];

        expect(&chain, NULL);
        assert_int_equal(pubkey_digest(keys[EK], digest), 0);
        assert_memory_equal(chain.verdict.digest, digest, sizeof(digest));

        chain = right_chain(); /* intermediate in the directory instead of the TPM */
        chain.issuer_in_roots = chain.issuer_elsewhere = true;
        expect(&chain, NULL);

        chain = right_chain(); /* in both */
        chain.issuer_in_roots = chain.root_with_tpm = true;
        expect(&chain, NULL);

        chain = right_chain(); /* an EK of P-256 */
        chain.ek = EVP_EC_gen("P-256");
        chain.leaf.key_usage = "critical,keyAgreement";
        expect(&chain, NULL);
        EVP_PKEY_free(chain.ek);

        chain.ek = EVP_EC_gen("P-384");
        expect(&chain, NULL);
        EVP_PKEY_free(chain.ek);
}

static void leaf_without_usages_is_accepted(void **state) {
        struct chain chain = right_chain();

        chain.leaf.key_usage = chain.leaf.extended_key_usage = chain.leaf.san = NULL;
        expect(&chain, NULL);
        chain.leaf.not_ca = false;
        expect(&chain, NULL);
}

static void leaf_with_more_usages_is_accepted(void **state) {
        struct chain chain = right_chain();

        chain.leaf.extended_key_usage = "clientAuth,2.23.133.8.1";
        expect(&chain, NULL);
}

static void key_named_oaep_is_accepted(void **state) {
        struct chain chain = right_chain();

        chain.leaf.oaep = true;
        expect(&chain, NULL);
}

/* Reading such a key takes a detour: all that is refused is refused there too. */
static void invariant_3_ek_named_oaep_is_checked_too(void **state) {
        struct chain chain = right_chain();

        chain.leaf.oaep = true;
        chain.issuer_signs_with = keys[OTHER];
        expect(&chain, "signature failure");
        chain.issuer_signs_with = NULL;
        chain.root_signs_with = keys[OTHER];
        expect(&chain, "signature failure");
        chain.root_signs_with = NULL;
        chain.leaf.until = NOW - 1;
        expect(&chain, "expired");
        chain.leaf.until = 0;
        chain.issuer_elsewhere = true;
        expect(&chain, "not known");
        chain.issuer_elsewhere = false;
        chain.leaf.unknown = "critical,what is this";
        expect(&chain, "unhandled critical extension");
}

static void invariant_3_ek_issuer_unknown(void **state) {
        struct chain chain = right_chain();

        chain.issuer_elsewhere = true;
        expect(&chain, "'CN=Maker Issuer' of 'CN=unknown' is not known");

        chain = right_chain();
        chain.root_elsewhere = true;
        chain.issuer_in_roots = true; /* an intermediate alone is no anchor */
        expect(&chain, "there are no EK roots");
}

static void invariant_3_ek_intermediate_is_no_anchor(void **state) {
        struct chain chain = right_chain();
        struct ek_trust *trust;
        struct blob files[2] = {};
        X509 *other, *root, *issuer;
        size_t loaded;

        chain_build(&chain, &trust);
        ek_trust_free(trust);

        other = certificate_new(&(struct certificate_spec){ .subject = "Another Root", .ca = true }, keys[EK], NULL, keys[EK]);
        root = certificate_new(&root_spec, keys[ROOT], NULL, keys[ROOT]);
        issuer = certificate_new(&issuer_spec, keys[ISSUER], root, keys[ROOT]);
        certificate_to_blob(other, files);
        certificate_to_blob(issuer, files + 1);
        trust = trust_of(files, 2, &loaded);
        assert_int_equal(ek_check(trust, &chain.registration, NOW, &chain.verdict, chain.error, sizeof(chain.error)),
                         -EKEYREJECTED);
        assert_non_null(strstr(chain.error, "'CN=Maker Root'"));

        /* nor is a root that the TPM brings along */
        certificate_to_blob(root, chain.registration.ek_chain + chain.registration.n_ek_chain++);
        assert_int_equal(ek_check(trust, &chain.registration, NOW, &chain.verdict, chain.error, sizeof(chain.error)),
                         -EKEYREJECTED);
        assert_non_null(strstr(chain.error, "'CN=Maker Root' is not among the EK roots"));

        ek_trust_free(trust);
        wire_registration_done(&chain.registration);
        blob_done(files);
        blob_done(files + 1);
        X509_free(other);
        X509_free(root);
        X509_free(issuer);
}

static void invariant_3_ek_signature_of_another_key(void **state) {
        struct chain chain = right_chain();

        chain.root_signs_with = keys[OTHER];
        expect(&chain, "signature failure");
        chain = right_chain();
        chain.issuer_signs_with = keys[OTHER];
        expect(&chain, "signature failure");
}

static void invariant_3_ek_dates(void **state) {
        struct chain chain = right_chain();

        chain.now = NOW + 2 * DAY;
        expect(&chain, "expired");
        chain.now = NOW - 2 * DAY;
        expect(&chain, "not yet valid");

        chain = right_chain();
        chain.leaf.until = NOW - 1;
        expect(&chain, "'CN=unknown' by 'CN=Maker Issuer': certificate has expired");
        chain = right_chain();
        chain.issuer.until = NOW - 1;
        expect(&chain, "'CN=Maker Issuer' by 'CN=Maker Root': certificate has expired");
        chain = right_chain();
        chain.root.until = NOW - 1;
        expect(&chain, "'CN=Maker Root' by 'CN=Maker Root': certificate has expired");
}

static void invariant_3_ek_issuer_that_is_no_ca(void **state) {
        struct chain chain = right_chain();

        chain.issuer.ca = false;
        chain.issuer.not_ca = true;
        expect(&chain, "invalid CA certificate");
        chain.issuer.not_ca = false;
        expect(&chain, "invalid CA certificate");

        chain = right_chain();
        chain.issuer.key_usage = "critical,digitalSignature";
        expect(&chain, "");
}

static void invariant_3_ek_path_length(void **state) {
        struct chain chain = right_chain();

        chain.root.path_length = 1; /* no CA below it */
        expect(&chain, "path length");
        chain.root.path_length = 2;
        expect(&chain, NULL);
}

static void invariant_3_ek_leaf_is_a_ca(void **state) {
        struct chain chain = right_chain();

        chain.leaf.not_ca = false;
        chain.leaf.ca = true;
        expect(&chain, "one of a CA");
}

static void invariant_3_ek_usages(void **state) {
        struct chain chain = right_chain();

        chain.leaf.key_usage = "critical,digitalSignature";
        expect(&chain, "key usage");
        chain = right_chain();
        chain.leaf.extended_key_usage = "clientAuth";
        expect(&chain, "2.23.133.8.1");
        chain.leaf.extended_key_usage = "2.23.133.8.3"; /* that of an AK */
        expect(&chain, "2.23.133.8.1");
}

static void invariant_3_ek_critical_extensions(void **state) {
        struct chain chain = right_chain();

        chain.leaf.san = "critical,DNS:tenant.example";
        expect(&chain, "subjectAltName");
        chain.leaf.san = "critical,dirName:tpm,DNS:tenant.example";
        expect(&chain, "subjectAltName");
        chain.leaf.san = "DNS:tenant.example";
        expect(&chain, NULL);

        chain = right_chain();
        chain.leaf.unknown = "critical,what is this";
        expect(&chain, "unhandled critical extension");
        chain.leaf.unknown = "what is this";
        expect(&chain, NULL);
}

/* Like expect(), with the registration spoiled after it was built. */
static void expect_spoiled(void (*spoil)(struct wire_registration *registration), const char *words) {
        struct chain chain = right_chain();
        struct ek_trust *trust;

        chain_build(&chain, &trust);
        spoil(&chain.registration);
        assert_int_equal(ek_check(trust, &chain.registration, NOW, &chain.verdict, chain.error, sizeof(chain.error)),
                         -EKEYREJECTED);
        if (!strstr(chain.error, words))
                fail_msg("said: %s", chain.error);
        ek_trust_free(trust);
        wire_registration_done(&chain.registration);
}

static void other_key(struct wire_registration *registration) {
        EVP_PKEY *key = EVP_RSA_gen(2048);

        ek_public_of(key, &registration->ek_public);
        EVP_PKEY_free(key);
}

static void no_certificate(struct wire_registration *registration) {
        blob_done(&registration->ek_certificate);
        registration->ek_certificate = (struct blob){};
}

static void bytes_after_it(struct wire_registration *registration) {
        struct blob *blob = &registration->ek_certificate;

        blob->data = realloc(blob->data, blob->size + 1);
        blob->data[blob->size++] = 0;
}

static void cut(struct wire_registration *registration) {
        registration->ek_certificate.size--;
}

static void changed_at_the_end(struct wire_registration *registration) {
        registration->ek_certificate.data[registration->ek_certificate.size - 1] ^= 1;
}

static void public_malformed(struct wire_registration *registration) {
        registration->ek_public.size--;
}

static void spoil_attributes(struct wire_registration *registration, uint32_t attributes) {
        for (size_t i = 0; i < 4; i++)
                registration->ek_public.data[4 + i] = (uint8_t) (attributes >> (24 - 8 * i));
}

static void not_restricted(struct wire_registration *registration) {
        spoil_attributes(registration, 0x000200b2);
}

static void not_decrypting(struct wire_registration *registration) {
        spoil_attributes(registration, 0x000100b2);
}

static void signing(struct wire_registration *registration) {
        spoil_attributes(registration, 0x000700b2);
}

static void not_fixed_tpm(struct wire_registration *registration) {
        spoil_attributes(registration, 0x000300b0);
}

static void imported(struct wire_registration *registration) {
        spoil_attributes(registration, 0x00030092);
}

static void invariant_3_ek_is_what_was_certified(void **state) {
        expect_spoiled(other_key, "of another key");
        expect_spoiled(no_certificate, "no EK certificate");
        expect_spoiled(bytes_after_it, "malformed");
        expect_spoiled(cut, "malformed");
        expect_spoiled(changed_at_the_end, "signature failure");
        expect_spoiled(public_malformed, "malformed");
}

/* A key that decrypts whatever it is given would open a credential for software. */
static void invariant_3_ek_attributes(void **state) {
        expect_spoiled(not_restricted, "restricted decryption key");
        expect_spoiled(not_decrypting, "restricted decryption key");
        expect_spoiled(signing, "restricted decryption key");
        expect_spoiled(not_fixed_tpm, "restricted decryption key");
        expect_spoiled(imported, "restricted decryption key");
}

static void names_are_safe_for_a_terminal(void **state) {
        struct chain chain = right_chain();

        chain.issuer.subject = "evil\033[2J\r\nroot: pwned\x07";
        chain.issuer_elsewhere = true;
        expect(&chain, "evil");
        for (const char *c = chain.error; *c; c++)
                assert_true((unsigned char) *c >= 0x20 && *c != 0x7f);
}

static void error_may_be_small(void **state) {
        struct chain chain = right_chain();
        struct ek_trust *trust;
        char tiny[4] = "xyz";

        chain.issuer_elsewhere = true;
        chain_build(&chain, &trust);
        assert_int_equal(ek_check(trust, &chain.registration, NOW, &chain.verdict, tiny, sizeof(tiny)), -EKEYREJECTED);
        assert_true(strlen(tiny) < sizeof(tiny));
        assert_int_equal(ek_check(trust, &chain.registration, NOW, &chain.verdict, NULL, 0), -EKEYREJECTED);
        ek_trust_free(trust);
        wire_registration_done(&chain.registration);
}

static void files_of_all_kinds(void **state) {
        _cleanup_(blob_done) struct blob root = {}, issuer = {};
        struct blob files[5] = {};
        struct ek_trust *trust;
        size_t loaded;

        assert_int_equal(file_read("tests/vectors/ek/swtpm-localca-rootca-cert.pem", 65536, &root), 0);
        assert_int_equal(file_read("tests/vectors/ek/issuercert.pem", 65536, &issuer), 0);

        files[0].data = malloc(root.size + issuer.size); /* two in one file */
        memcpy(files[0].data, root.data, root.size);
        memcpy(files[0].data + root.size, issuer.data, issuer.size);
        files[0].size = root.size + issuer.size;
        assert_int_equal(file_read("tests/vectors/ek/0x01c00002.der", 65536, files + 1), 0);
        assert_int_equal(blob_copy("README", 6, files + 2), 0);
        assert_int_equal(blob_copy("0\x82", 2, files + 3), 0);

        trust = trust_of(files, 5, &loaded);
        assert_int_equal(loaded, 3);
        ek_trust_free(trust);
        for (size_t i = 0; i < 5; i++)
                blob_done(files + i);

        trust = trust_of(NULL, 0, &loaded);
        assert_int_equal(loaded, 0);
        ek_trust_free(trust);
}

/* The public areas are not recorded: made from the certificates' keys. */
static void software_tpm_is_accepted(void **state) {
        struct blob files[2] = {};
        struct wire_registration registration = {};
        struct ek_trust *trust;
        const unsigned char *p;
        struct ek_verdict verdict;
        char error[256];
        size_t loaded;
        X509 *certificate;

        assert_int_equal(file_read("tests/vectors/ek/swtpm-localca-rootca-cert.pem", 65536, files), 0);
        assert_int_equal(file_read("tests/vectors/ek/issuercert.pem", 65536, files + 1), 0);
        trust = trust_of(files, 2, &loaded);
        assert_int_equal(loaded, 2);

        assert_int_equal(file_read("tests/vectors/ek/0x01c00002.der", 65536, &registration.ek_certificate), 0);
        p = registration.ek_certificate.data;
        certificate = d2i_X509(NULL, &p, (long) registration.ek_certificate.size);
        assert_non_null(certificate);
        ek_public_of(X509_get0_pubkey(certificate), &registration.ek_public);
        X509_free(certificate);

        /* valid from November 2026 on */
        if (ek_check(trust, &registration, 1800000000, &verdict, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        assert_int_equal(ek_check(trust, &registration, NOW, &verdict, error, sizeof(error)), -EKEYREJECTED);
        assert_non_null(strstr(error, "not yet valid"));

        wire_registration_done(&registration);
        ek_trust_free(trust);
        blob_done(files);
        blob_done(files + 1);
}

static void makers_roots_are_loaded(void **state) {
        static const char directory[] = "../shared/data/tpm-roots";
        struct blob files[128] = {};
        struct ek_trust *trust;
        struct dirent *entry;
        size_t n = 0, loaded;
        DIR *dir = opendir(directory);

        if (!dir)
                skip();
        while (n < ELEMENTSOF(files) && (entry = readdir(dir))) {
                _cleanup_(freep) char *path = path_join(directory, entry->d_name);

                if (entry->d_name[0] != '.')
                        assert_int_equal(file_read(path, 65536, files + n++), 0);
        }
        closedir(dir);

        trust = trust_of(files, n, &loaded);
        assert_int_equal(n, 51);
        assert_int_equal(loaded, 51);
        ek_trust_free(trust);
        for (size_t i = 0; i < n; i++)
                blob_done(files + i);
}

static int make_keys(void **state) {
        keys[ROOT] = EVP_EC_gen("P-256");
        keys[ISSUER] = EVP_EC_gen("P-256");
        keys[EK] = EVP_RSA_gen(2048);
        keys[OTHER] = EVP_EC_gen("P-256");
        return 0;
}

static int free_keys(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                EVP_PKEY_free(keys[i]);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(right_chains_are_accepted),
                cmocka_unit_test(leaf_without_usages_is_accepted),
                cmocka_unit_test(leaf_with_more_usages_is_accepted),
                cmocka_unit_test(key_named_oaep_is_accepted),
                cmocka_unit_test(invariant_3_ek_named_oaep_is_checked_too),
                cmocka_unit_test(invariant_3_ek_issuer_unknown),
                cmocka_unit_test(invariant_3_ek_intermediate_is_no_anchor),
                cmocka_unit_test(invariant_3_ek_signature_of_another_key),
                cmocka_unit_test(invariant_3_ek_dates),
                cmocka_unit_test(invariant_3_ek_issuer_that_is_no_ca),
                cmocka_unit_test(invariant_3_ek_path_length),
                cmocka_unit_test(invariant_3_ek_leaf_is_a_ca),
                cmocka_unit_test(invariant_3_ek_usages),
                cmocka_unit_test(invariant_3_ek_critical_extensions),
                cmocka_unit_test(invariant_3_ek_is_what_was_certified),
                cmocka_unit_test(invariant_3_ek_attributes),
                cmocka_unit_test(names_are_safe_for_a_terminal),
                cmocka_unit_test(error_may_be_small),
                cmocka_unit_test(files_of_all_kinds),
                cmocka_unit_test(software_tpm_is_accepted),
                cmocka_unit_test(makers_roots_are_loaded),
        };

        return cmocka_run_group_tests(tests, make_keys, free_keys);
}
