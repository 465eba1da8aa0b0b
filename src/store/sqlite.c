/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/sqlite.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

enum {
        STATEMENTS_MAX = 128, /* prepared and kept, for each connection */
        BUSY_TIMEOUT_MS = 10000,
        WAL_RETRY_MS = 5,
        CHECKPOINT_TIMEOUT_MS = 200,
        COLUMNS_MAX = 64,
};

struct statement {
        char *sql; /* NULL: a free place */
        sqlite3_stmt *handle;
        bool busy; /* being stepped: a row callback may ask the same again */
};

struct sqlite {
        sqlite3 *db;
        struct statement statements[STATEMENTS_MAX];
        size_t next; /* the place that is used again when all are taken */
};

/* The one place where SQLite's codes become ours. */
static int sqlite_errno(sqlite3 *db, int rc) {
        int extended = db ? sqlite3_extended_errcode(db) : rc;

        if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE)
                return 0;

        log_debug("SQLite: %s (%d)", db ? sqlite3_errmsg(db) : sqlite3_errstr(rc), extended);

        if (extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_UNIQUE ||
            extended == SQLITE_CONSTRAINT_ROWID)
                return -EEXIST;

        switch (rc & 0xff) {
        case SQLITE_CONSTRAINT:
        case SQLITE_MISMATCH:
        case SQLITE_RANGE:
                return -EINVAL;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_PERM:
        case SQLITE_AUTH:
        case SQLITE_CANTOPEN:
                return -EACCES;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return -EUCLEAN;
        case SQLITE_TOOBIG:
                return -EFBIG;
        case SQLITE_ABORT:
        case SQLITE_INTERRUPT:
                return -ECANCELED;
        default:
                return -EIO;
        }
}

