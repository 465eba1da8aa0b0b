/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "keystore/box.h"
#include "keystore/manage.h"
#include "scratch.h"

/* A database of before the generations, written here by what its format was: each use of the master key has a key derived from
 * it; group keys, MAC keys and key pairs are wrapped by those. */

enum { HALVES = 600, UPGRADE_STEPS = 3 };

static char directory[64], path[128], master[128], other[128], error[512];
static struct store *store;
static struct keystore *keystore;
static struct secret *root, *group, *halves[HALVES], *mac, *inbox, *audit;

#define V1 field_text("tallyboot keystore v1"), field_text("tenant")
#define NODE "nodenodenodenodenodenodenodenodenodenodenodenodenode"
#define KEY "0123456789abcdef0123456789abcdef"

static int open_store(size_t n) {
        const struct store_migration all[UPGRADE_STEPS] = {
                { 1, "CREATE TABLE generations (node TEXT, key TEXT, generation BIGINT, state BIGINT, handle BIGINT)" },
                keystore_migration,
                { 3, keystore_migration_generations },
        };

        return store_open(path, "tenant", all, n, &store, error, sizeof(error));
}

static struct secret *derived(const char *use) {
        _cleanup_(blob_done) struct blob info = {};
        struct secret *key = NULL;

        assert_int_equal(fields_encode(FIELDS(V1, field_text(use)), &info), 0);
        assert_int_equal(hkdf_sha256(root, NULL, 0, info.data, info.size, 32, &key), 0);
        return key;
}

static void put(struct store_txn *txn, const char *sql, int64_t number, const struct secret *key, const struct field *fields,
                size_t n, const struct secret *secret) {
        uint8_t wrapped[BOX_SECRET_MAX + BOX_OVERHEAD];

        assert_int_equal(box_seal(key, fields, n, secret, wrapped), 0);
        assert_int_equal(
                store_exec(txn, sql, STORE_ARGS(store_int(number), store_blob(wrapped, secret->size + BOX_OVERHEAD)), NULL), 0);
}

static void put_own(struct store_txn *txn, const char *use, const char *sql, int64_t number, const struct field *fields, size_t n,
                    const struct secret *secret) {
        _cleanup_(secret_freep) struct secret *key = derived(use);

        put(txn, sql, number, key, fields, n, secret);
}

static void put_half(struct store_txn *txn, int64_t handle) {
        _cleanup_(secret_freep) struct secret *key = NULL;

        assert_int_equal(secret_random(32, &key), 0);
        assert_int_equal(secret_random(HALF_SIZE, halves + handle - 1), 0);
        put(txn, "INSERT INTO keystore_key (handle, name, wrapped) VALUES ($1, 'web', $2)", handle, group,
            FIELDS(V1, field_text("key"), field_text("web"), field_number((uint64_t) handle)), key);
        put(txn, "INSERT INTO keystore_half (handle, wrapped) VALUES ($1, $2)", handle, key,
            FIELDS(V1, field_text("half"), field_number((uint64_t) handle), field_text("tallyboot half at rest v1"),
                   field_text(NODE), field_text(KEY), field_number((uint64_t) handle)),
            halves[handle - 1]);
        assert_int_equal(store_exec(txn,
                                    "INSERT INTO generations (node, key, generation, state, handle) VALUES ($1, $2, $3, 2, $3)",
                                    STORE_ARGS(store_text(NODE), store_text(KEY), store_int(handle)), NULL),
                         0);
}

static int write_old(struct store_txn *txn, void *userdata) {
        _cleanup_(secret_freep) struct secret *constant = NULL;

        (void) userdata;
        assert_int_equal(secret_copy("this is the right master key", 29, &constant), 0);
        put_own(txn, "check", "INSERT INTO keystore_master (id, value) VALUES ($1, $2)", 1, FIELDS(V1, field_text("check")),
                constant);
        put_own(txn, "group", "INSERT INTO keystore_group (name, wrapped) SELECT 'web', $2 WHERE $1 > 0", 1,
                FIELDS(V1, field_text("group"), field_text("web")), group);
        put_own(txn, "mac", "INSERT INTO keystore_mac (number, wrapped, created) VALUES ($1, $2, 0)", 1,
                FIELDS(V1, field_text("mac"), field_number(1)), mac);
        put_own(txn, "inbox", "INSERT INTO keystore_inbox (id, wrapped) VALUES ($1, $2)", 1, FIELDS(V1, field_text("inbox")),
                inbox);
        put_own(txn, "audit", "INSERT INTO keystore_inbox (id, wrapped) VALUES ($1, $2)", 2, FIELDS(V1, field_text("audit")),
                audit);
        for (int64_t i = 1; i <= HALVES; i++)
                put_half(txn, i);
        return 0;
}

