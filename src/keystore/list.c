/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"
#include "keystore/manage.h"
#include "pkcs11/wrap.h"

struct list {
        void *items;
        size_t n, item_size;
};

static void *list_add(struct list *list) {
        uint8_t *items = reallocarray(list->items, list->n + 1, list->item_size);

        if (!items)
                return NULL;
        list->items = items;
        items += list->n++ * list->item_size;
        memset(items, 0, list->item_size);
        return items;
}

static void copy_text(const struct store_value *column, char *ret, size_t size) {
        (void) snprintf(ret, size, "%s", column->type == STORE_TEXT ? (const char *) column->data : "");
}

static int on_master(const struct store_value *columns, size_t n, void *userdata) {
        struct keystore_master *master = list_add(userdata);

        if (!master || n != 6)
                return -ENOMEM;
        master->id = columns[0].number;
        copy_text(columns + 1, master->kind, sizeof(master->kind));
        copy_text(columns + 2, master->name, sizeof(master->name));
        copy_text(columns + 3, master->serial, sizeof(master->serial));
        master->created = columns[4].number;
        master->keks = columns[5].number;
        return 0;
}

static int read_masters(struct store_txn *txn, void *userdata) {
        return store_query(txn,
                           "SELECT m.id, m.kind, m.name, m.serial, m.created,"
                           " (SELECT COUNT(*) FROM keystore_kek k WHERE k.master = m.id) FROM keystore_masters m ORDER BY m.id",
                           STORE_NO_ARGS, on_master, userdata);
}

int keystore_masters(struct keystore *keystore, struct store *store, struct keystore_master **ret, size_t *ret_n) {
        struct list list = { .item_size = sizeof(struct keystore_master) };
        struct keystore_master *items;
        int r;

        r = store_read(store, read_masters, &list);
        if (r < 0) {
                free(list.items);
                return r;
        }

        items = list.items;
        for (size_t i = 0; keystore && i < list.n; i++) {
                _cleanup_(master_unrefp) struct master_ref *open = NULL;

                items[i].is_open = keystore_master_of(keystore, items[i].id, &open) >= 0;
        }
        *ret = items;
        *ret_n = list.n;
        return 0;
}

static void describe_blob(const char *kind, const void *data, size_t size, struct keystore_kek *kek) {
        struct wrap_info info;

        if (strcmp(kind, "pkcs11") != 0)
                (void) snprintf(kek->mechanism, sizeof(kek->mechanism), "aes-256-gcm (%s)", kind);
        else if (wrap_describe(data, size, &info) >= 0) {
                (void) snprintf(kek->mechanism, sizeof(kek->mechanism), "%s", wrap_mechanism_to_string(info.mechanism));
                (void) snprintf(kek->mac, sizeof(kek->mac), "%s", wrap_mac_to_string(info.mac));
                return;
        } else
                (void) snprintf(kek->mechanism, sizeof(kek->mechanism), "unreadable");
        (void) snprintf(kek->mac, sizeof(kek->mac), "none");
}

static int on_kek(const struct store_value *columns, size_t n, void *userdata) {
        struct keystore_kek *kek = list_add(userdata);

        if (!kek || n != 8)
                return -ENOMEM;
        copy_text(columns + 0, kek->group, sizeof(kek->group));
        kek->generation = columns[1].number;
        kek->master = columns[2].number;
        kek->created = columns[3].number;
        kek->rows = columns[4].number;
        kek->is_newest = columns[5].number != 0;
        describe_blob(columns[6].type == STORE_TEXT ? columns[6].data : "", columns[7].data, columns[7].size, kek);
        return 0;
}

static int read_keks(struct store_txn *txn, void *userdata) {
        return store_query(
                txn,
                "SELECT k.name, k.generation, k.master, k.created,"
                " (SELECT COUNT(*) FROM keystore_key r WHERE r.name = k.name AND r.generation = k.generation) + CASE WHEN k.name = ''"
                "   THEN (SELECT COUNT(*) FROM keystore_mac a WHERE a.generation = k.generation)"
                "   + (SELECT COUNT(*) FROM keystore_inbox i WHERE i.generation = k.generation) ELSE 0 END,"
                " NOT EXISTS (SELECT 1 FROM keystore_kek o WHERE o.name = k.name AND o.generation > k.generation), m.kind, k.wrapped"
                " FROM keystore_kek k JOIN keystore_masters m ON m.id = k.master ORDER BY k.name, k.generation",
                STORE_NO_ARGS, on_kek, userdata);
}

int keystore_keks(struct store *store, struct keystore_kek **ret, size_t *ret_n) {
        struct list list = { .item_size = sizeof(struct keystore_kek) };
        int r;

        r = store_read(store, read_keks, &list);
        if (r < 0) {
                free(list.items);
                return r;
        }
        *ret = list.items;
        *ret_n = list.n;
        return 0;
}

int keystore_scrub(struct store *store) {
        enum { WAIT_MS = 100, TRIES = 100 };
        int r = -EBUSY;

        for (int i = 0; i < TRIES && r == -EBUSY; i++) {
                if (i > 0)
                        sleep_ms(WAIT_MS);
                r = store_checkpoint(store);
        }
        return r;
}

int keystore_init(const struct keystore_options *options, struct store *store, const char *party, char *error,
                  size_t error_size) {
        const struct master_ops *ops = master_ops_of(options->master.kind);
        _cleanup_(master_closep) struct master *master = NULL;
        _cleanup_(blob_done) struct blob parameters = {};
        bool needed = false;
        int64_t id;
        int r;

        *error = 0;
        if (!ops)
                return -EINVAL;
        if (store) {
                r = upgrade_needed(store, &needed);
                if (r == -EPROTONOSUPPORT || needed) {
                        (void) snprintf(error, error_size,
                                        "the database is an older one: start the %s once, with its master key of now", party);
                        return -EPROTONOSUPPORT;
                }
                if (r < 0)
                        return r;
        }

        r = ops->create(options, party, &parameters, error, error_size);
        if (r < 0 || !store)
                return r;

        r = master_open(options, &options->master, party, &parameters, &master, error, error_size);
        if (r >= 0)
                r = masters_register(store, master, &options->master, &parameters, &id);
        if (r < 0 && !*error)
                (void) snprintf(error, error_size, "%s: was made, and the database does not know it: %s", options->master.text,
                                r == -ENOLINK ? keystore_error() : strerror(-r));
        return r;
}
