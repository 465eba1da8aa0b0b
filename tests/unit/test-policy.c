/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "policy-text.h"

#define Z32 "0000000000000000000000000000000000000000000000000000000000000000"
#define F32 "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define A48 A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* PCR values of one bank, each byte of PCR i being values[i]; mask says which are there. */
static struct pcr_values some(uint16_t alg, uint32_t mask, const uint8_t values[static WIRE_PCRS]) {
        struct pcr_values pcrs = { .n = 1, .banks[0] = { .alg = alg, .mask = mask } };

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                memset(pcrs.banks[0].values[pcr], values[pcr], pcr_alg_size(alg));
        return pcrs;
}

static int decide(const struct policy *policy, const struct pcr_values *pcrs, struct policy_decision *ret) {
        const struct policy_input input = { .pcrs = pcrs, .bank = 0x0b };

        return policy_decide(policy, &input, ret);
}

static bool allowed(const char *text, const struct pcr_values *pcrs) {
        struct policy policy = policy_parsed(text);
        struct policy_decision decision;
        bool answer;

        assert_int_equal(decide(&policy, pcrs, &decision), 0);
        answer = decision.allowed;
        assert_int_equal(answer, decision.set != NULL);
        policy_decision_done(&decision);
        policy_done(&policy);
        return answer;
}

static void parse_and_format(void **state) {
        static const char text[] = "# a comment\n[set debian-12.7]\nbank = sha256\npcr 0 = " A32 "\npcr 8=zero\npcr 23 = " B32
                                   "\n\n[set two_2:+]\nbank=sha384\npcr 4 = " A48 "\n";
        struct policy policy = policy_parsed(text), again;
        char *formatted = policy_format(&policy);

        assert_int_equal(policy.n, 2);
        assert_string_equal(policy.sets[0].name, "debian-12.7");
        assert_int_equal(policy.sets[0].bank, 0x0b);
        assert_int_equal(policy.sets[0].mask, 0x800101);
        assert_int_equal(policy.sets[0].zero, 0x100);
        assert_int_equal(policy.sets[0].values[0][31], 0xaa);
        assert_int_equal(policy.sets[1].values[4][47], 0xaa);
        assert_int_equal(policy_pcrs(&policy, 0x0b), 0x800101);
        assert_int_equal(policy_pcrs(&policy, 0x0c), 0x10);
        assert_int_equal(policy_pcrs(&policy, 0x04), 0);

        /* what an operator wrote is kept, comments too */
        assert_string_equal(formatted, text);
        again = policy_parsed(formatted);
        assert_int_equal(again.n, 2);
        assert_memory_equal(again.sets, policy.sets, 2 * sizeof(*policy.sets));
        policy_done(&again);
        policy_done(&policy);
        free(formatted);
}

static void empty_policy_allows_nothing(void **state) {
        static const uint8_t values[WIRE_PCRS] = { 1, 2, 3 };
        struct pcr_values pcrs = some(0x0b, 0xff, values);

        assert_false(allowed("", &pcrs));
        assert_false(allowed("# nothing yet\n", &pcrs));
        assert_false(allowed("[set x]\n", &pcrs));
}

