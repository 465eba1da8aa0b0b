/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/token.h"
#include "service/state.h"

/* What a node's EK certificate said, and whether it had one: as of its enrollment. */

const char tpm_migration[] = "CREATE TABLE node_tpms ("
                             "  node TEXT PRIMARY KEY REFERENCES nodes (id),"
                             "  proof TEXT NOT NULL,"
                             "  manufacturer TEXT NOT NULL,"
                             "  model TEXT NOT NULL,"
                             "  version TEXT NOT NULL);";

const char tpm_migration_certificates[] = "ALTER TABLE node_tpms ADD COLUMN certificates BLOB;";

int node_tpm_insert(struct store_txn *txn, const char *node, const struct node_tpm *tpm) {
        return store_exec(txn,
                          "INSERT INTO node_tpms (node, proof, manufacturer, model, version, certificates)"
                          " VALUES ($1, $2, $3, $4, $5, $6)",
                          STORE_ARGS(store_text(node), store_text(ek_proof_to_string(tpm->proof)),
                                     store_text(tpm->identity.manufacturer), store_text(tpm->identity.model),
                                     store_text(tpm->identity.version),
                                     store_blob(tpm->certificates.data, tpm->certificates.size)),
                          NULL);
}

static int on_certificates(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        return columns[0].type == STORE_BLOB && columns[0].size > 0 ? column_blob(columns, userdata) : 0;
}

int node_tpm_certificates(struct store_txn *txn, const char *node, struct blob *ret) {
        return store_query(txn, "SELECT certificates FROM node_tpms WHERE node = $1", STORE_ARGS(store_text(node)),
                           on_certificates, ret);
}

static int on_tpm(const struct store_value *columns, size_t n, void *userdata) {
        struct node_tpm *tpm = userdata;
        char proof[16];
        int r;

        assert(n == 4);
        if ((r = column_text(columns, proof, sizeof(proof))) < 0 ||
            (r = column_text(columns + 1, tpm->identity.manufacturer, sizeof(tpm->identity.manufacturer))) < 0 ||
            (r = column_text(columns + 2, tpm->identity.model, sizeof(tpm->identity.model))) < 0 ||
            (r = column_text(columns + 3, tpm->identity.version, sizeof(tpm->identity.version))) < 0)
                return r;

        for (enum ek_proof i = EK_UNPROVEN; i <= EK_CERTIFIED; i++)
                if (strcmp(proof, ek_proof_to_string(i)) == 0) {
                        tpm->proof = i;
                        tpm->known = true;
                        return 0;
                }
        return -EUCLEAN;
}

int node_tpm_load(struct store_txn *txn, const char *node, struct node_tpm *ret) {
        struct node_tpm tpm = {};
        int r;

        r = store_query(txn, "SELECT proof, manufacturer, model, version FROM node_tpms WHERE node = $1",
                        STORE_ARGS(store_text(node)), on_tpm, &tpm);
        if (r < 0)
                return r;

        *ret = tpm;
        return 0;
}

json_t *node_tpm_object(const struct node_tpm *tpm) {
        if (!tpm->known)
                return json_null();
        return json_pack("{s:s, s:s, s:s, s:s}", "proof", ek_proof_to_string(tpm->proof), "manufacturer",
                         tpm->identity.manufacturer, "model", tpm->identity.model, "version", tpm->identity.version);
}

json_t *node_token_object(const struct node *node) {
        char name[TOKEN_NAME_SIZE];
        struct token_key key;

        if (!node_has_token(node))
                return json_null();
        if (token_key_parse(node->token_public.data, node->token_public.size, &key) < 0)
                return json_string("unknown");
        token_key_name(&key, name);
        return json_string(name);
}
