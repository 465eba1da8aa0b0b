/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "store/commit.h"
#include "store/sqlite.h"

enum { READERS_MAX = 64 }; /* connections that are kept for reading */

struct store {
        char *path;
        struct committer *committer;
        pthread_mutex_t lock;
        struct sqlite *readers[READERS_MAX]; /* idle ones */
        size_t n_readers;
};

struct store_value store_int(int64_t number) {
        return (struct store_value){ .type = STORE_INT, .number = number };
}

struct store_value store_text(const char *text) {
        return text ? (struct store_value){ .type = STORE_TEXT, .data = text, .size = strlen(text) } : store_null();
}

struct store_value store_blob(const void *data, size_t size) {
        return (struct store_value){ .type = STORE_BLOB, .data = data, .size = size };
}

struct store_value store_null(void) {
        return (struct store_value){ .type = STORE_NULL };
}

/* Made by us with mode 0600, whatever the umask: SQLite gives its -wal and -shm the mode of the database. An existing file is
 * looked at by name only: closing a descriptor of it would drop the locks that this process has on it. */
static int database_file(const char *path, char *error, size_t error_size) {
        struct stat st;
        int fd;

        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0) {
                (void) close(fd);
                return 0;
        }
        if (errno != EEXIST) {
                int r = -errno;

                (void) snprintf(error, error_size, "%s: the database cannot be created: %s", path, strerror(-r));
                return r;
        }

        if (lstat(path, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                (void) snprintf(error, error_size, "%s: is not a regular file", path);
                return -EINVAL;
        }
        if (st.st_mode & 077) {
                (void) snprintf(error, error_size, "%s: others than the owner may read or write it, say: chmod 0600 %s", path,
                                path);
                return -EPERM;
        }
        return 0;
}

static int row_copy_int(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        if (columns[0].type == STORE_INT)
                *(int64_t *) userdata = columns[0].number;
        return 0;
}

static int row_copy_role(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        if (columns[0].type == STORE_TEXT)
                (void) snprintf(userdata, STORE_ROLE_SIZE, "%s", (const char *) columns[0].data);
        return 0;
}

static int role_check(struct store_txn *txn, const char *role, char *error, size_t error_size) {
        char found[STORE_ROLE_SIZE] = "";
        int r;

        r = store_query(txn, "SELECT value FROM store_meta WHERE name = 'role'", STORE_NO_ARGS, row_copy_role, found);
        if (r < 0)
                return r;
        if (!*found)
                return store_exec(txn, "INSERT INTO store_meta (name, value) VALUES ('role', $1)", STORE_ARGS(store_text(role)),
                                  NULL);
        if (strcmp(found, role) != 0) {
                (void) snprintf(error, error_size, "this is the database of a %s, not of a %s: another file must be configured",
                                found, role);
                return -EBADF;
        }
        return 0;
}

static int schema_version(struct store_txn *txn, int64_t *ret) {
        int64_t version = 0;
        int r;

        r = store_query(txn, "SELECT MAX(number) FROM store_migration", STORE_NO_ARGS, row_copy_int, &version);
        if (r >= 0)
                *ret = version;
        return r;
}

/* The next migration, if there is one, inside a transaction that holds the write lock: of two processes that start at once, one
 * migrates and the other one finds it done. Returns 1 when something was done. */
static int migrate_step(struct sqlite *connection, const struct store_migration *migrations, size_t n, char *error,
                        size_t error_size) {
        struct store_txn txn = { .connection = connection };
        int64_t version;
        int r;

        r = schema_version(&txn, &version);
        if (r < 0)
                return r;
        if (version > (int64_t) n) {
                (void) snprintf(
                        error, error_size,
                        "the database has version %lld, this program knows %zu: a newer program has used it; run that one, or put back the backup of before",
                        (long long) version, n);
                return -EPROTONOSUPPORT;
        }
        if (version == (int64_t) n)
                return 0;

        r = sqlite_run(connection, migrations[version].sql);
        if (r < 0) {
                (void) snprintf(error, error_size, "migration %u of the database failed: %s", migrations[version].number,
                                strerror(-r));
                return r;
        }

        r = store_exec(&txn, "INSERT INTO store_migration (number) VALUES ($1)", STORE_ARGS(store_int(version + 1)), NULL);
        return r < 0 ? r : 1;
}

static int migrate_begin(struct sqlite *connection, const char *role, char *error, size_t error_size) {
        struct store_txn txn = { .connection = connection };
        int r;

        r = sqlite_run(connection, "CREATE TABLE IF NOT EXISTS store_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
                                   "CREATE TABLE IF NOT EXISTS store_migration (number BIGINT PRIMARY KEY)");
        if (r < 0)
                return r;
        return role_check(&txn, role, error, error_size);
}

static int migrate(struct sqlite *connection, const char *role, const struct store_migration *migrations, size_t n, char *error,
                   size_t error_size) {
        int r, k;

        for (size_t i = 0; i < n; i++)
                if (migrations[i].number != i + 1)
                        return -EINVAL;

        do {
                r = sqlite_run(connection, "BEGIN IMMEDIATE");
                if (r < 0)
                        return r;

                r = migrate_begin(connection, role, error, error_size);
                if (r >= 0)
                        r = migrate_step(connection, migrations, n, error, error_size);

                k = sqlite_in_transaction(connection) ? sqlite_run(connection, r < 0 ? "ROLLBACK" : "COMMIT") : -EIO;
                if (k < 0 && r >= 0)
                        r = k;
        } while (r > 0);
        return r;
}

