/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "tenant/tenant.h"

/* Kept as bytes: the MAC is over them, and nobody here can check it. */
int manifest_keep(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body) {
        if (kind == KEY_PAYLOAD)
                return payload_reseal(txn, node, body);

        return store_exec(txn, "INSERT INTO manifests (node, key, generation, manifest, mac) VALUES ($1, $2, $3, $4, $5)",
                          STORE_ARGS(store_text(node), store_text(body->key), store_int(body->generation),
                                     store_blob(body->manifest.data, body->manifest.size),
                                     store_blob(body->mac, sizeof(body->mac))),
                          NULL);
}

struct manifest_row {
        struct blob manifest;
        uint8_t mac[32];
        bool found;
};

static int on_manifest(const struct store_value *columns, size_t n, void *userdata) {
        struct manifest_row *row = userdata;
        int r;

        (void) n;
        r = column_fixed(columns + 1, row->mac, sizeof(row->mac));
        if (r < 0)
                return r;
        r = column_blob(columns, &row->manifest);
        row->found = r >= 0;
        return r;
}

static int manifest_load(struct store_txn *txn, const char *node, const char *key, uint32_t generation,
                         struct manifest_row *ret) {
        struct manifest_row row = {};
        int r;

        r = store_query(txn, "SELECT manifest, mac FROM manifests WHERE node = $1 AND key = $2 AND generation = $3",
                        STORE_ARGS(store_text(node), store_text(key), store_int(generation)), on_manifest, &row);
        if (r < 0)
                return r;
        if (!row.found)
                return -ENOENT;

        *ret = row;
        return 0;
}

int manifest_same(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body) {
        struct manifest_row row = {};
        bool same;
        int r;

        if (kind == KEY_PAYLOAD)
                return payload_reseal(txn, node, body);

        r = manifest_load(txn, node, body->key, body->generation, &row);
        if (r == -ENOENT)
                return -EEXIST;
        if (r < 0)
                return r;

        same = row.manifest.size == body->manifest.size &&
               memcmp(row.manifest.data, body->manifest.data, row.manifest.size) == 0 &&
               memcmp(row.mac, body->mac, sizeof(row.mac)) == 0;
        blob_done(&row.manifest);
        return same ? 0 : -EEXIST;
}

int manifest_describe(struct store_txn *txn, const char *node, struct wire_details *details) {
        for (size_t i = 0; i < details->n_keys; i++) {
                struct wire_key *key = details->keys + i;
                struct manifest_row row = {};
                int r;

                if (key->kind != KEY_VOLUMES)
                        continue;
                r = manifest_load(txn, node, key->id, key->generation, &row);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;
                key->manifest = row.manifest;
                memcpy(key->mac, row.mac, sizeof(key->mac));
        }

        return 0;
}
