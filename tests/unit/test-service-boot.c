/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One NK a boot, a boot being a pair of counters that does not go down; which states get anything; which PCRs are asked for. */
#include "test.h"

#include "service/admit.h"

static struct admission a;

static void prepare(uint32_t reset, uint32_t restart, uint8_t nk) {
        admission_done(&a);
        a = (struct admission){ .evidence.purpose = PURPOSE_BOOT, .verdict.boot = { reset, restart } };
        memset(a.nk_digest, nk, sizeof(a.nk_digest));
}

/* The row as it stands: boot 5.3, released to NK 1. */
static void row(bool has_nk) {
        a.node.has_boot = true;
        a.node.has_nk = has_nk;
        a.node.boot = (struct boot_counters){ 5, 3 };
        a.node.boots = 1;
        memset(a.node.nk, 1, sizeof(a.node.nk));
}

static void expect(const char *problem, bool repeat, int64_t boots) {
        const struct node before = a.node;

        assert_int_equal(admit_boot_row(&a), 0);
        assert_int_equal(a.row.repeat, repeat);
        if (problem) {
                assert_string_equal(a.refusal.problem, problem);
                assert_memory_equal(&a.node, &before, sizeof(before));
                return;
        }

        assert_null(a.refusal.problem);
        assert_true(a.node.has_boot && a.node.has_nk);
        assert_int_equal(boot_counters_compare(a.node.boot, a.verdict.boot), 0);
        assert_memory_equal(a.node.nk, a.nk_digest, sizeof(a.nk_digest));
        assert_int_equal(a.node.boots, boots);
}

static void first_boot(void **state) {
        prepare(0, 0, 1);
        expect(NULL, false, 1);
}

static void later_boots(void **state) {
        static const struct boot_counters later[] = { { 6, 0 }, { 5, 4 }, { UINT32_MAX, 0 }, { 5, UINT32_MAX } };

        for (size_t i = 0; i < ELEMENTSOF(later); i++)
                for (uint8_t nk = 1; nk <= 2; nk++) {
                        prepare(later[i].reset, later[i].restart, nk);
                        row(true);
                        expect(NULL, false, 2);
                }
}

static void same_boot(void **state) {
        prepare(5, 3, 1);
        row(true);
        expect(NULL, true, 1);

        prepare(5, 3, 2);
        row(true);
        expect("another-nk", false, 0);

        /* one bit is another key */
        prepare(5, 3, 1);
        row(true);
        a.nk_digest[31] ^= 1;
        expect("another-nk", false, 0);

        /* a reset that an operator accepted: the boot is known, its key is not yet */
        prepare(5, 3, 2);
        row(false);
        expect(NULL, false, 1);
}

/* From the first release of the boot on, whoever came between. */
static void another_nk_in_the_window(void **state) {
        static const struct {
                uint64_t window, now;
                bool allowed;
        } cases[] = { { 0, 1000000, false }, { 60, 1000000, true },  { 60, 1059999, true }, { 60, 1060000, false },
                      { 60, 999999, false }, { 60, 9000000, false }, { 61, 1060999, true } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                prepare(5, 3, 2);
                row(true);
                a.node.boot_time = 1000000;
                a.node.pardoned = true;
                a.now = cases[i].now;
                a.policy.release.another_nk_window = cases[i].window;
                expect(cases[i].allowed ? NULL : "another-nk", false, 1);
                assert_int_equal(a.row.another_nk, cases[i].allowed);
                assert_int_equal(a.node.boot_time, 1000000);
                assert_int_equal(a.node.pardoned, !cases[i].allowed); /* what was said of the boot was said of the first key */
        }

        /* a later boot begins a window of its own; an earlier one has none */
        prepare(5, 4, 2);
        row(true);
        a.node.boot_time = 1000000;
        a.now = 2000000;
        a.policy.release.another_nk_window = 60;
        expect(NULL, false, 2);
        assert_true(a.row.first && !a.row.another_nk);
        assert_int_equal(a.node.boot_time, 2000000);
        prepare(5, 2, 2);
        row(true);
        a.now = a.node.boot_time = 1000000;
        a.policy.release.another_nk_window = 60;
        expect("rolled-back", false, 0);
}

