/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "keystore/manage.h"
#include "scratch.h"

enum { HALVES = 20 };

static char directory[64], path[128], first[128], second[128];
static struct store *store;
static struct keystore *keystore;
static char error[512];

/* The table of the party that keystore_verify() has the names from. */
static const struct store_migration migrations[] = {
        { 1, "CREATE TABLE audit_place (id BIGINT);"
             "CREATE TABLE generations (node TEXT, key TEXT, generation BIGINT, state BIGINT, handle BIGINT)" },
        { 2, NULL },
        { 3, keystore_migration_generations },
};

static struct keystore_options options_of(const char *master, const char *old) {
        struct keystore_options options = { .master = {
                                                    .kind = KEYSTORE_FILE, .text = (char *) master, .path = (char *) master } };

        if (old)
                options.old = (struct keystore_source){ .kind = KEYSTORE_FILE, .text = (char *) old, .path = (char *) old };
        return options;
}

static int open_keystore(const char *master, const char *old) {
        struct keystore_options options = options_of(master, old);

        keystore = keystore_close(keystore);
        return keystore_open(&options, store, "tenant", &keystore, error, sizeof(error));
}

static void reopen(const char *master, const char *old) {
        if (open_keystore(master, old) < 0)
                fail_msg("%s", error);
}

static int setup(void **state) {
        struct store_migration all[3];

        (void) state;
        memcpy(all, migrations, sizeof(all));
        all[1] = keystore_migration;
        if (scratch_make(directory) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        (void) snprintf(first, sizeof(first), "%s/first", directory);
        (void) snprintf(second, sizeof(second), "%s/second", directory);
        if (keystore_create_master(first) < 0 || keystore_create_master(second) < 0 ||
            store_open(path, "tenant", all, 3, &store, error, sizeof(error)) < 0)
                return -1;
        return open_keystore(first, NULL);
}

static int teardown(void **state) {
        (void) state;
        keystore = keystore_close(keystore);
        store = store_close(store);
        return scratch_remove(directory);
}

/* halves of a node each, half of them in each group */

static struct secret *halves[HALVES];
static int64_t handles[HALVES];

#define NODE "nodenodenodenodenodenodenodenodenodenodenodenodenode"
#define KEY "0123456789abcdef0123456789abcdef"

static int make_fn(struct store_txn *txn, void *userdata) {
        int i = *(int *) userdata, r;

        r = keystore_wrap(keystore, txn, i % 2 ? "web" : "db", KEYSTORE_HALF_CONTEXT(NODE, KEY, (uint64_t) i + 1), halves[i],
                          handles + i);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO generations (node, key, generation, state, handle) VALUES ($1, $2, $3, 2, $4)",
                          STORE_ARGS(store_text(NODE), store_text(KEY), store_int(i + 1), store_int(handles[i])), NULL);
}

static void make_halves(void) {
        for (int i = 0; i < HALVES; i++) {
                assert_int_equal(secret_random(HALF_SIZE, halves + i), 0);
                assert_int_equal(store_write(store, make_fn, &i), 0);
        }
}

static void free_halves(void) {
        for (int i = 0; i < HALVES; i++)
                halves[i] = secret_free(halves[i]);
}

struct get {
        int i;
        struct secret *out;
};

static int get_fn(struct store_txn *txn, void *userdata) {
        struct get *get = userdata;

        return keystore_unwrap(keystore, txn, handles[get->i], KEYSTORE_HALF_CONTEXT(NODE, KEY, (uint64_t) get->i + 1),
                               &get->out);
}

static int get(int i) {
        struct get get = { .i = i };
        int r = store_read(store, get_fn, &get);

        if (r >= 0)
                assert_true(secret_equal(get.out, halves[i]));
        secret_free(get.out);
        return r;
}

static void expect_all(void) {
        for (int i = 0; i < HALVES; i++)
                assert_int_equal(get(i), 0);
}

static int exec_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, userdata, STORE_NO_ARGS, NULL);
}

static void sql(const char *text) {
        assert_int_equal(store_write(store, exec_fn, (void *) text), 0);
}

