/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "scratch.h"
#include "store/store.h"

static const struct store_migration migrations[] = {
        { 1, "CREATE TABLE t (id BIGINT PRIMARY KEY, text TEXT, data BLOB);" },
        { 2,
          "CREATE TABLE u (id BIGINT PRIMARY KEY, t BIGINT NOT NULL REFERENCES t (id)); INSERT INTO t (id, text) VALUES (-1, 'made');" },
};

static char directory[64], path[128];

static int setup(void **state) {
        (void) state;
        if (scratch_make(directory) < 0)
                return -1;
        (void) snprintf(path, sizeof(path), "%s/database", directory);
        return 0;
}

static int teardown(void **state) {
        (void) state;
        return scratch_remove(directory);
}

static struct store *open_store(void) {
        struct store *store = NULL;
        char error[256] = "";

        if (store_open(path, "tenant", migrations, ELEMENTSOF(migrations), &store, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        return store;
}

static int row_number(const struct store_value *columns, size_t n, void *userdata) {
        assert_int_equal(n, 1);
        assert_int_equal(columns[0].type, STORE_INT);
        *(int64_t *) userdata = columns[0].number;
        return 0;
}

static int count_fn(struct store_txn *txn, void *userdata) {
        return store_query(txn, "SELECT COUNT(*) FROM t WHERE id >= 0", STORE_NO_ARGS, row_number, userdata);
}

static int64_t count(struct store *store) {
        int64_t n = -1;

        assert_int_equal(store_read(store, count_fn, &n), 0);
        return n;
}

static int insert_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, "INSERT INTO t (id) VALUES ($1)", STORE_ARGS(store_int(*(int64_t *) userdata)), NULL);
}

static int insert(struct store *store, int64_t id) {
        return store_write(store, insert_fn, &id);
}

/* values */

static int values_row(const struct store_value *columns, size_t n, void *userdata) {
        (*(int *) userdata)++;
        assert_int_equal(n, 4);
        assert_int_equal(columns[0].number, INT64_MIN);
        assert_int_equal(columns[1].type, STORE_TEXT);
        assert_string_equal(columns[1].data, "grün");
        assert_int_equal(columns[1].size, 5);
        assert_int_equal(columns[2].type, STORE_BLOB);
        assert_int_equal(columns[2].size, 3);
        assert_memory_equal(columns[2].data, "a\0b", 3);
        assert_int_equal(columns[3].type, STORE_NULL);
        return 7;
}

static int values_fn(struct store_txn *txn, void *userdata) {
        const struct store_value args[] = { store_blob("a\0b", 3), store_int(INT64_MIN), store_text("grün"), store_text(NULL) };
        int64_t changes = -1;
        int rows = 0;

        (void) userdata;
        assert_int_equal(store_exec(txn, "INSERT INTO t (id, text, data) VALUES ($2, $3, $1)", args, 3, NULL), 0);
        /* its own writes, and a parameter that comes twice */
        assert_int_equal(store_query(txn, "SELECT id, text, data, $2 FROM t WHERE id = $1 AND id <= $1 AND $2 IS NULL",
                                     STORE_ARGS(args[1], args[3]), values_row, &rows),
                         7);
        assert_int_equal(rows, 1);
        assert_int_equal(store_exec(txn, "UPDATE t SET text = 'x' WHERE id = $1", STORE_ARGS(args[1]), &changes), 0);
        assert_int_equal(changes, 1);
        assert_int_equal(store_exec(txn, "UPDATE t SET text = 'x' WHERE id = $1", STORE_ARGS(store_int(77)), &changes), 0);
        assert_int_equal(changes, 0);
        assert_int_equal(store_exec(txn, "INSERT INTO t (id) VALUES ($1)", STORE_ARGS(args[1]), NULL), -EEXIST);
        assert_int_equal(store_exec(txn, "INSERT INTO u (id, t) VALUES (1, 4711)", STORE_NO_ARGS, NULL),
                         -EINVAL); /* foreign key */
        assert_int_equal(store_exec(txn, "INSERT INTO t (id) VALUES ($1)", STORE_NO_ARGS, NULL), -EINVAL);
        assert_int_equal(store_exec(txn, "SELECT id FROM t WHERE id = $1", STORE_ARGS(args[1], args[1]), NULL), -EINVAL);
        assert_int_equal(store_exec(txn, "nonsense", STORE_NO_ARGS, NULL), -EIO);
        return 0;
}

static void test_values(void **state) {
        struct store *store = open_store();

        (void) state;
        assert_int_equal(store_write(store, values_fn, NULL), 0);
        store_close(store);
}

/* a query inside a query's row, with the same text, and many different ones */

struct nest {
        struct store_txn *txn;
        int depth, rows;
};

