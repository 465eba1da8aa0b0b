/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "audit/chain.h"
#include "audit/members.h"

enum { LIMIT_MAX = 1000 };

/* seq, time, event, node, incident, who, detail. The texts live as long as the columns. */
static int entry_from_columns(const struct store_value *columns, size_t n, struct audit_entry *ret) {
        if (n < 7 || columns[0].type != STORE_INT || columns[1].type != STORE_INT)
                return -EUCLEAN;
        for (size_t i = 2; i < 7; i++)
                if (columns[i].type != STORE_TEXT || strlen(columns[i].data) != columns[i].size)
                        return -EUCLEAN;

        *ret = (struct audit_entry){
                .seq = columns[0].number,
                .time = columns[1].number,
                .record.event = columns[2].data,
                .record.node = columns[3].data,
                .record.incident = columns[4].data,
                .record.who = columns[5].data,
                .record.detail = columns[6].data,
        };
        return 0;
}

static int row_to_json(const struct store_value *columns, size_t n, void *userdata) {
        struct audit_entry entry;
        json_t *json;
        int r;

        r = entry_from_columns(columns, n, &entry);
        if (r < 0)
                return r;

        json = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "seq", (json_int_t) entry.seq, "time",
                         (json_int_t) (entry.time / 1000), "event", entry.record.event, "node", entry.record.node, "incident",
                         entry.record.incident, "who", entry.record.who, "detail", entry.record.detail);
        return json && json_array_append_new(userdata, json) == 0 ? 0 : -ENOMEM;
}

#define COLUMNS "seq, time, event, node, incident, who, detail"
#define NO_HEADS " AND event <> 'audit-head'" /* of other services: for audit_export() alone */
#define NEXT(node, incident) \
        "SELECT " COLUMNS " FROM audit WHERE seq > $1 AND " node " AND " incident NO_HEADS " ORDER BY seq LIMIT $4"
#define NEWEST(node, incident)                                                                                      \
        "SELECT " COLUMNS " FROM (SELECT " COLUMNS " FROM audit WHERE seq > $1 AND " node " AND " incident NO_HEADS \
        " ORDER BY seq DESC LIMIT $4) AS newest ORDER BY seq"
#define QUERIES(query)                                                                             \
        {                                                                                          \
                { query("$2 IS NULL", "$3 IS NULL"), query("$2 IS NULL", "incident = $3") },       \
                        { query("node = $2", "$3 IS NULL"), query("node = $2", "incident = $3") }, \
        }

/* One for each filter, so that each uses its index. */
static const char *const queries[2][2][2] = { QUERIES(NEXT), QUERIES(NEWEST) };

int audit_query(struct store_txn *txn, const char *node, const char *incident, int64_t after, unsigned limit, json_t **ret) {
        json_t *records = json_array();
        int r;

        if (!records)
                return -ENOMEM;

        limit = MIN(limit, (unsigned) LIMIT_MAX);
        r = store_query(txn, queries[after < 0][node != NULL][incident != NULL],
                        STORE_ARGS(store_int(after), store_text(node), store_text(incident), store_int(limit)), row_to_json,
                        records);
        if (r < 0) {
                json_decref(records);
                return r;
        }

        *ret = records;
        return 0;
}

static int row_to_export(const struct store_value *columns, size_t n, void *userdata) {
        struct audit_entry entry;
        json_t *json;
        int r;

        r = n == 8 ? entry_from_columns(columns, n, &entry) : -EUCLEAN;
        if (r < 0)
                return r;
        if (columns[7].type != STORE_BLOB || columns[7].size != 32)
                return -EUCLEAN;

        json = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "seq", (json_int_t) entry.seq, "time", (json_int_t) entry.time,
                         "event", entry.record.event, "node", entry.record.node, "incident", entry.record.incident, "who",
                         entry.record.who, "detail", entry.record.detail);
        if (json && set_hash(json, "hash", columns[7].data) >= 0 && json_array_append(userdata, json) == 0) {
                json_decref(json);
                return 0;
        }
        json_decref(json);
        return -ENOMEM;
}

int audit_export(struct store_txn *txn, int64_t after, unsigned limit, json_t **ret) {
        json_t *records = json_array();
        int r;

        if (!records)
                return -ENOMEM;
        r = store_query(txn, "SELECT " COLUMNS ", hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
                        STORE_ARGS(store_int(after), store_int(MIN(limit, (unsigned) AUDIT_EXPORT_MAX))), row_to_export, records);
        if (r < 0) {
                json_decref(records);
                return r;
        }
        *ret = records;
        return 0;
}
