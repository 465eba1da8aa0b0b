/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/chain.h"

#include <string.h>

#include "base/clock.h"

const struct store_migration audit_migration = {
        .number = 1,
        .sql = "CREATE TABLE audit ("
               "  seq BIGINT PRIMARY KEY,"
               "  time BIGINT NOT NULL,"
               "  event TEXT NOT NULL,"
               "  node TEXT NOT NULL,"
               "  incident TEXT NOT NULL,"
               "  who TEXT NOT NULL,"
               "  detail TEXT NOT NULL,"
               "  hash BLOB NOT NULL);"
               "CREATE INDEX audit_node ON audit (node, seq);"
               "CREATE INDEX audit_incident ON audit (incident, seq);",
};

int audit_hash(const uint8_t previous[static 32], const struct audit_entry *entry, uint8_t ret[static 32]) {
        return fields_sha256(
                FIELDS(field_text("tallyboot audit v1"), field_bytes(previous, 32), field_number((uint64_t) entry->seq),
                       field_number((uint64_t) entry->time), field_text(entry->record.event), field_text(entry->record.node),
                       field_text(entry->record.incident), field_text(entry->record.who), field_text(entry->record.detail)),
                ret);
}

struct head {
        int64_t seq;
        uint8_t hash[32];
};

static int row_head(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct head *head = userdata;

        if (columns[0].type != STORE_INT || columns[1].type != STORE_BLOB || columns[1].size != sizeof(head->hash))
                return -EUCLEAN;

        head->seq = columns[0].number;
        memcpy(head->hash, columns[1].data, sizeof(head->hash));
        return 0;
}

static const char *text_or_empty(const char *text) {
        return text ? text : "";
}

/* The head is read inside the write transaction, which is the only one at a time on this file: no two records have one
 * predecessor. */
int audit_append(struct store_txn *txn, const struct audit_record *record) {
        struct head head = {};
        struct audit_entry entry = {
                .record.event = text_or_empty(record->event),
                .record.node = text_or_empty(record->node),
                .record.incident = text_or_empty(record->incident),
                .record.who = text_or_empty(record->who),
                .record.detail = text_or_empty(record->detail),
        };
        uint8_t hash[32];
        int r;

        r = store_query(txn, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", STORE_NO_ARGS, row_head, &head);
        if (r < 0)
                return r;

        entry.seq = head.seq + 1;
        entry.time = (int64_t) clock_realtime_ms();
        r = audit_hash(head.hash, &entry, hash);
        if (r < 0)
                return r;

        return store_exec(txn,
                          "INSERT INTO audit (seq, time, event, node, incident, who, detail, hash)"
                          " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                          STORE_ARGS(store_int(entry.seq), store_int(entry.time), store_text(entry.record.event),
                                     store_text(entry.record.node), store_text(entry.record.incident),
                                     store_text(entry.record.who), store_text(entry.record.detail),
                                     store_blob(hash, sizeof(hash))),
                          NULL);
}
