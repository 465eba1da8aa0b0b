/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/logs.h"

#include <string.h>

/* Firmware logs that were proven, so that the next boot with the same values need not send them: whole, bounded, the least used
 * out. */
enum {
        KNOWN_LOG_MAX = 1024 * 1024, /* a larger one is sent at each boot */
        KNOWN_LOGS_OF_NODE = 4,
        KNOWN_LOGS = 1024,
        KNOWN_BYTES = 64 * 1024 * 1024,
        TOUCH_SECONDS = 3600,
};

static int on_log(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        return column_blob(columns, userdata);
}

int known_log_load(struct store_txn *txn, const uint8_t key[static 32], struct blob *ret) {
        _cleanup_(blob_done) struct blob log = {};
        int r;

        r = store_query(txn, "SELECT log FROM known_logs WHERE key = $1", STORE_ARGS(store_blob(key, 32)), on_log, &log);
        if (r < 0)
                return r;
        if (!log.data)
                return -ENOENT;

        *ret = log;
        log = (struct blob){};
        return 0;
}

int known_log_touch(struct store_txn *txn, const uint8_t key[static 32], int64_t now) {
        return store_exec(txn, "UPDATE known_logs SET used = $1 WHERE key = $2 AND used < $3",
                          STORE_ARGS(store_int(now), store_blob(key, 32), store_int(now - TOUCH_SECONDS)), NULL);
}

struct room {
        int64_t n, bytes;
        uint8_t last[32]; /* the first that has no place */
        int64_t used;
        bool over;
};

static int on_size(const struct store_value *columns, size_t n, void *userdata) {
        struct room *room = userdata;

        (void) n;
        room->n++;
        room->bytes += column_int(columns + 1);
        if (room->n <= KNOWN_LOGS && room->bytes <= KNOWN_BYTES)
                return 0;

        room->over = true;
        room->used = column_int(columns + 2);
        return column_fixed(columns, room->last, sizeof(room->last)) < 0 ? -EUCLEAN : 1;
}

/* From the newest on, as many as there is room for. */
static int make_room(struct store_txn *txn) {
        struct room room;
        int r;

        do {
                room = (struct room){};
                r = store_query(txn, "SELECT key, LENGTH(log), used FROM known_logs ORDER BY used DESC, key", STORE_NO_ARGS,
                                on_size, &room);
                if (r >= 0 && room.over)
                        r = store_exec(txn, "DELETE FROM known_logs WHERE key = $1 OR used < $2",
                                       STORE_ARGS(store_blob(room.last, sizeof(room.last)), store_int(room.used)), NULL);
        } while (r >= 0 && room.over);
        return r;
}

int known_log_store(struct store_txn *txn, const uint8_t key[static 32], const char *node, const struct wire_span *log,
                    int64_t now) {
        int r;

        if (log->size > KNOWN_LOG_MAX)
                return 0;

        r = store_exec(txn, "DELETE FROM known_logs WHERE key = $1", STORE_ARGS(store_blob(key, 32)), NULL);
        if (r >= 0)
                r = store_exec(
                        txn, "INSERT INTO known_logs (key, node, used, log) VALUES ($1, $2, $3, $4)",
                        STORE_ARGS(store_blob(key, 32), store_text(node), store_int(now), store_blob(log->data, log->size)),
                        NULL);
        if (r < 0)
                return r;

        r = store_exec(txn,
                       "DELETE FROM known_logs WHERE node = $1 AND key NOT IN (SELECT key FROM known_logs WHERE node = $1 "
                       "ORDER BY used DESC, CASE WHEN key = $3 THEN 0 ELSE 1 END LIMIT $2)",
                       STORE_ARGS(store_text(node), store_int(KNOWN_LOGS_OF_NODE), store_blob(key, 32)), NULL);
        return r < 0 ? r : make_room(txn);
}

struct ima_rows {
        struct ima_row *row;
        bool found;
};

static int on_ima(const struct store_value *columns, size_t n, void *userdata) {
        struct ima_rows *rows = userdata;
        struct ima_row *row = rows->row;
        char bank[16];

        assert(n == 10);
        *row = (struct ima_row){};
        row->boot.reset = (uint32_t) column_int(columns + 0);
        row->boot.restart = (uint32_t) column_int(columns + 1);
        row->policy_version = column_int(columns + 4);
        row->state.entries = (uint64_t) column_int(columns + 5);
        row->aggregate_alg = (uint16_t) column_int(columns + 7);
        row->changed = column_int(columns + 9);
        if (column_text(columns + 2, bank, sizeof(bank)) < 0 || pcr_alg_from_string(bank, &row->bank) < 0 ||
            column_text(columns + 3, row->group, sizeof(row->group)) < 0 ||
            column_fixed(columns + 6, row->state.pcr, pcr_alg_size(row->bank)) < 0 || columns[8].type != STORE_BLOB ||
            columns[8].size > sizeof(row->aggregate))
                return -EUCLEAN;

        row->aggregate_size = columns[8].size;
        memcpy(row->aggregate, columns[8].data, columns[8].size);
        rows->found = true;
        return 0;
}

#define IMA_COLUMNS "boot_reset, boot_restart, bank, group_name, policy_version, entries, pcr, aggregate_alg, aggregate, changed"

int ima_row_of_node(struct store_txn *txn, const char *node, struct ima_row *ret) {
        struct ima_rows rows = { .row = ret };
        int r;

        r = store_query(txn, "SELECT " IMA_COLUMNS " FROM ima_states WHERE node = $1", STORE_ARGS(store_text(node)), on_ima,
                        &rows);
        if (r < 0)
                return r;
        return rows.found ? 0 : -ENOENT;
}

int ima_row_of_value(struct store_txn *txn, const struct ima_row *like, struct ima_row *ret) {
        struct ima_rows rows = { .row = ret };
        int r;

        r = store_query(
                txn,
                "SELECT " IMA_COLUMNS " FROM ima_states WHERE pcr = $1 AND bank = $2 AND group_name = $3 AND policy_version = "
                "$4 LIMIT 1",
                STORE_ARGS(store_blob(like->state.pcr, pcr_alg_size(like->bank)), store_text(pcr_alg_to_string(like->bank)),
                           store_text(like->group), store_int(like->policy_version)),
                on_ima, &rows);
        if (r < 0)
                return r;
        return rows.found ? 0 : -ENOENT;
}

int ima_row_store(struct store_txn *txn, const char *node, const struct ima_row *row) {
        int r;

        r = store_exec(txn, "DELETE FROM ima_states WHERE node = $1", STORE_ARGS(store_text(node)), NULL);
        if (r < 0)
                return r;
        return store_exec(txn,
                          "INSERT INTO ima_states (node, " IMA_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                          STORE_ARGS(store_text(node), store_int(row->boot.reset), store_int(row->boot.restart),
                                     store_text(pcr_alg_to_string(row->bank)), store_text(row->group),
                                     store_int(row->policy_version), store_int((int64_t) row->state.entries),
                                     store_blob(row->state.pcr, pcr_alg_size(row->bank)), store_int(row->aggregate_alg),
                                     store_blob(row->aggregate, row->aggregate_size), store_int(row->changed)),
                          NULL);
}
