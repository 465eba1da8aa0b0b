/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/encode.h"
#include "keystore/recovery.h"

static struct secret *text_of(const char *text) {
        struct secret *secret;

        assert_int_equal(secret_copy(text, strlen(text), &secret), 0);
        return secret;
}

static void expect(const char *text, int expected) {
        _cleanup_(secret_freep) struct secret *typed = text_of(text), *secret = NULL;
        int r = recovery_parse(typed, &secret);

        if (r != expected)
                fail_msg("\"%s\": %d instead of %d", text, r, expected);
}

/* base/encode.h makes the same digits. */
static void test_round(_unused_ void **state) {
        for (unsigned i = 0; i < 500; i++) {
                _cleanup_(secret_freep) struct secret *secret = NULL, *text = NULL, *again = NULL;
                _cleanup_(freep) char *digits = NULL;
                char plain[57] = "";
                uint8_t bytes[35];

                assert_int_equal(secret_random(32, &secret), 0);
                assert_int_equal(recovery_write(secret, &text), 0);
                assert_int_equal(text->size, RECOVERY_TEXT);
                for (size_t k = 0, n = 0; k < text->size; k++) {
                        assert_int_equal(text->data[k] == '-', k % 5 == 4);
                        if (text->data[k] != '-')
                                plain[n++] = (char) text->data[k];
                }
                assert_int_equal(base32_decode(plain, bytes, sizeof(bytes)), 0);
                assert_memory_equal(bytes, secret->data, 32);
                digits = base32_encode(bytes, sizeof(bytes));
                assert_string_equal(digits, plain);

                assert_int_equal(recovery_parse(text, &again), 0);
                assert_true(secret_equal(secret, again));
        }
}

static void test_typed(_unused_ void **state) {
        _cleanup_(secret_freep) struct secret *secret = NULL, *text = NULL;
        char typed[256] = "", one[RECOVERY_TEXT + 1] = "";
        size_t n = 0;

        assert_int_equal(secret_random(32, &secret), 0);
        assert_int_equal(recovery_write(secret, &text), 0);
        memcpy(one, text->data, RECOVERY_TEXT);
        expect(one, 0);
        for (size_t i = 0; i < RECOVERY_TEXT; i++) {
                typed[n++] = one[i] == '-' ? '\n' : one[i] >= 'a' ? (char) (one[i] - 32) : one[i];
                if (i % 7 == 0)
                        typed[n++] = ' ';
        }
        expect(typed, 0);

        for (size_t i = 0; i < RECOVERY_TEXT; i++) {
                char was = one[i];

                if (was == '-')
                        continue;
                one[i] = was == 'a' ? 'b' : 'a';
                expect(one, -EILSEQ);
                one[i] = '1';
                expect(one, -EBADMSG);
                one[i] = was;
        }
        one[RECOVERY_TEXT - 1] = '\0';
        expect(one, -EBADMSG);
        expect("-", -EBADMSG);
        expect("abcd-efgh", -EBADMSG);
        (void) snprintf(typed, sizeof(typed), "%saa", one);
        expect(typed, -EBADMSG);
        expect("\x80", -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_round), cmocka_unit_test(test_typed) };

        return cmocka_run_group_tests_name("keystore-recovery", tests, NULL, NULL);
}
