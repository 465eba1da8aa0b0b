/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/internal.h"

enum { CONTEXT_MAX = BINDING_MAX - 4 };

struct warming {
        struct keystore *keystore;
        struct kek_row row;
        struct blob wrapped;
        int64_t generation, master; /* of a new one */
        int64_t wanted;             /* 0: the newest */
};

/* The generation of a KEK for a group that has none. One that had, and lost its rows, does not begin again with a number that
 * somebody may keep a copy of. */
static int first_generation(struct store_txn *txn, const char *group, int64_t *ret) {
        int64_t newest = 0;
        int r;

        r = keystore_get_int(txn, "SELECT newest FROM keystore_floor WHERE name = $1", STORE_ARGS(store_text(group)), &newest);
        if (r < 0 && r != -ENOENT)
                return r;
        *ret = newest + 1;
        return 0;
}

static int warm_read(struct store_txn *txn, void *userdata) {
        struct warming *warming = userdata;
        int r;

        r = first_generation(txn, warming->row.name, &warming->generation);
        return r < 0 ? r : kek_row_load(warming->keystore, txn, warming->row.name, warming->wanted, &warming->row);
}

static int warm_insert(struct store_txn *txn, void *userdata) {
        struct warming *warming = userdata;
        int r;

        r = kek_row_insert(txn, warming->row.name, warming->generation, warming->master, &warming->wrapped);
        return r < 0 ? r
                     : kek_floor_write(warming->keystore, txn, warming->row.name, warming->generation, warming->generation,
                                       warming->master);
}

/* The first KEK of a group. 0 also where another one was faster. */
static int warm_make(struct warming *warming) {
        _cleanup_(master_unrefp) struct master_ref *master = keystore_master_current(warming->keystore);
        int r;

        r = kek_wrap(warming->keystore, master, warming->row.name, warming->generation, NULL, &warming->wrapped, NULL);
        if (r < 0)
                return r;
        warming->master = master->id;
        r = keystore_write(warming->keystore, warm_insert, warming);
        blob_done(&warming->wrapped);
        return r == -EEXIST ? 0 : r;
}

/* The older ones, too: while a group is rotated, what is there may be under any. */
static int warm_open(struct keystore *keystore, struct warming *warming, unsigned uses) {
        int64_t oldest = warming->row.oldest;
        int r;

        for (;;) {
                _cleanup_(kek_unrefp) struct kek *kek = NULL;
                int64_t generation = warming->row.generation;

                r = kek_open(keystore, &warming->row, &kek);
                if (r < 0)
                        return r;
                cache_ready(keystore, &warming->row, kek, uses);
                if (generation <= oldest)
                        return 0;
                kek_row_done(&warming->row);
                warming->row.wrapped = (struct blob){};
                warming->wanted = generation - 1;
                r = store_read(keystore->store, warm_read, warming);
                if (r < 0)
                        return r == -ENOENT ? 0 : r;
        }
}

int keystore_warm(struct keystore *keystore, const char *group, unsigned uses) {
        struct warming warming = { .keystore = keystore };
        int r;

        if (!*group || strlen(group) > KEK_NAME_MAX)
                return -EINVAL;
        strcpy(warming.row.name, group);

        r = store_read(keystore->store, warm_read, &warming);
        if (r == -ENOENT) {
                r = warm_make(&warming);
                if (r >= 0)
                        r = store_read(keystore->store, warm_read, &warming);
        }
        if (r >= 0)
                r = warm_open(keystore, &warming, uses);
        kek_row_done(&warming.row);
        return r;
}

/* The newest KEK of a group, inside a write. It asks the HSM only where keystore_warm() was not called, or somebody else was
 * faster. */
