/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "evidence/facts.h"
#include "soft-log.h"

/* The kernel's list of measurements, against a quoted PCR 10. */

static const uint8_t digest_a[32] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", digest_b[32] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
static struct soft_log made;
static struct ima_facts facts;
static struct ima_state state;
static char error[160];

static int start(void **userdata _unused_) {
        soft_log_start_ima(&made);
        state = (struct ima_state){};
        return 0;
}

static int done(void **userdata _unused_) {
        soft_log_done(&made);
        ima_facts_done(&facts);
        return 0;
}

static int read_from(size_t offset) {
        ima_facts_done(&facts);
        error[0] = '\0';
        return ima_facts_read(made.bytes.data + offset, made.bytes.size - offset, &made.pcrs, 0xb, &state, &facts, error,
                              sizeof error);
}

static void read_made(void) {
        if (read_from(0) < 0)
                fail_msg("%s", error);
}

static void refused(int r, const char *words) {
        struct ima_state before = state;

        assert_int_equal(read_from(0), r);
        if (!strstr(error, words))
                fail_msg("said: %s", error);
        assert_memory_equal(&state, &before, sizeof state);
        assert_int_equal(facts.n, 0);
}

static void entry_is(size_t i, const char *path, const uint8_t digest[static 32]) {
        assert_true(i < facts.n);
        assert_string_equal(facts.entries[i].path, path);
        assert_int_equal(facts.entries[i].alg, 0xb);
        assert_int_equal(facts.entries[i].size, 32);
        assert_memory_equal(facts.entries[i].digest, digest, 32);
        assert_false(facts.entries[i].violation);
}

static void recorded_lists(void **userdata _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(soft_vectors); i++) {
                struct ima_state from = {};
                struct pcr_values quoted;
                struct blob list = {};
                char name[64];

                snprintf(name, sizeof name, "%s.ima", soft_vectors[i]);
                soft_vector(name, &list);
                soft_vector_pcrs(soft_vectors[i], &quoted);
                ima_facts_done(&facts);
                if (ima_facts_read(list.data, list.size, &quoted, 0xb, &from, &facts, error, sizeof error) < 0)
                        fail_msg("%s: %s", name, error);
                assert_true(facts.n > 0 && facts.n == from.entries);
                assert_true(facts.has_aggregate);
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xb), 0);
                quoted.banks[0].values[9][0] ^= 1;
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xb), -EKEYREJECTED);
                blob_done(&list);
        }
}

static void both_ways_to_extend(void **userdata _unused_) {
        for (unsigned padded = 0; padded < 2; padded++) {
                done(NULL);
                start(NULL);
                soft_ima(&made, padded, "boot_aggregate", digest_a);
                soft_ima(&made, padded, "/init", digest_b);
                read_made();
                assert_int_equal(facts.n, 2);
                assert_true(facts.has_aggregate);
                assert_memory_equal(facts.aggregate, digest_a, 32);
                entry_is(0, "boot_aggregate", digest_a);
                entry_is(1, "/init", digest_b);
                assert_int_equal(state.entries, 2);
                assert_memory_equal(state.pcr, made.pcrs.banks[0].values[10], 32);
        }
}

/* In the padded way only the SHA-1 of the list is extended: it has to be that of the data. */
static void a_padded_entry_with_other_data(void **userdata _unused_) {
        soft_ima(&made, true, "/init", digest_a);
        made.bytes.data[made.bytes.size - 2] = 'x';
        refused(-EKEYREJECTED, "none of the first 1 entries");
}

static void an_entry_with_other_data(void **userdata _unused_) {
        soft_ima(&made, false, "/init", digest_a);
        made.bytes.data[made.bytes.size - 2] = 'x';
        refused(-EKEYREJECTED, "none of the first 1 entries");
}

/* The list is read after the quote: what came in between is not proven. */
static void entries_after_the_quote_are_left_out(void **userdata _unused_) {
        struct pcr_values quoted;

        soft_ima(&made, false, "boot_aggregate", digest_a);
        quoted = made.pcrs;
        soft_ima(&made, false, "/later", digest_b);
        buffer_append(&made.bytes, "cut", 3);
        made.pcrs = quoted;
        read_made();
        assert_int_equal(facts.n, 1);
        assert_int_equal(state.entries, 1);
}

static void only_appended_entries(void **userdata _unused_) {
        size_t before;

        soft_ima(&made, false, "boot_aggregate", digest_a);
        read_made();
        before = made.bytes.size;
        soft_ima(&made, false, "/init", digest_b);
        soft_ima(&made, false, "boot_aggregate", digest_b);
        assert_int_equal(read_from(before), 0);
        assert_int_equal(facts.n, 2);
        assert_int_equal(state.entries, 3);
        entry_is(0, "/init", digest_b);
        assert_false(facts.has_aggregate);
        assert_int_equal(ima_aggregate_check(&facts, &made.pcrs, 0xb), -ENODATA);

        /* none more */
        assert_int_equal(read_from(made.bytes.size), 0);
        assert_int_equal(facts.n, 0);
        assert_int_equal(state.entries, 3);
}

