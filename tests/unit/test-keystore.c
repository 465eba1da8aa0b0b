/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "base/file.h"
#include "keystore/keystore.h"
#include "scratch.h"

static char directory[64], path[128], master[128];
static struct store *store;
static struct keystore *keystore;
static struct store_migration migrations[3];

static int open_all(const char *master_file, const char *party, char *error, size_t error_size) {
        int r;

        migrations[0] = (struct store_migration){ 1, "CREATE TABLE audit_place (id BIGINT)" };
        migrations[1] = keystore_migration;
        migrations[2] = (struct store_migration){ 3, keystore_migration_generations };
        r = store_open(path, "tenant", migrations, 3, &store, error, error_size);
        return r < 0 ? r
                     : keystore_open(&(struct keystore_options){ .master = { .kind = KEYSTORE_FILE,
                                                                             .text = (char *) master_file,
                                                                             .path = (char *) master_file } },
                                     store, party, &keystore, error, error_size);
}

static void close_all(void) {
        keystore = keystore_close(keystore);
        store = store_close(store);
}

static void reopen(void) {
        char error[256] = "";

        close_all();
        if (open_all(master, "tenant", error, sizeof(error)) < 0)
                fail_msg("%s", error);
}

static int setup(void **state) {
        char error[256] = "";

        (void) state;
        if (scratch_make(directory) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        (void) snprintf(master, sizeof(master), "%s/master", directory);
        if (keystore_create_master(master) < 0)
                return -1;
        return open_all(master, "tenant", error, sizeof(error));
}

static int teardown(void **state) {
        (void) state;
        close_all();
        return scratch_remove(directory);
}

/* calls in transactions */

struct half_call {
        const char *group, *node;
        uint64_t generation;
        const struct secret *secret;
        int64_t handle;
        struct secret *out;
};

#define CONTEXT(call) FIELDS(field_text((call)->node), field_number((call)->generation), field_text("half"))

static int wrap_fn(struct store_txn *txn, void *userdata) {
        struct half_call *call = userdata;

        return keystore_wrap(keystore, txn, call->group, CONTEXT(call), call->secret, &call->handle);
}

static int unwrap_fn(struct store_txn *txn, void *userdata) {
        struct half_call *call = userdata;

        return keystore_unwrap(keystore, txn, call->handle, CONTEXT(call), &call->out);
}

static int destroy_fn(struct store_txn *txn, void *userdata) {
        struct half_call *call = userdata;

        return keystore_destroy(keystore, txn, call->handle);
}

static int rewrap_fn(struct store_txn *txn, void *userdata) {
        struct half_call *call = userdata;

        return keystore_move(keystore, txn, call->handle, call->group, CONTEXT(call), &call->handle);
}

static int exec_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, userdata, STORE_NO_ARGS, NULL);
}

static int wrap_and_fail_fn(struct store_txn *txn, void *userdata) {
        assert_int_equal(wrap_fn(txn, userdata), 0);
        assert_int_equal(unwrap_fn(txn, userdata), 0);
        return -EACCES;
}

static void wrap(struct half_call *call) {
        assert_int_equal(store_write(store, wrap_fn, call), 0);
}

static void expect_half(const struct half_call *call) {
        struct half_call copy = *call;

        assert_int_equal(store_read(store, unwrap_fn, &copy), 0);
        assert_true(secret_equal(copy.out, call->secret));
        secret_free(copy.out);
}

static void expect_no_half(const struct half_call *call, int expected) {
        struct half_call copy = *call;

        copy.out = NULL;
        assert_int_equal(store_read(store, unwrap_fn, &copy), expected);
        assert_null(copy.out);
}

static struct secret *new_half(void) {
        struct secret *half = NULL;

        assert_int_equal(secret_random(HALF_SIZE, &half), 0);
        return half;
}

static void test_wrap(void **state) {
        _cleanup_(secret_freep) struct secret *a = new_half(), *b = new_half();
        struct half_call one = { .group = "web", .node = "n1", .generation = 1, .secret = a };
        struct half_call two = { .group = "web", .node = "n1", .generation = 2, .secret = b };

        (void) state;
        wrap(&one);
        wrap(&two);
        assert_true(one.handle != two.handle);
        expect_half(&one);
        expect_half(&two);
        reopen();
        expect_half(&one);
        expect_half(&two);
}

