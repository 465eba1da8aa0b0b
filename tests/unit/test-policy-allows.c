/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-boot.h"

/* What a policy needs in order to allow anything. */

#define RULES "[firmware]\n"
#define ZEROS "[set zeros]\nbank = sha256\npcr 12 = zero\npcr 13 = zero\n"

/* Rules on the release, on IMA alone, or that only narrow what something else allows, allow no boot; nor do zeros. */
static void no_rule_allows_nothing(void **state) {
        struct boot boot;
        struct policy_decision decision;
        static const char *const texts[] = { "",
                                             "[release]\ntoken-evidence = yes\nnetworks = ::/0\n",
                                             "[ima]\nrequire = yes\n",
                                             RULES "add-ons = refuse\n",
                                             RULES "debug = refuse\n",
                                             RULES "secure-boot = off\n",
                                             RULES "driver = none\n",
                                             RULES "driver = " A32 "\n",
                                             RULES "db must-contain = " A32 "\n",
                                             RULES "dbx must-contain = " C32 "\n",
                                             RULES "add-ons = refuse\ndebug = refuse\n[ima]\nrequire = yes\n",
                                             ZEROS,
                                             ZEROS RULES "add-ons = refuse\n" };

        boot_set_up(&boot);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                struct policy policy = policy_parsed(texts[i]);

                boot.facts.secure_boot = strstr(texts[i], "= off") == NULL;
                assert_true(policy_allows_nothing(&policy));
                assert_int_equal(policy_decide(&policy, &boot.input, &decision), 0);
                assert_true(decision.rules_hold);
                assert_false(decision.allowed);
                assert_null(decision.set);
                policy_decision_done(&decision);
                policy_done(&policy);
        }
}

/* Each of these alone, and zeros beside it. */
static void rules_that_say_what_boots(void **state) {
        static const char *const texts[] = { RULES "secure-boot = on\n",
                                             RULES "boot-loader = " A32 "\nboot-loader = " B32 "\n",
                                             RULES "uki = " A32 "\nkernel = " B32 "\n",
                                             RULES "authority = " A32 "\n",
                                             RULES "db only-these = " A32 "\ndb only-these = " B32 "\n",
                                             RULES "command-line = root=/dev/sda ro\n",
                                             ZEROS RULES "secure-boot = on\nadd-ons = refuse\n" };
        struct boot boot;

        boot_set_up(&boot);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                decides(texts[i], &boot, NULL);

        /* a set of zeros beside one that is measured lets nothing more in */
        boot.pcrs.banks[0].values[1][0] = 1;
        for (size_t i = 0; i < 2; i++) {
                struct policy policy = policy_parsed(i == 0 ? ZEROS SOME_SET : SOME_SET ZEROS);
                struct policy_decision decision;

                assert_int_equal(policy_decide(&policy, &boot.input, &decision), 0);
                assert_false(policy_allows_nothing(&policy));
                assert_false(decision.allowed);
                assert_int_equal(decision.n, 1);
                policy_decision_done(&decision);
                policy_done(&policy);
        }
}

/* A set and the rules: both. */
static void sets_and_rules(void **state) {
        static const char text[] = "[set x]\nbank = sha256\npcr 4 = " A32 "\n[firmware]\nsecure-boot = on\n";
        struct policy policy = policy_parsed(text);
        struct policy_decision decision;
        struct boot boot;

        boot_set_up(&boot);
        memset(boot.pcrs.banks[0].values[4], 0xaa, 32);
        assert_int_equal(policy_pcrs(&policy, 0x0b), 1 << 4 | 1 << 7);
        assert_int_equal(policy_decide(&policy, &boot.input, &decision), 0);
        assert_true(decision.allowed);
        assert_string_equal(decision.set, "x");
        policy_decision_done(&decision);

        boot.facts.secure_boot = 0;
        assert_int_equal(policy_decide(&policy, &boot.input, &decision), 0);
        assert_false(decision.allowed);
        assert_false(decision.rules_hold);
        assert_string_equal(decision.set, "x");
        policy_decision_done(&decision);

        boot.facts.secure_boot = 1;
        boot.pcrs.banks[0].values[4][0] = 0;
        assert_int_equal(policy_decide(&policy, &boot.input, &decision), 0);
        assert_false(decision.allowed);
        assert_true(decision.rules_hold);
        assert_int_equal(decision.n, 1);
        policy_decision_done(&decision);
        policy_done(&policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_rule_allows_nothing),
                cmocka_unit_test(rules_that_say_what_boots),
                cmocka_unit_test(sets_and_rules),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
