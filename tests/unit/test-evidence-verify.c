/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence-attack.h"

/* The signature, what it binds, and the key that made it. */

static void right_evidence_is_accepted(void **state) {
        for (int purpose = PURPOSE_BOOT; purpose <= PURPOSE_CONFIRM; purpose++) {
                ATTACK(attack);
                struct evidence_verdict verdict;

                use_purpose(attack, (enum purpose) purpose);
                verdict = judge(attack);
                assert_string_equal(evidence_fault_to_string(verdict.fault), "ok");
                assert_true(verdict.proven);
                assert_int_equal(verdict.boot.reset, 7);
                assert_int_equal(verdict.boot.restart, 2);
        }
}

static void two_banks_are_accepted(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0c, 0x8001);
        expect(attack, EVIDENCE_OK);
        attack->expected.bank = 0x0c;
        attack->expected.pcrs = 0x8001;
        expect(attack, EVIDENCE_OK);
}

static void more_pcrs_than_wanted_are_accepted(void **state) {
        ATTACK(attack);

        attack->expected.pcrs = 0x8010;
        expect(attack, EVIDENCE_OK);
}

static void invariant_2_signature_of_another_ak(void **state) {
        ATTACK(attack);
        ATTACK(other);
        struct evidence_verdict verdict;

        soft_attest(&attack->ak, &attack->quote, &attack->evidence);
        soft_sign(&other->ak, &attack->evidence);
        verdict = judge_as_it_is(attack);
        assert_int_equal(verdict.fault, EVIDENCE_SIGNATURE);
        assert_false(verdict.proven);
        assert_int_equal(verdict.boot.reset, 0);
}

static void invariant_2_any_bit_of_the_quote_changed(void **state) {
        ATTACK(attack);

        expect(attack, EVIDENCE_OK);
        for (size_t i = 0; i < 8 * attack->evidence.attest.size; i++) {
                attack->evidence.attest.data[i / 8] ^= (uint8_t) (1 << i % 8);
                assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_SIGNATURE);
                attack->evidence.attest.data[i / 8] ^= (uint8_t) (1 << i % 8);
        }
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_OK);
}

static void invariant_2_any_bit_of_the_signature_changed(void **state) {
        ATTACK(attack);

        expect(attack, EVIDENCE_OK);
        for (size_t i = 0; i < 8 * attack->evidence.signature.size; i++) {
                struct evidence_verdict verdict;

                attack->evidence.signature.data[i / 8] ^= (uint8_t) (1 << i % 8);
                verdict = judge_as_it_is(attack);
                assert_true(verdict.fault == EVIDENCE_SIGNATURE || verdict.fault == EVIDENCE_MALFORMED);
                assert_false(verdict.proven);
                attack->evidence.signature.data[i / 8] ^= (uint8_t) (1 << i % 8);
        }
}

static void invariant_2_no_signature(void **state) {
        ATTACK(attack);
        static const uint8_t null_scheme[] = { 0x00, 0x10 };
        static const uint8_t zeros[] = { 0x00, 0x18, 0x00, 0x0b, 0x00, 0x01, 0x00, 0x00, 0x01, 0x00 };

        expect(attack, EVIDENCE_OK);
        attack->evidence.signature.size = 0;
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_MALFORMED);

        attack->evidence.signature.size = sizeof(null_scheme);
        memcpy(attack->evidence.signature.data, null_scheme, sizeof(null_scheme));
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_MALFORMED);

        attack->evidence.signature.size = sizeof(zeros);
        memcpy(attack->evidence.signature.data, zeros, sizeof(zeros));
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_SIGNATURE);
        assert_false(judge_as_it_is(attack).proven);
}

static void invariant_2_magic_not_generated(void **state) {
        ATTACK(attack);

        attack->quote.magic = 0x00544347;
        expect(attack, EVIDENCE_MAGIC);
}

