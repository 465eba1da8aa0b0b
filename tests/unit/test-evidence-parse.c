/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "base/encode.h"
#include "crypto/credential.h"
#include "evidence/evidence-internal.h"
#include "soft-quote.h"

/* Structures as a TPM writes them, cut, and stretched. tests/vectors/quotes.json was recorded from a software TPM. */

static void hex_blob(const json_t *object, const char *name, struct blob *ret) {
        const char *text = json_string_value(json_object_get(object, name));

        assert_non_null(text);
        ret->size = strlen(text) / 2;
        ret->data = malloc(ret->size);
        assert_int_equal(hex_decode(text, ret->data, ret->size), 0);
}

static void hex_fixed(const json_t *object, const char *name, void *ret, size_t size) {
        assert_int_equal(wire_get_hex_fixed(object, name, ret, size), 0);
}

static void recorded_to_evidence(const json_t *vector, struct wire_evidence *ret, struct blob *ret_ak) {
        struct wire_evidence evidence = {};
        const char *body = json_string_value(json_object_get(vector, "body"));

        assert_int_equal(purpose_from_string(json_string_value(json_object_get(vector, "purpose")), &evidence.purpose), 0);
        hex_fixed(vector, "nonce_tenant", evidence.nonce[PARTY_TENANT], WIRE_NONCE_SIZE);
        hex_fixed(vector, "nonce_verifier", evidence.nonce[PARTY_VERIFIER], WIRE_NONCE_SIZE);
        evidence.has_nk = json_object_get(vector, "nk") != NULL;
        if (evidence.has_nk)
                hex_fixed(vector, "nk", evidence.nk, POINT_SIZE);
        if (body)
                assert_int_equal(blob_copy(body, strlen(body), &evidence.body), 0);
        hex_blob(vector, "attest", &evidence.attest);
        hex_blob(vector, "signature", &evidence.signature);
        hex_blob(vector, "ak_public", ret_ak);
        assert_int_equal(pcr_values_from_json(json_object_get(vector, "pcrs"), &evidence.pcrs), 0);
        *ret = evidence;
}

static void check_recorded(const json_t *vector) {
        struct wire_evidence evidence = {};
        struct blob ak = {};
        struct evidence_verdict verdict;
        uint8_t qualifying[32];
        struct attest attest;

        recorded_to_evidence(vector, &evidence, &ak);
        hex_fixed(vector, "qualifying_data", qualifying, sizeof(qualifying));

        assert_int_equal(attest_parse(evidence.attest.data, evidence.attest.size, &attest), 0);
        assert_int_equal(attest.magic, ATTEST_MAGIC);
        assert_int_equal(attest.type, ATTEST_TYPE_QUOTE);
        assert_int_equal(attest.extra_data_size, 32);
        assert_memory_equal(attest.extra_data, qualifying, 32);
        assert_int_equal(attest.n_selections, 1);
        assert_int_equal(attest.selections[0].mask, 0xfbff);
        assert_int_equal(attest.pcr_digest_size, 32);

        assert_int_equal(evidence_verify(&evidence,
                                         &(struct evidence_expected){
                                                 .node_id = json_string_value(json_object_get(vector, "id")),
                                                 .ak_public = &ak,
                                                 .bank = evidence.pcrs.banks[0].alg,
                                                 .pcrs = 0xfbff,
                                                 .gate = 15,
                                         },
                                         &verdict),
                         0);
        assert_string_equal(evidence_fault_to_string(verdict.fault), "ok");
        assert_int_equal(verdict.boot.reset, json_integer_value(json_object_get(vector, "reset_count")));
        assert_int_equal(verdict.boot.restart, json_integer_value(json_object_get(vector, "restart_count")));

        wire_evidence_done(&evidence);
        blob_done(&ak);
}

static json_t *recorded(void) {
        json_t *vectors = json_load_file("tests/vectors/quotes.json", 0, NULL);

        assert_true(json_array_size(vectors) >= 8);
        return vectors;
}

static void recorded_quotes_are_accepted(void **state) {
        json_t *vectors = recorded(), *vector;
        size_t i;

        json_array_foreach (vectors, i, vector)
                check_recorded(vector);
        json_decref(vectors);
}

static void attest_cut_anywhere(void **state) {
        json_t *vectors = recorded();
        struct blob blob = {};
        struct attest attest;

        hex_blob(json_array_get(vectors, 0), "attest", &blob);
        json_decref(vectors);

        assert_int_equal(attest_parse(blob.data, blob.size, &attest), 0);
        for (size_t size = 0; size < blob.size; size++) {
                uint8_t *exact = malloc(size ? size : 1); /* so that a read behind it is seen */

                memcpy(exact, blob.data, size);
                assert_int_equal(attest_parse(exact, size, &attest), -EBADMSG);
                free(exact);
        }
        blob_done(&blob);
}

