/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "service/limiter.h"

enum { LIMIT = 3, HOUR_S = 3600 };

static struct limiter *limiter_of(unsigned per_minute) {
        struct limiter *limiter = NULL;

        assert_int_equal(limiter_new(per_minute, &limiter), 0);
        return limiter;
}

static void test_so_many_and_no_more(void **state) {
        _cleanup_(limiter_freep) struct limiter *limiter = limiter_of(LIMIT);
        unsigned wait;

        (void) state;
        for (unsigned i = 0; i < LIMIT; i++)
                assert_int_equal(limiter_count(limiter, "kind", "name"), 0);
        wait = limiter_count(limiter, "kind", "name");
        assert_in_range(wait, 1, 61);
        assert_int_equal(limiter_count(limiter, "kind", "other"), 0);
        assert_int_equal(limiter_count(limiter, "other", "name"), 0);
        assert_int_equal(limiter_count_to(limiter, "more", "name", 1), 0);
        assert_in_range(limiter_count_to(limiter, "more", "name", 1), 1, 61);
}

/* One that is counted by the hour among those that are counted by the minute. */
static void test_times_of_their_own(void **state) {
        _cleanup_(limiter_freep) struct limiter *limiter = limiter_of(LIMIT);

        (void) state;
        assert_int_equal(limiter_count_in(limiter, "hourly", "name", 1, HOUR_S), 0);
        for (unsigned i = 0; i < LIMIT; i++)
                assert_int_equal(limiter_count(limiter, "kind", "name"), 0);
        assert_in_range(limiter_count_in(limiter, "hourly", "name", 1, HOUR_S), HOUR_S - 600, HOUR_S + 1);
        assert_in_range(limiter_count(limiter, "kind", "name"), 1, 61);
        assert_int_equal(limiter_count_in(limiter, "brief", "name", 1, 0), 0);
        assert_int_equal(limiter_count_in(limiter, "brief", "name", 1, 0), 0);
}

/* Nobody's limit is gone because another one, who asks as often, met him in the table: they come in turn. (Nine of 300 in one of
 * 1024 rows are as likely as 1 to 20 million; two in one of 8192 places would be all but certain.) */
static void test_names_that_meet(void **state) {
        enum { NAMES = 300 };
        _cleanup_(limiter_freep) struct limiter *limiter = limiter_of(LIMIT);
        char name[32];

        (void) state;
        for (unsigned round = 0; round < 2 * LIMIT; round++)
                for (unsigned i = 0; i < NAMES; i++) {
                        (void) snprintf(name, sizeof(name), "192.0.2.%u", i);
                        assert_int_equal(limiter_count(limiter, "requests", name) > 0, round >= LIMIT);
                }
}

/* Whoever is at his limit stays there while thousands of others come. */
static void test_a_flood_of_names(void **state) {
        _cleanup_(limiter_freep) struct limiter *limiter = limiter_of(LIMIT);
        char name[32];

        (void) state;
        for (unsigned i = 0; i < LIMIT; i++)
                assert_int_equal(limiter_count(limiter, "kind", "name"), 0);
        for (unsigned i = 0; i < 100000; i++) {
                (void) snprintf(name, sizeof(name), "%u", i);
                assert_int_equal(limiter_count(limiter, "kind", name), 0);
        }
        assert_true(limiter_count(limiter, "kind", "name") > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_so_many_and_no_more),
                cmocka_unit_test(test_times_of_their_own),
                cmocka_unit_test(test_names_that_meet),
                cmocka_unit_test(test_a_flood_of_names),
        };

        return cmocka_run_group_tests_name("service-limiter", tests, NULL, NULL);
}
