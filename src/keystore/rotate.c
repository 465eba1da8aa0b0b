/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/internal.h"
#include "keystore/manage.h"

/* A new generation of a group's KEK, and what is under the older ones wrapped under it, a few rows at a time: read; wrapped anew
 * with no lock held; written where the row is still what was read. A service beside goes on with either generation. */

enum { STEP_MAX = 4096, GENERATIONS_MAX = 8 };

struct rotation {
        struct keystore *keystore;
        const char *group;
        struct kek_row rows[GENERATIONS_MAX]; /* the newest first */
        struct kek *keks[GENERATIONS_MAX];
        size_t n;
        struct blob wrapped; /* of a new one */
        int64_t master;

        unsigned max;
        struct moved {
                int64_t number, generation;
                char table[8]; /* "key", "mac", "inbox" */
                struct blob was;
                uint8_t is[AEAD_KEY_SIZE + BOX_OVERHEAD];
                bool done;
        } * moved;
        size_t n_moved;
        struct keystore_progress progress;
};

static void rotation_done(struct rotation *rotation) {
        for (size_t i = 0; i < rotation->n; i++) {
                kek_row_done(rotation->rows + i);
                (void) kek_unref(rotation->keks[i]);
        }
        for (size_t i = 0; i < rotation->n_moved; i++)
                blob_done(&rotation->moved[i].was);
        free(rotation->moved);
        blob_done(&rotation->wrapped);
}

static int on_generation(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct rotation *rotation = userdata;

        if (rotation->n >= GENERATIONS_MAX)
                return -E2BIG;
        rotation->rows[rotation->n++] = (struct kek_row){ .generation = columns[0].number };
        return 0;
}

static int read_rows(struct store_txn *txn, void *userdata) {
        struct rotation *rotation = userdata;
        int r;

        r = store_query(txn, "SELECT generation FROM keystore_kek WHERE name = $1 ORDER BY generation DESC",
                        STORE_ARGS(store_text(rotation->group)), on_generation, rotation);
        for (size_t i = 0; i < rotation->n && r >= 0; i++)
                r = kek_row_load(rotation->keystore, txn, rotation->group, rotation->rows[i].generation, rotation->rows + i);
        return r < 0 || rotation->n > 0 ? r : keystore_fail(-ENOENT, "there is no group '%s'", rotation->group);
}

static int insert_new(struct store_txn *txn, void *userdata) {
        struct rotation *rotation = userdata;
        _cleanup_(kek_row_done) struct kek_row row = {};
        int r;

        r = kek_row_load(rotation->keystore, txn, rotation->group, 0, &row);
        if (r >= 0 && row.generation != rotation->rows[0].generation)
                r = -EALREADY;
        if (r >= 0 && rotation->master < row.oldest_master)
                r = keystore_fail(-EKEYREJECTED, "group '%s' went over to a newer master key than the configured one",
                                  rotation->group);
        if (r >= 0)
                r = kek_row_insert(txn, rotation->group, row.generation + 1, rotation->master, &rotation->wrapped);
        return r < 0 ? r
                     : kek_floor_write(rotation->keystore, txn, rotation->group, row.oldest, row.generation + 1,
                                       row.oldest_master);
}

int keystore_rotate(struct keystore *keystore, const char *group, int64_t *ret_generation) {
        _cleanup_(master_unrefp) struct master_ref *master = keystore_master_current(keystore);
        _cleanup_(rotation_done) struct rotation rotation = { .keystore = keystore, .group = group };
        int r;

        r = store_read(keystore->store, read_rows, &rotation);
        if (r < 0)
                return r;
        if (rotation.n > 1) {
                *ret_generation = rotation.rows[0].generation;
                return keystore_fail(-EALREADY, "group '%s' is being rotated to generation %lld", group,
                                     (long long) rotation.rows[0].generation);
        }

        r = kek_wrap(keystore, master, group, rotation.rows[0].generation + 1, NULL, &rotation.wrapped, NULL);
        if (r >= 0) {
                rotation.master = master->id;
                r = keystore_write(keystore, insert_new, &rotation);
        }
        if (r >= 0)
                *ret_generation = rotation.rows[0].generation + 1;
        return r;
}