static void bad_policies(void **state) {
        policy_refused("pcr 0 = " A32 "\n", "1: not a section of a policy");
        policy_refused("[Policy]\nbank = sha256\n", "not a section of a policy");
        policy_refused("[set ]\nbank = sha256\n", "");
        policy_refused("[set a b]\nbank = sha256\n", "not a section of a policy");
        policy_refused("[set a/../b]\nbank = sha256\n", "not a section of a policy");
        policy_refused("[set aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nbank = sha256\n", "up to 63");
        policy_refused("[set x]\nbank = sha256\n", "no PCR");
        policy_refused("[set x]\nbank = sha1\npcr 0 = aa\n", "2: no such bank: write sha256 or sha384");
        policy_refused("[set x]\nbank = sha512\npcr 0 = aa\n", "write sha256 or sha384");
        policy_refused("[set x]\nbank = md5\n", "write sha256 or sha384");
        policy_refused("[set x]\nbank = sha256\nbank = sha256\npcr 0 = " A32 "\n", "3: bank is there already");
        policy_refused("[set x]\npcr 0 = " A32 "\n", "2: the set's bank is not known yet");
        policy_refused("[set x]\nbank = sha256\npcr 24 = " A32 "\n", "3: no such PCR");
        policy_refused("[set x]\nbank = sha256\npcr -1 = " A32 "\n", "no such PCR");
        policy_refused("[set x]\nbank = sha256\npcr  = " A32 "\n", "");
        policy_refused("[set x]\nbank = sha256\npcr 0 = " A48 "\n", "64 hexadecimal digits");
        policy_refused("[set x]\nbank = sha384\npcr 0 = " A32 "\n", "96 hexadecimal digits");
        policy_refused("[set x]\nbank = sha256\npcr 0 = any\n", "hexadecimal");
        policy_refused("[set x]\nbank = sha256\npcr 0 = *\n", "hexadecimal");
        policy_refused("[set x]\nbank = sha256\npcr 4 = " A32 "\npcr 4 = " B32 "\n", "4: PCR 4 is there already");
        policy_refused("[set x]\nbank = sha256\npcr 4 = " A32 "\npcr 04 = " B32 "\n", "PCR 4 is there already");
        policy_refused("[set x]\nbank = sha256\npcr 8 = " Z32 "\n", "the word zero");
        policy_refused("[set x]\nbank = sha256\npcr 8 = " F32 "\n", "all one bits");
        policy_refused("[set x]\nbank = sha256\npcr 0 = " F32 "\n", "all one bits");
        policy_refused("[set x]\nbank = sha256\npcr 7 = zero\n", "never allowed for PCR 0 to 7");
        policy_refused("[set x]\nbank = sha256\npcr 0 = " Z32 "\n", "never allowed for PCR 0 to 7");
        policy_refused("[set x]\nbank = sha256\npcr 4 = " A32 "\nallow = all\n", "unknown key \"allow\"");
        policy_refused("[set x]\nbank = sha256\npcr 4 = " A32 "\n[set y]\nbank = sha256\npcr 4 = " A32 "\n[set x]\npcr 5 = " A32
                       "\n",
                       "[set x] is there already");
        policy_refused("[set x]\nbank = sha256\npcr 4 = " A32 "\n\033[2J\n", "control character");
}

static void sets_are_limited(void **state) {
        struct buffer text = {};
        struct policy policy;
        char error[256];

        for (unsigned i = 0; i < 257; i++) {
                if (i == 256)
                        assert_int_equal(policy_parse((char *) text.data, text.size, &policy, error, sizeof(error)), 0);
                buffer_printf(&text, "[set s%u]\nbank = sha256\npcr 4 = " A32 "\n", i);
        }
        assert_int_equal(policy.n, 256);
        policy_done(&policy);
        assert_int_equal(policy_parse((char *) text.data, text.size, &policy, error, sizeof(error)), -EBADMSG);
        assert_non_null(strstr(error, "more than 256 sets"));
        buffer_done(&text);
}

static void whole_sets_match(void **state) {
        static const char text[] = "[set one]\nbank = sha256\npcr 0 = " A32 "\npcr 4 = " A32 "\n"
                                   "[set two]\nbank = sha256\npcr 0 = " B32 "\npcr 4 = " B32 "\n";
        struct pcr_values pcrs;

        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [0] = 0xaa, [4] = 0xaa, [5] = 9 });
        assert_true(allowed(text, &pcrs));
        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [0] = 0xbb, [4] = 0xbb });
        assert_true(allowed(text, &pcrs));
        /* one half of each */
        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [0] = 0xaa, [4] = 0xbb });
        assert_false(allowed(text, &pcrs));
        /* the last bit */
        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [0] = 0xaa, [4] = 0xaa });
        pcrs.banks[0].values[4][31] ^= 1;
        assert_false(allowed(text, &pcrs));
}

