/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "audit/verify.h"
#include "scratch.h"

enum { RECORDS = 9 };

static char directory[64], path[128];
static struct store *store;
static struct keypair *key;

static int append_fn(struct store_txn *txn, void *userdata) {
        return audit_append(txn, userdata);
}

struct check {
        struct audit_file file;
        int64_t bad; /* what the first finding names; 0: there is none */
};

static void on_finding(bool wrong, const char *text, void *userdata) {
        struct check *check = userdata;
        long long number = -1;

        if (!wrong || check->bad != 0)
                return;
        (void) sscanf(text, "tenant: record %lld ", &number);
        check->bad = number;
}

static int check_line(struct check *check, json_t *take) {
        char *line = json_dumps(take, JSON_COMPACT);
        int r = audit_file_line(&check->file, line, strlen(line), on_finding, check);

        free(line);
        json_decref(take);
        return r;
}

/* As an operator has it: exported, with a head that is signed now, and verified. */
static int check_fn(struct store_txn *txn, void *userdata) {
        struct check *check = userdata;
        struct audit_head head;
        json_t *records, *record;
        size_t i;
        int r;

        assert_int_equal(audit_head_read(txn, "tenant", 0, &head), 0);
        assert_int_equal(audit_head_sign(&head, key), 0);
        r = audit_export(txn, 0, AUDIT_EXPORT_MAX, &records);
        if (r < 0)
                return r;
        assert_int_equal(check_line(check, json_pack("{s:i, s:i, s:o}", "tallyboot-audit", 1, "exported", 1, "head",
                                                     audit_head_to_json(&head))),
                         0);
        json_array_foreach (records, i, record)
                assert_int_equal(check_line(check, json_incref(record)), 0);
        audit_file_end(&check->file, on_finding, check);
        json_decref(records);
        return 0;
}

static int exec_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, userdata, STORE_NO_ARGS, NULL);
}

static int setup(void **state) {
        char error[256] = "";

        (void) state;
        if (scratch_make(directory) < 0 || keypair_generate(&key) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        if (store_open(path, "tenant", &audit_migration, 1, &store, error, sizeof(error)) < 0)
                return -1;

        for (int i = 1; i <= RECORDS; i++) {
                char detail[32];
                const struct audit_record record = { .event = i % 2 ? "release" : "refusal",
                                                     .node = i % 3 ? "one" : "two",
                                                     .incident = i == 7 ? "0123456789abcdef" : "",
                                                     .who = "node",
                                                     .detail = detail };

                (void) snprintf(detail, sizeof(detail), "{\"n\":%d}", i);
                if (store_write(store, append_fn, (void *) &record) < 0)
                        return -1;
        }
        return 0;
}

static int teardown(void **state) {
        (void) state;
        store = store_close(store);
        key = keypair_free(key);
        return scratch_remove(directory);
}

static int row_hash(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        assert_int_equal(columns[0].size, 32);
        memcpy(userdata, columns[0].data, 32);
        return 0;
}

static void expect_whole(void) {
        struct check check = {};

        assert_int_equal(store_read(store, check_fn, &check), 0);
        assert_int_equal(check.bad, 0);
        assert_int_equal(check.file.n, RECORDS);
        audit_file_done(&check.file);
}

static void expect_bad(int64_t expected) {
        struct check check = {};

        assert_int_equal(store_read(store, check_fn, &check), 0);
        assert_int_equal(check.bad, expected);
        audit_file_done(&check.file);
}

static void exec(const char *sql) {
        assert_int_equal(store_write(store, exec_fn, (void *) sql), 0);
}

static void test_untouched(void **state) {
        (void) state;
        expect_whole();
}

/* Each column on its own; a field's end moved into the next one does not go unseen either. */
static void test_changed(void **state) {
        static const char *const changes[] = {
                "UPDATE audit SET event = 'approve' WHERE seq = 4",
                "UPDATE audit SET node = 'three' WHERE seq = 4",
                "UPDATE audit SET incident = 'x' WHERE seq = 4",
                "UPDATE audit SET who = 'operator' WHERE seq = 4",
                "UPDATE audit SET detail = '' WHERE seq = 4",
                "UPDATE audit SET time = time + 1 WHERE seq = 4",
                "UPDATE audit SET hash = zeroblob(32) WHERE seq = 4",
                "UPDATE audit SET event = event || 'o', node = 'ne' WHERE seq = 4",
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                exec("CREATE TABLE copy AS SELECT * FROM audit");
                exec(changes[i]);
                expect_bad(4);
                exec("DELETE FROM audit");
                exec("INSERT INTO audit SELECT * FROM copy");
                exec("DROP TABLE copy");
                expect_whole();
        }
}

/* What no service writes is not exported. */
static void test_broken(void **state) {
        static const char *const changes[] = {
                "UPDATE audit SET hash = x'00' WHERE seq = 4",
                "UPDATE audit SET detail = CAST(x'7b007d' AS TEXT) WHERE seq = 4",
        };

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                struct check check = {};

                exec(changes[i]);
                assert_int_equal(store_read(store, check_fn, &check), -EUCLEAN);
        }
}

