/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"

struct kek *kek_ref(struct kek *kek) {
        if (kek)
                (void) __atomic_add_fetch(&kek->references, 1, __ATOMIC_RELAXED);
        return kek;
}

struct kek *kek_unref(struct kek *kek) {
        if (!kek || __atomic_sub_fetch(&kek->references, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        (void) secret_free(kek->key);
        (void) master_unref(kek->master);
        blob_done(&kek->inside.blob);
        blob_done(&kek->inside.binding);
        free(kek);
        return NULL;
}

int kek_of_key(struct secret **take, struct kek **ret) {
        struct kek *kek = calloc(1, sizeof(*kek));

        if (!kek)
                return -ENOMEM;
        kek->references = 1;
        kek->key = TAKE_PTR(*take);
        *ret = kek;
        return 0;
}

/* Nothing is asked: a blob that was changed is found out when it is used. */
static int kek_inside(const struct keystore *keystore, struct master_ref *master, const char *name, int64_t generation,
                      const struct blob *wrapped, struct kek **ret) {
        _cleanup_(kek_unrefp) struct kek *kek = calloc(1, sizeof(*kek));
        int r;

        if (!kek)
                return -ENOMEM;
        kek->references = 1;
        kek->master = master_ref(master);
        kek->inside.id = master->id;
        r = blob_copy(wrapped->data, wrapped->size, &kek->inside.blob);
        if (r >= 0)
                r = fields_encode(KEK_FIELDS(keystore->party, name, generation), &kek->inside.binding);
        if (r >= 0)
                *ret = TAKE_PTR(kek);
        return r;
}

static bool stays_inside(const struct keystore *keystore, const struct master_ref *master) {
        return keystore->always_sensitive && master->master->ops->make_inside;
}

int kek_seal_key(struct kek *kek, const struct field *fields, size_t n, const struct secret *secret, uint8_t *ret) {
        if (!kek->key)
                return kek->master->master->ops->seal_inside(kek->master->master, &kek->inside, fields, n, secret, ret);
        return box_seal(kek->key, fields, n, secret, ret);
}

int kek_open_key(struct kek *kek, const struct field *fields, size_t n, const void *data, size_t size, struct secret **ret) {
        if (!kek->key)
                return kek->master->master->ops->open_inside(kek->master->master, &kek->inside, fields, n, data, size, ret);
        return box_open(kek->key, fields, n, data, size, ret);
}

void kek_row_done(struct kek_row *row) {
        blob_done(&row->wrapped);
}

static int on_kek_row(const struct store_value *columns, size_t n, void *userdata) {
        struct kek_row *row = userdata;

        if (n != 7 || columns[2].type != STORE_BLOB || row->wrapped.data)
                return -EUCLEAN;

        row->generation = columns[0].number;
        row->master = columns[1].number;
        row->has_floor = columns[3].type == STORE_INT && columns[6].type == STORE_BLOB && columns[6].size == SHA256_SIZE;
        if (row->has_floor) {
                row->oldest = columns[3].number;
                row->newest = columns[4].number;
                row->oldest_master = columns[5].number;
                memcpy(row->mac, columns[6].data, SHA256_SIZE);
        }
        return blob_copy(columns[2].data, columns[2].size, &row->wrapped);
}

static int floor_mac(const struct keystore *keystore, const char *name, int64_t oldest, int64_t newest, int64_t master,
                     uint8_t ret[static SHA256_SIZE]) {
        return fields_hmac(keystore->floor_key->data, keystore->floor_key->size,
                           FIELDS(field_text("tallyboot keystore floor v1"), field_text(keystore->party), field_text(name),
                                  field_number((uint64_t) oldest), field_number((uint64_t) newest),
                                  field_number((uint64_t) master)),
                           ret);
}

/* What was replaced by a copy of before is found out by what says so in another row: to get past this, all rows of the group, the
 * floor's among them, must be put back together. docs/keys.md says what finds that out. */
int kek_floor_check(struct keystore *keystore, const struct store_txn *txn, const struct kek_row *row) {
        uint8_t mac[SHA256_SIZE];
        int r;

        if (!row->has_floor)
                return keystore_fail(-EKEYREJECTED,
                                     "%s: KEK of group '%s', generation %lld: the row that says which are accepted is gone",
                                     keystore->party, row->name, (long long) row->generation);

        r = floor_mac(keystore, row->name, row->oldest, row->newest, row->oldest_master, mac);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(mac, row->mac, sizeof(mac)))
                return keystore_fail(-EKEYREJECTED,
                                     "%s: group '%s': the row that says which generations are accepted was changed",
                                     keystore->party, row->name);
        if (row->generation < row->oldest || row->generation > row->newest)
                return keystore_fail(
                        -EKEYREJECTED,
                        "%s: KEK of group '%s', generation %lld: %lld to %lld are accepted, an older one was put back",
                        keystore->party, row->name, (long long) row->generation, (long long) row->oldest,
                        (long long) row->newest);
        if (row->master < row->oldest_master)
                return keystore_fail(
                        -EKEYREJECTED,
                        "%s: KEK of group '%s', generation %lld: it is under master %lld, which was given up for %lld: an older copy was put back",
                        keystore->party, row->name, (long long) row->generation, (long long) row->master,
                        (long long) row->oldest_master);
        return seen_check(keystore, txn, row);
}

int kek_row_load(struct keystore *keystore, struct store_txn *txn, const char *name, int64_t generation, struct kek_row *ret) {
        _cleanup_(kek_row_done) struct kek_row row = {};
        int r;

        if (strlen(name) > KEK_NAME_MAX)
                return -EINVAL;
        strcpy(row.name, name);

        if (generation > 0)
                r = store_query(
                        txn,
                        "SELECT e.generation, e.master, e.wrapped, f.oldest, f.newest, f.master, f.mac FROM keystore_kek e"
                        " LEFT JOIN keystore_floor f ON f.name = e.name WHERE e.name = $1 AND e.generation = $2",
                        STORE_ARGS(store_text(name), store_int(generation)), on_kek_row, &row);
        else
                r = store_query(
                        txn,
                        "SELECT e.generation, e.master, e.wrapped, f.oldest, f.newest, f.master, f.mac FROM keystore_kek e"
                        " LEFT JOIN keystore_floor f ON f.name = e.name WHERE e.name = $1"
                        " ORDER BY e.generation DESC LIMIT 1",
                        STORE_ARGS(store_text(name)), on_kek_row, &row);
        if (r < 0)
                return r;
        if (!row.wrapped.data)
                return keystore_fail(-ENOENT, "%s: group '%s' has no KEK of generation %lld", keystore->party, name,
                                     (long long) generation);

        /* at the start, the key of the floors is itself under the first KEK; own.c then checks that one */
        if (keystore->floor_key) {
                r = kek_floor_check(keystore, txn, &row);
                if (r < 0)
                        return r;
                if (generation == 0 && row.generation != row.newest)
                        return keystore_fail(-EKEYREJECTED, "%s: KEK of group '%s': generation %lld is gone", keystore->party,
                                             name, (long long) row.newest);
        }

        *ret = row;
        row = (struct kek_row){};
        return 0;
}

int kek_row_insert(struct store_txn *txn, const char *name, int64_t generation, int64_t master, const struct blob *wrapped) {
        return store_exec(txn,
                          "INSERT INTO keystore_kek (name, generation, master, wrapped, created) VALUES ($1, $2, $3, $4, $5)",
                          STORE_ARGS(store_text(name), store_int(generation), store_int(master),
                                     store_blob(wrapped->data, wrapped->size), store_int((int64_t) clock_realtime_ms() / 1000)),
                          NULL);
}

int kek_floor_write(struct keystore *keystore, struct store_txn *txn, const char *name, int64_t oldest, int64_t newest,
                    int64_t master) {
        uint8_t mac[SHA256_SIZE];
        int r;

        r = floor_mac(keystore, name, oldest, newest, master, mac);
        if (r < 0)
                return r;

        return store_exec(txn,
                          "INSERT INTO keystore_floor (name, oldest, newest, master, mac) VALUES ($1, $2, $3, $4, $5)"
                          " ON CONFLICT (name) DO UPDATE SET oldest = $2, newest = $3, master = $4, mac = $5",
                          STORE_ARGS(store_text(name), store_int(oldest), store_int(newest), store_int(master),
                                     store_blob(mac, sizeof(mac))),
                          NULL);
}

int kek_wrap(struct keystore *keystore, struct master_ref *master, const char *name, int64_t generation, struct kek *key,
             struct blob *ret, struct kek **ret_kek) {
        _cleanup_(secret_freep) struct secret *made = NULL;
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        if (!key && stays_inside(keystore, master)) {
                r = master->master->ops->make_inside(master->master, master->id, KEK_FIELDS(keystore->party, name, generation),
                                                     &wrapped);
                if (r >= 0 && ret_kek)
                        r = kek_inside(keystore, master, name, generation, &wrapped, ret_kek);
                goto out;
        }
        r = master_wrap(master->master, master->id, KEK_FIELDS(keystore->party, name, generation), key ? key->key : NULL,
                        &wrapped, ret_kek ? &made : NULL);
        if (r >= 0 && ret_kek)
                r = kek_of_key(&made, ret_kek);
out:
        if (r < 0)
                return r;