static int kek_for_new(struct keystore *keystore, struct store_txn *txn, const char *group, int64_t *ret_generation,
                       struct kek **ret) {
        _cleanup_(master_unrefp) struct master_ref *master = NULL;
        _cleanup_(kek_row_done) struct kek_row row = {};
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        if (!*group)
                return -EINVAL;
        r = kek_row_load(keystore, txn, group, 0, &row);
        if (r >= 0) {
                *ret_generation = row.generation;
                return kek_open(keystore, &row, ret);
        }
        if (r != -ENOENT)
                return r;

        master = keystore_master_current(keystore);
        r = first_generation(txn, group, ret_generation);
        if (r >= 0)
                r = kek_wrap(keystore, master, group, *ret_generation, NULL, &wrapped, ret);
        if (r >= 0)
                r = kek_row_insert(txn, group, *ret_generation, master->id, &wrapped);
        return r < 0 ? r : kek_floor_write(keystore, txn, group, *ret_generation, *ret_generation, master->id);
}

/* Never the same number twice, not even after its row is gone: an old reference cannot meet a new half. */
static int handle_new(int64_t *ret) {
        uint64_t random;
        int r;

        r = random_bytes(&random, sizeof(random));
        if (r < 0)
                return r;

        *ret = (int64_t) (random >> 1) | 1;
        return 0;
}

int binding_of(const struct field *fields, size_t n, struct binding *ret) {
        if (n > BINDING_MAX)
                return -EINVAL;
        memcpy(ret->fields, fields, n * sizeof(*fields));
        ret->n = n;
        return 0;
}

/* What a half is bound to: the party, the row, and what its owner says that it is. */
static int binding_make(const struct keystore *keystore, int64_t handle, const struct field *context, size_t n,
                        struct binding *ret) {
        if (n > CONTEXT_MAX)
                return -EINVAL;

        ret->fields[0] = field_text("tallyboot keystore v1");
        ret->fields[1] = field_text(keystore->party);
        ret->fields[2] = field_text("half");
        ret->fields[3] = field_number((uint64_t) handle);
        if (n > 0)
                memcpy(ret->fields + 4, context, n * sizeof(*context));
        ret->n = n + 4;
        return 0;
}

/* Two rows: the half under a key of its own, and that key under the group's. Without the second the first is noise. */
static int half_insert(struct store_txn *txn, const char *group, int64_t generation, int64_t handle,
                       const uint8_t key[static AEAD_KEY_SIZE + BOX_OVERHEAD], const struct store_value *half) {
        int r;

        r = store_exec(txn, "INSERT INTO keystore_key (handle, name, generation, wrapped) VALUES ($1, $2, $3, $4)",
                       STORE_ARGS(store_int(handle), store_text(group), store_int(generation),
                                  store_blob(key, AEAD_KEY_SIZE + BOX_OVERHEAD)),
                       NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO keystore_half (handle, wrapped) VALUES ($1, $2)",
                          STORE_ARGS(store_int(handle), *half), NULL);
}

int keystore_wrap(struct keystore *keystore, struct store_txn *txn, const char *group, const struct field *context,
                  size_t n_context, const struct secret *secret, int64_t *ret_handle) {
        uint8_t wrapped_key[AEAD_KEY_SIZE + BOX_OVERHEAD], wrapped[BOX_SECRET_MAX + BOX_OVERHEAD];
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(kek_unrefp) struct kek *kek = NULL;
        int64_t handle, generation;
        struct store_value half;
        struct binding binding;
        int r;

        if (secret->size == 0 || secret->size > BOX_SECRET_MAX)
                return -EINVAL;

        r = handle_new(&handle);
        if (r >= 0)
                r = binding_make(keystore, handle, context, n_context, &binding);
        if (r >= 0)
                r = kek_for_new(keystore, txn, group, &generation, &kek);
        if (r >= 0)
                r = secret_random(AEAD_KEY_SIZE, &key);
        if (r >= 0)
                r = kek_seal_key(kek, KEY_FIELDS(keystore, group, generation, handle), key, wrapped_key);
        if (r >= 0)
                r = box_seal(key, binding.fields, binding.n, secret, wrapped);
        if (r < 0)
                return r;

        half = store_blob(wrapped, secret->size + BOX_OVERHEAD);
        r = half_insert(txn, group, generation, handle, wrapped_key, &half);
        if (r >= 0)
                *ret_handle = handle;
        return r;
}

