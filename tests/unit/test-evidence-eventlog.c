/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "evidence/eventlog.h"
#include "soft-log.h"

/* The firmware's log: those of tests/vectors/eventlog (their PCR values were read from the TPM of the same boot), and made
 * ones. */

static struct soft_log made;

static int start(void **state _unused_) {
        soft_log_start(&made);
        return 0;
}

static int done(void **state _unused_) {
        soft_log_done(&made);
        return 0;
}

static int replay(uint16_t bank, struct eventlog_pcrs *ret, char *error) {
        return eventlog_replay(made.bytes.data, made.bytes.size, bank, ret, error, 160);
}

static void refused(int error, const char *words) {
        struct eventlog_pcrs pcrs;
        char why[160] = "";

        assert_int_equal(replay(0xb, &pcrs, why), error);
        if (!strstr(why, words))
                fail_msg("said: %s", why);
}

static void agrees(void) {
        struct eventlog_pcrs pcrs;
        char why[160] = "";

        if (replay(0xb, &pcrs, why) < 0)
                fail_msg("%s", why);
        assert_memory_equal(pcrs.values, made.pcrs.banks[0].values, sizeof pcrs.values);
}

static void recorded_logs_replay_to_their_pcrs(void **state _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(soft_vectors); i++) {
                char name[64], error[160];
                struct blob recorded = {};
                struct eventlog_pcrs pcrs;
                struct pcr_values quoted;

                snprintf(name, sizeof name, "%s.ev", soft_vectors[i]);
                soft_vector(name, &recorded);
                soft_vector_pcrs(soft_vectors[i], &quoted);
                assert_int_equal(eventlog_replay(recorded.data, recorded.size, 0xb, &pcrs, error, sizeof error), 0);
                for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                        if (pcr != 10) /* the kernel's IMA */
                                assert_memory_equal(pcrs.values[pcr], quoted.banks[0].values[pcr], 32);
                assert_int_equal(eventlog_replay(recorded.data, recorded.size, 0xd, &pcrs, error, sizeof error), -ENOTSUP);
                assert_string_equal(error, "at byte 73: the log has no sha512 digests");
                blob_done(&recorded);
        }
}

/* Cut anywhere but between two events: said. */
static void cut_logs(void **state _unused_) {
        struct blob recorded = {};
        size_t whole = 0;

        soft_vector("ovmf4m-uki-sb.ev", &recorded);
        for (size_t size = 0; size < recorded.size; size++) {
                struct blob cut = {};
                struct eventlog_pcrs pcrs;
                char error[160] = "";
                int r;

                assert_int_equal(blob_copy(recorded.data, size, &cut), 0);
                r = eventlog_replay(cut.data, cut.size, 0xb, &pcrs, error, sizeof error);
                assert_true(r == 0 || (r == -EBADMSG && error[0]));
                whole += r == 0;
                blob_done(&cut);
        }
        assert_int_equal(whole, 35); /* after the header, and after each event but the last */
        blob_done(&recorded);
}

static void empty_and_oversized_logs(void **state _unused_) {
        size_t size = 16 * 1024 * 1024;
        uint8_t *huge = calloc(1, size);
        struct eventlog_pcrs pcrs;
        char error[160];

        assert_int_equal(eventlog_replay("", 0, 0xb, &pcrs, error, sizeof error), -EBADMSG);
        assert_string_equal(error, "at byte 0: the log is empty");
        assert_non_null(huge);
        assert_int_equal(eventlog_replay(huge, size, 0xb, &pcrs, error, sizeof error), -E2BIG);
        assert_non_null(strstr(error, "16777216 bytes"));
        free(huge);

        for (size_t i = 0; i < EVENTLOG_EVENTS_MAX; i++)
                soft_log_text(&made, 5, 0xd, "");
        agrees();
        soft_log_text(&made, 5, 0xd, "");
        refused(-E2BIG, "more than 16384 events");
}

static void startup_locality(void **state _unused_) {
        made.pcrs.banks[0].values[0][31] = 3;
        soft_log_event(&made, 0xffffffff, 3, "SP800-155 Event\0", 17);
        soft_log_event(&made, 0, 3, "StartupLocality\0\3", 17);
        soft_log_event(&made, 17, 4, "x", 1);
        soft_log_event(&made, 0, 3, "nothing", 7);
        soft_log_separators(&made);
        agrees();
}

