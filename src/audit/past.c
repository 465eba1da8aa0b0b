/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/past.h"

#include <string.h>

#include "base/clock.h"

const char audit_past_migration[] =
        "CREATE TABLE audit_past (" /* one row at most */
        "  id BIGINT PRIMARY KEY,"
        "  time BIGINT NOT NULL,"       /* ms: when the newest head that was shown was signed */
        "  held BIGINT NOT NULL,"       /* ms: since when; 0: not */
        "  accepted BIGINT NOT NULL);"; /* ms: heads that were signed until then are of a past that is known to be lost */

struct past {
        int64_t time, held, accepted;
};

static int row_past(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        *(struct past *) userdata =
                (struct past){ .time = columns[0].number, .held = columns[1].number, .accepted = columns[2].number };
        return 0;
}

static int load(struct store_txn *txn, struct past *ret) {
        *ret = (struct past){};
        return store_query(txn, "SELECT time, held, accepted FROM audit_past WHERE id = 1", STORE_NO_ARGS, row_past, ret);
}

static int save(struct store_txn *txn, const struct past *past) {
        return store_exec(txn,
                          "INSERT INTO audit_past (id, time, held, accepted) VALUES (1, $1, $2, $3)"
                          " ON CONFLICT (id) DO UPDATE SET time = $1, held = $2, accepted = $3",
                          STORE_ARGS(store_int(past->time), store_int(past->held), store_int(past->accepted)), NULL);
}

static int record(struct store_txn *txn, const struct audit_head *head, const char *why) {
        json_t *json = json_pack("{s:s, s:o}", "why", why, "head", audit_head_to_json(head));
        _cleanup_(freep) char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        json_decref(json);
        return text ? audit_append(txn, &(struct audit_record){ .event = "audit-alarm", .who = head->role, .detail = text })
                    : -ENOMEM;
}

/* NULL: it is a place in this chain. */
static const char *what_is_wrong(const struct audit_head *head, const struct audit_head *own) {
        if (own->seq < head->seq)
                return "behind";
        return own->from_seq == head->seq && memcmp(own->from_hash, head->hash, sizeof(own->from_hash)) == 0 ? NULL : "forked";
}

int audit_past_take(struct store_txn *txn, const struct audit_head *head, const char *role,
                    const uint8_t public[static POINT_SIZE], bool *ret_held) {
        struct audit_head own;
        struct past past;
        const char *why;
        int r;

        if (strcmp(head->role, role) != 0 || head->seq <= 0 || memcmp(head->public, public, POINT_SIZE) != 0)
                return -EKEYREJECTED;
        if ((r = audit_head_verify(head)) < 0 || (r = load(txn, &past)) < 0 ||
            (r = audit_head_read(txn, role, head->seq, &own)) < 0)
                return r;

        why = what_is_wrong(head, &own);
        if (!why || head->time <= past.accepted || past.held > 0) {
                *ret_held = false;
                return 0;
        }
        past.time = MAX(past.time, head->time);
        past.held = (int64_t) clock_realtime_ms();
        if ((r = save(txn, &past)) < 0 || (r = record(txn, head, why)) < 0)
                return r;
        *ret_held = true;
        return 0;
}

int audit_past_is_held(struct store_txn *txn, bool *ret) {
        struct past past;
        int r;

        r = load(txn, &past);
        if (r >= 0)
                *ret = past.held > 0;
        return r;
}

int audit_past_accept(struct store_txn *txn) {
        struct past past;
        int r;

        r = load(txn, &past);
        if (r < 0)
                return r;
        if (past.held == 0)
                return -ENOENT;
        /* a clock that was ahead when they were signed must not hold it again */
        past.accepted = MAX((int64_t) clock_realtime_ms(), past.time);
        past.held = 0;
        return save(txn, &past);
}