struct half_rows {
        char group[KEK_NAME_MAX + 1];
        int64_t generation;
        struct blob key, half;
};

static void half_rows_done(struct half_rows *rows) {
        blob_done(&rows->key);
        blob_done(&rows->half);
}

static int row_half(const struct store_value *columns, size_t n, void *userdata) {
        struct half_rows *rows = userdata;
        int r;

        if (n != 4 || columns[0].type != STORE_TEXT || columns[0].size > KEK_NAME_MAX || columns[1].type != STORE_INT ||
            columns[2].type != STORE_BLOB || columns[3].type != STORE_BLOB || rows->key.data)
                return -EUCLEAN;

        strcpy(rows->group, columns[0].data);
        rows->generation = columns[1].number;
        r = blob_copy(columns[2].data, columns[2].size, &rows->key);
        return r < 0 ? r : blob_copy(columns[3].data, columns[3].size, &rows->half);
}

int keystore_unwrap(struct keystore *keystore, struct store_txn *txn, int64_t handle, const struct field *context,
                    size_t n_context, struct secret **ret) {
        _cleanup_(half_rows_done) struct half_rows rows = {};
        _cleanup_(kek_row_done) struct kek_row kek_row = {};
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(kek_unrefp) struct kek *kek = NULL;
        struct binding binding;
        int r;

        r = binding_make(keystore, handle, context, n_context, &binding);
        if (r >= 0)
                r = store_query(txn,
                                "SELECT k.name, k.generation, k.wrapped, h.wrapped FROM keystore_key k"
                                " JOIN keystore_half h ON h.handle = k.handle WHERE k.handle = $1",
                                STORE_ARGS(store_int(handle)), row_half, &rows);
        if (r < 0)
                return r;
        if (!rows.key.data)
                return keystore_fail(-ENOENT, "%s: the rows of this half are gone", keystore->party);
        if (rows.generation <= 0 || !rows.group[0])
                return keystore_fail(-EKEYREJECTED, "%s: the row of this half names no KEK", keystore->party);

        /* a KEK that is not there is not a half that was destroyed */
        r = kek_row_load(keystore, txn, rows.group, rows.generation, &kek_row);
        if (r >= 0)
                r = kek_open(keystore, &kek_row, &kek);
        if (r < 0)
                return r == -ENOENT ? -EKEYREJECTED : r;

        r = kek_open_key(kek, KEY_FIELDS(keystore, rows.group, rows.generation, handle), rows.key.data, rows.key.size, &key);
        if (r >= 0 && key->size != AEAD_KEY_SIZE)
                r = -EKEYREJECTED;
        if (r >= 0)
                r = box_open(key, binding.fields, binding.n, rows.half.data, rows.half.size, ret);
        if (r == -EKEYREJECTED)
                return keystore_fail(r,
                                     "%s: half in group '%s', KEK generation %lld: its rows were changed, or are another half's",
                                     keystore->party, rows.group, (long long) rows.generation);
        return r;
}

int keystore_destroy(struct keystore *keystore, struct store_txn *txn, int64_t handle) {
        int64_t changes;
        int r;

        (void) keystore;
        r = store_exec(txn, "DELETE FROM keystore_half WHERE handle = $1", STORE_ARGS(store_int(handle)), NULL);
        if (r < 0)
                return r;
        r = store_exec(txn, "DELETE FROM keystore_key WHERE handle = $1", STORE_ARGS(store_int(handle)), &changes);
        if (r < 0)
                return r;
        return changes == 1 ? 0 : -ENOENT;
}

int keystore_move(struct keystore *keystore, struct store_txn *txn, int64_t handle, const char *group,
                  const struct field *context, size_t n_context, int64_t *ret_handle) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        int64_t moved;
        int r;

        r = keystore_unwrap(keystore, txn, handle, context, n_context, &secret);
        if (r < 0)
                return r;
        r = keystore_wrap(keystore, txn, group, context, n_context, secret, &moved);
        if (r < 0)
                return r;
        r = keystore_destroy(keystore, txn, handle);
        if (r < 0)
                return r;

        *ret_handle = moved;
        return 0;
}
