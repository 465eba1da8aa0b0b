/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"

enum { ROWS_MAX = 1000, RACES_MAX = 5 };

struct master_ref *master_ref(struct master_ref *ref) {
        if (ref)
                (void) __atomic_add_fetch(&ref->references, 1, __ATOMIC_RELAXED);
        return ref;
}

struct master_ref *master_unref(struct master_ref *ref) {
        if (!ref || __atomic_sub_fetch(&ref->references, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        (void) master_close(ref->master);
        free(ref);
        return NULL;
}

static int ref_new(struct master **take, int64_t id, struct master_ref **ret) {
        struct master_ref *ref = calloc(1, sizeof(*ref));

        if (!ref)
                return -ENOMEM;
        ref->references = 1;
        ref->id = id;
        ref->master = TAKE_PTR(*take);
        *ret = ref;
        return 0;
}

struct master_ref *keystore_master_current(struct keystore *keystore) {
        struct master_ref *ref;

        (void) pthread_mutex_lock(&keystore->lock);
        ref = master_ref(keystore->current);
        (void) pthread_mutex_unlock(&keystore->lock);
        return ref;
}

static bool is_known_as(const struct master_ref *ref, int64_t id) {
        bool is = ref && ref->id == id;

        for (size_t i = 0; ref && i < ref->n_older; i++)
                is = is || ref->older[i] == id;
        return is;
}

int keystore_master_of(struct keystore *keystore, int64_t id, struct master_ref **ret) {
        (void) pthread_mutex_lock(&keystore->lock);
        *ret = is_known_as(keystore->current, id) ? master_ref(keystore->current)
               : is_known_as(keystore->old, id)   ? master_ref(keystore->old)
                                                  : NULL;
        (void) pthread_mutex_unlock(&keystore->lock);
        return *ret ? 0 : -ENOKEY;
}

static void master_rows_done(struct master_rows *rows) {
        for (size_t i = 0; i < rows->n; i++) {
                blob_done(&rows->items[i].parameters);
                blob_done(&rows->items[i].proof);
        }
        free(rows->items);
        *rows = (struct master_rows){};
}

static void copy_text(const struct store_value *column, char *ret, size_t size) {
        (void) snprintf(ret, size, "%s", column->type == STORE_TEXT ? (const char *) column->data : "");
}

static int on_master(const struct store_value *columns, size_t n, void *userdata) {
        struct master_rows *rows = userdata;
        struct master_row *items, *row;
        int r;

        if (n != 7 || columns[4].type != STORE_BLOB || columns[5].type != STORE_BLOB || rows->n >= ROWS_MAX)
                return -EUCLEAN;
        items = reallocarray(rows->items, rows->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        rows->items = items;

        row = items + rows->n;
        *row = (struct master_row){ .id = columns[0].number, .created = columns[6].number };
        copy_text(columns + 1, row->kind, sizeof(row->kind));
        copy_text(columns + 2, row->name, sizeof(row->name));
        copy_text(columns + 3, row->serial, sizeof(row->serial));
        rows->n++;
        r = columns[4].size > 0 ? blob_copy(columns[4].data, columns[4].size, &row->parameters) : 0;
        return r < 0 ? r : blob_copy(columns[5].data, columns[5].size, &row->proof);
}

static int read_masters(struct store_txn *txn, void *userdata) {
        return store_query(txn,
                           "SELECT id, kind, name, serial, parameters, proof, created FROM keystore_masters ORDER BY id DESC",
                           STORE_NO_ARGS, on_master, userdata);
}

/* The newest first. */
static int master_rows_load(struct store *store, struct master_rows *ret) {
        struct master_rows rows = {};
        int r;

        r = store_read(store, read_masters, &rows);
        if (r < 0) {
                master_rows_done(&rows);
                return r;
        }
        *ret = rows;
        return 0;
}

#define PROOF_FIELDS(party, id) \
        FIELDS(field_text("tallyboot keystore v2"), field_text(party), field_text("proof"), field_number((uint64_t) (id)))

static int proof_open(struct master *master, const struct master_row *row) {
        _cleanup_(secret_freep) struct secret *secret = NULL;

        return master_unwrap(master, row->id, PROOF_FIELDS(master->party, row->id), row->proof.data, row->proof.size, &secret);
}

/* The other rows of the same key, and what is needed to know it again. */
static int find_older(const struct master_rows *rows, size_t from, struct master_ref *ref) {
        for (size_t i = from; i < rows->n && ref->n_older < MASTER_IDS_MAX; i++)
                if (strcmp(rows->items[i].kind, ref->master->ops->name) == 0 && rows->items[i].parameters.size == 0 &&
                    proof_open(ref->master, rows->items + i) >= 0)
                        ref->older[ref->n_older++] = rows->items[i].id;
        return master_expect(ref->master, ref->id, PROOF_FIELDS(ref->master->party, ref->id), &rows->items[from - 1].proof);
}

/* The row that the configured key is the key of. -EKEYREJECTED: of none. *opened: the key, where it could be had (and not of one
 * row only). */
static int match(const struct keystore_options *options, const struct keystore_source *source, const char *party,
                 const struct master_rows *rows, struct master **ret_opened, struct master_ref **ret, char *error,
                 size_t error_size) {
        _cleanup_(master_closep) struct master *master = NULL;
        const char *kind = master_ops_of(source->kind)->name;
        bool none = true;
        int r;

        for (size_t i = 0; i < rows->n; i++) {
                const struct master_row *row = rows->items + i;

                if (strcmp(row->kind, kind) != 0)
                        continue;
                none = false;
                if (row->parameters.size > 0)
                        master = master_close(master);
                if (!master) {
                        r = master_open(options, source, party, &row->parameters, &master, error, error_size);
                        if (r == -EKEYREJECTED && row->parameters.size > 0)
                                continue;
                        if (r < 0)
                                return r;
                }
                r = proof_open(master, row);
                if (r >= 0) {
                        r = ref_new(&master, row->id, ret);
                        return r < 0 ? r : find_older(rows, i + 1, *ret);
                }
                if (r != -EKEYREJECTED) {
                        (void) snprintf(error, error_size, "%s: %s", source->text,
                                        r == -ENOLINK ? keystore_error() : strerror(-r));
                        return r;
                }
        }

        if (none) {
                r = master_open(options, source, party, &(struct blob){}, &master, error, error_size);
                if (r < 0)
                        return r;
        }
        if (ret_opened)
                *ret_opened = TAKE_PTR(master);
        return -EKEYREJECTED;
}

static int highest_master(struct store_txn *txn, void *userdata) {
        int r = keystore_get_int(txn, "SELECT MAX(id) FROM keystore_masters", STORE_NO_ARGS, userdata);

        return r == -ENOENT ? 0 : r;
}

static int insert_master(struct store_txn *txn, void *userdata) {
        const struct master_row *row = userdata;
        int64_t highest = 0;
        int r;

        r = highest_master(txn, &highest);
        if (r < 0)
                return r;
        if (highest + 1 != row->id)
                return -EEXIST;
        return store_exec(txn,
                          "INSERT INTO keystore_masters (id, kind, name, serial, parameters, proof, created)"
                          " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                          STORE_ARGS(store_int(row->id), store_text(row->kind), store_text(row->name), store_text(row->serial),
                                     store_blob(row->parameters.data, row->parameters.size),
                                     store_blob(row->proof.data, row->proof.size), store_int(row->created)),
                          NULL);
}

/* parameters stay the caller's. */
static int row_fill(struct master *master, const struct keystore_source *source, const struct blob *parameters, int64_t id,
                    struct master_row *ret) {
        struct master_row row = { .id = id, .created = (int64_t) clock_realtime_ms() / 1000 };
        int r;

        (void) snprintf(row.kind, sizeof(row.kind), "%s", master->ops->name);
        (void) snprintf(row.name, sizeof(row.name), "%s", source->text);
        (void) snprintf(row.serial, sizeof(row.serial), "%s", master->ops->serial ? master->ops->serial(master) : "");
        if (parameters)
                row.parameters = *parameters;

        r = master_wrap(master, id, PROOF_FIELDS(master->party, id), NULL, &row.proof, NULL);
        if (r >= 0)
                *ret = row;
        return r;
}

/* The token is asked first and the database's lock taken then: of two that do this at once, the slower one begins anew
 * (-EEXIST). */
int masters_register(struct store *store, struct master *master, const struct keystore_source *source,
                     const struct blob *parameters, int64_t *ret_id) {
        struct master_row row = {};
        int64_t highest = 0;
        int r;

        r = store_read(store, highest_master, &highest);
        if (r >= 0)
                r = row_fill(master, source, parameters, highest + 1, &row);
        if (r >= 0)
                r = store_write(store, insert_master, &row);
        if (r >= 0)
                r = master_expect(master, row.id, PROOF_FIELDS(master->party, row.id), &row.proof);
        blob_done(&row.proof);
        if (r >= 0)
                *ret_id = row.id;
        return r;
}

int masters_insert(struct store_txn *txn, struct master *master, const struct keystore_source *source,
                   const struct blob *parameters, int64_t *ret_id) {
        struct master_row row = {};
        int64_t highest = 0;
        int r;

        r = highest_master(txn, &highest);
        if (r >= 0)
                r = row_fill(master, source, parameters, highest + 1, &row);
        if (r >= 0)
                r = insert_master(txn, &row);
        blob_done(&row.proof);
        if (r >= 0)
                *ret_id = row.id;
        return r;
}

static int not_this_one(const struct keystore *keystore, const struct keystore_source *source, const struct master_rows *rows,
                        char *error, size_t error_size) {
        if (rows->n > 0)
                (void) snprintf(error, error_size,
                                "%s: is not the master key that this %s's database was made with (that was %s: %s, %s)",
                                source->text, keystore->party, rows->items[0].name, rows->items[0].kind,
                                "to change it, name it as old-master");
        else
                (void) snprintf(error, error_size, "%s: is not the master key that this %s's database was made with",
                                source->text, keystore->party);
        return -EKEYREJECTED;
}

static int register_row(struct keystore *keystore, struct master *master, const struct keystore_source *source, int64_t *ret_id,
                        char *error, size_t error_size) {
        int r;

        r = masters_register(keystore->store, master, source, NULL, ret_id);
        if (r < 0)
                (void) snprintf(error, error_size, "%s: cannot become a master key of this database: %s", source->text,
                                r == -ENOLINK || r == -EOPNOTSUPP ? keystore_error() : strerror(-r));
        return r;
}

static int register_and_ref(struct keystore *keystore, struct master **take, const struct keystore_source *source,
                            struct master_ref **ret, char *error, size_t error_size) {
        int64_t id;
        int r;

        r = register_row(keystore, *take, source, &id, error, error_size);
        return r < 0 ? r : ref_new(take, id, ret);
}

static int register_again(struct keystore *keystore, const struct keystore_source *source, struct master_ref *current,
                          char *error, size_t error_size) {
        int64_t id;
        int r;

        if (current->n_older >= MASTER_IDS_MAX) {
                (void) snprintf(error, error_size, "%s: was the master key too often; finish a rewrap first", source->text);
                return -E2BIG;
        }
        r = register_row(keystore, current->master, source, &id, error, error_size);
        if (r >= 0) {
                current->older[current->n_older++] = current->id;
                current->id = id;
        }
        return r;
}

/* A database of before the generations has one master, a file, and knows nothing of rows of masters: whichever of the two it is
 * becomes the first row. */
static int upgrade(struct keystore *keystore, const struct keystore_options *options, char *error, size_t error_size) {
        const struct keystore_source *sources[] = { &options->master, &options->old };
        const struct master_rows none = {};
        int r = -EKEYREJECTED;

        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                _cleanup_(master_closep) struct master *master = NULL;

                if (sources[i]->kind != KEYSTORE_FILE)
                        continue;
                r = master_open(options, sources[i], keystore->party, &(struct blob){}, &master, error, error_size);
                if (r < 0)
                        return r;
                r = upgrade_master_is(keystore->store, master);
                if (r == -EKEYREJECTED)
                        continue;
                if (r >= 0)
                        r = upgrade_run(keystore, master, sources[i]);
                if (r < 0)
                        (void) snprintf(error, error_size, "the keys in the database cannot be wrapped anew: %s", strerror(-r));
                return r;
        }
        return not_this_one(keystore, &options->master, &none, error, error_size);
}

static int masters_try(struct keystore *keystore, const struct keystore_options *options, struct master_ref **ret_current,
                       struct master_ref **ret_old, char *error, size_t error_size) {
        _cleanup_(master_unrefp) struct master_ref *current = NULL, *old = NULL;
        _cleanup_(master_closep) struct master *opened = NULL;
        _cleanup_(master_rows_done) struct master_rows rows = {};
        int r;

