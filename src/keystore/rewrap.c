/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/internal.h"
#include "keystore/manage.h"

/* KEKs from one master to another: read; unwrapped and wrapped with no lock held; written where the row is still what was
 * read. */

enum { STEP_MAX = 256 };

struct rewrap {
        struct keystore *keystore;
        struct master_ref *to;
        unsigned max;
        struct kek_row rows[STEP_MAX];
        struct blob wrapped[STEP_MAX];
        size_t n;
        struct keystore_progress progress;
};

static void rewrap_done(struct rewrap *rewrap) {
        for (size_t i = 0; i < rewrap->n; i++) {
                kek_row_done(rewrap->rows + i);
                blob_done(rewrap->wrapped + i);
        }
        (void) master_unref(rewrap->to);
}

static int on_row(const struct store_value *columns, size_t n, void *userdata) {
        struct rewrap *rewrap = userdata;
        struct kek_row *row = rewrap->rows + rewrap->n;

        if (n != 2 || rewrap->n >= STEP_MAX || columns[0].type != STORE_TEXT || columns[0].size > KEK_NAME_MAX)
                return -EUCLEAN;
        *row = (struct kek_row){ .generation = columns[1].number };
        strcpy(row->name, columns[0].data);
        rewrap->n++;
        return 0;
}

static int read_rows(struct store_txn *txn, void *userdata) {
        struct rewrap *rewrap = userdata;
        int r;

        r = store_query(txn, "SELECT name, generation FROM keystore_kek WHERE master <> $1 ORDER BY name, generation LIMIT $2",
                        STORE_ARGS(store_int(rewrap->to->id), store_int(rewrap->max)), on_row, rewrap);
        for (size_t i = 0; i < rewrap->n && r >= 0; i++) {
                char name[KEK_NAME_MAX + 1];

                memcpy(name, rewrap->rows[i].name, sizeof(name));
                r = kek_row_load(rewrap->keystore, txn, name, rewrap->rows[i].generation, rewrap->rows + i);
        }
        return r;
}

/* All that are accepted are under it, or under one that is still open beside it: what is under an older one was put back. */
static int raise_floor(struct rewrap *rewrap, struct store_txn *txn, const struct kek_row *row) {
        int64_t lowest;
        int r;

        r = keystore_get_int(txn, "SELECT MIN(master) FROM keystore_kek WHERE name = $1 AND generation BETWEEN $2 AND $3",
                             STORE_ARGS(store_text(row->name), store_int(row->oldest), store_int(row->newest)), &lowest);
        if (r < 0)
                return r;
        return kek_floor_write(rewrap->keystore, txn, row->name, row->oldest, row->newest, MAX(row->oldest_master, lowest));
}

static int write_row(struct rewrap *rewrap, struct store_txn *txn, size_t i) {
        const struct kek_row *row = rewrap->rows + i;
        _cleanup_(kek_row_done) struct kek_row now = {};
        int r;

        r = kek_row_load(rewrap->keystore, txn, row->name, row->generation, &now);
        if (r == -ENOENT) /* rotated meanwhile */
                return 0;
        if (r < 0)
                return r;
        if (now.wrapped.size != row->wrapped.size || memcmp(now.wrapped.data, row->wrapped.data, row->wrapped.size) != 0)
                return 0;

        r = store_exec(txn, "UPDATE keystore_kek SET master = $1, wrapped = $2 WHERE name = $3 AND generation = $4",
                       STORE_ARGS(store_int(rewrap->to->id), store_blob(rewrap->wrapped[i].data, rewrap->wrapped[i].size),
                                  store_text(row->name), store_int(row->generation)),
                       NULL);
        if (r < 0)
                return r;
        rewrap->progress.done++;
        return raise_floor(rewrap, txn, &now);
}

static int write_rows(struct store_txn *txn, void *userdata) {
        struct rewrap *rewrap = userdata;
        int r = 0;

        for (size_t i = 0; i < rewrap->n && r >= 0; i++)
                r = write_row(rewrap, txn, i);
        if (r >= 0)
                r = keystore_get_int(txn, "SELECT COUNT(*) FROM keystore_kek WHERE master <> $1",
                                     STORE_ARGS(store_int(rewrap->to->id)), &rewrap->progress.left);
        if (r < 0 || rewrap->progress.left > 0)
                return r;

        /* a newer one may be there that somebody made ready already */
        return store_exec(txn, "DELETE FROM keystore_masters WHERE id < $1", STORE_ARGS(store_int(rewrap->to->id)), NULL);
}

int keystore_rewrap_step(struct keystore *keystore, unsigned max, struct keystore_progress *ret) {
        _cleanup_(rewrap_done) struct rewrap rewrap = { .keystore = keystore, .max = MIN(MAX(max, 1U), STEP_MAX) };
        int r;

        rewrap.to = keystore_master_current(keystore);
        r = store_read(keystore->store, read_rows, &rewrap);
        for (size_t i = 0; i < rewrap.n && r >= 0; i++) {
                _cleanup_(kek_unrefp) struct kek *kek = NULL;

                r = kek_unwrap(keystore, rewrap.rows + i, &kek);
                if (r >= 0)
                        r = kek_wrap(keystore, rewrap.to, rewrap.rows[i].name, rewrap.rows[i].generation, kek, rewrap.wrapped + i,
                                     NULL);
        }
        if (r >= 0)
                r = keystore_write(keystore, write_rows, &rewrap);
        if (r < 0)
                return r;

        *ret = rewrap.progress;
        return ret->left > 0;
}