static int on_moved(const struct store_value *columns, size_t n, void *userdata) {
        struct rotation *rotation = userdata;
        struct moved *moved = rotation->moved + rotation->n_moved;

        if (n != 4 || rotation->n_moved >= rotation->max || columns[3].type != STORE_BLOB || columns[0].type != STORE_TEXT ||
            columns[0].size >= sizeof(moved->table))
                return -EUCLEAN;
        *moved = (struct moved){ .number = columns[1].number, .generation = columns[2].number };
        strcpy(moved->table, columns[0].data);
        rotation->n_moved++;
        return blob_copy(columns[3].data, columns[3].size, &moved->was);
}

static int read_moved(struct store_txn *txn, void *userdata) {
        struct rotation *rotation = userdata;
        int r;

        r = read_rows(txn, rotation);
        if (r < 0)
                return r;
        if (*rotation->group)
                return store_query(
                        txn,
                        "SELECT 'key', handle, generation, wrapped FROM keystore_key WHERE name = $1 AND generation < $2"
                        " LIMIT $3",
                        STORE_ARGS(store_text(rotation->group), store_int(rotation->rows[0].generation),
                                   store_int(rotation->max)),
                        on_moved, rotation);
        return store_query(txn,
                           "SELECT 'mac', number, generation, wrapped FROM keystore_mac WHERE generation < $1 UNION ALL"
                           " SELECT 'inbox', id, generation, wrapped FROM keystore_inbox WHERE generation < $1 LIMIT $2",
                           STORE_ARGS(store_int(rotation->rows[0].generation), store_int(rotation->max)), on_moved, rotation);
}

static struct kek *kek_of(const struct rotation *rotation, int64_t generation) {
        for (size_t i = 0; i < rotation->n; i++)
                if (rotation->rows[i].generation == generation)
                        return rotation->keks[i];
        return NULL;
}

static int move_fields(const struct rotation *rotation, const struct moved *moved, int64_t generation, struct binding *ret) {
        const char *own = strcmp(moved->table, "mac") == 0 ? "mac" : own_name(moved->number);

        if (strcmp(moved->table, "key") == 0)
                return binding_of(KEY_FIELDS(rotation->keystore, rotation->group, generation, moved->number), ret);
        return own ? binding_of(OWN_FIELDS(rotation->keystore, own, generation, moved->number), ret) : -EKEYREJECTED;
}

static int move(struct rotation *rotation, struct moved *moved) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        struct kek *from = kek_of(rotation, moved->generation);
        struct binding was = {}, is = {};
        int r;

        if (!from)
                return -EKEYREJECTED;
        r = move_fields(rotation, moved, moved->generation, &was);
        if (r >= 0)
                r = move_fields(rotation, moved, rotation->rows[0].generation, &is);
        if (r >= 0)
                r = kek_open_key(from, was.fields, was.n, moved->was.data, moved->was.size, &key);
        if (r >= 0 && key->size != AEAD_KEY_SIZE)
                r = -EKEYREJECTED;
        if (r >= 0)
                r = kek_seal_key(rotation->keks[0], is.fields, is.n, key, moved->is);
        moved->done = r >= 0;
        return r;
}