static int setup(void **state) {
        struct secret **made[] = { &root, &group, &mac, &inbox, &audit };

        (void) state;
        if (scratch_make(directory) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        (void) snprintf(master, sizeof(master), "%s/master", directory);
        (void) snprintf(other, sizeof(other), "%s/other", directory);
        for (size_t i = 0; i < ELEMENTSOF(made); i++)
                if (secret_random(32, made[i]) < 0)
                        return -1;
        if (file_write(master, root->data, root->size, 0600) < 0 || keystore_create_master(other) < 0 || open_store(2) < 0 ||
            store_write(store, write_old, NULL) < 0)
                return -1;
        store = store_close(store);
        return open_store(UPGRADE_STEPS);
}

static int teardown(void **state) {
        struct secret *made[] = { root, group, mac, inbox, audit };
        (void) state;
        keystore = keystore_close(keystore);
        store = store_close(store);
        for (size_t i = 0; i < ELEMENTSOF(made); i++)
                secret_free(made[i]);
        for (size_t i = 0; i < HALVES; i++)
                halves[i] = secret_free(halves[i]);
        return scratch_remove(directory);
}

static int open_keystore(const char *file, const char *old) {
        struct keystore_options options = { .master = { .kind = KEYSTORE_FILE, .text = (char *) file, .path = (char *) file } };

        if (old)
                options.old = (struct keystore_source){ .kind = KEYSTORE_FILE, .text = (char *) old, .path = (char *) old };
        keystore = keystore_close(keystore);
        return keystore_open(&options, store, "tenant", &keystore, error, sizeof(error));
}

struct get {
        int64_t handle;
        struct secret *out;
};

static int get_fn(struct store_txn *txn, void *userdata) {
        struct get *get = userdata;

        return keystore_unwrap(keystore, txn, get->handle, KEYSTORE_HALF_CONTEXT(NODE, KEY, (uint64_t) get->handle), &get->out);
}

static void expect_all(void) {
        struct keystore_verified verified;
        const struct secret *found;
        const struct keypair *pair;
        _cleanup_(keypair_freep) struct keypair *expected_inbox = NULL, *expected_audit = NULL;

        for (int64_t i = 1; i <= HALVES; i++) {
                struct get get = { .handle = i };

                assert_int_equal(store_read(store, get_fn, &get), 0);
                assert_true(secret_equal(get.out, halves[i - 1]));
                secret_free(get.out);
        }
        assert_int_equal(keystore_mac_get(keystore, 1, &found), 0);
        assert_true(secret_equal(found, mac));
        assert_int_equal(keypair_derive(inbox, &expected_inbox), 0);
        assert_int_equal(keypair_derive(audit, &expected_audit), 0);
        assert_int_equal(keystore_inbox(keystore, &pair), 0);
        assert_memory_equal(pair->public, expected_inbox->public, POINT_SIZE);
        assert_memory_equal(keystore_audit_key(keystore)->public, expected_audit->public, POINT_SIZE);
        assert_int_equal(keystore_verify(keystore, NULL, NULL, &verified), 0);
        assert_int_equal(verified.halves, HALVES);
        assert_int_equal(verified.service_keys, 4);
}

/* At the first start, under the key that it has, and never again. */
static void test_upgrade(void **state) {
        (void) state;
        assert_int_equal(open_keystore(other, NULL), -EKEYREJECTED);
        assert_non_null(strstr(error, "is not the master key"));
        for (int i = 0; i < 2; i++) {
                assert_int_equal(open_keystore(master, NULL), 0);
                expect_all();
        }
        assert_int_equal(open_keystore(other, NULL), -EKEYREJECTED);
}

/* And where the operator goes to another master in the same moment. */
static void test_upgrade_and_move(void **state) {
        struct keystore_progress progress;

        (void) state;
        assert_int_equal(open_keystore(other, master), 0);
        expect_all();
        assert_int_equal(keystore_rewrap_step(keystore, 100, &progress), 0);
        assert_int_equal(open_keystore(other, NULL), 0);
        expect_all();
}

/* The command does not do it: what runs beside it knows the older rows only. */
static void test_not_by_init(void **state) {
        const struct keystore_options options = { .master = { .kind = KEYSTORE_FILE, .text = other, .path = other } };

        (void) state;
        assert_int_equal(keystore_init(&options, store, "tenant", error, sizeof(error)), -EPROTONOSUPPORT);
        assert_non_null(strstr(error, "start the tenant once"));
}

static int break_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, userdata, STORE_NO_ARGS, NULL);
}

/* A row that does not open is left as it is, for verify to name; the others are not held up by it. */
static void test_broken_row(void **state) {
        struct get bad = { .handle = 7 }, good = { .handle = 8 };

        (void) state;
        assert_int_equal(store_write(store, break_fn, (void *) "UPDATE keystore_key SET wrapped = zeroblob(60) WHERE handle = 7"),
                         0);
        assert_int_equal(open_keystore(master, NULL), 0);
        assert_int_equal(store_read(store, get_fn, &bad), -EKEYREJECTED);
        assert_int_equal(store_read(store, get_fn, &good), 0);
        secret_free(good.out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = { TEST(test_upgrade), TEST(test_upgrade_and_move), TEST(test_not_by_init),
                                            TEST(test_broken_row) };

        return cmocka_run_group_tests_name("keystore-upgrade", tests, NULL, NULL);
}
