/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

#include "keystore/box.h"
#include "keystore/keystore.h"
#include "keystore/master.h"

enum { MACS_MAX = 64, KEK_NAME_MAX = 64, KEYSTORE_PATIENCE_S = 5, MASTER_IDS_MAX = 8 };

/* The KEK of the service itself: no group is called that. */
#define KEK_SERVICE ""

/* A KEK that is open: in locked memory, or in its token (always-sensitive). Shared, and wiped with the last reference. */
struct kek {
        unsigned references; /* atomic */
        struct secret *key;  /* NULL: in the token, and then */
        struct master_ref *master;
        struct master_inside inside;
};

/* A master key that is open. Shared: a reload takes it out of the keystore, who uses it at that moment has it for as long. */
struct master_ref {
        unsigned references; /* atomic */
        int64_t id;
        int64_t older[MASTER_IDS_MAX]; /* who came back (from this to that and to this again) is known by more than one */
        size_t n_older;
        struct master *master;
};

/* What was the highest of each, and when it was first seen (ms, monotonic): a database that goes back while we run is found
 * out. */
struct seen {
        char name[KEK_NAME_MAX + 1];
        int64_t oldest, newest, master;
        uint64_t at;
};

struct cached {
        char name[KEK_NAME_MAX + 1];
        int64_t generation, master;
        struct blob wrapped; /* the row that it was opened from */
        struct kek *kek;
        uint64_t until; /* ms, monotonic; UINT64_MAX: for ever */
        unsigned uses;  /* made ready for so many, no caching is configured; 0: as many as there are */
};

struct keystore {
        struct store *store;
        char *party;
        struct keypair *inbox, *audit;
        struct secret *floor_key;

        pthread_mutex_t lock; /* of what follows; short, never while a token is asked */
        struct master_ref *current, *old;
        bool always_sensitive;
        unsigned cache;  /* seconds */
        bool cache_ever; /* the master is in memory itself */
        struct cached *cached;
        size_t n_cached;
        struct seen *seen;
        size_t n_seen;
        struct mac_key {
                uint32_t number;
                struct secret *key;
        } macs[MACS_MAX];
        size_t n_macs;

        pthread_mutex_t opening; /* one KEK is opened at a time: who waited finds it in memory */
};

/* Every operation that fails says why, for keystore_error(); returns r. */
int keystore_fail(int r, const char *words, ...) _printf_(2, 3);

/* store_write(), with the words of a failure brought to this thread: a write runs on another one. */
int keystore_write(struct keystore *keystore, store_fn fn, void *userdata);

/* rows.c: one blob of one row, one number; -ENOENT. */
int keystore_get_blob(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, struct blob *ret);
int keystore_get_int(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, int64_t *ret);

/* masters.c: the rows, and which of them the configured keys are. */
struct master_row {
        int64_t id, created;
        char kind[8], name[256], serial[64];
        struct blob parameters, proof;
};
struct master_rows {
        struct master_row *items;
        size_t n;
};
/* What the options say, opened and held against the database, which gets a row where it knows none of them. */
int masters_open(struct keystore *keystore, const struct keystore_options *options, struct master_ref **ret_current,
                 struct master_ref **ret_old, char *error, size_t error_size);
int masters_register(struct store *store, struct master *master, const struct keystore_source *source,
                     const struct blob *parameters, int64_t *ret_id);
/* The same, inside a transaction: for a master that is in memory. */
int masters_insert(struct store_txn *txn, struct master *master, const struct keystore_source *source,
                   const struct blob *parameters, int64_t *ret_id);
struct master_ref *master_ref(struct master_ref *ref);
struct master_ref *master_unref(struct master_ref *ref);
DEFINE_CLEANUP(struct master_ref *, master_unref)
/* The open master with this id. -ENOKEY: not configured. */
int keystore_master_of(struct keystore *keystore, int64_t id, struct master_ref **ret);
struct master_ref *keystore_master_current(struct keystore *keystore);