/* What an operator said of the next boot: of one later than the highest, for a while; then of that boot's key alone. */
static void pardoned(void **state) {
        static const struct {
                uint32_t reset;
                uint8_t nk;
                enum purpose purpose;
                int64_t until;
                bool pardoned, allowed;
        } cases[] = {
                { 6, 2, PURPOSE_BOOT, 1001, false, true },  { 6, 2, PURPOSE_BOOT, 1000, false, false },
                { 6, 2, PURPOSE_BOOT, 0, false, false },    { 6, 2, PURPOSE_ROTATE, 1001, false, false },
                { 5, 2, PURPOSE_BOOT, 1001, false, false }, { 5, 1, PURPOSE_BOOT, 1001, false, false },
                { 5, 1, PURPOSE_BOOT, 0, true, true },      { 5, 1, PURPOSE_ROTATE, 0, true, true },
                { 5, 2, PURPOSE_BOOT, 0, true, false },     { 6, 1, PURPOSE_BOOT, 0, true, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                prepare(cases[i].reset, 3, cases[i].nk);
                row(true);
                a.evidence.purpose = cases[i].purpose;
                a.now = 1000000;
                a.node.next_boot = cases[i].until;
                a.node.pardoned = cases[i].pardoned;
                assert_int_equal(decide_is_pardoned(&a), cases[i].allowed);
        }
}

static void rolled_back(void **state) {
        static const struct boot_counters earlier[] = { { 5, 2 }, { 4, 99 }, { 0, 0 }, { 4, UINT32_MAX } };

        for (size_t i = 0; i < ELEMENTSOF(earlier); i++)
                for (int has_nk = 0; has_nk <= 1; has_nk++) {
                        prepare(earlier[i].reset, earlier[i].restart, 1);
                        row(has_nk);
                        expect("rolled-back", false, 0);
                        assert_true(a.refusal.rolled_back);
                }
}

static void states(void **state) {
        static const char *const problems[] = {
                [NODE_PENDING] = "pending-approval",
                [NODE_APPROVED] = NULL,
                [NODE_SUSPENDED] = "suspended",
                [NODE_REVOKED] = "revoked",
        };

        for (enum node_state s = NODE_PENDING; s <= NODE_REVOKED; s++) {
                enum node_state again;

                prepare(1, 0, 1);
                a.node.state = s;
                assert_int_equal(admit_require_state(&a), 0);
                if (problems[s])
                        assert_string_equal(a.refusal.problem, problems[s]);
                else
                        assert_null(a.refusal.problem);
                assert_int_equal(node_state_from_string(node_state_to_string(s), &again), 0);
                assert_int_equal(s, again);
        }
        admission_done(&a);
}

static void asked_for(void **state) {
        static const char text[] =
                "[set a]\nbank = sha256\npcr 4 = abababababababababababababababababababababababababababababababab\n"
                "pcr 11 = zero\n";
        const struct group group = { .gate = 14 };
        struct policy none = {}, policy = {};
        char error[256];

        assert_int_equal(policy_parse(text, strlen(text), &policy, error, sizeof(error)), 0);
        assert_int_equal(group_pcrs(&group, &none, 0xb, PURPOSE_BOOT), 0x3ff | 0x7800 | 1 << 14);
        assert_int_equal(group_pcrs(&group, &policy, 0xb, PURPOSE_BOOT), 1 << 4 | 1 << 11 | 1 << 14);
        assert_int_equal(group_pcrs(&group, &policy, 0xb, PURPOSE_ROTATE), 1 << 4 | 1 << 11 | 1 << 14);
        assert_int_equal(group_pcrs(&group, &policy, 0xc, PURPOSE_BOOT), 0x3ff | 0x7800 | 1 << 14); /* no set of that bank */
        assert_int_equal(group_pcrs(&group, &policy, 0xb, PURPOSE_ENROLL), 0x8f);
        assert_int_equal(group_pcrs(&group, &policy, 0xb, PURPOSE_CONFIRM), 0x8f);
        policy_done(&policy);
}

/* Without boots to tell apart: NK 1 was answered at 1000 s, another one is when the interval is over. */
static void token_interval(void **state) {
        static const struct {
                uint64_t interval, now;
                unsigned wait; /* 0: answered */
        } cases[] = {
                { 30, 1000000, 30 }, { 30, 1000001, 30 }, { 30, 1029000, 1 }, { 30, 1029999, 1 }, { 30, 1030000, 0 },
                { 0, 1000000, 0 },   { 30, 999999, 30 },  { 30, 700000, 30 }, { 30, 699999, 0 },  { 86400, 1030000, 86370 }
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (uint8_t nk = 1; nk <= 2; nk++) {
                        struct node before;

                        prepare(0, 0, nk);
                        a.node = (struct node){ .has_nk = true, .boot_time = 1000000, .boots = 1 };
                        memset(a.node.nk, 1, sizeof(a.node.nk));
                        assert_int_equal(blob_copy("key", 3, &a.node.token_public), 0);
                        before = a.node;
                        a.now = cases[i].now;
                        a.policy.release.token_interval = cases[i].interval;
                        assert_int_equal(admit_boot_row(&a), 0);
                        if (nk == 1) { /* the last one, at any time */
                                assert_true(!a.refusal.problem && a.row.repeat && !a.row.first);
                                assert_memory_equal(&a.node, &before, sizeof(before));
                        } else if (cases[i].wait > 0) {
                                assert_string_equal(a.refusal.problem, "rate-limited");
                                assert_int_equal(a.refusal.retry_after, cases[i].wait);
                                assert_memory_equal(&a.node, &before, sizeof(before));
                        } else {
                                assert_true(!a.refusal.problem && a.row.first && !a.row.repeat);
                                assert_int_equal(a.node.boot_time, cases[i].now);
                                assert_int_equal(a.node.boots, 2);
                                assert_memory_equal(a.node.nk, a.nk_digest, sizeof(a.nk_digest));
                        }
                        assert_false(a.node.has_boot || a.row.another_nk);
                }

        /* the first one of all waits for nothing */
        prepare(0, 0, 2);
        assert_int_equal(blob_copy("key", 3, &a.node.token_public), 0);
        a.now = 1;
        a.policy.release.token_interval = 30;
        assert_int_equal(admit_boot_row(&a), 0);
        assert_true(!a.refusal.problem && a.node.has_nk && a.node.boots == 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(first_boot),
                cmocka_unit_test(later_boots),
                cmocka_unit_test(same_boot),
                cmocka_unit_test(rolled_back),
                cmocka_unit_test(states),
                cmocka_unit_test(asked_for),
                cmocka_unit_test(another_nk_in_the_window),
                cmocka_unit_test(pardoned),
                cmocka_unit_test(token_interval),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
