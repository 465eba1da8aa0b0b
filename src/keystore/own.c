/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"

/* What hangs off the service's own KEK: MAC keys, key pairs, the key of the floors. Made here, once, when the keystore is opened:
 * later calls only read, and can come from inside a write. */

const char *own_name(int64_t id) {
        return id == OWN_INBOX ? "inbox" : id == OWN_AUDIT ? "audit" : id == OWN_FLOOR ? "floor" : NULL;
}

enum { GENERATIONS_MAX = 8, RACES_MAX = 5 };

struct own {
        struct keystore *keystore;
        struct kek_row rows[GENERATIONS_MAX]; /* the newest first; several while it is being rotated */
        struct kek *keks[GENERATIONS_MAX];
        size_t n;
        struct blob *wrapped;
        int64_t master;
};

static void own_done(struct own *own) {
        for (size_t i = 0; i < own->n; i++) {
                kek_row_done(own->rows + i);
                (void) kek_unref(own->keks[i]);
        }
        own->n = 0;
}

static int on_number(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct own *own = userdata;

        if (own->n >= GENERATIONS_MAX)
                return -EUCLEAN;
        own->rows[own->n++] = (struct kek_row){ .generation = columns[0].number };
        return 0;
}

static int read_keks(struct store_txn *txn, void *userdata) {
        struct own *own = userdata;
        int r;

        r = store_query(txn, "SELECT generation FROM keystore_kek WHERE name = '' ORDER BY generation DESC", STORE_NO_ARGS,
                        on_number, own);
        for (size_t i = 0; i < own->n && r >= 0; i++)
                r = kek_row_load(own->keystore, txn, KEK_SERVICE, own->rows[i].generation, own->rows + i);
        return r;
}

static int insert_first(struct store_txn *txn, void *userdata) {
        struct own *own = userdata;

        return kek_row_insert(txn, KEK_SERVICE, 1, own->master, own->wrapped);
}

/* The first one. Another process may be faster: then its is read. */
static int make_first(struct own *own) {
        _cleanup_(master_unrefp) struct master_ref *master = keystore_master_current(own->keystore);
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        r = kek_wrap(own->keystore, master, KEK_SERVICE, 1, NULL, &wrapped, NULL);
        if (r < 0)
                return r;
        own->wrapped = &wrapped;
        own->master = master->id;
        r = keystore_write(own->keystore, insert_first, own);
        own->wrapped = NULL;
        return r == -EEXIST ? 0 : r;
}

static int open_keks(struct own *own) {
        int r;

        own_done(own);
        r = store_read(own->keystore->store, read_keks, own);
        if (r >= 0 && own->n == 0) {
                r = make_first(own);
                if (r >= 0)
                        r = store_read(own->keystore->store, read_keks, own);
        }
        for (size_t i = 0; i < own->n && r >= 0; i++)
                r = kek_open(own->keystore, own->rows + i, own->keks + i);
        return r;
}

/* -EAGAIN: a generation that came since they were opened. */
static int own_kek(const struct own *own, int64_t generation, struct kek **ret) {
        for (size_t i = 0; i < own->n; i++)
                if (own->rows[i].generation == generation) {
                        *ret = own->keks[i];
                        return 0;
                }
        return -EAGAIN;
}

struct own_row {
        int64_t generation;
        struct blob wrapped;
};

static int on_own_row(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct own_row *row = userdata;

        if (columns[1].type != STORE_BLOB || row->wrapped.data)
                return -EUCLEAN;
        row->generation = columns[0].number;
        return blob_copy(columns[1].data, columns[1].size, &row->wrapped);
}

static int open_row(struct own *own, struct store_txn *txn, const char *sql, const char *what, int64_t number,
                    struct secret **ret) {
        struct keystore *keystore = own->keystore;
        struct own_row row = {};
        struct kek *kek = NULL;
        int r;

        r = store_query(txn, sql, STORE_ARGS(store_int(number)), on_own_row, &row);
        if (r >= 0 && !row.wrapped.data)
                return -ENOENT;
        if (r >= 0)
                r = own_kek(own, row.generation, &kek);
        if (r >= 0)
                r = kek_open_key(kek, OWN_FIELDS(keystore, what, row.generation, number), row.wrapped.data, row.wrapped.size,
                                 ret);
        if (r == -EKEYREJECTED || (r >= 0 && (*ret)->size != AEAD_KEY_SIZE))
                r = keystore_fail(-EKEYREJECTED, "%s: the service's %s key, number %lld: the row was changed, or is another's",
                                  keystore->party, what, (long long) number);
        blob_done(&row.wrapped);
        return r;
}