/* No half, and nothing above it in the hierarchy, is in any file of the database, before or after a checkpoint. */
static void test_invariant_9(void **state) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        struct secret *halves[20];
        struct half_call calls[20];
        const struct secret *mac;
        const struct keypair *inbox;
        uint32_t number;

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                halves[i] = new_half();
                calls[i] = (struct half_call){ .group = i % 2 ? "a" : "b", .node = "n", .generation = i, .secret = halves[i] };
                wrap(calls + i);
        }
        assert_int_equal(file_read_secret(master, 64, true, &key), 0);
        assert_int_equal(keystore_mac_current(keystore, &number, &mac), 0);
        assert_int_equal(keystore_inbox(keystore, &inbox), 0);

        for (int round = 0; round < 2; round++) {
                /* 8 bytes of each: a part of a half would be too much as well */
                for (size_t i = 0; i < ELEMENTSOF(calls); i++)
                        for (size_t k = 0; k + 8 <= HALF_SIZE; k += 8)
                                assert_false(scratch_database_has(path, halves[i]->data + k, 8));
                assert_false(scratch_database_has(path, key->data, key->size));
                assert_false(scratch_database_has(path, mac->data, mac->size));
                assert_false(scratch_database_has(path, inbox->scalar->data, inbox->scalar->size));
                assert_int_equal(store_checkpoint(store), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                expect_half(calls + i);
                secret_free(halves[i]);
        }
}

static void test_context(void **state) {
        _cleanup_(secret_freep) struct secret *a = new_half();
        struct half_call call = { .group = "web", .node = "n1", .generation = 1, .secret = a }, other;

        (void) state;
        wrap(&call);
        other = call;
        other.generation = 2;
        expect_no_half(&other, -EKEYREJECTED);
        other = call;
        other.node = "n2";
        expect_no_half(&other, -EKEYREJECTED);
        other = call;
        other.handle++;
        expect_no_half(&other, -ENOENT);
        expect_half(&call);
}

/* Somebody who writes to the database cannot give one node another one's half, or put an old one back. */
static void test_rows_exchanged(void **state) {
        static const char *const swaps[] = {
                "UPDATE keystore_half SET wrapped = (SELECT wrapped FROM keystore_half h WHERE h.handle != keystore_half.handle)",
                "UPDATE keystore_key SET wrapped = (SELECT wrapped FROM keystore_key k WHERE k.handle != keystore_key.handle)",
                "UPDATE keystore_kek SET wrapped = (SELECT wrapped FROM keystore_kek g WHERE g.name <> '' AND g.name != keystore_kek.name) "
                "WHERE name <> ''",
                "UPDATE keystore_key SET name = 'db' WHERE name = 'web'",
        };
        _cleanup_(secret_freep) struct secret *a = new_half(), *b = new_half();

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(swaps); i++) {
                struct half_call one = { .group = "web", .node = "n1", .generation = 1, .secret = a };
                struct half_call two = { .group = "db", .node = "n1", .generation = 1, .secret = b };

                wrap(&one);
                wrap(&two);
                expect_half(&one);
                assert_int_equal(store_write(store, exec_fn, (void *) swaps[i]), 0);
                expect_no_half(&one, -EKEYREJECTED);
                reopen();
                expect_no_half(&one, -EKEYREJECTED);
                assert_int_equal(store_write(store, exec_fn, (void *) "DELETE FROM keystore_half"), 0);
                assert_int_equal(store_write(store, exec_fn, (void *) "DELETE FROM keystore_key"), 0);
                assert_int_equal(store_write(store, exec_fn, (void *) "DELETE FROM keystore_kek WHERE name <> ''"), 0);
        }
}