static void invariant_2_type_not_quote(void **state) {
        /* certify, session audit, command audit, time, creation, NV */
        static const uint16_t types[] = { 0x8017, 0x8016, 0x8015, 0x8019, 0x801a, 0x8014, 0x0000 };

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                ATTACK(attack);

                attack->quote.type = types[i];
                expect(attack, EVIDENCE_TYPE);
        }
}

static void invariant_2_bytes_after_the_quote(void **state) {
        ATTACK(attack);

        assert_int_equal(blob_copy("x", 1, &attack->quote.tail), 0);
        expect(attack, EVIDENCE_MALFORMED);
}

/* The quote is signed for one thing and sent for another. */
static void bound_to(void (*spoil)(struct attack *attack)) {
        ATTACK(attack);

        expect(attack, EVIDENCE_OK);
        spoil(attack);
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_BINDING);
        assert_true(judge_as_it_is(attack).proven);
}

static void spoil_tenant_nonce(struct attack *attack) {
        attack->evidence.nonce[PARTY_TENANT][59] ^= 1;
}

static void spoil_verifier_nonce(struct attack *attack) {
        attack->evidence.nonce[PARTY_VERIFIER][0] ^= 0x80;
}

static void swap_nonces(struct attack *attack) {
        uint8_t nonce[WIRE_NONCE_SIZE];

        memcpy(nonce, attack->evidence.nonce[0], sizeof(nonce));
        memcpy(attack->evidence.nonce[0], attack->evidence.nonce[1], sizeof(nonce));
        memcpy(attack->evidence.nonce[1], nonce, sizeof(nonce));
}

static void spoil_nk(struct attack *attack) {
        attack->evidence.nk[64] ^= 1;
}

static void spoil_purpose(struct attack *attack) {
        attack->evidence.purpose = PURPOSE_ENROLL;
}

static void spoil_purpose_to_confirm(struct attack *attack) {
        attack->evidence.purpose = PURPOSE_CONFIRM;
        attack->evidence.has_nk = false;
}

static void add_body(struct attack *attack) {
        assert_int_equal(blob_copy("{}", 2, &attack->evidence.body), 0);
}

static void remove_nk(struct attack *attack) {
        attack->evidence.has_nk = false;
}

static void other_node(struct attack *attack) {
        attack->expected.node_id = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
}

static void invariant_2_quote_binds_what_is_sent(void **state) {
        bound_to(spoil_tenant_nonce);
        bound_to(spoil_verifier_nonce);
        bound_to(swap_nonces);
        bound_to(spoil_nk);
        bound_to(spoil_purpose);
        bound_to(spoil_purpose_to_confirm);
        bound_to(add_body);
        bound_to(remove_nk);
        bound_to(other_node);
}

static void invariant_2_boot_with_a_body(void **state) {
        ATTACK(attack);

        add_body(attack);
        expect(attack, EVIDENCE_BINDING);
}

static void invariant_2_body_changed(void **state) {
        ATTACK(attack);

        use_purpose(attack, PURPOSE_ROTATE);
        expect(attack, EVIDENCE_OK);
        attack->evidence.body.data[1] ^= 1;
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_BINDING);
}

/* A key beside a confirm is bound by nothing: nobody may take it for one. */
static void invariant_2_nk_that_is_not_bound(void **state) {
        ATTACK(attack);

        use_purpose(attack, PURPOSE_CONFIRM);
        expect(attack, EVIDENCE_OK);
        attack->evidence.has_nk = true;
        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_BINDING);
}

static void invariant_2_qualifying_data_of_another_size(void **state) {
        static const size_t sizes[] = { 0, 1, 31, 33, 64 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                ATTACK(attack);

                attack->quote.extra_given = true;
                assert_int_equal(wire_qualifying_data(attack->ak.id, PURPOSE_BOOT, attack->evidence.nk, attack->evidence.nonce,
                                                      &attack->evidence.body, attack->quote.extra),
                                 0);
                attack->quote.extra_size = 32;
                expect(attack, EVIDENCE_OK);
                attack->quote.extra_size = sizes[i];
                expect(attack, EVIDENCE_BINDING);
        }
}

