/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence-attack.h"

/* The state of the machine: counters, selection, digest, gate. */

static void invariant_6_lower_counters(void **state) {
        static const struct {
                uint32_t reset, restart;
                bool good;
        } cases[] = { { 7, 2, true },  { 7, 3, true },  { 8, 0, true },           { UINT32_MAX, 0, true },
                      { 7, 1, false }, { 6, 2, false }, { 6, UINT32_MAX, false }, { 0, 0, false } };

        for (int purpose = PURPOSE_BOOT; purpose <= PURPOSE_CONFIRM; purpose++)
                for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                        ATTACK(attack);
                        bool compared = purpose == PURPOSE_BOOT || purpose == PURPOSE_ROTATE;

                        use_purpose(attack, (enum purpose) purpose);
                        attack->quote.reset = cases[i].reset;
                        attack->quote.restart = cases[i].restart;
                        expect(attack, compared && !cases[i].good ? EVIDENCE_COUNTERS : EVIDENCE_OK);
                        attack->expected.has_boot = false;
                        expect(attack, EVIDENCE_OK);
                }
}

static void invariant_2_pcr_missing(void **state) {
        for (unsigned pcr = 0; pcr < 16; pcr++) {
                ATTACK(attack);

                if (pcr == 10)
                        continue;
                attack->quote.selections[0].mask &= ~(1U << pcr);
                attack->evidence.pcrs.banks[0].mask &= ~(1U << pcr);
                expect(attack, EVIDENCE_SELECTION);
        }
}

static void invariant_2_pcr_selection_other_bank(void **state) {
        ATTACK(attack);

        attack->expected.bank = 0x0c;
        expect(attack, EVIDENCE_SELECTION);
}

