/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/internal.h"

/* A database of before the generations: one master, a file, with a key derived from it for each use; group keys without
 * generation. Everything is wrapped anew in one transaction. The halves themselves stay as they are. */

enum { BATCH = 256 };
enum old_use { OLD_CHECK, OLD_GROUP, OLD_MAC, OLD_INBOX, OLD_AUDIT, _OLD_USES };
static const char *const uses[_OLD_USES] = { "check", "group", "mac", "inbox", "audit" };

struct upgrade {
        struct keystore *keystore;
        struct master *master;
        const struct keystore_source *source;
        struct secret *old[_OLD_USES];
        struct kek *service;
        int64_t id;
};

static void upgrade_done(struct upgrade *upgrade) {
        for (size_t i = 0; i < _OLD_USES; i++)
                (void) secret_free(upgrade->old[i]);
        (void) kek_unref(upgrade->service);
}

static int has_table(struct store_txn *txn, void *userdata) {
        int64_t n = 0;
        int r;

        r = keystore_get_int(txn, "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'keystore_kek'",
                             STORE_NO_ARGS, &n);
        if (r >= 0 && n == 0)
                return -EPROTONOSUPPORT;
        r = keystore_get_int(txn, "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'keystore_master'",
                             STORE_NO_ARGS, &n);
        if (r < 0 || n == 0)
                return r;
        r = keystore_get_int(txn, "SELECT COUNT(*) FROM keystore_master", STORE_NO_ARGS, &n);
        if (r >= 0)
                *(bool *) userdata = n > 0;
        return r;
}

int upgrade_needed(struct store *store, bool *ret) {
        *ret = false;
        return store_read(store, has_table, ret);
}

static int read_check(struct store_txn *txn, void *userdata) {
        return keystore_get_blob(txn, "SELECT value FROM keystore_master WHERE id = 1", STORE_NO_ARGS, userdata);
}

int upgrade_master_is(struct store *store, const struct master *master) {
        _cleanup_(secret_freep) struct secret *key = NULL, *found = NULL;
        _cleanup_(blob_done) struct blob value = {};
        int r;

        r = store_read(store, read_check, &value);
        if (r >= 0)
                r = master_derive(master, uses[OLD_CHECK], &key);
        if (r < 0)
                return r;
        return box_open(key, FIELDS(field_text("tallyboot keystore v1"), field_text(master->party), field_text("check")),
                        value.data, value.size, &found);
}

static int insert_kek(struct upgrade *upgrade, struct store_txn *txn, const char *name, const struct secret *key,
                      struct kek **ret) {
        _cleanup_(secret_freep) struct secret *made = NULL;
        _cleanup_(blob_done) struct blob wrapped = {};
        int r;

        r = master_wrap(upgrade->master, upgrade->id, KEK_FIELDS(upgrade->keystore->party, name, 1), key, &wrapped, &made);
        if (r >= 0)
                r = kek_row_insert(txn, name, 1, upgrade->id, &wrapped);
        return r < 0 ? r : kek_of_key(&made, ret);
}

struct old_row {
        int64_t number;
        char name[KEK_NAME_MAX + 1];
        struct blob wrapped;
};
struct old_rows {
        struct old_row items[BATCH];
        size_t n;
};

static void old_rows_done(struct old_rows *rows) {
        for (size_t i = 0; i < rows->n; i++)
                blob_done(&rows->items[i].wrapped);
        rows->n = 0;
}

static int on_old_row(const struct store_value *columns, size_t n, void *userdata) {
        struct old_rows *rows = userdata;
        struct old_row *row = rows->items + rows->n;

        if (n != 3 || rows->n >= BATCH || columns[2].type != STORE_BLOB ||
            (columns[1].type == STORE_TEXT && columns[1].size > KEK_NAME_MAX))
                return -EUCLEAN;
        *row = (struct old_row){ .number = columns[0].number };
        if (columns[1].type == STORE_TEXT)
                strcpy(row->name, columns[1].data);
        rows->n++;
        return blob_copy(columns[2].data, columns[2].size, &row->wrapped);
}

static int rewrap_key(struct upgrade *upgrade, struct store_txn *txn, struct kek *kek, const struct old_row *row) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int r;

        r = kek_open_key(kek,
                         FIELDS(field_text("tallyboot keystore v1"), field_text(upgrade->keystore->party), field_text("key"),
                                field_text(row->name), field_number((uint64_t) row->number)),
                         row->wrapped.data, row->wrapped.size, &key);
        if (r >= 0 && key->size != AEAD_KEY_SIZE)
                r = -EKEYREJECTED;
        if (r >= 0)
                r = kek_seal_key(kek, KEY_FIELDS(upgrade->keystore, row->name, 1, row->number), key, wrapped);
        /* a row that does not open stays what it is: refused when it is asked for, named by verify */
        if (r == -EKEYREJECTED)
                return store_exec(txn, "UPDATE keystore_key SET generation = 1 WHERE handle = $1",
                                  STORE_ARGS(store_int(row->number)), NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "UPDATE keystore_key SET generation = 1, wrapped = $1 WHERE handle = $2",
                          STORE_ARGS(store_blob(wrapped, sizeof(wrapped)), store_int(row->number)), NULL);
}