static void appended_aggregate_is_none(void **userdata _unused_) {
        size_t before;

        soft_ima(&made, false, "/init", digest_a);
        read_made();
        before = made.bytes.size;
        soft_ima(&made, false, "boot_aggregate", digest_b);
        assert_int_equal(read_from(before), 0);
        assert_false(facts.has_aggregate);
}

static void violations(void **userdata _unused_) {
        soft_ima_violation(&made, "/tmp/open");
        soft_ima(&made, false, "/init", digest_a);
        read_made();
        assert_int_equal(facts.n, 2);
        assert_true(facts.entries[0].violation);
        entry_is(1, "/init", digest_a);
}

static void entries_of_other_pcrs(void **userdata _unused_) {
        struct pcr_values before = made.pcrs;
        size_t at = made.bytes.size;

        soft_ima(&made, false, "/of-pcr-11", digest_a);
        made.bytes.data[at] = 11;
        made.pcrs = before;
        soft_ima(&made, false, "/init", digest_b);
        read_made();
        assert_int_equal(facts.n, 1);
        assert_int_equal(state.entries, 2);
        entry_is(0, "/init", digest_b);
}

static void cut_lists(void **userdata _unused_) {
        soft_ima(&made, false, "boot_aggregate", digest_a);
        soft_ima(&made, false, "/init", digest_b);
        while (made.bytes.size > 1) {
                int r;

                made.bytes.size--;
                r = read_from(0);
                assert_true(r == -EBADMSG || r == -EKEYREJECTED);
                assert_true(error[0]);
        }
        refused(-EBADMSG, "entry 1, at byte 0: cut");
}

static void field(struct buffer *data, const void *bytes, size_t size) {
        le32_append(data, (uint32_t) size);
        buffer_append(data, bytes, size);
}

static int read_fields(const char *template, const void *digest, size_t digest_size, const void *path, size_t path_size) {
        _cleanup_(buffer_done) struct buffer data = {};

        done(NULL);
        start(NULL);
        field(&data, digest, digest_size);
        field(&data, path, path_size);
        field(&data, "a signature", 11);
        soft_ima_raw(&made, false, template, data.data, data.size);
        return read_from(0);
}

#define D32 "0123456789abcdef0123456789abcdef"

static void templates_and_fields(void **userdata _unused_) {
        static const char *const good[] = { "ima-ng", "ima-sig", "ima-ngv2", "ima-sigv2" };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(read_fields(good[i], "sha256:\0" D32, 40, "/init", 6), 0);
                entry_is(0, "/init", (const uint8_t *) D32);
                assert_int_equal(read_fields(good[i], "verity:sha256:\0" D32, 47, "/init", 6), 0);
                entry_is(0, "/init", (const uint8_t *) D32);
        }
        assert_int_equal(read_fields("ima-ng", "md5:\0" D32, 5 + 16, "/init", 6), 0);
        assert_int_equal(facts.entries[0].alg, 0);
        assert_int_equal(facts.entries[0].size, 16);

        assert_int_equal(read_fields("ima-NG", "sha256:\0" D32, 40, "/init", 6), -EBADMSG);
        assert_non_null(strstr(error, "entry 1, at byte 34: a template that is not known"));
        assert_int_equal(read_fields("ima-ng", "sha256:\0" D32, 39, "/init", 6), -EBADMSG);
        assert_non_null(strstr(error, "not as its template says"));
        assert_int_equal(read_fields("ima-ng", "sha256" D32, 38, "/init", 6), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "sha256\0" D32, 39, "/init", 6), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "\0" D32, 33, "/init", 6), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "sha256:\0" D32, 40, "/init", 5), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "sha256:\0" D32, 40, "/in\0t", 6), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "sha256:\0" D32, 40, "", 0), -EBADMSG);
        assert_int_equal(read_fields("ima-ng", "new:\0" D32 D32 "x", 5 + 65, "/init", 6), -EBADMSG);
}

/* Template "ima": SHA-1 of the file, its name; both hashed at fixed sizes. */
static void old_entry(const char *name) {
        uint8_t hashed[276] = "0123456789abcdefghij", value[32], digest[20];

        memcpy(hashed + 20, name, strlen(name));
        SHA1(hashed, sizeof hashed, digest);
        SHA256(hashed, sizeof hashed, value);
        le32_append(&made.bytes, 10);
        buffer_append(&made.bytes, digest, 20);
        le32_append(&made.bytes, 3);
        buffer_append(&made.bytes, "ima", 3);
        buffer_append(&made.bytes, hashed, 20);
        le32_append(&made.bytes, (uint32_t) strlen(name));
        buffer_append(&made.bytes, name, strlen(name));
        soft_extend(&made, 10, hashed, sizeof hashed);
}