static int insert_row(struct keystore *keystore, struct store_txn *txn, struct kek *kek, int64_t generation, const char *what,
                      int64_t number, const struct secret *key) {
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int r;

        r = kek_seal_key(kek, OWN_FIELDS(keystore, what, generation, number), key, wrapped);
        if (r < 0)
                return r;
        if (strcmp(what, "mac") == 0)
                return store_exec(txn, "INSERT INTO keystore_mac (number, wrapped, created, generation) VALUES ($1, $2, $3, $4)",
                                  STORE_ARGS(store_int(number), store_blob(wrapped, sizeof(wrapped)),
                                             store_int((int64_t) clock_realtime_ms()), store_int(generation)),
                                  NULL);
        return store_exec(txn, "INSERT INTO keystore_inbox (id, wrapped, generation) VALUES ($1, $2, $3)",
                          STORE_ARGS(store_int(number), store_blob(wrapped, sizeof(wrapped)), store_int(generation)), NULL);
}

#define READ_MAC "SELECT generation, wrapped FROM keystore_mac WHERE number = $1"
#define READ_OWN "SELECT generation, wrapped FROM keystore_inbox WHERE id = $1"

/* One of the rows, made where it is missing. */
static int own_ensure(struct own *own, struct store_txn *txn, const char *what, int64_t number, struct secret **ret) {
        int r;

        r = open_row(own, txn, strcmp(what, "mac") == 0 ? READ_MAC : READ_OWN, what, number, ret);
        if (r != -ENOENT)
                return r;
        r = secret_random(AEAD_KEY_SIZE, ret);
        return r < 0 ? r : insert_row(own->keystore, txn, own->keks[0], own->rows[0].generation, what, number, *ret);
}

int own_floor_make(struct keystore *keystore, struct store_txn *txn, struct kek *kek, const struct kek_row *row) {
        int r;

        keystore->floor_key = secret_free(keystore->floor_key);
        r = secret_random(AEAD_KEY_SIZE, &keystore->floor_key);
        if (r >= 0)
                r = insert_row(keystore, txn, kek, row->generation, "floor", OWN_FLOOR, keystore->floor_key);
        return r < 0 ? r : kek_floor_write(keystore, txn, KEK_SERVICE, row->generation, row->generation, row->master);
}