/* Both rows of a half, with those of another one that its owner calls the same. */
static void test_rows_exchanged_whole(void **state) {
        static const char *const swap[] = {
                "CREATE TABLE k AS SELECT * FROM keystore_key",
                "CREATE TABLE h AS SELECT * FROM keystore_half",
                "UPDATE keystore_key SET wrapped = (SELECT wrapped FROM k WHERE k.handle != keystore_key.handle)",
                "UPDATE keystore_half SET wrapped = (SELECT wrapped FROM h WHERE h.handle != keystore_half.handle)",
        };
        _cleanup_(secret_freep) struct secret *a = new_half(), *b = new_half();
        struct half_call one = { .group = "web", .node = "n1", .generation = 1, .secret = a };
        struct half_call two = { .group = "web", .node = "n1", .generation = 1, .secret = b };

        (void) state;
        wrap(&one);
        wrap(&two);
        for (size_t i = 0; i < ELEMENTSOF(swap); i++)
                assert_int_equal(store_write(store, exec_fn, (void *) swap[i]), 0);
        expect_no_half(&one, -EKEYREJECTED);
        expect_no_half(&two, -EKEYREJECTED);
}

static int row_blob(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        return blob_copy(columns[0].data, columns[0].size, userdata);
}

struct wrapped_call {
        int64_t handle;
        struct blob key, half;
};

static int wrapped_fn(struct store_txn *txn, void *userdata) {
        struct wrapped_call *call = userdata;

        assert_int_equal(store_query(txn, "SELECT wrapped FROM keystore_key WHERE handle = $1",
                                     STORE_ARGS(store_int(call->handle)), row_blob, &call->key),
                         0);
        return store_query(txn, "SELECT wrapped FROM keystore_half WHERE handle = $1", STORE_ARGS(store_int(call->handle)),
                           row_blob, &call->half);
}

/* Destroyed is destroyed: the rows, and their bytes in the files. */
static void test_destroy(void **state) {
        _cleanup_(secret_freep) struct secret *a = new_half(), *b = new_half();
        struct half_call call = { .group = "web", .node = "n1", .generation = 1, .secret = a };
        struct half_call stays = { .group = "web", .node = "n1", .generation = 2, .secret = b };
        struct wrapped_call wrapped = {};

        (void) state;
        wrap(&call);
        wrap(&stays);
        wrapped.handle = call.handle;
        assert_int_equal(store_read(store, wrapped_fn, &wrapped), 0);
        assert_int_equal(wrapped.key.size, 60);
        assert_int_equal(store_checkpoint(store), 0);
        assert_true(scratch_database_has(path, wrapped.key.data, wrapped.key.size));
        assert_true(scratch_database_has(path, wrapped.half.data, wrapped.half.size));

        assert_int_equal(store_write(store, destroy_fn, &call), 0);
        expect_no_half(&call, -ENOENT);
        assert_int_equal(store_write(store, destroy_fn, &call), -ENOENT);
        assert_int_equal(store_checkpoint(store), 0);
        assert_false(scratch_database_has(path, wrapped.key.data, wrapped.key.size));
        assert_false(scratch_database_has(path, wrapped.half.data, wrapped.half.size));
        expect_half(&stays);
        blob_done(&wrapped.key);
        blob_done(&wrapped.half);
}

static void test_rewrap(void **state) {
        _cleanup_(secret_freep) struct secret *a = new_half();
        struct half_call call = { .group = "web", .node = "n1", .generation = 1, .secret = a }, old;

        (void) state;
        wrap(&call);
        old = call;
        call.group = "db";
        assert_int_equal(store_write(store, rewrap_fn, &call), 0);
        expect_half(&call);
        expect_no_half(&old, -ENOENT);
        assert_int_equal(store_write(store, exec_fn, (void *) "DELETE FROM keystore_kek WHERE name = 'web'"), 0);
        reopen();
        expect_half(&call);
}

/* A group key that was made in a transaction that did not happen is not used afterwards: its halves could never be opened
 * again. */
static void test_rolled_back_group(void **state) {
        _cleanup_(secret_freep) struct secret *a = new_half();
        struct half_call call = { .group = "web", .node = "n1", .generation = 1, .secret = a };

        (void) state;
        assert_int_equal(store_write(store, wrap_and_fail_fn, &call), -EACCES);
        call.out = secret_free(call.out);
        expect_no_half(&call, -ENOENT);
        wrap(&call);
        expect_half(&call);
        reopen();
        expect_half(&call);
}