static void invariant_3_ak_template_each_byte(void **state) {
        ATTACK(attack);
        struct blob changed = {};
        size_t accepted = 0;

        expect(attack, EVIDENCE_OK);
        assert_int_equal(ak_check_template(attack->ak.public.data, attack->ak.public.size), 0);

        /* all but the two coordinates: type, hash, attributes, policy, algorithms, curve, sizes */
        for (size_t bit = 0; bit < 8 * attack->ak.public.size; bit++) {
                size_t byte = bit / 8;
                bool coordinate = (byte >= 22 && byte < 54) || byte >= 56;

                assert_int_equal(blob_copy(attack->ak.public.data, attack->ak.public.size, &changed), 0);
                changed.data[byte] ^= (uint8_t) (1 << bit % 8);
                if (ak_check_template(changed.data, changed.size) == 0)
                        accepted++;
                assert_int_equal(ak_check_template(changed.data, changed.size), coordinate ? 0 : -EKEYREJECTED);

                attack->expected.ak_public = &changed;
                assert_true(judge_as_it_is(attack).fault != EVIDENCE_OK);
                blob_done(&changed);
        }
        assert_int_equal(accepted, 8 * 64);
}

static void invariant_3_ak_cut_or_longer(void **state) {
        ATTACK(attack);
        uint8_t longer[100] = {};

        for (size_t size = 0; size < attack->ak.public.size; size++)
                assert_int_equal(ak_check_template(attack->ak.public.data, size), -EKEYREJECTED);

        memcpy(longer, attack->ak.public.data, attack->ak.public.size);
        assert_int_equal(ak_check_template(longer, attack->ak.public.size + 1), -EKEYREJECTED);
}

/* Coordinates that start with zeros come shorter from some TPMs; never in two ways. */
static void invariant_3_one_encoding_of_a_coordinate(void **state) {
        static const uint8_t start[] = { 0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00,
                                         0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10 };
        uint8_t public[sizeof(start) + 2 + 31 + 2 + 32];
        size_t at = sizeof(start);

        memcpy(public, start, sizeof(start));
        public[at++] = 0;
        public[at++] = 31;
        memset(public + at, 0x11, 31);
        at += 31;
        public[at++] = 0;
        public[at++] = 32;
        memset(public + at, 0x22, 32);

        assert_int_equal(ak_check_template(public, sizeof(public)), 0);
        public[sizeof(start) + 2] = 0;
        assert_int_equal(ak_check_template(public, sizeof(public)), -EKEYREJECTED);
}

/* Keys that a TPM would let sign anything, or that are not of a TPM at all: the same key, other attributes. */
static void invariant_3_ak_with_other_attributes(void **state) {
        static const uint32_t attributes[] = {
                0x00040472, /* not restricted: signs an attest structure that its owner wrote */
                0x00050470, /* not fixedTPM */
                0x00050462, /* not fixedParent */
                0x00050452, /* not sensitiveDataOrigin: imported */
                0x00070472, /* decrypts too */
                0x00050072, /* subject to lockout */
        };

        for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                ATTACK(attack);

                for (size_t k = 0; k < 4; k++)
                        attack->ak.public.data[4 + k] = (uint8_t) (attributes[i] >> (24 - 8 * k));
                assert_int_equal(ak_node_id(attack->ak.public.data, attack->ak.public.size, attack->ak.id), 0);
                expect(attack, EVIDENCE_TEMPLATE);
        }
}

/* The node id is the key. */
static void invariant_4_id_of_another_key(void **state) {
        ATTACK(attack);
        ATTACK(other);

        attack->expected.node_id = other->ak.id;
        memcpy(attack->ak.id, other->ak.id, sizeof(attack->ak.id)); /* the quote is bound to it */
        expect(attack, EVIDENCE_TEMPLATE);
}