/* Not made anew where there are groups: that would accept whatever is there. */
static int floor_ensure(struct own *own, struct store_txn *txn) {
        _cleanup_(secret_freep) struct secret *found = NULL;
        struct keystore *keystore = own->keystore;
        int64_t groups = 0;
        int r;

        r = open_row(own, txn, READ_OWN, "floor", OWN_FLOOR, &found);
        if (r == -ENOENT) {
                r = keystore_get_int(txn, "SELECT COUNT(*) FROM keystore_kek WHERE name <> ''", STORE_NO_ARGS, &groups);
                if (r >= 0 && groups > 0)
                        return keystore_fail(-EKEYREJECTED, "%s: the key is gone by which older KEKs are found out",
                                             keystore->party);
                return r < 0 ? r : own_floor_make(keystore, txn, own->keks[0], own->rows);
        }
        if (r < 0)
                return r;
        (void) secret_free(keystore->floor_key);
        keystore->floor_key = TAKE_PTR(found);

        for (size_t i = 0; i < own->n; i++) {
                r = kek_floor_check(keystore, txn, own->rows + i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int pair_ensure(struct own *own, struct store_txn *txn, const char *what, int64_t number, struct keypair **ret) {
        _cleanup_(secret_freep) struct secret *ikm = NULL;
        int r;

        r = own_ensure(own, txn, what, number, &ikm);
        return r < 0 || *ret ? r : keypair_derive(ikm, ret);
}

static int prepare(struct store_txn *txn, void *userdata) {
        _cleanup_(secret_freep) struct secret *mac = NULL;
        struct own *own = userdata;
        int64_t number = 0;
        int r;

        r = floor_ensure(own, txn);
        if (r >= 0)
                r = keystore_get_int(txn, "SELECT MAX(number) FROM keystore_mac", STORE_NO_ARGS, &number);
        if (r >= 0 || r == -ENOENT)
                r = own_ensure(own, txn, "mac", number > 0 ? number : 1, &mac);
        if (r >= 0)
                r = pair_ensure(own, txn, "inbox", OWN_INBOX, &own->keystore->inbox);
        if (r >= 0)
                r = pair_ensure(own, txn, "audit", OWN_AUDIT, &own->keystore->audit);
        return r;
}

int own_prepare(struct keystore *keystore) {
        _cleanup_(own_done) struct own own = { .keystore = keystore };
        int r = -EAGAIN;

        for (unsigned i = 0; i < RACES_MAX && r == -EAGAIN; i++) {
                r = open_keks(&own);
                if (r >= 0)
                        r = keystore_write(keystore, prepare, &own);
        }
        return r;
}

struct own_check {
        struct own own;
        int64_t macs[MACS_MAX], n, opened;
};

static int on_mac_number(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct own_check *check = userdata;

        if (check->n < MACS_MAX)
                check->macs[check->n++] = columns[0].number;
        return 0;
}

static int check_rows(struct store_txn *txn, void *userdata) {
        struct own_check *check = userdata;
        int r;

        check->n = check->opened = 0;
        r = store_query(txn, "SELECT number FROM keystore_mac ORDER BY number DESC", STORE_NO_ARGS, on_mac_number, check);
        for (int64_t i = -OWN_FLOOR; i < check->n && r >= 0; i++) {
                _cleanup_(secret_freep) struct secret *key = NULL;

                r = i < 0 ? open_row(&check->own, txn, READ_OWN, own_name(-i), -i, &key)
                          : open_row(&check->own, txn, READ_MAC, "mac", check->macs[i], &key);
                check->opened += r >= 0;
                if (r == -ENOENT)
                        r = keystore_fail(-EKEYREJECTED, "%s: the service's %s key is gone", check->own.keystore->party,
                                          i < 0 ? own_name(-i) : "mac");
        }
        return r;
}

/* -EKEYREJECTED, with the name of the first that does not open. */
int own_verify(struct keystore *keystore, int64_t *ret_n) {
        struct own_check check = { .own = { .keystore = keystore } };
        int r = -EAGAIN;

        for (unsigned i = 0; i < RACES_MAX && r == -EAGAIN; i++) {
                r = open_keks(&check.own);
                if (r >= 0)
                        r = store_read(keystore->store, check_rows, &check);
        }
        own_done(&check.own);
        if (r >= 0)
                *ret_n = check.opened;
        return r;
}

/* MAC keys */

struct mac_ask {
        struct keystore *keystore;
        int64_t number; /* 0: the newest */
        struct secret *key;
};

static int mac_read(struct store_txn *txn, void *userdata) {
        _cleanup_(own_done) struct own own = {};
        struct mac_ask *ask = userdata;
        int64_t generation;
        int r;

        if (ask->number == 0) {
                r = keystore_get_int(txn, "SELECT MAX(number) FROM keystore_mac", STORE_NO_ARGS, &ask->number);
                if (r < 0)
                        return r;
        }
        if (ask->number <= 0 || ask->number > UINT32_MAX)
                return -ENOENT;

        /* a number that somebody made up costs nobody a round trip to the HSM */
        r = keystore_get_int(txn, "SELECT generation FROM keystore_mac WHERE number = $1", STORE_ARGS(store_int(ask->number)),
                             &generation);
        if (r < 0)
                return r;
        own.keystore = ask->keystore;
        r = kek_row_load(ask->keystore, txn, KEK_SERVICE, generation, own.rows);
        if (r < 0)
                return r;
        own.n = 1;
        r = kek_open(ask->keystore, own.rows, own.keks);
        return r < 0 ? r : open_row(&own, txn, READ_MAC, "mac", ask->number, &ask->key);
}

/* Keys are never taken out while the keystore is open: callers keep pointers. */
static int mac_cached(struct keystore *keystore, uint32_t number, uint32_t *ret_number, const struct secret **ret) {
        const struct mac_key *found = NULL;

        for (size_t i = 0; i < keystore->n_macs; i++)
                if (keystore->macs[i].number == number || (number == 0 && (!found || keystore->macs[i].number > found->number)))
                        found = keystore->macs + i;
        if (!found)
                return -ENOENT;

        *ret_number = found->number;
        *ret = found->key;
        return 0;
}

static int mac_find(struct keystore *keystore, uint32_t number, uint32_t *ret_number, const struct secret **ret) {
        struct mac_ask ask = { .keystore = keystore, .number = number };
        int r, k;

        (void) pthread_mutex_lock(&keystore->lock);
        r = mac_cached(keystore, number, ret_number, ret);
        (void) pthread_mutex_unlock(&keystore->lock);
        if (r != -ENOENT)
                return r;

        r = store_read(keystore->store, mac_read, &ask);
        if (r < 0)
                return r;

        (void) pthread_mutex_lock(&keystore->lock);
        k = mac_cached(keystore, (uint32_t) ask.number, ret_number, ret);
        if (k == -ENOENT && keystore->n_macs < MACS_MAX) {
                keystore->macs[keystore->n_macs++] =
                        (struct mac_key){ .number = (uint32_t) ask.number, .key = TAKE_PTR(ask.key) };
                k = mac_cached(keystore, (uint32_t) ask.number, ret_number, ret);
        }
        (void) pthread_mutex_unlock(&keystore->lock);
        (void) secret_free(ask.key);
        return k;
}

int keystore_mac_current(struct keystore *keystore, uint32_t *ret_number, const struct secret **ret) {
        return mac_find(keystore, 0, ret_number, ret);
}

int keystore_mac_get(struct keystore *keystore, uint32_t number, const struct secret **ret) {
        uint32_t found;

        return number == 0 ? -ENOENT : mac_find(keystore, number, &found, ret);
}
