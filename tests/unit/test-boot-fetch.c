/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "boot/unlock.h"

/* The table of docs/protocol.md, 11, as a node follows it; random is the jitter. */

static int64_t delay(int result, const char *problem, unsigned retry_after, unsigned failures, uint32_t random) {
        struct outcome outcome = { .result = result, .retry_after = retry_after };

        strcpy(outcome.problem, problem);
        return fetch_delay_ms(&outcome, failures, random);
}

static void a_problem_has_its_own_delay_and_a_fifth_of_jitter(void **state _unused_) {
        static const struct {
                const char *name;
                int64_t seconds;
        } table[] = {
                { "unknown-node", 60 },  { "pending-approval", 60 }, { "pending-policy", 60 }, { "policy-refused", 300 },
                { "another-nk", 300 },   { "rolled-back", 300 },     { "suspended", 300 },     { "revoked", 300 },
                { "bad-evidence", 300 }, { "logs-wanted", 60 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                assert_int_equal(delay(-EACCES, table[i].name, 0, 7, 0), table[i].seconds * 1000);
                assert_in_range(delay(-EACCES, table[i].name, 0, 7, UINT32_MAX), table[i].seconds * 1000,
                                table[i].seconds * 1200);
        }
        assert_int_equal(delay(-ESTALE, "stale-nonce", 0, 7, UINT32_MAX), 0);
}

static void what_a_retry_cannot_change_is_never_retried(void **state _unused_) {
        static const char *const names[] = { "malformed", "too-large", "unauthorized", "not-found", "gate-closed", "conflict" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(delay(-EBADMSG, names[i], 0, 0, 0), -1);
}

static void an_unreachable_party_is_asked_with_growing_pauses(void **state _unused_) {
        int64_t last = 0;

        for (unsigned failures = 0; failures < 20; failures++) {
                int64_t shortest = delay(-ENOLINK, "", 0, failures, 0), longest = delay(-ENOLINK, "", 0, failures, 1023);

                assert_in_range(shortest, 250, 20000);
                assert_in_range(longest, shortest, 20000);
                assert_true(shortest >= last);
                last = shortest;
        }
        assert_int_equal(last, 10000);
        assert_int_equal(delay(-ENOLINK, "", 0, UINT32_MAX, 0), 10000);
}

static void retry_after_is_followed_but_not_for_days(void **state _unused_) {
        assert_int_equal(delay(-EAGAIN, "rate-limited", 30, 0, 0), 30000);
        assert_in_range(delay(-EAGAIN, "unavailable", 30, 0, UINT32_MAX), 30000, 36000);
        assert_int_equal(delay(-EAGAIN, "unavailable", UINT32_MAX, 0, 0), 3600000);
        assert_in_range(delay(-EAGAIN, "rate-limited", 0, 0, 0), 250, 500);
}

static void success_waits_for_nothing(void **state _unused_) {
        assert_int_equal(delay(0, "", 0, 9, UINT32_MAX), 0);
}

static struct outcome answered(int status, const char *body, unsigned retry_after) {
        struct blob answer = { (uint8_t *) body, strlen(body) };
        struct outcome outcome = {};

        outcome_from_answer(PARTY_VERIFIER, status, &answer, retry_after, "0123456789abcdef", &outcome);
        return outcome;
}

static void a_problem_document_becomes_words(void **state _unused_) {
        struct outcome outcome =
                answered(403,
                         "{\"type\":\"urn:tallyboot:problem:revoked\",\"title\":\"Go \\u001b[2Jaway\",\"status\":403,"
                         "\"incident\":\"0123456789abcdef\"}",
                         0);

        assert_int_equal(outcome.result, -EACCES);
        assert_string_equal(outcome.problem, "revoked");
        assert_non_null(strstr(outcome.error, "verifier: "));
        assert_non_null(strstr(outcome.error, "incident 0123456789abcdef"));
        assert_null(strchr(outcome.error, 0x1b)); /* nothing foreign reaches a terminal */
}

static void what_is_no_problem_document_is_judged_by_its_status(void **state _unused_) {
        struct outcome outcome = answered(503, "<html>maintenance</html>", 7);

        assert_int_equal(outcome.result, -EAGAIN);
        assert_int_equal(outcome.retry_after, 7);
        assert_string_equal(outcome.problem, "");
        assert_int_equal(answered(500, "", 0).result, -EIO);
        assert_int_equal(answered(404, "{}", 0).result, -EBADMSG);
        assert_int_equal(answered(302, "", 0).result, -EBADMSG);
        assert_int_equal(
                answered(403, "{\"type\":\"urn:tallyboot:problem:unheard-of\",\"title\":\"x\",\"status\":403}", 0).result,
                -EBADMSG);
}

static void a_nonce_is_fresh_for_half_its_time(void **state _unused_) {
        struct conversation_nonce nonce = { .fresh = true, .has = true, .got_ms = 1000, .challenge = { .ttl = 120 } };

        assert_true(conversation_nonce_is_fresh(&nonce, 1000));
        assert_true(conversation_nonce_is_fresh(&nonce, 60999));
        assert_false(conversation_nonce_is_fresh(&nonce, 61000));
        assert_false(conversation_nonce_is_fresh(&nonce, 999));
        nonce.fresh = false;
        assert_false(conversation_nonce_is_fresh(&nonce, 1000));
}

static void a_quote_has_one_bank_and_what_both_want(void **state _unused_) {
        struct wire_challenge challenges[2] = { { .bank = 0xb, .pcrs = 0x80ff }, { .bank = 0xb, .pcrs = 0x8811 } };
        uint16_t bank = 0;
        uint32_t mask = 0;

        assert_int_equal(conversation_selection(challenges, &bank, &mask), 0);
        assert_int_equal(bank, 0xb);
        assert_int_equal(mask, 0x88ff);
        challenges[1].bank = 0xc;
        assert_int_equal(conversation_selection(challenges, &bank, &mask), -EBADMSG);
}

static void the_host_of_an_address(void **state _unused_) {
        char host[16];

        assert_int_equal(network_host("https://10.0.0.1:7602", host, sizeof host), 0);
        assert_string_equal(host, "10.0.0.1");
        assert_int_equal(network_host("https://[fd00::1]:7602", host, sizeof host), 0);
        assert_string_equal(host, "fd00::1");
        assert_int_equal(network_host("https://name", host, sizeof host), 0);
        assert_string_equal(host, "name");
        assert_int_equal(network_host("name:1", host, sizeof host), -EINVAL);
        assert_int_equal(network_host("https://[fd00::1", host, sizeof host), -EINVAL);
        assert_int_equal(network_host("https://:1", host, sizeof host), -EINVAL);
        assert_int_equal(network_host("https://a-name-that-is-too-long:1", host, sizeof host), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_problem_has_its_own_delay_and_a_fifth_of_jitter),
                cmocka_unit_test(what_a_retry_cannot_change_is_never_retried),
                cmocka_unit_test(an_unreachable_party_is_asked_with_growing_pauses),
                cmocka_unit_test(retry_after_is_followed_but_not_for_days),
                cmocka_unit_test(success_waits_for_nothing),
                cmocka_unit_test(a_problem_document_becomes_words),
                cmocka_unit_test(what_is_no_problem_document_is_judged_by_its_status),
                cmocka_unit_test(a_nonce_is_fresh_for_half_its_time),
                cmocka_unit_test(a_quote_has_one_bank_and_what_both_want),
                cmocka_unit_test(the_host_of_an_address),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
