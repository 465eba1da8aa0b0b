/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <jansson.h>

#include "base/encode.h"
#include "evidence/evidence.h"
#include "evidence/token.h"

/* Against tests/vectors/token.json, which another implementation made from docs/protocol.md, 13. */
static json_t *vectors;

static int set_up(void **state) {
        vectors = json_load_file("tests/vectors/token.json", JSON_REJECT_DUPLICATES, NULL);
        return vectors ? 0 : -1;
}

static int tear_down(void **state) {
        json_decref(vectors);
        return 0;
}

static const char *text(const json_t *object, const char *name) {
        const char *value = json_string_value(json_object_get(object, name));

        assert_non_null(value);
        return value;
}

static struct blob from_hex(const char *hex) {
        struct blob blob = { calloc(1, strlen(hex) / 2 + 1), strlen(hex) / 2 };

        assert_int_equal(hex_decode(hex, blob.data, blob.size), 0);
        return blob;
}

static struct blob bytes(const json_t *object, const char *name) {
        return from_hex(text(object, name));
}

static void assert_blob(const struct blob *got, const json_t *object, const char *name) {
        _cleanup_(blob_done) struct blob want = bytes(object, name);

        assert_int_equal(got->size, want.size);
        assert_memory_equal(got->data, want.data, want.size);
}

static void keys_and_ids(void **state) {
        const json_t *key;
        size_t i;

        assert_true(json_array_size(json_object_get(vectors, "keys")) >= 5);
        json_array_foreach (json_object_get(vectors, "keys"), i, key) {
                _cleanup_(blob_done) struct blob public = bytes(key, "public");
                char name[TOKEN_NAME_SIZE], id[NODE_ID_LENGTH + 1], code[CODE_LENGTH + 1];
                struct token_key parsed;
                uint8_t digest[32];

                assert_int_equal(token_key_parse(public.data, public.size, &parsed), 0);
                token_key_name(&parsed, name);
                assert_string_equal(name, text(key, "type"));
                assert_int_equal(token_node_id(public.data, public.size, digest, id), 0);
                assert_string_equal(id, text(key, "node_id"));
                assert_blob(&(struct blob){ digest, sizeof(digest) }, key, "digest");
                assert_int_equal(node_code(digest, id, code), 0);
                assert_string_equal(code, text(key, "code"));
        }
}

static void refused_keys(void **state) {
        const char *name;
        const json_t *value;

        json_object_foreach (json_object_get(vectors, "refused_keys"), name, value) {
                _cleanup_(blob_done) struct blob public = from_hex(json_string_value(value));
                struct token_key key;
                int r = token_key_parse(public.data, public.size, &key);

                if (r != -EBADMSG && r != -EOPNOTSUPP)
                        fail_msg("%s: %d", name, r);
        }
}

/* One byte changed anywhere but in the key itself: never a second encoding of a key, so never a second node id. */
static void no_other_encoding(void **state) {
        const json_t *key;
        size_t i;

        json_array_foreach (json_object_get(vectors, "keys"), i, key) {
                _cleanup_(blob_done) struct blob public = bytes(key, "public");
                const uint8_t *value;
                struct token_key parsed;

                assert_int_equal(token_key_parse(public.data, public.size, &parsed), 0);
                value = parsed.value;
                for (uint8_t *at = public.data; at < value; at++)
                        for (unsigned bit = 0; bit < 8; bit++) {
                                *at ^= (uint8_t) (1 << bit);
                                if (token_key_parse(public.data, public.size, &parsed) >= 0)
                                        fail_msg("%s: bit %u of byte %td", text(key, "type"), bit, at - public.data);
                                *at ^= (uint8_t) (1 << bit);
                        }
        }
}

struct example {
        const json_t *key;
        struct blob public, body, challenge;
        struct evidence_expected expected;
        struct wire_evidence evidence;
};

static void example_done(struct example *example) {
        blob_done(&example->public);
        blob_done(&example->body);
        blob_done(&example->challenge);
        blob_done(&example->evidence.token_signature);
        example->evidence.body = (struct blob){};
}

