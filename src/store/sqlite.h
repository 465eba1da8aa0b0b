/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store/store.h"

/* One connection to an SQLite file; used by one thread at a time. Only this folder includes it. */
struct connection;

/* The file must exist. A reader refuses every statement that would change something. */
int connection_open(const char *path, bool reader, struct connection **ret);
struct connection *connection_close(struct connection *connection);
DEFINE_CLEANUP(struct connection *, connection_close)

/* SQL without parameters, several statements perhaps, not kept: BEGIN, COMMIT, migrations. */
int connection_run(struct connection *connection, const char *sql);
/* False after COMMIT or ROLLBACK, and where SQLite itself had to roll back (disk full, I/O error). */
bool connection_in_transaction(const struct connection *connection);
/* Writes the WAL into the database and cuts it to nothing, so that what was deleted is in neither file. -EBUSY: readers in the way. */
int connection_checkpoint(struct connection *connection);

struct store_txn {
        struct connection *connection;
};
