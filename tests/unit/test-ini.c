/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/ini.h"

struct seen {
        char text[1024];
};

static int collect(const char *section, const char *key, const char *value, unsigned line, char *error, size_t error_size,
                   void *userdata) {
        struct seen *seen = userdata;
        size_t used = strlen(seen->text);

        if (strcmp(key, "unknown") == 0)
                return -ENOENT;
        if (strcmp(key, "number") == 0 && strcmp(value, "1") != 0)
                return -EINVAL;
        if (strcmp(key, "picky") == 0) {
                (void) snprintf(error, error_size, "picky wants another value, write picky = 1");
                return -EINVAL;
        }
        if (strcmp(key, "memory") == 0)
                return -ENOMEM;

        (void) snprintf(seen->text + used, sizeof(seen->text) - used, "%u:[%s]%s=%s;", line, section, key, value);
        return 0;
}

static void good(const char *text, const char *expected) {
        struct seen seen = {};
        char error[256] = "";

        assert_int_equal(ini_parse(text, strlen(text), collect, &seen, error, sizeof(error)), 0);
        assert_string_equal(seen.text, expected);
        assert_string_equal(error, "");
}

static void bad(const char *text, size_t size, const char *expected) {
        struct seen seen = {};
        char error[256] = "";

        assert_int_equal(ini_parse(text, size, collect, &seen, error, sizeof(error)), -EBADMSG);
        if (!strstr(error, expected))
                fail_msg("\"%s\" does not say \"%s\"", error, expected);
        assert_int_equal(ini_parse(text, size, collect, &seen, NULL, 0), -EBADMSG);
}

static void reads_what_is_right(void **state) {
        good("", "");
        good("\n\n", "");
        good("a = 1", "1:[]a=1;");
        good("# comment\n; comment\n  # too\n[one]\na=1\n\t b \t=\t two words \t\n[set NAME]\nc = d = e # not a comment\nempty =\n",
             "5:[one]a=1;6:[one]b=two words;8:[set NAME]c=d = e # not a comment;9:[set NAME]empty=;");
        good("[ x ]\na=caf\xc3\xa9\n", "2:[x]a=caf\xc3\xa9;");
        good("[a]\nx=1\nx=2\n", "2:[a]x=1;3:[a]x=2;"); /* it is for the callback to refuse */
}

static void says_what_is_wrong(void **state) {
        char text[5000];

        bad("a = 1\nnonsense\n", 17, "2: not understood");
        bad("[a]\n\n= x\n", 10, "3: the name before =");
        bad("[a\n", 3, "1: a section starts");
        bad("[a] x = 1\n", 10, "1: a section starts");
        bad("[]\n", 3, "1: a section's name");
        bad("[a[b]]\n", 7, "1: a section's name");
        bad("[", 1, "1: a section starts");
        bad("a = 1\r\n", 7, "1: control character 0x0d in column 6: save the file with Unix");
        bad("a = 1\nb = \0\n", 12, "2: control character 0x00 in column 5");
        bad("a = \x1b[31m\n", 10, "control character 0x1b");
        bad("a = \x7f\n", 6, "control character 0x7f");
        bad("[s]\nunknown = 1\n", 16, "2: unknown key \"unknown\" in section [s]");
        bad("number = 2\n", 11, "1: the value of \"number\" is not valid");
        bad("picky = 2\n", 10, "1: picky wants another value");

        memset(text, 'x', sizeof(text));
        bad(text, 4097, "1: longer than 4096 bytes");
        text[300] = '=';
        bad(text, 400, "1: the name before = has 1 to 256");
        text[0] = '[';
        text[399] = ']';
        bad(text, 400, "1: a section's name has 1 to 256");
}

static void out_of_memory_stays_that(void **state) {
        assert_int_equal(ini_parse("memory = 1", 10, collect, &(struct seen){}, NULL, 0), -ENOMEM);
}

static void small_error_buffer_is_kept_to(void **state) {
        char error[8] = "1234567";

        assert_int_equal(ini_parse("x", 1, collect, NULL, error, 4), -EBADMSG);
        assert_string_equal(error, "1: ");
        assert_int_equal(error[5], '6');
}

static void booleans(void **state) {
        bool value;

        assert_int_equal(parse_bool("yes", &value), 0);
        assert_true(value);
        assert_int_equal(parse_bool("off", &value), 0);
        assert_false(value);
        assert_int_equal(parse_bool("1", &value), 0);
        assert_true(value);
        for (const char *const *text = (const char *const[]){ "", "Yes", "y", "2", " yes", "true ", NULL }; *text; text++)
                assert_int_equal(parse_bool(*text, &value), -EINVAL);
}

static void numbers(void **state) {
        uint64_t value = 7;

        assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &value), 0);
        assert_true(value == UINT64_MAX);
        assert_int_equal(parse_u64("0010", 10, 10, &value), 0);
        assert_true(value == 10);
        for (const char *const *text = (const char *const[]){ "", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616",
                                                              "99999999999999999999999", NULL };
             *text; text++)
                assert_int_equal(parse_u64(*text, 0, UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_u64("9", 10, 20, &value), -EINVAL);
        assert_int_equal(parse_u64("21", 10, 20, &value), -EINVAL);
        assert_true(value == 10);
}

static void durations(void **state) {
        static const struct {
                const char *text;
                uint64_t seconds;
        } rows[] = { { "90", 90 }, { "90s", 90 }, { "5min", 300 }, { "2h", 7200 }, { "7d", 604800 }, { "0", 0 } };
        uint64_t value;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_int_equal(parse_seconds(rows[i].text, UINT64_MAX, &value), 0);
                assert_true(value == rows[i].seconds);
        }
        for (const char *const *text =
                     (const char *const[]){ "", "s", "5m", "5 min", "-1s", "1d1h", "1.5h", "300000000000000000d", NULL };
             *text; text++)
                assert_int_equal(parse_seconds(*text, UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_seconds("2min", 119, &value), -EINVAL);
        assert_int_equal(parse_seconds("2min", 120, &value), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_what_is_right),
                cmocka_unit_test(says_what_is_wrong),
                cmocka_unit_test(out_of_memory_stays_that),
                cmocka_unit_test(small_error_buffer_is_kept_to),
                cmocka_unit_test(booleans),
                cmocka_unit_test(numbers),
                cmocka_unit_test(durations),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