/* The value is there, but nobody signed it. */
static void invariant_2_policy_reads_only_the_selection(void **state) {
        static const char text[] = "[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 4 = " A32 "\n";
        struct pcr_values pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [0] = 0xaa, [4] = 0xaa });

        assert_true(allowed(text, &pcrs));
        pcrs.banks[0].mask = 0x0001;
        assert_false(allowed(text, &pcrs));
        pcrs.banks[0].mask = 0;
        assert_false(allowed(text, &pcrs));
        pcrs.n = 0;
        assert_false(allowed(text, &pcrs));
}

static void invariant_2_policy_reads_only_its_bank(void **state) {
        static const char text[] = "[set x]\nbank = sha256\npcr 4 = " A32 "\n";
        struct pcr_values pcrs = some(0x0c, 0xffff, (const uint8_t[WIRE_PCRS]){ [4] = 0xaa });

        assert_false(allowed(text, &pcrs));
        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [4] = 0xaa });
        assert_true(allowed(text, &pcrs));
}

/* Both banks are quoted, the set fits to the one that the node is not pinned to: anybody may have extended that one. */
static void invariant_2_a_set_of_another_bank(void **state) {
        struct policy policy = policy_parsed("[set x]\nbank = sha256\npcr 4 = " A32 "\n");
        struct pcr_values pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [4] = 0xaa });
        struct policy_input input = { .pcrs = &pcrs, .bank = 0x0c };
        struct policy_decision decision;

        pcrs.banks[pcrs.n++] = some(0x0c, 0xffff, (const uint8_t[WIRE_PCRS]){ [4] = 0xbb }).banks[0];
        assert_int_equal(policy_decide(&policy, &input, &decision), 0);
        assert_false(decision.allowed);
        assert_null(decision.set);
        assert_string_equal(decision.differences[0].got, "missing");
        policy_decision_done(&decision);

        input.bank = 0x0b;
        assert_int_equal(policy_decide(&policy, &input, &decision), 0);
        assert_true(decision.allowed);
        policy_decision_done(&decision);
        policy_done(&policy);
}

static void invariant_2_zero_by_name_only(void **state) {
        struct policy policy = policy_parsed("[set x]\nbank = sha256\npcr 4 = " A32 "\npcr 12 = zero\n");
        struct pcr_values pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ [4] = 0xaa });
        struct policy_decision decision;

        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_true(decision.allowed);
        assert_string_equal(decision.set, "x");

        pcrs.banks[0].values[12][31] = 1;
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        policy_decision_done(&decision);
        pcrs.banks[0].values[12][31] = 0;

        /* sets made by hand, that the parser would refuse */
        policy.sets[0].zero = 0;
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        policy_decision_done(&decision);
        memset(policy.sets[0].values[12], 0xff, 32);
        memset(pcrs.banks[0].values[12], 0xff, 32);
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        policy_decision_done(&decision);
        policy.sets[0].mask = policy.sets[0].zero = 1U << 4;
        memset(pcrs.banks[0].values[4], 0, 32);
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        policy_decision_done(&decision);
        policy.sets[0].mask = 0;
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        policy_decision_done(&decision);
        policy_done(&policy);
}

static void differences_nearest_first(void **state) {
        struct policy policy = policy_parsed("[set far]\nbank = sha256\npcr 0 = " B32 "\npcr 4 = " B32 "\n"
                                             "[set near]\nbank = sha256\npcr 0 = " A32 "\npcr 8 = zero\npcr 9 = " A32 "\n"
                                             "[set other]\nbank = sha384\npcr 4 = " A48 "\n");
        struct pcr_values pcrs = some(0x0b, 0x01ff, (const uint8_t[WIRE_PCRS]){ [0] = 0xaa, [4] = 0 });
        struct policy_decision decision;

        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_false(decision.allowed);
        assert_null(decision.set);
        assert_int_equal(decision.n, 4);

        assert_string_equal(decision.differences[0].set, "near");
        assert_int_equal(decision.differences[0].pcr, 9);
        assert_string_equal(decision.differences[0].expected, A32);
        assert_string_equal(decision.differences[0].got, "missing");
        assert_string_equal(decision.differences[1].set, "other");
        assert_string_equal(decision.differences[1].expected, A48);
        assert_string_equal(decision.differences[1].got, "missing");
        assert_string_equal(decision.differences[2].set, "far");
        assert_string_equal(decision.differences[2].expected, B32);
        assert_string_equal(decision.differences[2].got, A32);
        assert_string_equal(decision.differences[3].got, "zero");
        policy_decision_done(&decision);

        pcrs.banks[0].mask |= 1U << 9;
        memset(pcrs.banks[0].values[8], 0x11, 32);
        memset(pcrs.banks[0].values[9], 0xaa, 32);
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_string_equal(decision.differences[0].set, "near");
        assert_string_equal(decision.differences[0].expected, "zero");
        policy_decision_done(&decision);
        policy_done(&policy);
}