/* All that is wanted, but spread over two banks. */
static void invariant_2_pcr_selection_spread_over_banks(void **state) {
        ATTACK(attack);

        attack->quote.selections[0].mask = attack->evidence.pcrs.banks[0].mask = 0xfbfe;
        add_bank(attack, 0x0c, 0x8001);
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_empty_bitmap(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0c, 0);
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_no_selection(void **state) {
        ATTACK(attack);

        attack->expected.pcrs = 0; /* even where nothing is wanted */
        attack->quote.n_selections = 0;
        attack->evidence.pcrs.n = 0;
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_bank_twice(void **state) {
        ATTACK(attack);

        attack->quote.selections[1] = attack->quote.selections[0];
        attack->quote.n_selections = 2;
        attack->evidence.pcrs.banks[1] = attack->evidence.pcrs.banks[0];
        attack->evidence.pcrs.n = 2;
        expect(attack, EVIDENCE_SELECTION);
}

/* The values of one bank are sent twice: the second, with a closed gate, is what was quoted. */
static void invariant_2_values_twice(void **state) {
        ATTACK(attack);

        attack->evidence.pcrs.banks[1] = attack->evidence.pcrs.banks[0];
        attack->evidence.pcrs.n = 2;
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_unknown_bank(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0012, 0x8001); /* SM3 */
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_pcr_beyond_the_last(void **state) {
        ATTACK(attack);

        attack->quote.selections[0].bitmap_size = 4;
        expect(attack, EVIDENCE_OK);
        attack->quote.selections[0].mask |= 1U << 24;
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_value_outside_selection_never_read(void **state) {
        ATTACK(attack);

        /* PCR 4 is not in the quote; the value that the policy wants is sent all the same */
        attack->quote.selections[0].mask &= ~(1U << 4);
        expect(attack, EVIDENCE_SELECTION);
        /* nor where nobody wants it */
        attack->expected.pcrs &= ~(1U << 4);
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_bank_outside_selection_never_read(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0c, 0x8001);
        attack->quote.n_selections = 1;
        expect(attack, EVIDENCE_SELECTION);
        attack->expected.bank = 0x0c;
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_selection_without_value(void **state) {
        ATTACK(attack);

        attack->evidence.pcrs.banks[0].mask &= ~(1U << 4);
        expect(attack, EVIDENCE_SELECTION);
}

static void invariant_2_value_changed(void **state) {
        for (unsigned pcr = 0; pcr < 15; pcr++) {
                ATTACK(attack);

                if (pcr == 10)
                        continue;
                expect(attack, EVIDENCE_OK);
                attack->evidence.pcrs.banks[0].values[pcr][31] ^= 1;
                assert_int_equal(judge_as_it_is(attack).fault, EVIDENCE_DIGEST);
        }
}

static void invariant_2_digest_of_another_size(void **state) {
        static const size_t sizes[] = { 0, 31, 33, 64 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                ATTACK(attack);

                expect(attack, EVIDENCE_OK);
                attack->quote.digest_given = true;
                memcpy(attack->quote.digest, attack->evidence.attest.data + attack->evidence.attest.size - 32, 32);
                attack->quote.digest_size = 32;
                expect(attack, EVIDENCE_OK);
                attack->quote.digest_size = sizes[i];
                expect(attack, EVIDENCE_DIGEST);
        }
}

static void invariant_2_gate_closed(void **state) {
        static const struct {
                enum purpose purpose;
                enum evidence_fault fault;
        } cases[] = { { PURPOSE_BOOT, EVIDENCE_GATE },
                      { PURPOSE_ROTATE, EVIDENCE_GATE },
                      { PURPOSE_ENROLL, EVIDENCE_OK },
                      { PURPOSE_CONFIRM, EVIDENCE_OK } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (size_t byte = 0; byte < 32; byte++) {
                        ATTACK(attack);

                        use_purpose(attack, cases[i].purpose);
                        attack->evidence.pcrs.banks[0].values[15][byte] = 0x40;
                        expect(attack, cases[i].fault);
                }
}

static void invariant_2_gate_not_in_selection(void **state) {
        ATTACK(attack);

        /* a caller that forgot to want it */
        attack->expected.pcrs &= ~(1U << 15);
        attack->quote.selections[0].mask &= ~(1U << 15);
        attack->evidence.pcrs.banks[0].mask &= ~(1U << 15);
        expect(attack, EVIDENCE_GATE);
}

static void invariant_2_gate_not_zero_in_one_bank(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0c, 0x8001)->values[15][47] = 1;
        expect(attack, EVIDENCE_GATE);
}

static void invariant_2_gate_not_quoted_in_one_bank(void **state) {
        ATTACK(attack);

        add_bank(attack, 0x0c, 0x0001);
        expect(attack, EVIDENCE_GATE);
}

static void invariant_2_gate_that_is_no_pcr(void **state) {
        ATTACK(attack);

        attack->expected.gate = 24;
        expect(attack, EVIDENCE_GATE);
}

static void invariant_2_all_zero_pcr0(void **state) {
        for (unsigned pcr = 0; pcr < 8; pcr++)
                for (int value = 0; value <= 0xff; value += 0xff) {
                        ATTACK(attack);

                        memset(attack->evidence.pcrs.banks[0].values[pcr], value, 32);
                        expect(attack, EVIDENCE_PCR_CONSTANT);
                        attack->evidence.pcrs.banks[0].values[pcr][31] ^= 1;
                        expect(attack, EVIDENCE_OK);
                }
}

static void invariant_2_all_zero_pcr0_in_another_bank(void **state) {
        ATTACK(attack);

        memset(add_bank(attack, 0x0c, 0x8001)->values[0], 0, 48);
        expect(attack, EVIDENCE_PCR_CONSTANT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(invariant_6_lower_counters),
                cmocka_unit_test(invariant_2_pcr_missing),
                cmocka_unit_test(invariant_2_pcr_selection_other_bank),
                cmocka_unit_test(invariant_2_pcr_selection_spread_over_banks),
                cmocka_unit_test(invariant_2_empty_bitmap),
                cmocka_unit_test(invariant_2_no_selection),
                cmocka_unit_test(invariant_2_bank_twice),
                cmocka_unit_test(invariant_2_values_twice),
                cmocka_unit_test(invariant_2_unknown_bank),
                cmocka_unit_test(invariant_2_pcr_beyond_the_last),
                cmocka_unit_test(invariant_2_value_outside_selection_never_read),
                cmocka_unit_test(invariant_2_bank_outside_selection_never_read),
                cmocka_unit_test(invariant_2_selection_without_value),
                cmocka_unit_test(invariant_2_value_changed),
                cmocka_unit_test(invariant_2_digest_of_another_size),
                cmocka_unit_test(invariant_2_gate_closed),
                cmocka_unit_test(invariant_2_gate_not_in_selection),
                cmocka_unit_test(invariant_2_gate_not_zero_in_one_bank),
                cmocka_unit_test(invariant_2_gate_not_quoted_in_one_bank),
                cmocka_unit_test(invariant_2_gate_that_is_no_pcr),
                cmocka_unit_test(invariant_2_all_zero_pcr0),
                cmocka_unit_test(invariant_2_all_zero_pcr0_in_another_bank),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