static int nest_row(const struct store_value *columns, size_t n, void *userdata) {
        struct nest *nest = userdata, inner = { .txn = nest->txn, .depth = nest->depth + 1 };

        (void) columns;
        (void) n;
        nest->rows++;
        if (nest->depth == 4)
                return 0;
        assert_int_equal(store_query(nest->txn, "SELECT id FROM t WHERE id < $1", STORE_ARGS(store_int(2)), nest_row, &inner), 0);
        assert_int_equal(inner.rows, 3);
        return 0;
}

static int nest_fn(struct store_txn *txn, void *userdata) {
        struct nest nest = { .txn = txn };

        (void) userdata;
        assert_int_equal(store_query(txn, "SELECT id FROM t WHERE id < $1", STORE_ARGS(store_int(2)), nest_row, &nest), 0);
        assert_int_equal(nest.rows, 3);
        for (int i = 0; i < 1000; i++) {
                char sql[64];
                int64_t number = -1;

                (void) snprintf(sql, sizeof(sql), "SELECT %d FROM t LIMIT 1", i % 400);
                assert_int_equal(store_query(txn, sql, STORE_NO_ARGS, row_number, &number), 0);
                assert_int_equal(number, i % 400);
        }
        return 0;
}

static void test_statements(void **state) {
        struct store *store = open_store();

        (void) state;
        assert_int_equal(insert(store, 0), 0);
        assert_int_equal(insert(store, 1), 0);
        assert_int_equal(store_write(store, nest_fn, NULL), 0);
        assert_int_equal(store_read(store, nest_fn, NULL), 0);
        store_close(store);
}

/* one that fails goes alone */

static int failing_fn(struct store_txn *txn, void *userdata) {
        assert_int_equal(insert_fn(txn, userdata), 0);
        return -EACCES;
}

struct writer {
        pthread_t thread;
        struct store *store;
        int64_t from, n, good;
};

static void *writer_main(void *userdata) {
        struct writer *writer = userdata;

        for (int64_t i = writer->from; i < writer->from + writer->n; i++) {
                int64_t id = i;
                bool bad = i % 3 == 0;
                int r = store_write(writer->store, bad ? failing_fn : insert_fn, &id);

                if (r == (bad ? -EACCES : 0))
                        writer->good += !bad;
                else
                        break;
        }
        return NULL;
}

static void test_failed_fn_alone(void **state) {
        struct store *store = open_store();
        struct writer writers[8];
        int64_t good = 0;

        (void) state;
        for (size_t i = 0; i < ELEMENTSOF(writers); i++) {
                writers[i] = (struct writer){ .store = store, .from = (int64_t) i * 1000, .n = 150 };
                assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_main, writers + i), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(writers); i++) {
                assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
                good += writers[i].good;
        }
        assert_int_equal(good, 8 * 100);
        assert_int_equal(count(store), good);
        store_close(store);

        store = open_store();
        assert_int_equal(count(store), good);
        store_close(store);
}

/* a write cannot wait for itself, a read cannot write, and a read inside a write sees what was committed before */

struct inside {
        struct store *store;
};

static int inside_fn(struct store_txn *txn, void *userdata) {
        struct inside *inside = userdata;
        int64_t id = 5;

        assert_int_equal(insert_fn(txn, &id), 0);
        assert_int_equal(insert(inside->store, 6), -EDEADLK);
        assert_int_equal(count(inside->store), 0);
        return 0;
}

static void test_inside(void **state) {
        struct store *store = open_store();
        struct inside inside = { .store = store };
        int64_t id = 9;

        (void) state;
        assert_int_equal(store_write(store, inside_fn, &inside), 0);
        assert_int_equal(count(store), 1);
        assert_int_equal(store_read(store, insert_fn, &id), -EROFS);
        assert_int_equal(count(store), 1);
        store_close(store);
}

/* Writes that wait together are one transaction: that is what makes thousands of durable records a second out of some hundred
 * times that a disk can be asked to keep something. Each sees what was committed before the transaction that it is in. */

enum { TOGETHER = 64 };

struct together {
        struct store *store;
        _Atomic int waiting;
        _Atomic bool held;      /* the writer is, by the first one */
        int64_t seen[TOGETHER]; /* rows before the transaction that each was in */
};
struct one_of_them {
        struct together *all;
        int64_t id;
};

static int together_fn(struct store_txn *txn, void *userdata) {
        struct one_of_them *one = userdata;

        /* the first one holds the writer until the others have come, or nearly */
        if (one->id == 0)
                one->all->held = true;
        for (unsigned i = 0; one->id == 0 && i < 10000 && one->all->waiting < TOGETHER; i++)
                usleep(1000);
        if (one->id == 0)
                usleep(50000);
        one->all->seen[one->id] = count(one->all->store);
        return insert_fn(txn, &one->id);
}

