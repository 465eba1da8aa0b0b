/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/state.h"

#include <string.h>

static const char *const states[] = {
        [NODE_PENDING] = "pending",
        [NODE_APPROVED] = "approved",
        [NODE_SUSPENDED] = "suspended",
        [NODE_REVOKED] = "revoked",
};

const char *node_state_to_string(enum node_state state) {
        return states[state];
}

int node_state_from_string(const char *text, enum node_state *ret) {
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                if (strcmp(states[i], text) == 0) {
                        *ret = (enum node_state) i;
                        return 0;
                }

        return -EINVAL;
}

void node_done(struct node *node) {
        blob_done(&node->ek_public);
        blob_done(&node->ak_public);
        blob_done(&node->token_public);
        blob_done(&node->tpm.certificates);
        *node = (struct node){};
}

/* Which kind a node is, is which keys it has: written once, with the node. */
const char token_migration[] = "ALTER TABLE nodes ADD COLUMN token_public BLOB;";

struct node_row {
        struct node node;
        bool found;
};

static int read_identity(const struct store_value *columns, struct node *node) {
        char state[16], bank[16];
        int r;

        if ((r = column_text(columns + 0, node->id, sizeof(node->id))) < 0 ||
            (r = column_text(columns + 1, node->ek_sha256, sizeof(node->ek_sha256))) < 0 ||
            (r = column_text(columns + 2, node->code, sizeof(node->code))) < 0 ||
            (r = column_blob(columns + 3, &node->ek_public)) < 0 || (r = column_blob(columns + 4, &node->ak_public)) < 0 ||
            (r = column_text(columns + 5, state, sizeof(state))) < 0 ||
            (r = column_text(columns + 6, node->group, sizeof(node->group))) < 0 ||
            (r = column_text(columns + 7, bank, sizeof(bank))) < 0)
                return r;

        if (node_state_from_string(state, &node->state) < 0 || pcr_alg_from_string(bank, &node->bank) < 0)
                return -EUCLEAN;
        return 0;
}

static int on_node(const struct store_value *columns, size_t n, void *userdata) {
        struct node_row *row = userdata;
        struct node *node = &row->node;
        int r;

        assert(n == 23);
        r = read_identity(columns, node);
        if (r < 0)
                return r;

        node->registered = column_int(columns + 8);
        node->seen = column_int(columns + 9);
        node->boots = column_int(columns + 10);
        node->has_boot = columns[11].type == STORE_INT;
        node->boot.reset = (uint32_t) column_int(columns + 11);
        node->boot.restart = (uint32_t) column_int(columns + 12);
        r = column_fixed(columns + 13, node->nk, sizeof(node->nk));
        if (r < 0 && r != -ENODATA)
                return r;
        node->has_nk = r == 0;
        node->has_refused = columns[14].type == STORE_INT;
        node->refused.reset = (uint32_t) column_int(columns + 14);
        node->refused.restart = (uint32_t) column_int(columns + 15);
        node->revision = column_int(columns + 16);
        node->boot_time = column_int(columns + 17);
        node->pardoned = column_int(columns + 18) != 0;
        node->next_boot = column_int(columns + 19);
        node->welcomed = column_int(columns + 20);
        if (columns[21].type != STORE_NULL) {
                r = column_text(columns + 21, node->set, sizeof(node->set));
                if (r < 0)
                        return r;
        }
        row->found = true;
        return columns[22].type == STORE_NULL ? 0 : column_blob(columns + 22, &node->token_public);
}

int node_load(struct store_txn *txn, const char *id, struct node *ret) {
        struct node_row row = {};
        int r;

        r = store_query(
                txn,
                "SELECT id, ek_sha256, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, boot_reset, "
                "boot_restart, boot_nk, refused_reset, refused_restart, revision, boot_time, boot_pardoned, next_boot, welcomed, set_name, "
                "token_public "
                "FROM nodes WHERE id = $1",
                STORE_ARGS(store_text(id)), on_node, &row);
        if (r >= 0 && !row.found)
                r = -ENOENT;
        if (r < 0) {
                node_done(&row.node);
                return r;
        }

        *ret = row.node;
        return 0;
}

int node_insert(struct store_txn *txn, const struct node *node) {
        int64_t changes;
        int r;

        r = store_exec(
                txn,
                "INSERT INTO nodes (id, ek_sha256, code, ek_public, ak_public, state, group_name, bank, registered, seen, boots, "
                "revision, token_public) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 1, $10) ON CONFLICT DO NOTHING",
                STORE_ARGS(store_text(node->id), store_text(node->ek_sha256), store_text(node->code),
                           store_blob(node->ek_public.data, node->ek_public.size),
                           store_blob(node->ak_public.data, node->ak_public.size), store_text(node_state_to_string(node->state)),
                           store_text(node->group), store_text(pcr_alg_to_string(node->bank)), store_int(node->registered),
                           node_has_token(node) ? store_blob(node->token_public.data, node->token_public.size) : store_null()),
                &changes);
        if (r < 0)
                return r;
        return changes == 1 ? 0 : -EEXIST;
}

static struct store_value maybe_int(bool has, uint32_t value) {
        return has ? store_int(value) : store_null();
}

int node_save(struct store_txn *txn, struct node *node, bool touch) {
        int64_t changes;
        int r;

        if (touch)
                node->revision++;

        r = store_exec(
                txn,
                "UPDATE nodes SET state = $1, group_name = $2, bank = $3, seen = $4, boots = $5, boot_reset = $6, boot_restart = $7, "
                "boot_nk = $8, refused_reset = $9, refused_restart = $10, revision = $11, boot_time = $12, boot_pardoned = $13, "
                "next_boot = $14, welcomed = $15, set_name = $16 WHERE id = $17",
                STORE_ARGS(store_text(node_state_to_string(node->state)), store_text(node->group),
                           store_text(pcr_alg_to_string(node->bank)), store_int(node->seen), store_int(node->boots),
                           maybe_int(node->has_boot, node->boot.reset), maybe_int(node->has_boot, node->boot.restart),
                           node->has_nk ? store_blob(node->nk, sizeof(node->nk)) : store_null(),
                           maybe_int(node->has_refused, node->refused.reset), maybe_int(node->has_refused, node->refused.restart),
                           store_int(node->revision), store_int(node->boot_time), store_int(node->pardoned),
                           store_int(node->next_boot), store_int(node->welcomed),
                           node->set[0] ? store_text(node->set) : store_null(), store_text(node->id)),
                &changes);
        if (r < 0)
                return r;
        return changes == 1 ? 0 : -ENOENT;
}

int ek_is_taken(struct store_txn *txn, const char *ek_sha256, const char *but_id, bool *ret) {
        int64_t one;
        int r;

        r = query_int(txn, "SELECT 1 FROM nodes WHERE ek_sha256 = $1 AND id <> $2",
                      STORE_ARGS(store_text(ek_sha256), store_text(but_id)), &one);
        if (r < 0 && r != -ENOENT)
                return r;

        *ret = r == 0;
        return 0;
}

int ek_is_revoked(struct store_txn *txn, const char *ek_sha256, bool *ret) {
        int64_t one;
        int r;

        r = query_int(txn, "SELECT 1 FROM revoked_eks WHERE ek_sha256 = $1", STORE_ARGS(store_text(ek_sha256)), &one);
        if (r < 0 && r != -ENOENT)
                return r;

        *ret = r == 0;
        return 0;
}
