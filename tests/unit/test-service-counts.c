/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/connection.h"
#include "service/counts.h"

static void test_bounded(void **state) {
        _cleanup_(counts_freep) struct counts *counts = NULL;
        const struct counts_sample sample = { "192.0.2.1", "node", "0123456789abcdef" };
        json_t *json = NULL;
        char name[32];
        unsigned few = 0;

        (void) state;
        assert_int_equal(counts_new(&counts), 0);
        assert_int_equal(counts_take(counts, &json), -ENODATA);
        for (unsigned i = 0; i < 100000; i++) {
                (void) snprintf(name, sizeof(name), "reason-%u", i % 1000);
                counts_add(counts, name, &sample);
                few += counts_are_few(counts, "one");
        }
        assert_int_equal(few, 10);
        assert_int_equal(counts_take(counts, &json), 0);
        assert_int_equal(json_array_size(json_object_get(json, "samples")), 12);
        assert_true(json_object_size(json_object_get(json, "counts")) <= 48);
        json_decref(json);
        assert_int_equal(counts_take(counts, &json), -ENODATA);
}

static void test_numbers(void **state) {
        _cleanup_(counts_freep) struct counts *counts = NULL;
        const struct counts_sample sample = { "192.0.2.1", "", "" };
        json_t *json = NULL;

        (void) state;
        assert_int_equal(counts_new(&counts), 0);
        for (unsigned i = 0; i < 5; i++)
                counts_add(counts, "bad", &sample);
        counts_add(counts, "proven", NULL);
        assert_int_equal(counts_take(counts, &json), 0);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "counts"), "bad")), 5);
        assert_null(json_object_get(json_object_get(json, "counts"), "proven"));
        assert_int_equal(json_array_size(json_object_get(json, "samples")), 2);
        json_decref(json);
        json = counts_totals(counts);
        assert_int_equal(json_integer_value(json_object_get(json, "bad")), 5);
        assert_int_equal(json_integer_value(json_object_get(json, "proven")), 1);
        json_decref(json);
}

static void expect_address(const char *text, const char *address, const char *network) {
        struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
        struct sockaddr_in four = { .sin_family = AF_INET };
        struct http_peer peer = {};

        if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1)
                address_format((struct sockaddr *) &six, &peer);
        else if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
                address_format((struct sockaddr *) &four, &peer);
        assert_string_equal(peer.address, address);
        assert_string_equal(peer.network, network);
}

static void test_networks(void **state) {
        (void) state;
        expect_address("192.0.2.7", "192.0.2.7", "192.0.2.7");
        expect_address("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7");
        expect_address("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        expect_address("::1", "::1", "::");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bounded),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_networks),
        };

        return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