static void example_of(const json_t *key, enum purpose purpose, struct example *example) {
        _cleanup_(blob_done) struct blob tenant = bytes(key, "nonce_tenant"), verifier = bytes(key, "nonce_verifier");
        _cleanup_(blob_done) struct blob nk = bytes(key, "nk");

        *example = (struct example){ .key = key, .public = bytes(key, "public"), .body = bytes(key, "body") };
        example->expected = (struct evidence_expected){ .node_id = text(key, "node_id"), .token_public = &example->public };
        example->evidence.purpose = purpose;
        memcpy(example->evidence.nonce[PARTY_TENANT], tenant.data, WIRE_NONCE_SIZE);
        memcpy(example->evidence.nonce[PARTY_VERIFIER], verifier.data, WIRE_NONCE_SIZE);
        memcpy(example->evidence.nk, nk.data, POINT_SIZE);
        example->evidence.has_nk = purpose != PURPOSE_CONFIRM;
        if (purpose != PURPOSE_BOOT)
                example->evidence.body = example->body;
        example->evidence.token_signature = bytes(json_object_get(key, purpose_to_string(purpose)), "signature");
}

static struct evidence_verdict verdict_of(const struct example *example) {
        struct evidence_verdict verdict;

        assert_int_equal(evidence_verify(&example->evidence, &example->expected, &verdict), 0);
        return verdict;
}

static void messages(void **state) {
        const json_t *key;
        size_t i;

        json_array_foreach (json_object_get(vectors, "keys"), i, key)
                for (enum purpose purpose = PURPOSE_BOOT; purpose <= PURPOSE_CONFIRM; purpose++) {
                        _cleanup_(blob_done) struct blob message = {};
                        _cleanup_(example_done) struct example example;
                        const struct wire_evidence *evidence = &example.evidence;

                        example_of(key, purpose, &example);
                        assert_int_equal(wire_token_evidence_message(text(key, "node_id"), purpose,
                                                                     evidence->has_nk ? evidence->nk : NULL, evidence->nonce,
                                                                     &evidence->body, &message),
                                         0);
                        assert_blob(&message, json_object_get(key, purpose_to_string(purpose)), "message");
                }
}

static void registrations(void **state) {
        const json_t *key;
        size_t i;

        json_array_foreach (json_object_get(vectors, "keys"), i, key) {
                _cleanup_(blob_done) struct blob public = bytes(key, "public"), challenge = bytes(key, "challenge"), message = {};
                const json_t *want = json_object_get(key, "register");
                _cleanup_(blob_done) struct blob signature = bytes(want, "signature");

                assert_int_equal(wire_token_register_message(text(key, "node_id"), &challenge, &message), 0);
                assert_blob(&message, want, "message");
                assert_blob(&(struct blob){ message.data, WIRE_TOKEN_PREFIX_SIZE }, vectors, "prefix");
                assert_int_equal(token_verify(&public, &message, &signature), 0);
        }
}

static void evidence(void **state) {
        const json_t *key;
        size_t i;

        json_array_foreach (json_object_get(vectors, "keys"), i, key)
                for (enum purpose purpose = PURPOSE_BOOT; purpose <= PURPOSE_CONFIRM; purpose++) {
                        _cleanup_(example_done) struct example example;
                        struct evidence_verdict verdict;

                        example_of(key, purpose, &example);
                        verdict = verdict_of(&example);
                        assert_int_equal(verdict.fault, EVIDENCE_OK);
                        assert_true(verdict.proven);
                        assert_int_equal(verdict.boot.reset, 0);
                }
}

static void refused_signatures(void **state) {
        const json_t *key, *value;
        const char *name;
        size_t i;

        json_array_foreach (json_object_get(vectors, "keys"), i, key)
                json_object_foreach (json_object_get(key, "refused"), name, value) {
                        _cleanup_(blob_done) struct blob signature = from_hex(json_string_value(value)),
                                                         public = bytes(key, "public");
                        _cleanup_(blob_done) struct blob message = bytes(json_object_get(key, "boot"), "message");

                        if (token_verify(&public, &message, &signature) != -EKEYREJECTED)
                                fail_msg("%s: %s", text(key, "type"), name);
                }
}