static void *together_thread(void *userdata) {
        struct one_of_them *one = userdata;

        one->all->waiting++;
        return store_write(one->all->store, together_fn, one) == 0 ? NULL : one;
}

static void test_together(void **state) {
        struct together all = { .store = open_store() };
        struct one_of_them ones[TOGETHER];
        pthread_t threads[TOGETHER];
        size_t transactions = 0;
        void *failed;

        (void) state;
        for (int64_t i = 0; i < TOGETHER; i++) {
                ones[i] = (struct one_of_them){ &all, i };
                assert_int_equal(pthread_create(threads + i, NULL, together_thread, ones + i), 0);
                while (!all.held)
                        usleep(100);
        }
        for (size_t i = 0; i < TOGETHER; i++) {
                assert_int_equal(pthread_join(threads[i], &failed), 0);
                assert_null(failed);
        }
        assert_int_equal(count(all.store), TOGETHER);

        for (size_t i = 0; i < TOGETHER; i++) {
                bool known = false;

                for (size_t k = 0; k < i; k++)
                        known |= all.seen[k] == all.seen[i];
                transactions += !known;
        }
        assert_true(transactions <= TOGETHER / 2);
        store_close(all.store);
}

/* What was acknowledged is there after the process was killed, at any instant. */

static void durability_child(int64_t *acknowledged) {
        struct store *store = open_store();

        for (int64_t i = acknowledged[0];; i++) {
                if (insert(store, i) < 0)
                        _exit(1);
                __atomic_store_n(acknowledged, i + 1, __ATOMIC_SEQ_CST);
        }
}

static void test_killed(void **state) {
        int64_t *acknowledged = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        (void) state;
        assert_ptr_not_equal(acknowledged, MAP_FAILED);
        for (int round = 0; round < 12; round++) {
                int64_t before = *acknowledged;
                struct store *store;
                int64_t n;
                pid_t pid;
                int status;

                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        durability_child(acknowledged);
                while (__atomic_load_n(acknowledged, __ATOMIC_SEQ_CST) < before + 10 + round * 7)
                        if (waitpid(pid, &status, WNOHANG) != 0)
                                fail_msg("the writing child ended by itself");
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);

                store = open_store();
                n = count(store);
                /* one may have been on disk before it could be told */
                if (n != *acknowledged && n != *acknowledged + 1)
                        fail_msg("%lld acknowledged, %lld there", (long long) *acknowledged, (long long) n);
                *acknowledged = n;
                store_close(store);
        }
        (void) munmap(acknowledged, 4096);
}

/* two processes, one file */

static int add_fn(struct store_txn *txn, void *userdata) {
        int64_t max = -1;
        int r;

        (void) userdata;
        r = store_query(txn, "SELECT MAX(id) FROM t", STORE_NO_ARGS, row_number, &max);
        if (r < 0)
                return r;
        max++;
        return insert_fn(txn, &max);
}

static void test_two_processes(void **state) {
        enum { EACH = 100 };
        pid_t pids[2];
        struct store *store;

        (void) state;
        /* migrations race, too: the file is not there yet */
        for (size_t i = 0; i < 2; i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] == 0) { /* nothing of cmocka in here: it would go on with the other tests */
                        char error[256] = "";

                        if (store_open(path, "tenant", migrations, ELEMENTSOF(migrations), &store, error, sizeof(error)) < 0) {
                                (void) fprintf(stderr, "%s\n", error);
                                _exit(2);
                        }
                        for (int k = 0; k < EACH; k++)
                                if (store_write(store, add_fn, NULL) < 0)
                                        _exit(1);
                        store_close(store);
                        _exit(0);
                }
        }
        for (size_t i = 0; i < 2; i++) {
                int status;

                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                assert_int_equal(status, 0);
        }
        store = open_store();
        assert_int_equal(count(store), 2 * EACH);
        store_close(store);
}

/* disk full: an error for those who write, the rest as it was, and it goes on when there is room again */

static int large_fn(struct store_txn *txn, void *userdata) {
        static const uint8_t data[200000];

        return store_exec(txn, "INSERT INTO t (id, data) VALUES ($1, $2)",
                          STORE_ARGS(store_int(*(int64_t *) userdata), store_blob(data, sizeof(data))), NULL);
}

static void test_disk_full(void **state) {
        struct rlimit old, limit;
        struct store *store = open_store();
        int64_t n, id;
        int r = 0;

        (void) state;
        assert_int_equal(insert(store, 0), 0);
        assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        limit = (struct rlimit){ .rlim_cur = 1000000, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        for (id = 1; id < 100; id++) {
                r = store_write(store, large_fn, &id);
                if (r < 0)
                        break;
        }
        assert_true(r == -EIO || r == -ENOSPC);
        n = count(store);
        assert_int_equal(n, id);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);

        assert_int_equal(insert(store, 1000), 0);
        store_close(store);
        store = open_store();
        assert_int_equal(count(store), n + 1);
        store_close(store);
}