static void expect_refused(const char *file, const char *party, int expected, const char *words) {
        char error[256] = "";

        assert_int_equal(open_all(file, party, error, sizeof(error)), expected);
        if (!strstr(error, words))
                fail_msg("\"%s\" does not say \"%s\"", error, words);
        close_all();
}

static void test_master(void **state) {
        static const char text[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"; /* 0, 1, ... 31 */
        uint8_t raw[32];
        char other[160];
        struct stat st;

        (void) state;
        close_all();
        (void) snprintf(other, sizeof(other), "%s/other", directory);
        assert_int_equal(keystore_create_master(master), -EEXIST);
        assert_int_equal(stat(master, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(keystore_create_master(other), 0);
        expect_refused(other, "tenant", -EKEYREJECTED, "is not the master key");
        expect_refused(master, "verifier", -EKEYREJECTED, "is not the master key");
        assert_int_equal(chmod(master, 0640), 0);
        expect_refused(master, "tenant", -EPERM, "chmod 0600");
        assert_int_equal(chmod(master, 0600), 0);
        assert_int_equal(file_write(other, "short", 5, 0600), 0);
        expect_refused(other, "tenant", -EBADMSG, "is not a master key");
        assert_int_equal(file_write(other, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH+8", 43, 0600), 0);
        expect_refused(other, "tenant", -EBADMSG, "is not a master key");
        assert_int_equal(unlink(other), 0);
        expect_refused(other, "tenant", -ENOENT, "cannot be read");

        /* the same key as text and as bytes */
        assert_int_equal(unlink(path), 0);
        assert_int_equal(file_write(other, text, sizeof(text) - 1, 0600), 0);
        expect_refused(other, "tenant", 0, "");
        for (size_t i = 0; i < sizeof(raw); i++)
                raw[i] = (uint8_t) i;
        assert_int_equal(file_write(other, raw, sizeof(raw), 0600), 0);
        expect_refused(other, "tenant", 0, "");
        raw[31] ^= 1;
        assert_int_equal(file_write(other, raw, sizeof(raw), 0600), 0);
        expect_refused(other, "tenant", -EKEYREJECTED, "is not the master key");
}

static int mac_inside_fn(struct store_txn *txn, void *userdata) {
        const struct secret *mac;
        uint32_t number;

        (void) txn;
        (void) userdata;
        return keystore_mac_current(keystore, &number, &mac);
}

static void test_mac_and_inbox(void **state) {
        const struct keypair *inbox;
        const struct secret *mac, *again;
        uint8_t copy[32], public[POINT_SIZE];
        uint32_t number = 0;

        (void) state;
        assert_int_equal(store_write(store, mac_inside_fn, NULL), 0);
        assert_int_equal(keystore_mac_current(keystore, &number, &mac), 0);
        assert_int_equal(number, 1);
        assert_int_equal(mac->size, 32);
        assert_int_equal(keystore_mac_get(keystore, number, &again), 0);
        assert_ptr_equal(mac, again);
        assert_int_equal(keystore_mac_get(keystore, 0, &again), -ENOENT);
        assert_int_equal(keystore_mac_get(keystore, 2, &again), -ENOENT);
        assert_int_equal(keystore_inbox(keystore, &inbox), 0);
        memcpy(copy, mac->data, 32);
        memcpy(public, inbox->public, POINT_SIZE);

        /* another replica, or the same one later */
        reopen();
        assert_int_equal(keystore_mac_get(keystore, number, &mac), 0);
        assert_memory_equal(copy, mac->data, 32);
        assert_int_equal(keystore_inbox(keystore, &inbox), 0);
        assert_memory_equal(public, inbox->public, POINT_SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_wrap),           TEST(test_invariant_9),          TEST(test_context),
                TEST(test_rows_exchanged), TEST(test_rows_exchanged_whole), TEST(test_destroy),
                TEST(test_rewrap),         TEST(test_rolled_back_group),    TEST(test_master),
                TEST(test_mac_and_inbox),
        };

        return cmocka_run_group_tests_name("keystore", tests, NULL, NULL);
}
