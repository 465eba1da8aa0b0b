/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"

/* One interface over SQLite (WAL, synchronous=FULL) and, later, PostgreSQL. SQL is written once, for both: $1, $2, ... as
 * parameters, types BIGINT, TEXT, BLOB. Reads run on any thread; writes go through one commit thread that puts many of them into
 * one durable transaction (group commit), each in a savepoint of its own. */
struct store;
struct store_txn; /* inside a read or a write */

enum store_type { STORE_NULL, STORE_INT, STORE_TEXT, STORE_BLOB };
struct store_value {
        enum store_type type;
        int64_t number;
        const void *data; /* TEXT (NUL-terminated) or BLOB */
        size_t size;      /* without the NUL */
};
struct store_value store_int(int64_t number);
struct store_value store_text(const char *text); /* NULL: null */
struct store_value store_blob(const void *data, size_t size);
struct store_value store_null(void);
#define STORE_ARGS(...)                                \
        ((const struct store_value[]){ __VA_ARGS__ }), \
                (sizeof((const struct store_value[]){ __VA_ARGS__ }) / sizeof(struct store_value))
#define STORE_NO_ARGS NULL, 0

/* Numbered from 1, in order, each applied once; a database that is newer than the program is refused (-EPROTONOSUPPORT). */
struct store_migration {
        unsigned number;
        const char *sql;
};

/* path: the database file, made 0600 when missing, in an existing directory. role: "tenant" ...; a database of another role is
 * refused. */
int store_open(const char *path, const char *role, const struct store_migration *migrations, size_t n, struct store **ret,
               char *error, size_t error_size);
/* A service's database as it is, beside the service or without it: it must be there, and nothing is migrated. ret_role: of the
 * service that made it. -ENOENT with words: not there; -EPROTONOSUPPORT: no service has made it yet. */
enum { STORE_ROLE_SIZE = 64 };
int store_attach(const char *path, struct store **ret, char ret_role[static STORE_ROLE_SIZE], char *error, size_t error_size);
struct store *store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close)

/* fn runs inside a transaction; a negative return rolls its own changes back and is returned. store_write() returns after the
 * commit is on disk (-EDEADLK from inside a write); -EIO and the like where it could not be: nothing of it then happened.
 * store_read() sees all commits that returned before. */
typedef int (*store_fn)(struct store_txn *txn, void *userdata);
int store_write(struct store *store, store_fn fn, void *userdata);
/* clock_monotonic_ms() of just before: what was committed by then is seen. */
uint64_t store_txn_began(const struct store_txn *txn);
int store_read(struct store *store, store_fn fn, void *userdata);
/* What was deleted is then in no file any more. It happens by itself after two quiet seconds; -EBUSY: a reader is in the way. */
int store_checkpoint(struct store *store);

/* -EEXIST: a unique or primary key is there already. ret_changes (may be NULL): rows changed. */
int store_exec(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, int64_t *ret_changes);
/* row is called for each row; a return that is not 0 ends the query and is returned. Values live until the callback returns. */
typedef int (*store_row)(const struct store_value *columns, size_t n, void *userdata);
int store_query(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, store_row row, void *userdata);