static int recompute_fn(struct store_txn *txn, void *userdata) {
        const struct audit_entry entry = { .seq = 4,
                                           .time = 1800000000000,
                                           .record = {
                                                   .event = "nothing", .node = "", .incident = "", .who = "", .detail = "" } };
        uint8_t previous[32], hash[32];

        (void) userdata;
        assert_int_equal(store_query(txn, "SELECT hash FROM audit WHERE seq = 3", STORE_NO_ARGS, row_hash, previous), 0);
        assert_int_equal(audit_hash(previous, &entry, hash), 0);
        return store_exec(
                txn,
                "UPDATE audit SET time = 1800000000000, event = 'nothing', node = '', incident = '', who = '', detail = '',"
                " hash = $1 WHERE seq = 4",
                STORE_ARGS(store_blob(hash, sizeof(hash))), NULL);
}

/* A record that was exchanged for another one with a hash that is right for it does not fit to the next. */
static void test_recomputed(void **state) {
        (void) state;
        assert_int_equal(store_write(store, recompute_fn, NULL), 0);
        expect_bad(5);
}

static void test_deleted(void **state) {
        (void) state;
        exec("DELETE FROM audit WHERE seq = 5");
        expect_bad(5);
}

static void test_deleted_and_renumbered(void **state) {
        (void) state;
        exec("DELETE FROM audit WHERE seq = 5");
        exec("UPDATE audit SET seq = -seq WHERE seq > 5");
        exec("UPDATE audit SET seq = -seq - 1 WHERE seq < 0");
        expect_bad(5);
}

static void test_first_deleted(void **state) {
        (void) state;
        exec("DELETE FROM audit WHERE seq = 1");
        expect_bad(1);
}

static void test_reordered(void **state) {
        (void) state;
        exec("UPDATE audit SET seq = -1 WHERE seq = 3");
        exec("UPDATE audit SET seq = 3 WHERE seq = 6");
        exec("UPDATE audit SET seq = 6 WHERE seq = -1");
        expect_bad(3);
}

static void test_cut_in_the_middle(void **state) {
        (void) state;
        exec("DELETE FROM audit WHERE seq BETWEEN 3 AND 6");
        expect_bad(3);
}

/* A record that was cut off and written anew does not fit to those that others know (the heads that the other party records). */
static void test_appended_after_cut(void **state) {
        const struct audit_record record = { .event = "release" };

        (void) state;
        exec("DELETE FROM audit WHERE seq = 9");
        assert_int_equal(store_write(store, append_fn, (void *) &record), 0);
        expect_whole();
}

static int append_and_fail_fn(struct store_txn *txn, void *userdata) {
        assert_int_equal(audit_append(txn, userdata), 0);
        return -EACCES;
}

static void test_rolled_back(void **state) {
        const struct audit_record record = { .event = "release" };

        (void) state;
        assert_int_equal(store_write(store, append_and_fail_fn, (void *) &record), -EACCES);
        expect_whole();
}

struct ask {
        const char *node, *incident;
        int64_t after;
        unsigned limit;
        json_t *records;
};

static int query_fn(struct store_txn *txn, void *userdata) {
        struct ask *ask = userdata;

        return audit_query(txn, ask->node, ask->incident, ask->after, ask->limit, &ask->records);
}

static void expect_seqs(struct ask ask, const int64_t *seqs, size_t n) {
        assert_int_equal(store_read(store, query_fn, &ask), 0);
        assert_int_equal(json_array_size(ask.records), n);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(json_integer_value(json_object_get(json_array_get(ask.records, i), "seq")), seqs[i]);
        json_decref(ask.records);
}

static void test_query(void **state) {
        struct ask ask = { .limit = 5000 };
        json_t *first;

        (void) state;
        expect_seqs((struct ask){ .limit = 3 }, (const int64_t[]){ 1, 2, 3 }, 3);
        expect_seqs((struct ask){ .limit = 3, .after = 7 }, (const int64_t[]){ 8, 9 }, 2);
        expect_seqs((struct ask){ .limit = 3, .after = -1 }, (const int64_t[]){ 7, 8, 9 }, 3);
        expect_seqs((struct ask){ .limit = 9, .node = "two" }, (const int64_t[]){ 3, 6, 9 }, 3);
        expect_seqs((struct ask){ .limit = 2, .node = "two", .after = -1 }, (const int64_t[]){ 6, 9 }, 2);
        expect_seqs((struct ask){ .limit = 2, .incident = "0123456789abcdef", .after = -1 }, (const int64_t[]){ 7 }, 1);
        expect_seqs((struct ask){ .limit = 9, .incident = "0123456789abcdef" }, (const int64_t[]){ 7 }, 1);
        expect_seqs((struct ask){ .limit = 9, .incident = "0123456789abcdef", .node = "two" }, NULL, 0);

        assert_int_equal(store_read(store, query_fn, &ask), 0);
        first = json_array_get(ask.records, 0);
        assert_string_equal(json_string_value(json_object_get(first, "event")), "release");
        assert_string_equal(json_string_value(json_object_get(first, "detail")), "{\"n\":1}");
        assert_true(json_integer_value(json_object_get(first, "time")) > 1600000000);
        assert_true(json_integer_value(json_object_get(first, "time")) < 5000000000);
        json_decref(ask.records);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_untouched),     TEST(test_changed),   TEST(test_deleted),           TEST(test_deleted_and_renumbered),
                TEST(test_first_deleted), TEST(test_reordered), TEST(test_cut_in_the_middle), TEST(test_appended_after_cut),
                TEST(test_rolled_back),   TEST(test_query),     TEST(test_recomputed),        TEST(test_broken),
        };

        return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
