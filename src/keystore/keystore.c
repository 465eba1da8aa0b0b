/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

const char keystore_migration_generations[] = "SELECT 1";

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

/* The value is a wrapped constant: it opens under the right master key only. */
static int master_check(struct keystore *keystore, struct store_txn *txn) {
        static const char constant[] = "this is the right master key";
        const struct field fields[] = { field_text("tallyboot keystore v1"), field_text(keystore->party), field_text("check") };
        _cleanup_(secret_freep) struct secret *secret = NULL, *found = NULL;
        _cleanup_(blob_done) struct blob value = {};
        uint8_t wrapped[sizeof(constant) + BOX_OVERHEAD];
        int r;

        r = keystore_get_blob(txn, "SELECT value FROM keystore_master WHERE id = 1", STORE_NO_ARGS, &value);
        if (r >= 0)
                return box_open(keystore->check_key, fields, ELEMENTSOF(fields), value.data, value.size, &found);
        if (r != -ENOENT)
                return r;

        r = secret_copy(constant, sizeof(constant), &secret);
        if (r >= 0)
                r = box_seal(keystore->check_key, fields, ELEMENTSOF(fields), secret, wrapped);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO keystore_master (id, value) VALUES (1, $1)",
                          STORE_ARGS(store_blob(wrapped, sizeof(wrapped))), NULL);
}

static int mac_open(struct keystore *keystore, uint32_t number, const struct blob *wrapped, struct secret **ret) {
        return box_open(
                keystore->mac_key,
                FIELDS(field_text("tallyboot keystore v1"), field_text(keystore->party), field_text("mac"), field_number(number)),
                wrapped->data, wrapped->size, ret);
}

static int row_number(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        if (columns[0].type == STORE_INT)
                *(int64_t *) userdata = columns[0].number;
        return 0;
}

static int mac_load(struct keystore *keystore, struct store_txn *txn, uint32_t number, struct secret **ret) {
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        r = keystore_get_blob(txn, "SELECT wrapped FROM keystore_mac WHERE number = $1", STORE_ARGS(store_int(number)), &wrapped);
        return r < 0 ? r : mac_open(keystore, number, &wrapped, ret);
}

static int mac_ensure(struct keystore *keystore, struct store_txn *txn) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int64_t number = 0;
        int r;

        r = store_query(txn, "SELECT MAX(number) FROM keystore_mac", STORE_NO_ARGS, row_number, &number);
        if (r < 0)
                return r;
        if (number > 0)
                return 0;

        r = secret_random(AEAD_KEY_SIZE, &key);
        if (r >= 0)
                r = box_seal(keystore->mac_key,
                             FIELDS(field_text("tallyboot keystore v1"), field_text(keystore->party), field_text("mac"),
                                    field_number(1)),
                             key, wrapped);
        if (r < 0)
                return r;

        return store_exec(txn, "INSERT INTO keystore_mac (number, wrapped, created) VALUES (1, $1, $2)",
                          STORE_ARGS(store_blob(wrapped, sizeof(wrapped)), store_int((int64_t) clock_realtime_ms())), NULL);
}

/* Key pairs of the service itself; the table is older than the second of them. */
enum { PAIR_INBOX = 1, PAIR_AUDIT = 2 };

static int pair_ensure(struct keystore *keystore, struct store_txn *txn, int64_t id, const char *name, const struct secret *use,
                       struct keypair **ret) {
        const struct field fields[] = { field_text("tallyboot keystore v1"), field_text(keystore->party), field_text(name) };
        _cleanup_(secret_freep) struct secret *ikm = NULL;
        _cleanup_(blob_done) struct blob found = {};
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int r;

        r = keystore_get_blob(txn, "SELECT wrapped FROM keystore_inbox WHERE id = $1", STORE_ARGS(store_int(id)), &found);
        if (r == -ENOENT) {
                r = secret_random(AEAD_KEY_SIZE, &ikm);
                if (r >= 0)
                        r = box_seal(use, fields, ELEMENTSOF(fields), ikm, wrapped);
                if (r >= 0)
                        r = store_exec(txn, "INSERT INTO keystore_inbox (id, wrapped) VALUES ($1, $2)",
                                       STORE_ARGS(store_int(id), store_blob(wrapped, sizeof(wrapped))), NULL);
        } else if (r >= 0)
                r = box_open(use, fields, ELEMENTSOF(fields), found.data, found.size, &ikm);
        if (r < 0)
                return r;

        return keypair_derive(ikm, ret);
}

/* Everything that may have to be made is made here, once: later calls only read, and can come from inside a write. */
static int keystore_prepare(struct store_txn *txn, void *userdata) {
        struct keystore *keystore = userdata;
        int r;

        r = master_check(keystore, txn);
        if (r < 0)
                return r;
        r = mac_ensure(keystore, txn);
        if (r < 0)
                return r;
        r = pair_ensure(keystore, txn, PAIR_INBOX, "inbox", keystore->inbox_key, &keystore->inbox);
        if (r < 0)
                return r;
        return pair_ensure(keystore, txn, PAIR_AUDIT, "audit", keystore->audit_key, &keystore->audit);
}