static int sqlite_try_wal(struct sqlite *connection) {
        _cleanup_(freep) char *mode = NULL;
        sqlite3_stmt *statement = NULL;
        int rc;

        rc = sqlite3_prepare_v2(connection->db, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
        if (rc == SQLITE_OK)
                rc = sqlite3_step(statement);
        if (rc == SQLITE_ROW)
                mode = strdup((const char *) sqlite3_column_text(statement, 0));
        (void) sqlite3_finalize(statement);
        if (rc != SQLITE_ROW)
                return sqlite_errno(connection->db, rc);

        return mode && strcmp(mode, "wal") == 0 ? 0 : -EOPNOTSUPP;
}

/* Of two processes that make a new database at once, one can be told "busy" without SQLite's own waiting (where both hold a read
 * lock, waiting would be for ever): it starts anew from no lock at all. */
static int sqlite_set_wal(struct sqlite *connection) {
        for (int waited_ms = 0;; waited_ms += WAL_RETRY_MS) {
                int r = sqlite_try_wal(connection);

                if (r != -EBUSY || waited_ms >= BUSY_TIMEOUT_MS)
                        return r;
                (void) sqlite3_sleep(WAL_RETRY_MS);
        }
}

int sqlite_open(const char *path, bool reader, struct sqlite **ret) {
        _cleanup_(sqlite_closep) struct sqlite *connection = calloc(1, sizeof(*connection));
        int r;

        if (!connection)
                return -ENOMEM;

        r = sqlite3_open_v2(path, &connection->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
        if (r != SQLITE_OK)
                return sqlite_errno(connection->db, r);

        (void) sqlite3_extended_result_codes(connection->db, 1);
        (void) sqlite3_busy_timeout(connection->db, BUSY_TIMEOUT_MS);
        (void) sqlite3_db_config(connection->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void) sqlite3_db_config(connection->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);

        r = sqlite_set_wal(connection);
        if (r < 0)
                return r;

        r = sqlite_run(connection, "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA foreign_keys=ON;"
                                   "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON;");
        if (r < 0)
                return r;

        if (reader) {
                r = sqlite_run(connection, "PRAGMA query_only=ON");
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(connection);
        return 0;
}

static void statement_done(struct statement *statement) {
        (void) sqlite3_finalize(statement->handle);
        free(statement->sql);
        *statement = (struct statement){};
}

struct sqlite *sqlite_close(struct sqlite *connection) {
        if (!connection)
                return NULL;

        for (size_t i = 0; i < STATEMENTS_MAX; i++)
                statement_done(connection->statements + i);
        (void) sqlite3_close(connection->db);
        free(connection);
        return NULL;
}

int sqlite_run(struct sqlite *connection, const char *sql) {
        return sqlite_errno(connection->db, sqlite3_exec(connection->db, sql, NULL, NULL, NULL));
}

bool sqlite_in_transaction(const struct sqlite *connection) {
        return sqlite3_get_autocommit(connection->db) == 0;
}

int sqlite_checkpoint(struct sqlite *connection) {
        int rc;

        /* the commit thread does this: writes must not wait long for somebody's slow read */
        (void) sqlite3_busy_timeout(connection->db, CHECKPOINT_TIMEOUT_MS);
        rc = sqlite3_wal_checkpoint_v2(connection->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        (void) sqlite3_busy_timeout(connection->db, BUSY_TIMEOUT_MS);
        return sqlite_errno(connection->db, rc);
}

static size_t sql_hash(const char *sql) {
        size_t hash = 5381;

        for (; *sql; sql++)
                hash = hash * 33 + (unsigned char) *sql;
        return hash;
}

/* A free place for a statement: from the hash on, or one that is thrown out. NULL: all are in use. */
static struct statement *sqlite_place(struct sqlite *connection, size_t start) {
        for (size_t i = 0; i < STATEMENTS_MAX; i++) {
                struct statement *statement = connection->statements + (start + i) % STATEMENTS_MAX;

                if (!statement->sql)
                        return statement;
        }

        for (size_t i = 0; i < STATEMENTS_MAX; i++) {
                struct statement *statement = connection->statements + connection->next++ % STATEMENTS_MAX;

                if (!statement->busy) {
                        statement_done(statement);
                        return statement;
                }
        }
        return NULL;
}

/* A prepared statement, from the cache where it is there and not being stepped. */
static int sqlite_prepare(struct sqlite *connection, const char *sql, struct statement **ret) {
        struct statement *place;
        size_t start = sql_hash(sql) % STATEMENTS_MAX;
        int rc;

        for (size_t i = 0; i < STATEMENTS_MAX; i++) {
                place = connection->statements + (start + i) % STATEMENTS_MAX;

                if (place->sql && !place->busy && strcmp(place->sql, sql) == 0) {
                        place->busy = true;
                        *ret = place;
                        return 0;
                }
                if (!place->sql)
                        break;
        }

        place = sqlite_place(connection, start);
        if (!place)
                return -EMLINK;

        rc = sqlite3_prepare_v3(connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &place->handle, NULL);
        if (rc != SQLITE_OK)
                return sqlite_errno(connection->db, rc);
        if (!place->handle)
                return -EINVAL;

        place->sql = strdup(sql);
        if (!place->sql) {
                statement_done(place);
                return -ENOMEM;
        }

        place->busy = true;
        *ret = place;
        return 0;
}

static void statement_release(struct statement **statement) {
        if (!*statement)
                return;

        (void) sqlite3_reset((*statement)->handle);
        (void) sqlite3_clear_bindings((*statement)->handle);
        (*statement)->busy = false;
}

static int value_bind(sqlite3_stmt *handle, int index, const struct store_value *value) {
        switch (value->type) {
        case STORE_INT:
                return sqlite3_bind_int64(handle, index, value->number);
        case STORE_TEXT:
                return sqlite3_bind_text64(handle, index, value->data, value->size, SQLITE_STATIC, SQLITE_UTF8);
        case STORE_BLOB:
                return sqlite3_bind_blob64(handle, index, value->size > 0 ? value->data : "", value->size, SQLITE_STATIC);
        default:
                return sqlite3_bind_null(handle, index);
        }
}

/* $1, $2, ... are names to SQLite: a name may come more than once, and in any order. */
static int statement_bind(struct statement *statement, const struct store_value *args, size_t n) {
        if ((size_t) sqlite3_bind_parameter_count(statement->handle) != n)
                return -EINVAL;

        for (size_t i = 0; i < n; i++) {
                char name[24];
                int index;

                (void) snprintf(name, sizeof(name), "$%zu", i + 1);
                index = sqlite3_bind_parameter_index(statement->handle, name);
                if (index == 0 || value_bind(statement->handle, index, args + i) != SQLITE_OK)
                        return -EINVAL;
        }
        return 0;
}

static struct store_value value_column(sqlite3_stmt *handle, int i) {
        switch (sqlite3_column_type(handle, i)) {
        case SQLITE_INTEGER:
                return store_int(sqlite3_column_int64(handle, i));
        case SQLITE_TEXT:
                return (struct store_value){ .type = STORE_TEXT,
                                             .data = sqlite3_column_text(handle, i),
                                             .size = (size_t) sqlite3_column_bytes(handle, i) };
        case SQLITE_BLOB:
                return (struct store_value){ .type = STORE_BLOB,
                                             .data = sqlite3_column_blob(handle, i),
                                             .size = (size_t) sqlite3_column_bytes(handle, i) };
        default:
                return store_null();
        }
}

static int statement_row(struct statement *statement, store_row row, void *userdata) {
        struct store_value columns[COLUMNS_MAX];
        int n = sqlite3_column_count(statement->handle);

        if (n > COLUMNS_MAX)
                return -E2BIG;

        for (int i = 0; i < n; i++)
                columns[i] = value_column(statement->handle, i);
        return row(columns, (size_t) n, userdata);
}

/* After an error that made SQLite roll back everything, the next statement would be a transaction of its own: refused. */
static int txn_check(const struct store_txn *txn) {
        return sqlite_in_transaction(txn->connection) ? 0 : -EIO;
}

int store_query(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, store_row row, void *userdata) {
        _cleanup_(statement_release) struct statement *statement = NULL;
        int r, rc;

        r = txn_check(txn);
        if (r < 0)
                return r;

        r = sqlite_prepare(txn->connection, sql, &statement);
        if (r < 0)
                return r;

        r = statement_bind(statement, args, n);
        if (r < 0)
                return r;

        while ((rc = sqlite3_step(statement->handle)) == SQLITE_ROW) {
                r = row ? statement_row(statement, row, userdata) : 0;
                if (r != 0)
                        return r;
        }
        return sqlite_errno(txn->connection->db, rc);
}

int store_exec(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, int64_t *ret_changes) {
        int64_t before = sqlite3_total_changes64(txn->connection->db);
        int r;

        r = store_query(txn, sql, args, n, NULL, NULL);
        if (r < 0)
                return r;

        /* not sqlite3_changes(): a statement that changes nothing leaves the number of the one before */
        if (ret_changes)
                *ret_changes = sqlite3_total_changes64(txn->connection->db) - before;
        return 0;
}