static void attest_longer_by_a_byte(void **state) {
        json_t *vectors = recorded();
        struct blob blob = {};
        struct attest attest;

        hex_blob(json_array_get(vectors, 0), "attest", &blob);
        json_decref(vectors);

        blob.data = realloc(blob.data, blob.size + 1);
        blob.data[blob.size] = 0;
        assert_int_equal(attest_parse(blob.data, blob.size + 1, &attest), -EBADMSG);
        blob_done(&blob);
}

/* Before extraData: magic, type, and the signer of 2 and 34 bytes. Its size is at 42. */
static void attest_with_sizes_that_do_not_fit(void **state) {
        static const struct {
                size_t at;
                uint8_t high, low;
        } sizes[] = { { 6, 0xff, 0xff }, { 6, 0, 67 }, { 42, 0xff, 0xff }, { 42, 0, 65 }, { 42, 0, 31 } };
        json_t *vectors = recorded();

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                struct blob blob = {};
                struct attest attest;

                hex_blob(json_array_get(vectors, 0), "attest", &blob);
                blob.data[sizes[i].at] = sizes[i].high;
                blob.data[sizes[i].at + 1] = sizes[i].low;
                assert_int_equal(attest_parse(blob.data, blob.size, &attest), -EBADMSG);
                blob_done(&blob);
        }
        json_decref(vectors);
}

static void attest_with_many_selections(void **state) {
        struct soft_ak ak;
        struct soft_quote quote;
        struct wire_evidence evidence;
        struct attest attest;

        soft_ak_new(&ak);
        soft_evidence(&evidence, &quote);
        for (size_t i = 0; i < 17; i++) {
                quote.selections[i].alg = 0x0b;
                quote.selections[i].mask = 1;
        }
        quote.n_selections = 16;
        soft_attest(&ak, &quote, &evidence);
        assert_int_equal(attest_parse(evidence.attest.data, evidence.attest.size, &attest), 0);
        assert_int_equal(attest.n_selections, 16);
        quote.n_selections = 17;
        soft_attest(&ak, &quote, &evidence);
        assert_int_equal(attest_parse(evidence.attest.data, evidence.attest.size, &attest), -EBADMSG);

        /* bitmaps of five bytes */
        quote.n_selections = 1;
        quote.selections[0].bitmap_size = 4;
        soft_attest(&ak, &quote, &evidence);
        assert_int_equal(attest_parse(evidence.attest.data, evidence.attest.size, &attest), 0);
        quote.selections[0].bitmap_size = 5;
        quote.selections[0].mask = 0;
        soft_attest(&ak, &quote, &evidence);
        assert_int_equal(attest_parse(evidence.attest.data, evidence.attest.size, &attest), -EBADMSG);

        wire_evidence_done(&evidence);
        soft_ak_done(&ak);
}

static void attest_with_a_safe_that_is_neither(void **state) {
        json_t *vectors = recorded();
        struct blob blob = {};
        struct attest attest;

        hex_blob(json_array_get(vectors, 0), "attest", &blob);
        json_decref(vectors);
        blob.data[44 + 32 + 16] = 2;
        assert_int_equal(attest_parse(blob.data, blob.size, &attest), -EBADMSG);
        blob_done(&blob);
}

static void signature_cut_anywhere(void **state) {
        json_t *vectors = recorded();
        struct ecdsa_signature signature;
        struct blob blob = {};
        uint8_t longer[80];

        hex_blob(json_array_get(vectors, 0), "signature", &blob);
        json_decref(vectors);
        assert_int_equal(signature_parse(blob.data, blob.size, &signature), 0);
        memcpy(longer, blob.data, blob.size);
        assert_int_equal(signature_parse(longer, blob.size + 1, &signature), -EBADMSG);
        for (size_t size = 0; size < blob.size; size++) {
                uint8_t *exact = malloc(size ? size : 1);

                memcpy(exact, blob.data, size);
                assert_int_equal(signature_parse(exact, size, &signature), -EBADMSG);
                free(exact);
        }
        blob_done(&blob);
}