        r = master_rows_load(keystore->store, &rows);
        if (r < 0)
                return r;

        r = match(options, &options->master, keystore->party, &rows, &opened, &current, error, error_size);
        if (r < 0 && (r != -EKEYREJECTED || *error))
                return r;
        /* nothing is under another one any more: an old-master that was left in the configuration is not asked for */
        if (options->old.kind != KEYSTORE_NONE && !(current && rows.n == 1)) {
                r = match(options, &options->old, keystore->party, &rows, NULL, &old, error, error_size);
                if (r == -EKEYREJECTED && !*error)
                        return not_this_one(keystore, &options->old, &rows, error, error_size);
                if (r < 0)
                        return r;
        }

        /* known, but given up for a newer one since: it comes back as a new generation, what went over to the other is not to be
         * replaced by what it wrapped before */
        if (current && old && current->id < old->id && old->id == rows.items[0].id)
                r = register_again(keystore, &options->master, current, error, error_size);
        else if (!current && rows.n > 0 && !old)
                r = not_this_one(keystore, &options->master, &rows, error, error_size);
        else if (!current)
                r = register_and_ref(keystore, &opened, &options->master, &current, error, error_size);
        else
                r = 0;
        if (r < 0)
                return r;

        *ret_current = TAKE_PTR(current);
        *ret_old = TAKE_PTR(old);
        return 0;
}

int masters_open(struct keystore *keystore, const struct keystore_options *options, struct master_ref **ret_current,
                 struct master_ref **ret_old, char *error, size_t error_size) {
        bool needed;
        int r;

        r = upgrade_needed(keystore->store, &needed);
        if (r >= 0 && needed)
                r = upgrade(keystore, options, error, error_size);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < RACES_MAX; i++) {
                *error = 0;
                r = masters_try(keystore, options, ret_current, ret_old, error, error_size);
                if (r != -EEXIST)
                        break;
        }
        return r;
}
