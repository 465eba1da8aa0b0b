/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "verifier/verifier.h"

int digest_keep(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body) {
        uint8_t digest[32];
        int r;

        if (kind != KEY_VOLUMES)
                return 0;
        r = sha256(body->manifest.data, body->manifest.size, digest);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO manifest_digests (node, key, generation, sha256) VALUES ($1, $2, $3, $4)",
                          STORE_ARGS(store_text(node), store_text(body->key), store_int(body->generation),
                                     store_blob(digest, sizeof(digest))),
                          NULL);
}

struct digest_row {
        uint8_t digest[32];
        bool found;
};

static int on_digest(const struct store_value *columns, size_t n, void *userdata) {
        struct digest_row *row = userdata;

        (void) n;
        row->found = true;
        return column_fixed(columns, row->digest, sizeof(row->digest));
}

static int digest_load(struct store_txn *txn, const char *node, const char *key, uint32_t generation, uint8_t ret[static 32]) {
        struct digest_row row = {};
        int r;

        r = store_query(txn, "SELECT sha256 FROM manifest_digests WHERE node = $1 AND key = $2 AND generation = $3",
                        STORE_ARGS(store_text(node), store_text(key), store_int(generation)), on_digest, &row);
        if (r < 0)
                return r;
        if (!row.found)
                return -ENOENT;

        memcpy(ret, row.digest, sizeof(row.digest));
        return 0;
}

int digest_same(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body) {
        uint8_t kept[32], digest[32];
        int r;

        if (kind != KEY_VOLUMES)
                return 0;
        r = digest_load(txn, node, body->key, body->generation, kept);
        if (r == -ENOENT)
                return -EEXIST;
        if (r >= 0)
                r = sha256(body->manifest.data, body->manifest.size, digest);
        if (r < 0)
                return r;
        return memcmp(kept, digest, sizeof(kept)) == 0 ? 0 : -EEXIST;
}

int digest_describe(struct store_txn *txn, const char *node, struct wire_details *details) {
        for (size_t i = 0; i < details->n_keys; i++) {
                struct wire_key *key = details->keys + i;
                int r;

                r = digest_load(txn, node, key->id, key->generation, key->manifest_sha256);
                if (r < 0 && r != -ENOENT)
                        return r;
                key->has_manifest_sha256 = r == 0;
        }

        return 0;
}