static void signatures_of_other_kinds(void **state) {
        static const struct {
                uint8_t data[12];
                size_t size;
                int r;
        } cases[] = {
                { { 0x00, 0x18, 0x00, 0x0b, 0x00, 0x01, 0x05, 0x00, 0x01, 0x06 }, 10, 0 },
                { { 0x00, 0x14, 0x00, 0x0b, 0x00, 0x01, 0x05, 0x00, 0x01, 0x06 }, 10, -EBADMSG }, /* RSASSA */
                { { 0x00, 0x1a, 0x00, 0x0b, 0x00, 0x01, 0x05, 0x00, 0x01, 0x06 }, 10, -EBADMSG }, /* ECDAA */
                { { 0x00, 0x05, 0x00, 0x0b, 0x00, 0x01, 0x05, 0x00, 0x01, 0x06 }, 10, -EBADMSG }, /* HMAC */
                { { 0x00, 0x18, 0x00, 0x04, 0x00, 0x01, 0x05, 0x00, 0x01, 0x06 }, 10, -EBADMSG }, /* SHA-1 */
                { { 0x00, 0x18, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x01, 0x06 }, 9, -EBADMSG },        /* r empty */
                { { 0x00, 0x18, 0x00, 0x0b, 0x00, 0x01, 0x05, 0x00, 0x00 }, 9, -EBADMSG },        /* s empty */
        };
        uint8_t large[4 + 2 + 33 + 2 + 32] = { 0x00, 0x18, 0x00, 0x0b, 0x00, 33 };
        struct ecdsa_signature signature;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(signature_parse(cases[i].data, cases[i].size, &signature), cases[i].r);
        large[4 + 2 + 33 + 1] = 32;
        assert_int_equal(signature_parse(large, sizeof(large), &signature), -EBADMSG);
}

/* Numbers that start with zeros, in all lengths that the format allows: tried until some have come. */
static void signatures_with_leading_zeros(void **state) {
        struct soft_ak ak;
        struct soft_quote quote;
        struct wire_evidence evidence;
        unsigned short_ones = 0;

        soft_ak_new(&ak);
        soft_evidence(&evidence, &quote);
        for (unsigned i = 0; i < 20000 && short_ones < 20; i++) {
                struct ecdsa_signature signature;
                struct buffer buffer = {};

                if (i == 0)
                        soft_attest(&ak, &quote, &evidence);
                soft_sign(&ak, &evidence);
                assert_int_equal(signature_parse(evidence.signature.data, evidence.signature.size, &signature), 0);
                assert_int_equal(signature_verify(ak.key, &signature, evidence.attest.data, evidence.attest.size), 0);
                if (signature.r[0] != 0)
                        continue;

                short_ones++;
                buffer_append(&buffer, evidence.signature.data, 4);
                buffer_be16(&buffer, 31);
                buffer_append(&buffer, signature.r + 1, 31);
                buffer_be16(&buffer, 32);
                buffer_append(&buffer, signature.s, 32);
                assert_int_equal(signature_parse(buffer.data, buffer.size, &signature), 0);
                assert_int_equal(signature_verify(ak.key, &signature, evidence.attest.data, evidence.attest.size), 0);
                buffer_done(&buffer);
        }
        assert_int_equal(short_ones, 20);
        wire_evidence_done(&evidence);
        soft_ak_done(&ak);
}

/* A signature that is right, by a key of another curve or kind. */
static void keys_of_other_kinds(void **state) {
        struct soft_ak small = { .key = EVP_EC_gen("P-224") };
        struct wire_evidence evidence = {};
        struct ecdsa_signature signature;
        EVP_PKEY *rsa = EVP_RSA_gen(2048);

        assert_int_equal(blob_copy("x", 1, &evidence.attest), 0);
        soft_sign(&small, &evidence);
        assert_int_equal(signature_parse(evidence.signature.data, evidence.signature.size, &signature), 0);
        assert_int_equal(signature_verify(small.key, &signature, "x", 1), -EKEYREJECTED);
        assert_int_equal(signature_verify(rsa, &signature, "x", 1), -EKEYREJECTED);

        wire_evidence_done(&evidence);
        EVP_PKEY_free(rsa);
        soft_ak_done(&small);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(recorded_quotes_are_accepted),  cmocka_unit_test(attest_cut_anywhere),
                cmocka_unit_test(attest_longer_by_a_byte),       cmocka_unit_test(attest_with_sizes_that_do_not_fit),
                cmocka_unit_test(attest_with_many_selections),   cmocka_unit_test(attest_with_a_safe_that_is_neither),
                cmocka_unit_test(signature_cut_anywhere),        cmocka_unit_test(signatures_of_other_kinds),
                cmocka_unit_test(signatures_with_leading_zeros), cmocka_unit_test(keys_of_other_kinds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