static int write_one(struct rotation *rotation, struct store_txn *txn, const struct moved *moved) {
        static const struct {
                const char *table, *sql;
        } updates[] = {
                { "key",
                  "UPDATE keystore_key SET generation = $1, wrapped = $2 WHERE handle = $3 AND generation = $4 AND wrapped = $5" },
                { "mac",
                  "UPDATE keystore_mac SET generation = $1, wrapped = $2 WHERE number = $3 AND generation = $4 AND wrapped = $5" },
                { "inbox",
                  "UPDATE keystore_inbox SET generation = $1, wrapped = $2 WHERE id = $3 AND generation = $4 AND wrapped = $5" },
        };

        for (size_t i = 0; i < ELEMENTSOF(updates); i++)
                if (strcmp(updates[i].table, moved->table) == 0)
                        return store_exec(txn, updates[i].sql,
                                          STORE_ARGS(store_int(rotation->rows[0].generation),
                                                     store_blob(moved->is, sizeof(moved->is)), store_int(moved->number),
                                                     store_int(moved->generation), store_blob(moved->was.data, moved->was.size)),
                                          NULL);
        return -EINVAL;
}

static int count_left(struct rotation *rotation, struct store_txn *txn, int64_t *ret) {
        if (*rotation->group)
                return keystore_get_int(txn, "SELECT COUNT(*) FROM keystore_key WHERE name = $1 AND generation < $2",
                                        STORE_ARGS(store_text(rotation->group), store_int(rotation->rows[0].generation)), ret);
        return keystore_get_int(txn,
                                "SELECT (SELECT COUNT(*) FROM keystore_mac WHERE generation < $1)"
                                " + (SELECT COUNT(*) FROM keystore_inbox WHERE generation < $1)",
                                STORE_ARGS(store_int(rotation->rows[0].generation)), ret);
}

static int write_moved(struct store_txn *txn, void *userdata) {
        struct rotation *rotation = userdata;
        _cleanup_(kek_row_done) struct kek_row newest = {};
        int r;

        r = kek_row_load(rotation->keystore, txn, rotation->group, 0, &newest);
        if (r >= 0 && newest.generation != rotation->rows[0].generation)
                r = -EAGAIN;
        for (size_t i = 0; i < rotation->n_moved && r >= 0; i++)
                if (rotation->moved[i].done)
                        r = write_one(rotation, txn, rotation->moved + i);
        if (r >= 0)
                r = count_left(rotation, txn, &rotation->progress.left);
        if (r < 0 || rotation->progress.left > 0)
                return r;

        r = store_exec(txn, "DELETE FROM keystore_kek WHERE name = $1 AND generation < $2",
                       STORE_ARGS(store_text(rotation->group), store_int(newest.generation)), NULL);
        return r < 0 ? r
                     : kek_floor_write(rotation->keystore, txn, rotation->group, newest.generation, newest.generation,
                                       newest.master);
}

int keystore_rotate_step(struct keystore *keystore, const char *group, unsigned max, struct keystore_progress *ret) {
        _cleanup_(rotation_done) struct rotation rotation = { .keystore = keystore, .group = group, .max = MIN(max, STEP_MAX) };
        int r;

        rotation.moved = calloc(rotation.max + 1, sizeof(*rotation.moved));
        if (!rotation.moved)
                return -ENOMEM;
        r = store_read(keystore->store, read_moved, &rotation);
        for (size_t i = 0; i < rotation.n && r >= 0; i++)
                r = kek_open(keystore, rotation.rows + i, rotation.keks + i);
        if (r < 0)
                return r;

        /* one that does not open stays behind, and its KEK with it; the others go on */
        for (size_t i = 0; i < rotation.n_moved; i++) {
                r = move(&rotation, rotation.moved + i);
                if (r < 0 && r != -EKEYREJECTED)
                        return r;
                rotation.progress.done += r >= 0;
        }
        r = keystore_write(keystore, write_moved, &rotation);
        if (r < 0)
                return r;

        *ret = rotation.progress;
        if (ret->left > 0 && ret->done == 0 && rotation.n_moved > 0)
                return keystore_fail(-EKEYREJECTED, "%s: group '%s': %lld rows under an older KEK do not open; verify names them",
                                     keystore->party, group, (long long) ret->left);
        return ret->left > 0;
}