static void the_oldest_template(void **userdata _unused_) {
        size_t before;

        old_entry("boot_aggregate");
        old_entry("/init");
        read_made();
        assert_int_equal(facts.n, 2);
        assert_string_equal(facts.entries[1].path, "/init");
        assert_int_equal(facts.entries[1].alg, 4);
        assert_memory_equal(facts.entries[1].digest, "0123456789abcdefghij", 20);

        before = made.bytes.size;
        old_entry("/more");
        assert_int_equal(read_from(before), -EBADMSG);
        assert_non_null(strstr(error, "only a whole list"));
}

/* The name of a template is bound by nothing: bytes of one kind must not be read as the other. */
static void the_oldest_template_among_others(void **userdata _unused_) {
        soft_ima(&made, false, "boot_aggregate", digest_a);
        old_entry("/init");
        refused(-EBADMSG, "entry 2, at byte 132: template ima among others");
}

static void too_large(void **userdata _unused_) {
        size_t size = (size_t) IMA_LIST_MAX + 1;
        uint8_t *huge = calloc(1, size);

        assert_non_null(huge);
        made.pcrs.banks[0].values[10][0] = 1;
        assert_int_equal(ima_facts_read(huge, size, &made.pcrs, 0xb, &state, &facts, error, sizeof error), -E2BIG);
        assert_non_null(strstr(error, "33554433 bytes"));
        free(huge);
}

static void too_many(void **userdata _unused_) {
        static const uint8_t entry[] = "\12\0\0\0"
                                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                       "\6\0\0\0ima-ng\22\0\0\0\10\0\0\0md5:\0abc\2\0\0\0a";

        for (size_t i = 0; i <= IMA_ENTRIES_MAX; i++)
                buffer_append(&made.bytes, entry, sizeof entry);
        made.pcrs.banks[0].values[10][0] = 1;
        refused(-E2BIG, "more entries than are read");
}

static void quotes_without_pcr_10(void **userdata _unused_) {
        soft_ima(&made, false, "boot_aggregate", digest_a);
        made.pcrs.banks[0].mask &= ~(1U << 10);
        refused(-EKEYREJECTED, "the quote has no PCR 10");
        made.pcrs.banks[0].mask = 0xffffff;
        made.pcrs.banks[0].alg = 0xc;
        refused(-EKEYREJECTED, "the quote has no PCR 10 of bank sha256");
}

static void aggregates(void **userdata _unused_) {
        uint8_t values[320], digest[32];

        for (unsigned pcr = 0; pcr < 10; pcr++) {
                memset(made.pcrs.banks[0].values[pcr], (int) pcr + 1, 32);
                memset(values + 32 * pcr, (int) pcr + 1, 32);
        }
        for (unsigned n = 8; n <= 10; n++) {
                struct pcr_values quoted;

                memset(made.pcrs.banks[0].values[10], 0, 32);
                made.bytes.size = 0;
                state = (struct ima_state){};
                SHA256(values, 32 * n, digest);
                soft_ima(&made, false, "boot_aggregate", digest);
                read_made();
                assert_int_equal(ima_aggregate_check(&facts, &made.pcrs, 0xb), n == 9 ? -EKEYREJECTED : 0);
                assert_int_equal(ima_aggregate_check(&facts, &made.pcrs, 0xc), -ENODATA);
                quoted = made.pcrs;
                quoted.banks[0].mask &= ~1U;
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xb), -ENODATA);
                quoted = made.pcrs;
                quoted.banks[quoted.n++] = (struct pcr_bank){ .alg = 0xc, .mask = 0xffffff };
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xc), -ENODATA);
                quoted = made.pcrs;
                quoted.banks[0].values[3][5] ^= 1;
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xb), -EKEYREJECTED);
                quoted = made.pcrs;
                quoted.banks[0].mask = 0x4ff; /* without 8 and 9 it cannot be told */
                assert_int_equal(ima_aggregate_check(&facts, &quoted, 0xb), n == 8 ? 0 : -ENODATA);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, done)
                TEST(recorded_lists),
                TEST(both_ways_to_extend),
                TEST(a_padded_entry_with_other_data),
                TEST(an_entry_with_other_data),
                TEST(entries_after_the_quote_are_left_out),
                TEST(only_appended_entries),
                TEST(appended_aggregate_is_none),
                TEST(violations),
                TEST(entries_of_other_pcrs),
                TEST(cut_lists),
                TEST(templates_and_fields),
                TEST(the_oldest_template),
                TEST(the_oldest_template_among_others),
                TEST(too_large),
                TEST(too_many),
                TEST(quotes_without_pcr_10),
                TEST(aggregates),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