static int found_fn(const struct keystore_finding *finding, void *userdata) {
        char *text = userdata;

        (void) snprintf(text + strlen(text), 4096 - strlen(text), "%d %s\n", finding->problem, finding->words);
        return 0;
}

static char findings[4096];

static struct keystore_verified verify(void) {
        struct keystore_verified verified = {};

        findings[0] = 0;
        assert_int_equal(keystore_verify(keystore, found_fn, findings, &verified), 0);
        return verified;
}

static void expect_words(const char *in, const char *words) {
        if (!strstr(in, words))
                fail_msg("\"%s\" does not say \"%s\"", in, words);
}

static int blob_row(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        return blob_copy(columns[0].data, columns[0].size, userdata);
}

static const char *blob_sql;

static int blob_fn(struct store_txn *txn, void *userdata) {
        return store_query(txn, blob_sql, STORE_NO_ARGS, blob_row, userdata);
}

static struct blob blob_of(const char *text) {
        struct blob blob = {};

        blob_sql = text;
        assert_int_equal(store_read(store, blob_fn, &blob), 0);
        return blob;
}

static void rotate(const char *group, unsigned step) {
        struct keystore_progress progress;
        int64_t generation;
        int r;

        assert_int_equal(keystore_rotate(keystore, group, &generation), 0);
        do {
                r = keystore_rotate_step(keystore, group, step, &progress);
                assert_in_range(r, 0, 1);
        } while (r > 0);
}

static void test_rotate(void **state) {
        struct keystore_progress progress;
        struct keystore_verified verified;
        struct blob was;
        int64_t generation;

        (void) state;
        make_halves();
        was = blob_of("SELECT wrapped FROM keystore_kek WHERE name = 'web'");
        assert_int_equal(keystore_rotate(keystore, "no-such-group", &generation), -ENOENT);
        assert_int_equal(keystore_rotate(keystore, "web", &generation), 0);
        assert_int_equal(generation, 2);
        expect_all();
        assert_int_equal(keystore_rotate(keystore, "web", &generation), -EALREADY);
        assert_int_equal(keystore_rotate_step(keystore, "web", 3, &progress), 1);
        assert_int_equal(progress.done, 3);
        assert_int_equal(progress.left, HALVES / 2 - 3);
        expect_all();
        verified = verify();
        assert_int_equal(verified.unfinished, 1);
        assert_int_equal(verified.findings, 1);
        assert_int_equal(verified.halves, HALVES);
        expect_words(findings, "7 rows of group 'web' are still under generation 1");

        /* whoever comes later goes on with it */
        reopen(first, NULL);
        assert_int_equal(keystore_rotate_step(keystore, "web", 100, &progress), 0);
        expect_all();
        reopen(first, NULL);
        expect_all();
        assert_int_equal(keystore_scrub(store), 0);
        assert_false(scratch_database_has(path, was.data, was.size));
        verified = verify();
        assert_int_equal(verified.findings, 0);
        assert_int_equal(verified.keks, 3);
        blob_done(&was);
        free_halves();
}

static void test_rotate_service(void **state) {
        const struct secret *mac;
        const struct keypair *inbox;
        uint8_t key[32], public[POINT_SIZE];
        struct keystore_verified verified;
        uint32_t number;

        (void) state;
        make_halves();
        assert_int_equal(keystore_mac_current(keystore, &number, &mac), 0);
        memcpy(key, mac->data, sizeof(key));
        assert_int_equal(keystore_inbox(keystore, &inbox), 0);
        memcpy(public, inbox->public, sizeof(public));

        rotate("", 1);
        reopen(first, NULL);
        assert_int_equal(keystore_mac_current(keystore, &number, &mac), 0);
        assert_memory_equal(key, mac->data, sizeof(key));
        assert_int_equal(keystore_inbox(keystore, &inbox), 0);
        assert_memory_equal(public, inbox->public, sizeof(public));
        expect_all();
        verified = verify();
        assert_int_equal(verified.findings, 0);
        assert_int_equal(verified.service_keys, 4);
        free_halves();
}

