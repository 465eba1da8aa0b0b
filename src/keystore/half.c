/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/internal.h"

enum { GROUPS_MAX = 1024, CONTEXT_MAX = 12 };

/* The cache is asked with the row itself: a key that a rolled-back transaction made, or that another process replaced, is never used. */
static int group_cached(struct keystore *keystore, const char *name, const struct blob *wrapped, struct secret **ret) {
        int r = -ENOENT;

        (void) pthread_mutex_lock(&keystore->lock);
        for (size_t i = 0; i < keystore->n_groups; i++) {
                const struct group_key *group = keystore->groups + i;

                if (strcmp(group->name, name) == 0 && memcmp(group->wrapped, wrapped->data, sizeof(group->wrapped)) == 0) {
                        r = secret_copy(group->key->data, group->key->size, ret);
                        break;
                }
        }
        (void) pthread_mutex_unlock(&keystore->lock);
        return r;
}

/* A cache that is full, or for which there is no memory, only costs time. */
static void group_remember(struct keystore *keystore, const char *name, const struct blob *wrapped, const struct secret *key) {
        struct group_key *groups;
        struct group_key group = {};

        (void) pthread_mutex_lock(&keystore->lock);
        groups = keystore->n_groups < GROUPS_MAX ? reallocarray(keystore->groups, keystore->n_groups + 1, sizeof(*groups)) : NULL;
        if (groups) {
                keystore->groups = groups;
                memcpy(group.wrapped, wrapped->data, sizeof(group.wrapped));
                group.name = strdup(name);
                if (group.name && secret_copy(key->data, key->size, &group.key) >= 0)
                        groups[keystore->n_groups++] = group;
                else
                        free(group.name);
        }
        (void) pthread_mutex_unlock(&keystore->lock);
}

static int group_get(struct keystore *keystore, struct store_txn *txn, const char *name, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        r = keystore_get_blob(txn, "SELECT wrapped FROM keystore_group WHERE name = $1", STORE_ARGS(store_text(name)), &wrapped);
        if (r < 0)
                return r;
        if (wrapped.size != AEAD_KEY_SIZE + BOX_OVERHEAD)
                return -EKEYREJECTED;

        r = group_cached(keystore, name, &wrapped, ret);
        if (r != -ENOENT)
                return r;

        r = box_open(
                keystore->group_key,
                FIELDS(field_text("tallyboot keystore v1"), field_text(keystore->party), field_text("group"), field_text(name)),
                wrapped.data, wrapped.size, &key);
        if (r < 0)
                return r;

        group_remember(keystore, name, &wrapped, key);
        *ret = TAKE_PTR(key);
        return 0;
}