/* The order of docs/protocol.md, 5: of two faults the earlier one is reported. */
static void fault_magic(struct attack *attack) {
        attack->quote.magic++;
}
static void fault_type(struct attack *attack) {
        attack->quote.type--;
}
static void fault_binding(struct attack *attack) {
        attack->quote.extra_given = true;
}
static void fault_template(struct attack *attack) {
        attack->ak.public.data[5] = 4;
}
static void fault_counters(struct attack *attack) {
        attack->quote.reset = 1;
}
static void fault_selection(struct attack *attack) {
        attack->expected.pcrs |= 1U << 23;
}
static void fault_digest(struct attack *attack) {
        attack->quote.digest_given = true;
}
static void fault_gate(struct attack *attack) {
        attack->evidence.pcrs.banks[0].values[15][0] = 1;
}
static void fault_constant(struct attack *attack) {
        memset(attack->evidence.pcrs.banks[0].values[0], 0, 32);
}

static void faults_are_found_in_order(void **state) {
        static const struct {
                void (*make)(struct attack *attack);
                enum evidence_fault fault;
        } faults[] = {
                { fault_magic, EVIDENCE_MAGIC },           { fault_type, EVIDENCE_TYPE },
                { fault_binding, EVIDENCE_BINDING },       { fault_template, EVIDENCE_TEMPLATE },
                { fault_counters, EVIDENCE_COUNTERS },     { fault_selection, EVIDENCE_SELECTION },
                { fault_digest, EVIDENCE_DIGEST },         { fault_gate, EVIDENCE_GATE },
                { fault_constant, EVIDENCE_PCR_CONSTANT },
        };

        for (size_t i = 0; i < ELEMENTSOF(faults); i++)
                for (size_t k = i; k < ELEMENTSOF(faults); k++) {
                        ATTACK(attack);

                        faults[k].make(attack);
                        if (k != i)
                                faults[i].make(attack);
                        expect(attack, faults[i].fault);

                        attack->evidence.signature.data[20] ^= 1;
                        assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_SIGNATURE);
                }
}

static void counters_compare(void **state) {
        struct boot_counters a = { 1, 5 }, b = { 2, 0 }, c = { 2, 1 };

        assert_true(boot_counters_compare(a, b) < 0);
        assert_true(boot_counters_compare(b, a) > 0);
        assert_true(boot_counters_compare(b, c) < 0);
        assert_true(boot_counters_compare(c, b) > 0);
        assert_int_equal(boot_counters_compare(c, c), 0);
}

static void faults_have_names(void **state) {
        for (int i = EVIDENCE_OK; i <= EVIDENCE_PCR_CONSTANT; i++)
                assert_non_null(evidence_fault_to_string((enum evidence_fault) i));
        assert_string_equal(evidence_fault_to_string((enum evidence_fault) 99), "unknown");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(right_evidence_is_accepted),
                cmocka_unit_test(two_banks_are_accepted),
                cmocka_unit_test(more_pcrs_than_wanted_are_accepted),
                cmocka_unit_test(invariant_2_signature_of_another_ak),
                cmocka_unit_test(invariant_2_any_bit_of_the_quote_changed),
                cmocka_unit_test(invariant_2_any_bit_of_the_signature_changed),
                cmocka_unit_test(invariant_2_no_signature),
                cmocka_unit_test(invariant_2_magic_not_generated),
                cmocka_unit_test(invariant_2_type_not_quote),
                cmocka_unit_test(invariant_2_bytes_after_the_quote),
                cmocka_unit_test(invariant_2_quote_binds_what_is_sent),
                cmocka_unit_test(invariant_2_boot_with_a_body),
                cmocka_unit_test(invariant_2_body_changed),
                cmocka_unit_test(invariant_2_nk_that_is_not_bound),
                cmocka_unit_test(invariant_2_qualifying_data_of_another_size),
                cmocka_unit_test(invariant_3_ak_template_each_byte),
                cmocka_unit_test(invariant_3_ak_cut_or_longer),
                cmocka_unit_test(invariant_3_one_encoding_of_a_coordinate),
                cmocka_unit_test(invariant_3_ak_with_other_attributes),
                cmocka_unit_test(invariant_4_id_of_another_key),
                cmocka_unit_test(faults_are_found_in_order),
                cmocka_unit_test(counters_compare),
                cmocka_unit_test(faults_have_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