static void assert_refused(const struct example *example, enum evidence_fault fault) {
        struct evidence_verdict verdict = verdict_of(example);

        assert_int_equal(verdict.fault, fault);
        assert_false(verdict.proven);
}

/* invariant 1: of everything that the message names, another value. */
static void invariant_1_what_a_token_signs_is_bound(void **state) {
        const json_t *keys = json_object_get(vectors, "keys");
        _cleanup_(example_done) struct example example;

        example_of(json_array_get(keys, 0), PURPOSE_ROTATE, &example);
        example.evidence.nk[64] ^= 1;
        assert_refused(&example, EVIDENCE_SIGNATURE);
        example.evidence.nk[64] ^= 1;
        for (enum party party = PARTY_TENANT; party <= PARTY_VERIFIER; party++) {
                example.evidence.nonce[party][30] ^= 1;
                assert_refused(&example, EVIDENCE_SIGNATURE);
                example.evidence.nonce[party][30] ^= 1;
        }
        example.evidence.body.data[3] ^= 1;
        assert_refused(&example, EVIDENCE_SIGNATURE);
        example.evidence.body.data[3] ^= 1;
        example.evidence.purpose = PURPOSE_ENROLL;
        assert_refused(&example, EVIDENCE_SIGNATURE);
        example.evidence.purpose = PURPOSE_ROTATE;
        example.expected.node_id = text(json_array_get(keys, 1), "node_id");
        assert_refused(&example, EVIDENCE_SIGNATURE);
        example.expected.node_id = text(json_array_get(keys, 0), "node_id");
        assert_int_equal(verdict_of(&example).fault, EVIDENCE_OK);
}

static void members_of_another_purpose(void **state) {
        const json_t *key = json_array_get(json_object_get(vectors, "keys"), 0);
        _cleanup_(example_done) struct example boot = {}, confirm = {};

        example_of(key, PURPOSE_BOOT, &boot);
        boot.evidence.body = boot.body;
        assert_refused(&boot, EVIDENCE_BINDING);
        boot.evidence.body = (struct blob){};
        boot.evidence.has_nk = false;
        assert_refused(&boot, EVIDENCE_BINDING);

        example_of(key, PURPOSE_CONFIRM, &confirm);
        confirm.evidence.has_nk = true;
        assert_refused(&confirm, EVIDENCE_BINDING);
}

/* A node is of one kind, whatever is right with the evidence. */
static void invariant_2_kinds_do_not_mix(void **state) {
        const json_t *key = json_array_get(json_object_get(vectors, "keys"), 0);
        _cleanup_(example_done) struct example example;
        struct blob signature;

        example_of(key, PURPOSE_BOOT, &example);
        example.expected.token_public = NULL;
        example.expected.ak_public = &example.public;
        assert_refused(&example, EVIDENCE_KIND);
        example.expected.token_public = &(struct blob){};
        assert_refused(&example, EVIDENCE_KIND);

        example.expected.token_public = &example.public;
        signature = example.evidence.token_signature;
        example.evidence.token_signature = (struct blob){};
        example.evidence.attest = example.evidence.signature = signature;
        assert_refused(&example, EVIDENCE_KIND);
        example.evidence.token_signature = signature;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(keys_and_ids),
                cmocka_unit_test(refused_keys),
                cmocka_unit_test(no_other_encoding),
                cmocka_unit_test(messages),
                cmocka_unit_test(registrations),
                cmocka_unit_test(evidence),
                cmocka_unit_test(refused_signatures),
                cmocka_unit_test(invariant_1_what_a_token_signs_is_bound),
                cmocka_unit_test(members_of_another_purpose),
                cmocka_unit_test(invariant_2_kinds_do_not_mix),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