static int group_create(struct keystore *keystore, struct store_txn *txn, const char *name, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int r;

        r = secret_random(AEAD_KEY_SIZE, &key);
        if (r >= 0)
                r = box_seal(keystore->group_key,
                             FIELDS(field_text("tallyboot keystore v1"), field_text(keystore->party), field_text("group"),
                                    field_text(name)),
                             key, wrapped);
        if (r >= 0)
                r = store_exec(txn, "INSERT INTO keystore_group (name, wrapped) VALUES ($1, $2)",
                               STORE_ARGS(store_text(name), store_blob(wrapped, sizeof(wrapped))), NULL);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(key);
        return 0;
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

struct binding {
        struct field fields[CONTEXT_MAX + 4];
        size_t n;
};

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

#define KEY_FIELDS(keystore, name, handle)                                                                              \
        FIELDS(field_text("tallyboot keystore v1"), field_text((keystore)->party), field_text("key"), field_text(name), \
               field_number((uint64_t) (handle)))

/* Two rows: the half under a key of its own, and that key under the group's. Without the second the first is noise. */
static int half_insert(struct store_txn *txn, const char *group, int64_t handle,
                       const uint8_t key[static AEAD_KEY_SIZE + BOX_OVERHEAD], const struct store_value *half) {
        int r;

        r = store_exec(txn, "INSERT INTO keystore_key (handle, name, wrapped) VALUES ($1, $2, $3)",
                       STORE_ARGS(store_int(handle), store_text(group), store_blob(key, AEAD_KEY_SIZE + BOX_OVERHEAD)), NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO keystore_half (handle, wrapped) VALUES ($1, $2)",
                          STORE_ARGS(store_int(handle), *half), NULL);
}

int keystore_wrap(struct keystore *keystore, struct store_txn *txn, const char *group, const struct field *context,
                  size_t n_context, const struct secret *secret, int64_t *ret_handle) {
        _cleanup_(secret_freep) struct secret *group_key = NULL, *key = NULL;
        uint8_t wrapped_key[AEAD_KEY_SIZE + BOX_OVERHEAD], wrapped[BOX_SECRET_MAX + BOX_OVERHEAD];
        struct store_value half;
        struct binding binding;
        int64_t handle;
        int r;

        if (secret->size == 0 || secret->size > BOX_SECRET_MAX)
                return -EINVAL;

        r = handle_new(&handle);
        if (r >= 0)
                r = binding_make(keystore, handle, context, n_context, &binding);
        if (r < 0)
                return r;

        r = group_get(keystore, txn, group, &group_key);
        if (r == -ENOENT)
                r = group_create(keystore, txn, group, &group_key);
        if (r >= 0)
                r = secret_random(AEAD_KEY_SIZE, &key);
        if (r >= 0)
                r = box_seal(group_key, KEY_FIELDS(keystore, group, handle), key, wrapped_key);
        if (r >= 0)
                r = box_seal(key, binding.fields, binding.n, secret, wrapped);
        if (r < 0)
                return r;

        half = store_blob(wrapped, secret->size + BOX_OVERHEAD);
        r = half_insert(txn, group, handle, wrapped_key, &half);
        if (r < 0)
                return r;

        *ret_handle = handle;
        return 0;
}

struct half_rows {
        char *group;
        struct blob key, half;
};

static void half_rows_done(struct half_rows *rows) {
        free(rows->group);
        blob_done(&rows->key);
        blob_done(&rows->half);
}

static int row_half(const struct store_value *columns, size_t n, void *userdata) {
        struct half_rows *rows = userdata;
        int r;

        if (n != 3 || columns[0].type != STORE_TEXT || columns[1].type != STORE_BLOB || columns[2].type != STORE_BLOB ||
            rows->group)
                return -EUCLEAN;

        rows->group = strdup(columns[0].data);
        if (!rows->group)
                return -ENOMEM;
        r = blob_copy(columns[1].data, columns[1].size, &rows->key);
        return r < 0 ? r : blob_copy(columns[2].data, columns[2].size, &rows->half);
}

int keystore_unwrap(struct keystore *keystore, struct store_txn *txn, int64_t handle, const struct field *context,
                    size_t n_context, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *group_key = NULL, *key = NULL;
        _cleanup_(half_rows_done) struct half_rows rows = {};
        struct binding binding;
        int r;

        r = binding_make(keystore, handle, context, n_context, &binding);
        if (r < 0)
                return r;

        r = store_query(txn,
                        "SELECT k.name, k.wrapped, h.wrapped FROM keystore_key k JOIN keystore_half h ON h.handle = k.handle"
                        " WHERE k.handle = $1",
                        STORE_ARGS(store_int(handle)), row_half, &rows);
        if (r < 0)
                return r;
        if (!rows.group)
                return -ENOENT;

        r = group_get(keystore, txn, rows.group, &group_key);
        if (r >= 0)
                r = box_open(group_key, KEY_FIELDS(keystore, rows.group, handle), rows.key.data, rows.key.size, &key);
        if (r >= 0 && key->size != AEAD_KEY_SIZE)
                r = -EKEYREJECTED;
        if (r < 0)
                return r;
        return box_open(key, binding.fields, binding.n, rows.half.data, rows.half.size, ret);
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