static void startup_locality_twice(void **state _unused_) {
        soft_log_event(&made, 0, 3, "StartupLocality\0\3", 17);
        soft_log_event(&made, 0, 3, "StartupLocality\0\3", 17);
        refused(-EBADMSG, "event 2: the startup locality is said twice");
}

static void startup_locality_late(void **state _unused_) {
        soft_log_separators(&made);
        soft_log_event(&made, 0, 3, "StartupLocality\0\3", 17);
        refused(-EBADMSG, "event 9: the startup locality is said after");
}

static void startup_locality_unknown(void **state _unused_) {
        soft_log_event(&made, 0, 3, "StartupLocality\0\5", 17);
        refused(-EBADMSG, "there is no locality 5");
}

static void a_log_within_a_log(void **state _unused_) {
        soft_log_event(&made, 0, 3, made.bytes.data + 32, 37);
        refused(-EBADMSG, "event 1 is a second header");
}

static void no_such_pcr(void **state _unused_) {
        soft_log_text(&made, 5, 0xd, "x");
        made.bytes.data[69] = 24;
        refused(-EBADMSG, "event 1: there is no PCR 24");
}

static void change(size_t at, uint8_t value, const char *words) {
        uint8_t old = made.bytes.data[at];

        made.bytes.data[at] = value;
        refused(-EBADMSG, words);
        made.bytes.data[at] = old;
        agrees();
}

/* Header: 32 bytes of event, 16 of signature, 8, then the number of banks at 56 and the banks at 60. The first event is at 69. */
static void contradictions(void **state _unused_) {
        soft_log_text(&made, 5, 0xd, "x");
        agrees();
        change(56, 0, "the header names 0 banks");
        change(56, 9, "the header names 9 banks");
        change(56, 3, "the header's list of banks is cut");
        change(56, 1, "the header does not end where it should");
        change(60, 0xb, "digests of algorithm 0xb have 20 bytes");
        change(62, 19, "digests of algorithm 0x4 have 19 bytes");
        change(68, 4, "does not end");
        change(77, 0, "event 1 has 0 digests, the header names 2 banks");
        change(77, 3, "event 1 has 3 digests");
        change(81, 0xc, "event 1: algorithm 0xc is not in the header");
        change(80, 0x1, "event 1 has 16777218 digests");
        change(137, 2, "event 1 has 2 bytes of data, 1 are left");
        change(140, 0xff, "event 1 has 4278190081 bytes of data, 1 are left");
        change(28, 0xff, "cut in its first event");
}

static void a_bank_twice(void **state _unused_) {
        static const uint8_t header[] = "Spec ID Event03\0\0\0\0\0\0\2\0\2\2\0\0\0\4\0\24\0\4\0\24\0";

        made.bytes.size = 28;
        le32_append(&made.bytes, sizeof header);
        buffer_append(&made.bytes, header, sizeof header);
        refused(-EBADMSG, "the header names algorithm 0x4 twice");
}

static void a_digest_twice(void **state _unused_) {
        soft_log_text(&made, 5, 0xd, "x");
        made.bytes.data[103] = 4; /* was 0xb */
        refused(-EBADMSG, "event 1: algorithm 0x4 is there twice");
}

/* An event that has no digest for the bank that is read would be left out of the replay. */
static void no_digest_for_the_bank(void **state _unused_) {
        soft_log_text(&made, 5, 0xd, "x");
        memmove(made.bytes.data + 103, made.bytes.data + 137, 5);
        made.bytes.size -= 34;
        made.bytes.data[77] = 1;
        refused(-EBADMSG, "event 1 has no digest for algorithm 0xb");
}