/* An older generation put back: the KEK's row, then the half's with it. The floor's row says so, and what was put back of it,
 * while we run, is known not to be the newest. */
static void test_older_generation_put_back(void **state) {
        (void) state;
        make_halves();
        sql("CREATE TABLE old_kek AS SELECT * FROM keystore_kek");
        sql("CREATE TABLE old_key AS SELECT * FROM keystore_key");
        sql("CREATE TABLE old_floor AS SELECT * FROM keystore_floor");
        rotate("web", 100);
        expect_all();

        /* the row itself, in the place of the newer one */
        sql("CREATE TABLE new_kek AS SELECT * FROM keystore_kek");
        sql("UPDATE keystore_kek SET wrapped = (SELECT wrapped FROM old_kek o WHERE o.name = 'web') WHERE name = 'web'");
        assert_int_equal(get(1), -EKEYREJECTED);
        expect_words(keystore_error(), "tenant: KEK of group 'web', generation 2: the row was changed");
        sql("UPDATE keystore_kek SET wrapped = (SELECT wrapped FROM new_kek o WHERE o.name = 'web') WHERE name = 'web'");
        expect_all();

        /* beside it, with the halves that were under it */
        sql("INSERT INTO keystore_kek SELECT * FROM old_kek WHERE name = 'web'");
        sql("CREATE TABLE new_key AS SELECT * FROM keystore_key");
        sql("UPDATE keystore_key SET generation = 1, wrapped = (SELECT wrapped FROM old_key o WHERE o.handle = keystore_key.handle)");
        for (int round = 0; round < 2; round++) {
                assert_int_equal(get(0), 0);
                assert_int_equal(get(1), -EKEYREJECTED);
                expect_words(keystore_error(), "generation 1: 2 to 2 are accepted");
                verify();
                expect_words(findings, "KEK of group 'web', generation 1");
                expect_words(findings, "half of node " NODE ", key " KEY ", generation 2:");
                reopen(first, NULL);
        }

        /* and the newer one is taken away */
        sql("DELETE FROM keystore_kek WHERE name = 'web' AND generation = 2");
        assert_int_equal(get(1), -EKEYREJECTED);

        /* the floor's row too: all of the group as it once was. Who has seen it newer does not take it. */
        sql("DELETE FROM keystore_floor WHERE name = 'web'");
        assert_int_equal(get(1), -EKEYREJECTED);
        expect_words(keystore_error(), "is gone");
        sql("INSERT INTO keystore_floor SELECT * FROM old_floor WHERE name = 'web'");
        free_halves();
}

static void test_database_goes_back_while_we_run(void **state) {
        (void) state;
        make_halves();
        sql("CREATE TABLE old_kek AS SELECT * FROM keystore_kek");
        sql("CREATE TABLE old_key AS SELECT * FROM keystore_key");
        sql("CREATE TABLE old_floor AS SELECT * FROM keystore_floor");
        rotate("web", 100);
        expect_all();
        sql("DELETE FROM keystore_kek WHERE name = 'web'");
        sql("INSERT INTO keystore_kek SELECT * FROM old_kek WHERE name = 'web'");
        sql("DELETE FROM keystore_floor WHERE name = 'web'");
        sql("INSERT INTO keystore_floor SELECT * FROM old_floor WHERE name = 'web'");
        sql("UPDATE keystore_key SET generation = 1, wrapped = (SELECT wrapped FROM old_key o WHERE o.handle = keystore_key.handle)");
        assert_int_equal(get(0), 0);
        assert_int_equal(get(1), -EKEYREJECTED);
        expect_words(keystore_error(), "went back");
        free_halves();
}

static void test_floor_changed(void **state) {
        (void) state;
        make_halves();
        rotate("web", 100);
        sql("UPDATE keystore_floor SET oldest = 1 WHERE name = 'web'");
        assert_int_equal(get(1), -EKEYREJECTED);
        expect_words(keystore_error(), "was changed");
        sql("UPDATE keystore_floor SET oldest = 2 WHERE name = 'web'");
        expect_all();
        sql("UPDATE keystore_floor SET mac = (SELECT mac FROM keystore_floor f WHERE f.name = 'db') WHERE name = 'web'");
        assert_int_equal(get(1), -EKEYREJECTED);
        free_halves();
}