/* kek.c */
struct kek_row {
        char name[KEK_NAME_MAX + 1];
        int64_t generation, master;
        struct blob wrapped;
        bool has_floor;
        int64_t oldest, newest, oldest_master; /* what is accepted; authenticated */
        uint8_t mac[SHA256_SIZE];
};
void kek_row_done(struct kek_row *row);
/* generation 0: the newest. Checked against the floor. -ENOENT. */
int kek_row_load(struct keystore *keystore, struct store_txn *txn, const char *name, int64_t generation, struct kek_row *ret);
int kek_row_insert(struct store_txn *txn, const char *name, int64_t generation, int64_t master, const struct blob *wrapped);
/* What is accepted from now on: given by who has checked what was, never read off rows that anybody may have put there. */
int kek_floor_write(struct keystore *keystore, struct store_txn *txn, const char *name, int64_t oldest, int64_t newest,
                    int64_t master);
int kek_floor_check(struct keystore *keystore, const struct store_txn *txn, const struct kek_row *row);
int kek_wrap(struct keystore *keystore, struct master_ref *master, const char *name, int64_t generation, struct kek *key,
             struct blob *ret, struct kek **ret_kek);
int kek_unwrap(struct keystore *keystore, const struct kek_row *row,
               struct kek **ret);                                                     /* asks the master, whatever is in memory */
int kek_open(struct keystore *keystore, const struct kek_row *row, struct kek **ret); /* from memory, else as above */
int kek_of_key(struct secret **take, struct kek **ret);
struct kek *kek_ref(struct kek *kek);
struct kek *kek_unref(struct kek *kek);
DEFINE_CLEANUP(struct kek *, kek_unref)
int kek_seal_key(struct kek *kek, const struct field *fields, size_t n, const struct secret *secret, uint8_t *ret);
int kek_open_key(struct kek *kek, const struct field *fields, size_t n, const void *data, size_t size, struct secret **ret);

/* cache.c; all take the lock */
struct kek *cache_find(struct keystore *keystore, const struct kek_row *row);
void cache_remember(struct keystore *keystore, const struct kek_row *row, struct kek *kek); /* as long as is configured */
/* For so many uses, where none is configured. */
void cache_ready(struct keystore *keystore, const struct kek_row *row, struct kek *kek, unsigned uses);
void cache_expire(struct keystore *keystore, uint64_t now, bool all);
int seen_check(struct keystore *keystore, const struct store_txn *txn, const struct kek_row *row);

/* own.c: what hangs off the service's KEK. */
enum { OWN_INBOX = 1, OWN_AUDIT = 2, OWN_FLOOR = 3 }; /* rows of keystore_inbox, which is older than the other two */
int own_prepare(struct keystore *keystore);
int own_floor_make(struct keystore *keystore, struct store_txn *txn, struct kek *kek, const struct kek_row *row);

int own_verify(struct keystore *keystore, int64_t *ret_n);
const char *own_name(int64_t id); /* of a row of keystore_inbox; NULL: no such one */

/* upgrade.c: a database of before the generations. */
int upgrade_needed(struct store *store, bool *ret);
int upgrade_master_is(struct store *store, const struct master *master); /* -EKEYREJECTED: another one */
int upgrade_run(struct keystore *keystore, struct master *master, const struct keystore_source *source);

/* What a row is bound to, kept. */
enum { BINDING_MAX = 16 };
struct binding {
        struct field fields[BINDING_MAX];
        size_t n;
};
int binding_of(const struct field *fields, size_t n, struct binding *ret);

#define KEY_FIELDS(keystore, name, generation, handle)                                                                  \
        FIELDS(field_text("tallyboot keystore v2"), field_text((keystore)->party), field_text("key"), field_text(name), \
               field_number((uint64_t) (generation)), field_number((uint64_t) (handle)))
#define KEK_FIELDS(party, name, generation)                                                                 \
        FIELDS(field_text("tallyboot keystore v2"), field_text(party), field_text("kek"), field_text(name), \
               field_number((uint64_t) (generation)))
#define OWN_FIELDS(keystore, what, generation, number)                                               \
        FIELDS(field_text("tallyboot keystore v2"), field_text((keystore)->party), field_text(what), \
               field_number((uint64_t) (generation)), field_number((uint64_t) (number)))