static int upgrade_group(struct upgrade *upgrade, struct store_txn *txn, const struct old_row *group) {
        _cleanup_(old_rows_done) struct old_rows rows = {};
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(kek_unrefp) struct kek *kek = NULL;
        int r;

        r = box_open(upgrade->old[OLD_GROUP],
                     FIELDS(field_text("tallyboot keystore v1"), field_text(upgrade->keystore->party), field_text("group"),
                            field_text(group->name)),
                     group->wrapped.data, group->wrapped.size, &key);
        if (r >= 0)
                r = insert_kek(upgrade, txn, group->name, key, &kek);
        if (r >= 0)
                r = kek_floor_write(upgrade->keystore, txn, group->name, 1, 1, upgrade->id);
        if (r < 0)
                return r;

        do {
                old_rows_done(&rows);
                r = store_query(txn,
                                "SELECT handle, name, wrapped FROM keystore_key WHERE name = $1 AND generation = 0 LIMIT 256",
                                STORE_ARGS(store_text(group->name)), on_old_row, &rows);
                for (size_t i = 0; i < rows.n && r >= 0; i++)
                        r = rewrap_key(upgrade, txn, kek, rows.items + i);
        } while (r >= 0 && rows.n > 0);
        return r;
}

static int upgrade_groups(struct upgrade *upgrade, struct store_txn *txn) {
        _cleanup_(old_rows_done) struct old_rows groups = {};
        int r;

        do {
                old_rows_done(&groups);
                r = store_query(txn, "SELECT 0, name, wrapped FROM keystore_group LIMIT 256", STORE_NO_ARGS, on_old_row, &groups);
                for (size_t i = 0; i < groups.n && r >= 0; i++) {
                        r = upgrade_group(upgrade, txn, groups.items + i);
                        if (r >= 0)
                                r = store_exec(txn, "DELETE FROM keystore_group WHERE name = $1",
                                               STORE_ARGS(store_text(groups.items[i].name)), NULL);
                }
        } while (r >= 0 && groups.n > 0);
        return r;
}

static int rewrap_own(struct upgrade *upgrade, struct store_txn *txn, const char *what, const struct secret *old_key,
                      const struct field *old_fields, size_t n_old, const struct old_row *row, const char *update) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD];
        int r;

        r = box_open(old_key, old_fields, n_old, row->wrapped.data, row->wrapped.size, &key);
        if (r >= 0 && key->size != AEAD_KEY_SIZE)
                r = -EKEYREJECTED;
        if (r >= 0)
                r = kek_seal_key(upgrade->service, OWN_FIELDS(upgrade->keystore, what, 1, row->number), key, wrapped);
        if (r < 0)
                return r;
        return store_exec(txn, update, STORE_ARGS(store_blob(wrapped, sizeof(wrapped)), store_int(row->number)), NULL);
}

static int upgrade_macs(struct upgrade *upgrade, struct store_txn *txn) {
        _cleanup_(old_rows_done) struct old_rows rows = {};
        int r;

        r = store_query(txn, "SELECT number, NULL, wrapped FROM keystore_mac", STORE_NO_ARGS, on_old_row, &rows);
        for (size_t i = 0; i < rows.n && r >= 0; i++)
                r = rewrap_own(upgrade, txn, "mac", upgrade->old[OLD_MAC],
                               FIELDS(field_text("tallyboot keystore v1"), field_text(upgrade->keystore->party),
                                      field_text("mac"), field_number((uint64_t) rows.items[i].number)),
                               rows.items + i, "UPDATE keystore_mac SET generation = 1, wrapped = $1 WHERE number = $2");
        return r;
}

static int upgrade_pairs(struct upgrade *upgrade, struct store_txn *txn) {
        _cleanup_(old_rows_done) struct old_rows rows = {};
        int r;

        r = store_query(txn, "SELECT id, NULL, wrapped FROM keystore_inbox WHERE id IN (1, 2) AND generation = 0", STORE_NO_ARGS,
                        on_old_row, &rows);
        for (size_t i = 0; i < rows.n && r >= 0; i++) {
                bool inbox = rows.items[i].number == OWN_INBOX;

                r = rewrap_own(upgrade, txn, own_name(rows.items[i].number), upgrade->old[inbox ? OLD_INBOX : OLD_AUDIT],
                               FIELDS(field_text("tallyboot keystore v1"), field_text(upgrade->keystore->party),
                                      field_text(own_name(rows.items[i].number))),
                               rows.items + i, "UPDATE keystore_inbox SET generation = 1, wrapped = $1 WHERE id = $2");
        }
        return r;
}

static int upgrade_txn(struct store_txn *txn, void *userdata) {
        struct upgrade *upgrade = userdata;
        int r;

        r = masters_insert(txn, upgrade->master, upgrade->source, NULL, &upgrade->id);
        if (r >= 0)
                r = insert_kek(upgrade, txn, KEK_SERVICE, NULL, &upgrade->service);
        if (r >= 0)
                r = own_floor_make(upgrade->keystore, txn, upgrade->service,
                                   &(struct kek_row){ .generation = 1, .master = upgrade->id });
        if (r >= 0)
                r = upgrade_groups(upgrade, txn);
        if (r >= 0)
                r = upgrade_macs(upgrade, txn);
        if (r >= 0)
                r = upgrade_pairs(upgrade, txn);
        if (r >= 0)
                r = store_exec(txn, "DELETE FROM keystore_master", STORE_NO_ARGS, NULL);
        return r;
}

int upgrade_run(struct keystore *keystore, struct master *master, const struct keystore_source *source) {
        _cleanup_(upgrade_done) struct upgrade upgrade = { .keystore = keystore, .master = master, .source = source };
        int r = 0;

        for (size_t i = 0; i < _OLD_USES && r >= 0; i++)
                r = master_derive(master, uses[i], upgrade.old + i);
        if (r >= 0)
                r = keystore_write(keystore, upgrade_txn, &upgrade);

        /* own_prepare() reads it with the rest */
        keystore->floor_key = secret_free(keystore->floor_key);
        return r;
}