static int derive_keys(struct keystore *keystore) {
        static const char *const uses[] = { "check", "group", "mac", "inbox", "audit" };
        struct secret **keys[] = { &keystore->check_key, &keystore->group_key, &keystore->mac_key, &keystore->inbox_key,
                                   &keystore->audit_key };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(uses) && r >= 0; i++)
                r = master_derive(keystore->master, uses[i], keys[i]);
        return r;
}

int keystore_open(const struct keystore_options *options, struct store *store, const char *party, struct keystore **ret,
                  char *error, size_t error_size) {
        _cleanup_(keystore_closep) struct keystore *keystore = NULL;
        int r;

        *error = 0;
        keystore = calloc(1, sizeof(*keystore));
        if (!keystore)
                return -ENOMEM;
        (void) pthread_mutex_init(&keystore->lock, NULL);
        keystore->store = store;
        keystore->party = strdup(party);
        if (!keystore->party)
                return -ENOMEM;

        r = master_open(options, &options->master, party, &(struct blob){}, &keystore->master, error, error_size);
        if (r >= 0)
                r = derive_keys(keystore);
        if (r < 0)
                return r;

        r = store_write(store, keystore_prepare, keystore);
        if (r == -EKEYREJECTED)
                (void) snprintf(error, error_size, "%s: is not the master key that this %s's database was made with",
                                options->master.text, party);
        else if (r < 0)
                (void) snprintf(error, error_size, "the keys in the database cannot be read: %s", strerror(-r));
        if (r < 0)
                return r;

        *ret = TAKE_PTR(keystore);
        return 0;
}

int keystore_reload(struct keystore *keystore, const struct keystore_options *options, char *error, size_t error_size) {
        (void) keystore;
        (void) options;
        (void) error;
        (void) error_size;
        return 0;
}

void keystore_warnings(struct keystore *keystore, char *ret, size_t size) {
        (void) keystore;
        (void) snprintf(ret, size, "%s", "");
}

void keystore_tick(struct keystore *keystore) {
        (void) keystore;
}

int keystore_warm(struct keystore *keystore, const char *group) {
        (void) keystore;
        (void) group;
        return 0;
}

struct keystore *keystore_close(struct keystore *keystore) {
        if (!keystore)
                return NULL;

        (void) master_close(keystore->master);
        (void) secret_free(keystore->check_key);
        (void) secret_free(keystore->group_key);
        (void) secret_free(keystore->mac_key);
        (void) secret_free(keystore->inbox_key);
        (void) secret_free(keystore->audit_key);
        for (size_t i = 0; i < keystore->n_groups; i++) {
                free(keystore->groups[i].name);
                (void) secret_free(keystore->groups[i].key);
        }
        free(keystore->groups);
        for (size_t i = 0; i < keystore->n_macs; i++)
                (void) secret_free(keystore->macs[i].key);
        (void) keypair_free(keystore->inbox);
        (void) keypair_free(keystore->audit);
        (void) pthread_mutex_destroy(&keystore->lock);
        free(keystore->party);
        free(keystore);
        return NULL;
}

struct mac_ask {
        struct keystore *keystore;
        int64_t number; /* 0: the newest */
        struct secret *key;
};

static int mac_read(struct store_txn *txn, void *userdata) {
        struct mac_ask *ask = userdata;
        int r;

        if (ask->number == 0) {
                r = store_query(txn, "SELECT MAX(number) FROM keystore_mac", STORE_NO_ARGS, row_number, &ask->number);
                if (r < 0)
                        return r;
        }
        if (ask->number <= 0 || ask->number > UINT32_MAX)
                return -ENOENT;
        return mac_load(ask->keystore, txn, (uint32_t) ask->number, &ask->key);
}

/* Keys are never taken out of the cache while the keystore is open: callers keep pointers. */
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
        int r;

        (void) pthread_mutex_lock(&keystore->lock);
        r = mac_cached(keystore, number, ret_number, ret);
        if (r == -ENOENT && keystore->n_macs < MACS_MAX) {
                r = store_read(keystore->store, mac_read, &ask);
                if (r >= 0) {
                        keystore->macs[keystore->n_macs++] = (struct mac_key){ .number = (uint32_t) ask.number, .key = ask.key };
                        r = mac_cached(keystore, (uint32_t) ask.number, ret_number, ret);
                }
        }
        (void) pthread_mutex_unlock(&keystore->lock);
        return r;
}

int keystore_mac_current(struct keystore *keystore, uint32_t *ret_number, const struct secret **ret) {
        return mac_find(keystore, 0, ret_number, ret);
}

int keystore_mac_get(struct keystore *keystore, uint32_t number, const struct secret **ret) {
        uint32_t found;

        return number == 0 ? -ENOENT : mac_find(keystore, number, &found, ret);
}

int keystore_inbox(struct keystore *keystore, const struct keypair **ret) {
        *ret = keystore->inbox;
        return 0;
}

const struct keypair *keystore_audit_key(const struct keystore *keystore) {
        return keystore->audit;
}