static void old_format(void **state _unused_) {
        static const uint8_t expected[20] = { 0xb2, 0xa8, 0x3b, 0x0e, 0xbf, 0x2f, 0x83, 0x74, 0x29, 0x9a,
                                              0x5b, 0x2b, 0xdf, 0xc3, 0x1e, 0xa9, 0x55, 0xad, 0x72, 0x36 };
        static const uint8_t separator[20] = { 0x90, 0x69, 0xca, 0x78, 0xe7, 0x45, 0x0a, 0x28, 0x51, 0x73,
                                               0x43, 0x1b, 0x3e, 0x52, 0xc5, 0xc2, 0x52, 0x99, 0xe4, 0x73 };
        struct eventlog_pcrs pcrs;
        char error[160];

        for (unsigned header = 0; header < 2; header++) {
                made.bytes.size = 0;
                if (header) {
                        le32_append(&made.bytes, 0);
                        le32_append(&made.bytes, 3);
                        buffer_append(&made.bytes, (uint8_t[20]){}, 20);
                        le32_append(&made.bytes, 16);
                        buffer_append(&made.bytes, "Spec ID Event00", 16);
                }
                le32_append(&made.bytes, 6);
                le32_append(&made.bytes, 4);
                buffer_append(&made.bytes, separator, 20);
                le32_append(&made.bytes, 4);
                buffer_append(&made.bytes, "\0\0\0", 4);
                assert_int_equal(replay(0x4, &pcrs, error), 0);
                assert_memory_equal(pcrs.values[6], expected, 20);
                assert_int_equal(pcrs.extended, 1U << 6);
                refused(-ENOTSUP, "the log has no sha256 digests");
                made.bytes.size--;
                assert_int_equal(replay(0x4, &pcrs, error), -EBADMSG);
        }
}

static void utf16_is(const void *data, size_t size, const char *expected) {
        _cleanup_(freep) char *text = NULL;

        assert_int_equal(utf16_to_utf8(data, size, &text), expected ? 0 : -EBADMSG);
        if (expected)
                assert_string_equal(text, expected);
}

static void utf16_both_ways(void **state _unused_) {
        static const char all[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe";
        static const char *const wrong[] = { "\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82" };
        _cleanup_(buffer_done) struct buffer wide = {};

        assert_int_equal(utf8_to_utf16(all, &wide), 0);
        assert_int_equal(wide.size, 12);
        utf16_is(wide.data, wide.size, all);
        utf16_is("a\0b", 4, "ab");
        utf16_is("", 0, "");
        utf16_is("a\0b", 3, NULL);
        utf16_is("a\0\0\0b", 6, NULL);
        utf16_is("\0\xdc", 2, NULL);
        utf16_is("\0\xd8", 2, NULL);
        utf16_is("\0\xd8"
                 "a",
                 4, NULL);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_int_equal(utf8_to_utf16(wrong[i], &(struct buffer){}), -EINVAL);
}

static void signature_lists(void **state _unused_) {
        static const struct {
                size_t at;
                uint8_t value;
        } wrong[] = {
                { 16, 0 },    /* a list of no bytes: a loop */
                { 16, 75 },   /* not a multiple */
                { 17, 1 },    /* past the end */
                { 20, 1 },    /* its header takes from the signatures */
                { 23, 0xff }, /* a header past the end */
                { 24, 0 },    /* signatures of no bytes: a loop */
                { 24, 16 },   /* an owner alone */
        };
        _cleanup_(buffer_done) struct buffer list = {};
        const uint8_t *data;
        size_t size;

        soft_signature_list(&list, 'h', "0123456789abcdef0123456789abcdef", 32);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                struct eventlog_signatures signatures = { .lists = { list.data, list.size } };
                uint8_t old = list.data[wrong[i].at];

                list.data[wrong[i].at] = wrong[i].value;
                assert_int_equal(eventlog_signature_next(&signatures, &data, &size), -EBADMSG);
                list.data[wrong[i].at] = old;
                signatures = (struct eventlog_signatures){ .lists = { list.data, list.size } };
                assert_int_equal(eventlog_signature_next(&signatures, &data, &size), 1);
                assert_memory_equal(data, "0123456789abcdef0123456789abcdef", 32);
                assert_int_equal(eventlog_signature_next(&signatures, &data, &size), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, done)
                TEST(recorded_logs_replay_to_their_pcrs),
                TEST(cut_logs),
                TEST(empty_and_oversized_logs),
                TEST(startup_locality),
                TEST(startup_locality_twice),
                TEST(startup_locality_late),
                TEST(startup_locality_unknown),
                TEST(a_log_within_a_log),
                TEST(no_such_pcr),
                TEST(contradictions),
                TEST(a_bank_twice),
                TEST(a_digest_twice),
                TEST(no_digest_for_the_bank),
                TEST(old_format),
                TEST(utf16_both_ways),
                TEST(signature_lists),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
