/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "keystore/internal.h"

const struct store_migration keystore_migration = {
        .number = 2,
        .sql = "CREATE TABLE keystore_master (id BIGINT PRIMARY KEY, value BLOB NOT NULL);"
               "CREATE TABLE keystore_group (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL);"
               "CREATE TABLE keystore_key ("
               "  handle BIGINT PRIMARY KEY,"
               "  name TEXT NOT NULL REFERENCES keystore_group (name),"
               "  wrapped BLOB NOT NULL);"
               "CREATE TABLE keystore_half ("
               "  handle BIGINT PRIMARY KEY REFERENCES keystore_key (handle) ON DELETE CASCADE,"
               "  wrapped BLOB NOT NULL);"
               "CREATE TABLE keystore_mac (number BIGINT PRIMARY KEY, wrapped BLOB NOT NULL, created BIGINT NOT NULL);"
               "CREATE TABLE keystore_inbox (id BIGINT PRIMARY KEY, wrapped BLOB NOT NULL);",
};

/* generation 0 in keystore_key, _mac, _inbox: of before; upgrade.c wraps it anew and drops keystore_master and keystore_group. */
const char keystore_migration_generations[] =
        "CREATE TABLE keystore_masters ("
        "  id BIGINT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, serial TEXT NOT NULL,"
        "  parameters BLOB NOT NULL, proof BLOB NOT NULL, created BIGINT NOT NULL);"
        "CREATE TABLE keystore_kek ("
        "  name TEXT NOT NULL, generation BIGINT NOT NULL, master BIGINT NOT NULL REFERENCES keystore_masters (id),"
        "  wrapped BLOB NOT NULL, created BIGINT NOT NULL, PRIMARY KEY (name, generation));"
        "CREATE TABLE keystore_floor ("
        "  name TEXT PRIMARY KEY, oldest BIGINT NOT NULL, newest BIGINT NOT NULL, master BIGINT NOT NULL, mac BLOB NOT NULL);"
        "CREATE TABLE keystore_key_new ("
        "  handle BIGINT PRIMARY KEY, name TEXT NOT NULL, generation BIGINT NOT NULL, wrapped BLOB NOT NULL);"
        "INSERT INTO keystore_key_new SELECT handle, name, 0, wrapped FROM keystore_key;"
        "CREATE TABLE keystore_half_new ("
        "  handle BIGINT PRIMARY KEY REFERENCES keystore_key_new (handle) ON DELETE CASCADE, wrapped BLOB NOT NULL);"
        "INSERT INTO keystore_half_new SELECT handle, wrapped FROM keystore_half;"
        "DROP TABLE keystore_half;"
        "DROP TABLE keystore_key;"
        "ALTER TABLE keystore_key_new RENAME TO keystore_key;"
        "ALTER TABLE keystore_half_new RENAME TO keystore_half;"
        "CREATE INDEX keystore_key_kek ON keystore_key (name, generation);"
        "ALTER TABLE keystore_mac ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;"
        "ALTER TABLE keystore_inbox ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;";

static int row_blob(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        if (columns[0].type != STORE_BLOB)
                return -EUCLEAN;
        return blob_copy(columns[0].data, columns[0].size, userdata);
}

int keystore_get_blob(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, struct blob *ret) {
        _cleanup_(blob_done) struct blob blob = {};
        int r;

        r = store_query(txn, sql, args, n, row_blob, &blob);
        if (r < 0)
                return r;
        if (!blob.data)
                return -ENOENT;

        *ret = blob;
        blob = (struct blob){};
        return 0;
}

struct number {
        int64_t value;
        bool found;
};

static int row_number(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct number *number = userdata;

        if (columns[0].type == STORE_INT)
                *number = (struct number){ columns[0].number, true };
        return 0;
}

int keystore_get_int(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, int64_t *ret) {
        struct number number = {};
        int r;

        r = store_query(txn, sql, args, n, row_number, &number);
        if (r < 0)
                return r;
        if (!number.found)
                return -ENOENT;

        *ret = number.value;
        return 0;
}

static _Thread_local char last[512];

int keystore_fail(int r, const char *words, ...) {
        va_list args;

        va_start(args, words);
        (void) vsnprintf(last, sizeof(last), words, args);
        va_end(args);
        log_debug("Keystore: %s", last);
        return r;
}

const char *keystore_error(void) {
        return last;
}

struct write {
        store_fn fn;
        void *userdata;
        char words[sizeof(last)];
};

static int write_fn(struct store_txn *txn, void *userdata) {
        struct write *write = userdata;
        int r = write->fn(txn, write->userdata);

        if (r < 0)
                memcpy(write->words, last, sizeof(last));
        return r;
}

int keystore_write(struct keystore *keystore, store_fn fn, void *userdata) {
        struct write write = { .fn = fn, .userdata = userdata };
        int r = store_write(keystore->store, write_fn, &write);

        if (r < 0)
                memcpy(last, write.words, sizeof(last));
        return r;
}