static void differences_are_limited(void **state) {
        struct policy policy = {};
        struct pcr_values pcrs;
        struct policy_decision decision;
        char name[16];

        pcrs = some(0x0b, 0xffff, (const uint8_t[WIRE_PCRS]){ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 });
        for (unsigned i = 0; i < 100; i++) {
                (void) snprintf(name, sizeof(name), "s%u", i);
                assert_int_equal(policy_capture(&policy, name, &pcrs, 0x0b, 15), 0);
        }
        for (unsigned pcr = 0; pcr < 16; pcr++)
                pcrs.banks[0].values[pcr][0] ^= 0x80;
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_int_equal(decision.n, 512);
        policy_decision_done(&decision);
        policy_done(&policy);
}

static void capture(void **state) {
        struct pcr_values pcrs =
                some(0x0b, 0xfbff, (const uint8_t[WIRE_PCRS]){ 1, 2, 3, 4, 5, 6, 7, 8, [9] = 9, [11] = 0xb, [15] = 0 });
        struct policy policy = {};
        struct policy_decision decision;
        char *text;

        assert_int_equal(policy_capture(&policy, "first", &pcrs, 0x0b, 15), 0);
        assert_int_equal(policy_capture(&policy, "first", &pcrs, 0x0b, 15), -EEXIST);
        assert_int_equal(policy_capture(&policy, "a b", &pcrs, 0x0b, 15), -EINVAL);
        assert_int_equal(policy_capture(&policy, "", &pcrs, 0x0b, 15), -EINVAL);
        assert_int_equal(policy_capture(&policy, "other", &pcrs, 0x0c, 15), -EINVAL);
        assert_int_equal(policy.n, 1);
        assert_int_equal(policy.sets[0].mask, 0x7bff);
        assert_int_equal(policy.sets[0].zero, 1 << 8 | 1 << 12 | 1 << 13 | 1 << 14);

        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_true(decision.allowed);
        policy_decision_done(&decision);

        text = policy_format(&policy);
        policy_done(&policy);
        policy = policy_parsed(text);
        assert_int_equal(policy.sets[0].mask, 0x7bff);
        free(text);
        assert_int_equal(decide(&policy, &pcrs, &decision), 0);
        assert_true(decision.allowed);
        policy_decision_done(&decision);
        policy_done(&policy);
}

static void capture_of_what_nobody_measured(void **state) {
        struct pcr_values pcrs = some(0x0b, 0x80ff, (const uint8_t[WIRE_PCRS]){ 1, 2, 3, 4, 5, 6, 7, 0 });
        struct policy policy = {};

        assert_int_equal(policy_capture(&policy, "x", &pcrs, 0x0b, 15), -EINVAL);
        pcrs = some(0x0b, 0x8011, (const uint8_t[WIRE_PCRS]){ 1, [4] = 0xff });
        assert_int_equal(policy_capture(&policy, "x", &pcrs, 0x0b, 15), -EINVAL);
        pcrs = some(0x0b, 0x8000, (const uint8_t[WIRE_PCRS]){ 1 });
        assert_int_equal(policy_capture(&policy, "x", &pcrs, 0x0b, 15), -EINVAL);
        assert_int_equal(policy.n, 0);
}

