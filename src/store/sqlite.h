/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store/store.h"

/* One connection to an SQLite file; used by one thread at a time. Only this folder includes it. */
struct sqlite;

/* The file must exist. A reader refuses every statement that would change something. */
int sqlite_open(const char *path, bool reader, struct sqlite **ret);
struct sqlite *sqlite_close(struct sqlite *connection);
DEFINE_CLEANUP(struct sqlite *, sqlite_close)

/* SQL without parameters, several statements perhaps, not kept: BEGIN, COMMIT, migrations. */
int sqlite_run(struct sqlite *connection, const char *sql);
/* False after COMMIT or ROLLBACK, and where SQLite itself had to roll back (disk full, I/O error). */
bool sqlite_in_transaction(const struct sqlite *connection);
/* Writes the WAL into the database and cuts it to nothing, so that what was deleted is in neither file. -EBUSY: readers in the
 * way. */
int sqlite_checkpoint(struct sqlite *connection);

struct store_txn {
        struct sqlite *connection;
        uint64_t began;
};