/* The key of the floors is not made anew to accept what is there. */
static void test_floor_key_gone(void **state) {
        (void) state;
        make_halves();
        sql("DELETE FROM keystore_inbox WHERE id = 3");
        sql("DELETE FROM keystore_floor");
        assert_int_equal(open_keystore(first, NULL), -EKEYREJECTED);
        expect_words(error, "the key is gone");
        free_halves();
}

static void test_rewrap(void **state) {
        struct keystore_progress progress;
        struct keystore_verified verified;
        struct blob was;

        (void) state;
        make_halves();
        was = blob_of("SELECT wrapped FROM keystore_kek WHERE name = 'web'");
        assert_int_equal(open_keystore(second, NULL), -EKEYREJECTED);
        expect_words(error, "is not the master key");
        reopen(second, first);
        expect_all();
        verified = verify();
        assert_int_equal(verified.unfinished, 3);
        assert_int_equal(verified.findings, 3);
        expect_words(findings, "KEK of group 'web', generation 1, is still under master 1");

        assert_int_equal(keystore_rewrap_step(keystore, 1, &progress), 1);
        assert_int_equal(progress.done, 1);
        assert_int_equal(progress.left, 2);
        expect_all();
        /* neither alone opens it now, and each says so before anything is asked of it */
        assert_int_equal(open_keystore(second, NULL), 0);
        verify();
        expect_words(findings, "master 1");
        expect_words(findings, "not configured");
        assert_int_equal(get(1), -ENOKEY);
        expect_words(keystore_error(), "KEK of group 'web', generation 1: it is under master 1, which is not configured");

        reopen(second, first);
        assert_int_equal(keystore_rewrap_step(keystore, 100, &progress), 0);
        expect_all();
        reopen(second, NULL);
        expect_all();
        assert_int_equal(verify().findings, 0);
        assert_int_equal(open_keystore(first, NULL), -EKEYREJECTED);
        reopen(second, NULL);
        assert_int_equal(keystore_scrub(store), 0);
        assert_false(scratch_database_has(path, was.data, was.size));
        blob_done(&was);
        free_halves();
}

/* A row as it was under the old master, put back while that one is still configured. */
static void test_older_master_put_back(void **state) {
        struct keystore_progress progress;

        (void) state;
        make_halves();
        sql("CREATE TABLE old_kek AS SELECT * FROM keystore_kek");
        sql("CREATE TABLE old_masters AS SELECT * FROM keystore_masters");
        reopen(second, first);
        assert_int_equal(keystore_rewrap_step(keystore, 100, &progress), 0);
        sql("INSERT INTO keystore_masters SELECT * FROM old_masters");
        sql("DELETE FROM keystore_kek WHERE name = 'web'");
        sql("INSERT INTO keystore_kek SELECT * FROM old_kek WHERE name = 'web'");
        reopen(second, first);
        assert_int_equal(get(0), 0);
        assert_int_equal(get(1), -EKEYREJECTED);
        expect_words(keystore_error(), "under master 1, which was given up for 2");
        free_halves();
}