static void capture_keeps_the_text(void **state) {
        static const char text[] = "# ours\n[set a]\nbank = sha256 \npcr 0 = " A32;
        struct pcr_values pcrs = some(0x0b, 0x101, (const uint8_t[WIRE_PCRS]){ 0xbb });
        struct policy policy = policy_parsed(text);
        char *formatted;

        assert_int_equal(policy_capture(&policy, "b", &pcrs, 0x0b, 15), 0);
        formatted = policy_format(&policy);
        assert_string_equal(formatted, "# ours\n[set a]\nbank = sha256 \npcr 0 = " A32 "\n\n[set b]\nbank = sha256\npcr 0 = " B32
                                       "\npcr 8 = zero\n");
        free(formatted);
        policy_done(&policy);
}

/* What is captured can be read again: also beside a text that is as long as a text can be. */
static void capture_ends_at_the_limit(void **state) {
        struct pcr_values pcrs = some(0x0b, 1, (const uint8_t[WIRE_PCRS]){ 0xbb });
        char *text = malloc(POLICY_TEXT_MAX + 1);
        struct policy policy = {};
        char error[256];

        memset(text, '\n', POLICY_TEXT_MAX + 1);
        assert_int_equal(policy_parse(text, POLICY_TEXT_MAX + 1, &policy, error, sizeof(error)), -EBADMSG);
        assert_int_equal(policy_parse(text, POLICY_TEXT_MAX, &policy, error, sizeof(error)), 0);
        assert_int_equal(policy_capture(&policy, "b", &pcrs, 0x0b, 15), -E2BIG);
        assert_int_equal(policy.n, 0);
        policy_done(&policy);
        free(text);
}

static void uncovered_is(const char *text, const char *expected) {
        struct policy policy = policy_parsed(text);
        char *uncovered = policy_uncovered(&policy);

        assert_string_equal(uncovered, expected);
        free(uncovered);
        policy_done(&policy);
}

static void uncovered(void **state) {
        uncovered_is("", "");
        uncovered_is("[set uki]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32 "\npcr 11 = " A32
                     "\npcr 12 = zero\npcr 13 = zero\n",
                     "");
        uncovered_is("[set grub]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32 "\npcr 8 = " A32
                     "\npcr 9 = " A32 "\npcr 12 = zero\npcr 13 = zero\n",
                     "");
        /* PCRs that stay zero on this machine hold nothing */
        uncovered_is(
                "[set z]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32
                "\npcr 8 = zero\npcr 9 = zero\npcr 11 = zero\npcr 12 = zero\n",
                "set z does not cover: initramfs (PCR 9, or 11 with a UKI), kernel command line (PCR 8 with GRUB, 11 and 12 with a "
                "UKI), add-ons (PCR 12 and 13)");
        uncovered_is("[set a]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32 "\npcr 11 = " A32
                     "\npcr 12 = zero\npcr 13 = zero\n[set b]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 7 = " A32
                     "\npcr 11 = " A32 "\npcr 12 = zero\npcr 13 = zero\n",
                     "set b does not cover: boot loader (PCR 4)");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parse_and_format),
                cmocka_unit_test(empty_policy_allows_nothing),
                cmocka_unit_test(bad_policies),
                cmocka_unit_test(sets_are_limited),
                cmocka_unit_test(whole_sets_match),
                cmocka_unit_test(invariant_2_policy_reads_only_the_selection),
                cmocka_unit_test(invariant_2_policy_reads_only_its_bank),
                cmocka_unit_test(invariant_2_a_set_of_another_bank),
                cmocka_unit_test(invariant_2_zero_by_name_only),
                cmocka_unit_test(differences_nearest_first),
                cmocka_unit_test(differences_are_limited),
                cmocka_unit_test(capture),
                cmocka_unit_test(capture_of_what_nobody_measured),
                cmocka_unit_test(capture_keeps_the_text),
                cmocka_unit_test(capture_ends_at_the_limit),
                cmocka_unit_test(uncovered),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
