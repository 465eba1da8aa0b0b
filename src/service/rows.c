/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/party.h"

#include <string.h>

const char party_migration[] =
        "CREATE TABLE groups ("
        "  name TEXT PRIMARY KEY,"
        "  bank TEXT NOT NULL,"
        "  gate BIGINT NOT NULL,"
        "  accept_first_boot BIGINT NOT NULL,"
        "  policy_version BIGINT NOT NULL,"
        "  changed BIGINT NOT NULL,"
        "  revision BIGINT NOT NULL);"
        "INSERT INTO groups (name, bank, gate, accept_first_boot, policy_version, changed, revision)"
        "  VALUES ('default', 'sha256', 15, 0, 0, 0, 1);"
        "CREATE TABLE group_eks (ek_sha256 TEXT PRIMARY KEY, group_name TEXT NOT NULL REFERENCES groups (name));"
        "CREATE TABLE policies ("
        "  group_name TEXT NOT NULL REFERENCES groups (name),"
        "  version BIGINT NOT NULL,"
        "  text TEXT NOT NULL,"
        "  who TEXT NOT NULL,"
        "  created BIGINT NOT NULL,"
        "  PRIMARY KEY (group_name, version));"
        "CREATE TABLE nodes ("
        "  id TEXT PRIMARY KEY,"
        "  ek_sha256 TEXT NOT NULL UNIQUE," /* one active AK for each EK */
        "  code TEXT NOT NULL,"
        "  ek_public BLOB NOT NULL,"
        "  ak_public BLOB NOT NULL,"
        "  state TEXT NOT NULL,"
        "  group_name TEXT NOT NULL REFERENCES groups (name),"
        "  bank TEXT NOT NULL,"
        "  registered BIGINT NOT NULL,"
        "  seen BIGINT NOT NULL,"
        "  boots BIGINT NOT NULL,"
        "  boot_reset BIGINT, boot_restart BIGINT, boot_nk BLOB,"
        "  refused_reset BIGINT, refused_restart BIGINT,"
        "  revision BIGINT NOT NULL);"
        "CREATE INDEX nodes_group ON nodes (group_name);"
        "CREATE TABLE revoked_eks (ek_sha256 TEXT PRIMARY KEY, node TEXT NOT NULL);"
        "CREATE TABLE keys ("
        "  node TEXT NOT NULL REFERENCES nodes (id),"
        "  id TEXT NOT NULL,"
        "  kind BIGINT NOT NULL,"
        "  dealt BIGINT NOT NULL,"
        "  rotate BIGINT NOT NULL,"
        "  PRIMARY KEY (node, id));"
        "CREATE TABLE generations ("
        "  node TEXT NOT NULL,"
        "  key TEXT NOT NULL,"
        "  generation BIGINT NOT NULL,"
        "  state BIGINT NOT NULL,"
        "  handle BIGINT NOT NULL,"
        "  public BLOB,"
        "  created BIGINT NOT NULL,"
        "  PRIMARY KEY (node, key, generation),"
        "  FOREIGN KEY (node, key) REFERENCES keys (node, id));"
        "CREATE TABLE held ("
        "  node TEXT PRIMARY KEY REFERENCES nodes (id),"
        "  reason TEXT NOT NULL,"
        "  incident TEXT NOT NULL,"
        "  time BIGINT NOT NULL,"
        "  bank TEXT NOT NULL,"
        "  pcrs TEXT NOT NULL,"
        "  differences TEXT NOT NULL,"
        "  boot_reset BIGINT NOT NULL, boot_restart BIGINT NOT NULL);"
        "CREATE TABLE nonces (nonce BLOB PRIMARY KEY, expires BIGINT NOT NULL);"
        "CREATE INDEX nonces_expires ON nonces (expires);"
        "CREATE TABLE join_tokens ("
        "  sha256 TEXT PRIMARY KEY,"
        "  group_name TEXT NOT NULL REFERENCES groups (name),"
        "  expires BIGINT NOT NULL,"
        "  used_by TEXT);";

/* 5: what a policy's rules on the release need of a node, and the logs that are known. */
const char party_migration_release[] =
        "ALTER TABLE nodes ADD COLUMN boot_time BIGINT;"     /* ms: the first release of the highest boot */
        "ALTER TABLE nodes ADD COLUMN boot_pardoned BIGINT;" /* its values were accepted once, for this boot */
        "ALTER TABLE nodes ADD COLUMN next_boot BIGINT;"     /* until when the next one is */
        "ALTER TABLE nodes ADD COLUMN set_name TEXT;"
        "ALTER TABLE nodes ADD COLUMN welcomed BIGINT;" /* last time that an operator approved or resumed it */
        "ALTER TABLE held ADD COLUMN findings TEXT;"
        "CREATE TABLE known_logs ("
        "  key BLOB PRIMARY KEY," /* of the bank and the values of the PCRs that the log was wanted for */
        "  node TEXT NOT NULL,"   /* that sent it */
        "  used BIGINT NOT NULL,"
        "  log BLOB NOT NULL);"
        "CREATE INDEX known_logs_used ON known_logs (used);"
        "CREATE TABLE ima_states ("
        "  node TEXT PRIMARY KEY REFERENCES nodes (id),"
        "  boot_reset BIGINT NOT NULL, boot_restart BIGINT NOT NULL,"
        "  bank TEXT NOT NULL,"
        "  group_name TEXT NOT NULL, policy_version BIGINT NOT NULL," /* that allowed these entries */
        "  entries BIGINT NOT NULL,"
        "  pcr BLOB NOT NULL,"
        "  aggregate_alg BIGINT NOT NULL, aggregate BLOB NOT NULL,"
        "  changed BIGINT NOT NULL);" /* ms */
        "CREATE INDEX ima_states_pcr ON ima_states (pcr);";

/* 12: of a generation that an enrollment asked for: the NK of that run, SHA-256. */
const char party_migration_enroll[] = "ALTER TABLE generations ADD COLUMN nk BLOB;";

int column_text(const struct store_value *column, char *ret, size_t size) {
        if (column->type != STORE_TEXT || column->size >= size)
                return -EUCLEAN;

        memcpy(ret, column->data, column->size);
        ret[column->size] = '\0';
        return 0;
}

int column_blob(const struct store_value *column, struct blob *ret) {
        if (column->type != STORE_BLOB)
                return -EUCLEAN;
        return blob_copy(column->data, column->size, ret);
}

int column_fixed(const struct store_value *column, void *ret, size_t size) {
        if (column->type == STORE_NULL)
                return -ENODATA;
        if (column->type != STORE_BLOB || column->size != size)
                return -EUCLEAN;

        memcpy(ret, column->data, size);
        return 0;
}

int64_t column_int(const struct store_value *column) {
        return column->type == STORE_INT ? column->number : 0;
}

struct int_row {
        int64_t value;
        bool found;
};

static int on_int(const struct store_value *columns, size_t n, void *userdata) {
        struct int_row *row = userdata;

        (void) n;
        row->value = column_int(columns);
        row->found = true;
        return 0;
}

int query_int(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, int64_t *ret) {
        struct int_row row = {};
        int r;

        r = store_query(txn, sql, args, n, on_int, &row);
        if (r < 0)
                return r;
        if (!row.found)
                return -ENOENT;

        *ret = row.value;
        return 0;
}