/* From the first to the second and back: the first is a new master then, and not the one of before. */
static void test_there_and_back(void **state) {
        _cleanup_(freep) struct keystore_master *masters = NULL;
        struct keystore_progress progress;
        size_t n;

        (void) state;
        make_halves();
        reopen(second, first);
        assert_int_equal(keystore_rewrap_step(keystore, 2, &progress), 1);
        reopen(first, second);
        expect_all();

        /* the same key, and yet not the same master */
        sql("UPDATE keystore_kek SET master = 3 WHERE name = 'web'");
        assert_int_equal(get(1), -EKEYREJECTED);
        sql("UPDATE keystore_kek SET master = 1 WHERE name = 'web'");
        while (keystore_rewrap_step(keystore, 1, &progress) == 1)
                expect_all();
        reopen(first, NULL);
        expect_all();
        assert_int_equal(verify().findings, 0);
        assert_int_equal(keystore_masters(keystore, store, &masters, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(masters[0].id, 3);
        assert_int_equal(masters[0].keks, 3);
        assert_true(masters[0].is_open);
        free_halves();
}

static void test_lists(void **state) {
        _cleanup_(freep) struct keystore_kek *keks = NULL;
        struct keystore_progress progress;
        int64_t generation;
        size_t n;

        (void) state;
        make_halves();
        assert_int_equal(keystore_rotate(keystore, "web", &generation), 0);
        assert_int_equal(keystore_rotate_step(keystore, "web", 4, &progress), 1);
        assert_int_equal(keystore_keks(store, &keks, &n), 0);
        assert_int_equal(n, 4);
        assert_string_equal(keks[0].group, "");
        assert_int_equal(keks[0].rows, 4);
        assert_string_equal(keks[2].group, "web");
        assert_int_equal(keks[2].generation, 1);
        assert_int_equal(keks[2].rows, 6);
        assert_false(keks[2].is_newest);
        assert_int_equal(keks[3].rows, 4);
        assert_true(keks[3].is_newest);
        expect_words(keks[3].mechanism, "aes-256-gcm");
        free_halves();
}

/* What does not open stays, with its KEK, and is named; the rest goes on. */
static void test_verify_names(void **state) {
        struct keystore_progress progress;
        struct keystore_verified verified;
        int64_t generation;
        int r;

        (void) state;
        make_halves();
        sql("UPDATE keystore_key SET wrapped = zeroblob(60) WHERE handle = (SELECT handle FROM generations WHERE generation = 4)");
        sql("UPDATE keystore_half SET wrapped = zeroblob(60) WHERE handle = (SELECT handle FROM generations WHERE generation = 6)");
        sql("DELETE FROM keystore_half WHERE handle = (SELECT handle FROM generations WHERE generation = 8)");
        sql("DELETE FROM generations WHERE generation = 10");
        verified = verify();
        assert_int_equal(verified.findings, 4);
        assert_int_equal(verified.unfinished, 0);
        assert_int_equal(verified.halves, HALVES - 4);
        expect_words(findings, "half of node " NODE ", key " KEY ", generation 4: tenant: half in group 'web', KEK generation 1");
        expect_words(findings, "generation 6");
        expect_words(findings, "generation 8: tenant: the rows of this half are gone");
        expect_words(findings, "is of no node's half");

        assert_int_equal(keystore_rotate(keystore, "web", &generation), 0);
        while ((r = keystore_rotate_step(keystore, "web", 100, &progress)) > 0)
                ;
        assert_int_equal(r, -EKEYREJECTED);
        assert_int_equal(get(1), 0);
        assert_int_equal(get(3), -EKEYREJECTED);
        free_halves();
}

static void test_init(void **state) {
        char third[160];
        struct keystore_options options;

        (void) state;
        make_halves();
        (void) snprintf(third, sizeof(third), "%s/third", directory);
        options = options_of(first, NULL);
        assert_int_equal(keystore_init(&options, store, "tenant", error, sizeof(error)), -EEXIST);
        expect_words(error, "is there already");
        options = options_of(third, NULL);
        assert_int_equal(keystore_init(&options, store, "tenant", error, sizeof(error)), 0);
        /* the database knows it; what it holds is under the first */
        assert_int_equal(open_keystore(third, NULL), -ENOKEY);
        expect_words(error, "under master 1, which is not configured");
        reopen(third, first);
        expect_all();
        free_halves();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_rotate),
                TEST(test_rotate_service),
                TEST(test_older_generation_put_back),
                TEST(test_database_goes_back_while_we_run),
                TEST(test_floor_changed),
                TEST(test_floor_key_gone),
                TEST(test_rewrap),
                TEST(test_older_master_put_back),
                TEST(test_there_and_back),
                TEST(test_lists),
                TEST(test_verify_names),
                TEST(test_init),
        };

        return cmocka_run_group_tests_name("keystore-manage", tests, NULL, NULL);
}