/* files and roles */

static void expect_refused(const char *role, const struct store_migration *list, size_t n, int expected, const char *words) {
        struct store *store = NULL;
        char error[256] = "";

        assert_int_equal(store_open(path, role, list, n, &store, error, sizeof(error)), expected);
        assert_null(store);
        if (!strstr(error, words))
                fail_msg("\"%s\" does not say \"%s\"", error, words);
}

static void test_refused(void **state) {
        static const struct store_migration broken[] = {
                { 1, "CREATE TABLE t (id BIGINT PRIMARY KEY, text TEXT, data BLOB);" },
                { 2, "INSERT INTO t (id) VALUES (1); nonsense" },
        };
        static const struct store_migration hole[] = { { 1, "CREATE TABLE t (id BIGINT)" }, { 3, "CREATE TABLE u (id BIGINT)" } };
        struct stat st;
        char wal[160];

        (void) state;
        (void) umask(0);
        expect_refused("tenant", hole, 2, -EINVAL, "");
        expect_refused("tenant", broken, 2, -EIO, "migration 2");
        store_close(open_store()); /* number 1 of broken is done, nothing of number 2 */
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        expect_refused("verifier", migrations, 2, -EBADF, "database of a tenant");
        expect_refused("tenant", migrations, 1, -EPROTONOSUPPORT, "newer");

        struct store *store = open_store();
        assert_int_equal(insert(store, 1), 0);
        (void) snprintf(wal, sizeof(wal), "%s-wal", path);
        assert_int_equal(stat(wal, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        store_close(store);

        assert_int_equal(chmod(path, 0640), 0);
        expect_refused("tenant", migrations, 2, -EPERM, "chmod 0600");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/etc/passwd", path), 0);
        expect_refused("tenant", migrations, 2, -EINVAL, "regular file");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(
                file_write(
                        path,
                        "this is not a database at all, but text; this is not a database at all, but text; 100 bytes, and more",
                        101, 0600),
                0);
        expect_refused("tenant", migrations, 2, -EUCLEAN, "restore it from a backup");
        (void) snprintf(path, sizeof(path), "%s/none/database", directory);
        expect_refused("tenant", migrations, 2, -ENOENT, "cannot be created");
        (void) umask(077);
}

/* what is deleted is in no file after a checkpoint */

static int secret_insert(struct store_txn *txn, void *userdata) {
        return store_exec(txn, "INSERT INTO t (id, text) VALUES (1, $1)", STORE_ARGS(store_text(userdata)), NULL);
}

static int secret_delete(struct store_txn *txn, void *userdata) {
        (void) userdata;
        return store_exec(txn, "DELETE FROM t WHERE id = 1", STORE_NO_ARGS, NULL);
}

static bool file_contains(const char *suffix, const char *text) {
        _cleanup_(blob_done) struct blob blob = {};
        char name[160];

        (void) snprintf(name, sizeof(name), "%s%s", path, suffix);
        if (file_read(name, 64 << 20, &blob) < 0)
                return false;
        return memmem(blob.data, blob.size, text, strlen(text));
}

static void test_deleted_is_gone(void **state) {
        static char text[] = "find-me-0123456789";
        struct store *store = open_store();

        (void) state;
        assert_int_equal(store_write(store, secret_insert, text), 0);
        assert_true(file_contains("-wal", text));
        assert_int_equal(store_checkpoint(store), 0);
        assert_true(file_contains("", text));
        assert_false(file_contains("-wal", text));
        assert_int_equal(store_write(store, secret_delete, NULL), 0);
        assert_int_equal(store_checkpoint(store), 0);
        assert_false(file_contains("", text));
        assert_false(file_contains("-wal", text));
        store_close(store);
}

/* after an error that SQLite answers with a rollback of everything, nothing more is written by the same fn */

static int ended_fn(struct store_txn *txn, void *userdata) {
        int64_t id = 2;

        assert_int_equal(insert_fn(txn, userdata), 0);
        assert_int_equal(store_exec(txn, "INSERT OR ROLLBACK INTO t (id) VALUES (-1)", STORE_NO_ARGS, NULL), -EEXIST);
        assert_int_equal(insert_fn(txn, &id), -EIO);
        return 0;
}

static void test_ended_transaction(void **state) {
        struct store *store = open_store();
        int64_t id = 1;

        (void) state;
        assert_int_equal(store_write(store, ended_fn, &id), -EIO);
        assert_int_equal(count(store), 0);
        assert_int_equal(insert(store, 1), 0);
        store_close(store);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_values, setup, teardown),
                cmocka_unit_test_setup_teardown(test_statements, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_fn_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_inside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_together, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_two_processes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_deleted_is_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ended_transaction, setup, teardown),
        };

        return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