        *ret = wrapped;
        wrapped = (struct blob){};
        return 0;
}

int kek_unwrap(struct keystore *keystore, const struct kek_row *row, struct kek **ret) {
        _cleanup_(master_unrefp) struct master_ref *master = NULL;
        _cleanup_(secret_freep) struct secret *key = NULL;
        int r;

        r = keystore_master_of(keystore, row->master, &master);
        if (r < 0)
                return keystore_fail(r,
                                     "%s: KEK of group '%s', generation %lld: it is under master %lld, which is not configured",
                                     keystore->party, row->name, (long long) row->generation, (long long) row->master);

        r = master_unwrap(master->master, row->master, KEK_FIELDS(keystore->party, row->name, row->generation), row->wrapped.data,
                          row->wrapped.size, &key);
        if (r == -EKEYREJECTED || (r >= 0 && key->size != AEAD_KEY_SIZE))
                return keystore_fail(-EKEYREJECTED,
                                     "%s: KEK of group '%s', generation %lld: the row was changed, or is another's",
                                     keystore->party, row->name, (long long) row->generation);
        return r < 0 ? r : kek_of_key(&key, ret);
}

/* Whoever waits for another one that opens the same KEK finds it in memory; nobody waits longer than a token may take. */
static int opening_lock(struct keystore *keystore) {
        struct timespec until;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += KEYSTORE_PATIENCE_S;
        if (pthread_mutex_clocklock(&keystore->opening, CLOCK_MONOTONIC, &until) != 0)
                return keystore_fail(-ENOLINK, "%s: the HSM is busy with other KEKs", keystore->party);
        return 0;
}

int kek_open(struct keystore *keystore, const struct kek_row *row, struct kek **ret) {
        _cleanup_(master_unrefp) struct master_ref *current = keystore_master_current(keystore);
        int r;

        if (row->master == current->id && stays_inside(keystore, current))
                return kek_inside(keystore, current, row->name, row->generation, &row->wrapped, ret);

        *ret = cache_find(keystore, row);
        if (*ret)
                return 0;

        r = opening_lock(keystore);
        if (r < 0)
                return r;
        *ret = cache_find(keystore, row);
        if (!*ret) {
                r = kek_unwrap(keystore, row, ret);
                if (r >= 0)
                        cache_remember(keystore, row, *ret);
        }
        (void) pthread_mutex_unlock(&keystore->opening);
        return r;
}