static const char *open_words(int r) {
        switch (r) {
        case -EUCLEAN:
                return "it is no database, or it is damaged: restore it from a backup";
        case -EBUSY:
                return "another program holds its lock";
        case -EROFS:
        case -EACCES:
                return "it, its directory, or its -wal and -shm files cannot be written by this user";
        default:
                return strerror(-r);
        }
}

/* Takes the connection over. */
static int store_new(const char *path, struct sqlite **writer, struct store **ret) {
        _cleanup_(store_closep) struct store *store = calloc(1, sizeof(*store));
        int r;

        if (!store)
                return -ENOMEM;
        (void) pthread_mutex_init(&store->lock, NULL);
        store->path = strdup(path);
        if (!store->path)
                return -ENOMEM;

        r = committer_start(*writer, &store->committer);
        if (r < 0)
                return r;

        *writer = NULL;
        *ret = TAKE_PTR(store);
        return 0;
}

static int store_finish(const char *path, struct sqlite **writer, int r, struct store **ret, char *error, size_t error_size) {
        if (r >= 0)
                r = store_new(path, writer, ret);
        if (r < 0 && !*error)
                (void) snprintf(error, error_size, "%s: the database cannot be opened: %s", path, open_words(r));
        return r;
}

int store_open(const char *path, const char *role, const struct store_migration *migrations, size_t n, struct store **ret,
               char *error, size_t error_size) {
        _cleanup_(sqlite_closep) struct sqlite *writer = NULL;
        int r;

        *error = 0;
        r = database_file(path, error, error_size);
        if (r < 0)
                return r;

        r = sqlite_open(path, false, &writer);
        if (r >= 0)
                r = migrate(writer, role, migrations, n, error, error_size);
        return store_finish(path, &writer, r, ret, error, error_size);
}

static int role_read(struct sqlite *connection, char *ret) {
        struct store_txn txn = { .connection = connection };
        int r;

        r = sqlite_run(connection, "BEGIN");
        if (r < 0)
                return r;
        r = store_query(&txn, "SELECT value FROM store_meta WHERE name = 'role'", STORE_NO_ARGS, row_copy_role, ret);
        (void) sqlite_run(connection, "ROLLBACK");
        return r;
}

int store_attach(const char *path, struct store **ret, char ret_role[static STORE_ROLE_SIZE], char *error, size_t error_size) {
        _cleanup_(sqlite_closep) struct sqlite *writer = NULL;
        char role[STORE_ROLE_SIZE] = "";
        int r;

        *error = 0;
        if (access(path, F_OK) < 0) {
                r = -errno;
                (void) snprintf(error, error_size, "%s: %s", path, strerror(-r));
                return r;
        }
        r = database_file(path, error, error_size);
        if (r < 0)
                return r;

        r = sqlite_open(path, false, &writer);
        if (r >= 0 && (role_read(writer, role) < 0 || !*role)) {
                (void) snprintf(error, error_size, "%s: is not a service's database, or its service never ran", path);
                return -EPROTONOSUPPORT;
        }
        r = store_finish(path, &writer, r, ret, error, error_size);
        if (r >= 0)
                memcpy(ret_role, role, sizeof(role));
        return r;
}

struct store *store_close(struct store *store) {
        if (!store)
                return NULL;

        (void) committer_stop(store->committer);
        while (store->n_readers > 0)
                (void) sqlite_close(store->readers[--store->n_readers]);
        (void) pthread_mutex_destroy(&store->lock);
        free(store->path);
        free(store);
        return NULL;
}

static int reader_take(struct store *store, struct sqlite **ret) {
        struct sqlite *connection = NULL;

        (void) pthread_mutex_lock(&store->lock);
        if (store->n_readers > 0)
                connection = store->readers[--store->n_readers];
        (void) pthread_mutex_unlock(&store->lock);

        if (!connection)
                return sqlite_open(store->path, true, ret);

        *ret = connection;
        return 0;
}

static void reader_give(struct store *store, struct sqlite *connection) {
        (void) pthread_mutex_lock(&store->lock);
        if (store->n_readers < READERS_MAX && !sqlite_in_transaction(connection))
                store->readers[store->n_readers++] = TAKE_PTR(connection);
        (void) pthread_mutex_unlock(&store->lock);

        (void) sqlite_close(connection);
}

int store_read(struct store *store, store_fn fn, void *userdata) {
        struct sqlite *connection = NULL;
        struct store_txn txn;
        int r;

        r = reader_take(store, &connection);
        if (r < 0)
                return r;

        r = sqlite_run(connection, "BEGIN");
        if (r >= 0) {
                txn = (struct store_txn){ .connection = connection, .began = clock_monotonic_ms() };
                r = fn(&txn, userdata);
                if (sqlite_in_transaction(connection))
                        (void) sqlite_run(connection, "ROLLBACK");
        }

        reader_give(store, connection);
        return r;
}

uint64_t store_txn_began(const struct store_txn *txn) {
        return txn->began;
}

int store_write(struct store *store, store_fn fn, void *userdata) {
        return fn ? committer_write(store->committer, fn, userdata) : -EINVAL;
}

int store_checkpoint(struct store *store) {
        return committer_checkpoint(store->committer);
}
