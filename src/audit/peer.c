/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "audit/head.h"
#include "audit/members.h"
#include "base/clock.h"

enum { ALARM_EVERY_MS = 3600 * 1000, ALARM_PAUSE_MS = 60 * 1000 };

const char audit_peers_migration[] =
        "CREATE TABLE audit_peers ("
        "  role TEXT PRIMARY KEY,"
        "  public BLOB NOT NULL,"
        "  seq BIGINT NOT NULL,"
        "  hash BLOB NOT NULL,"
        "  time BIGINT NOT NULL,"
        "  recorded BIGINT NOT NULL,"
        "  alarm TEXT NOT NULL,"
        "  alarmed BIGINT NOT NULL);"
        "CREATE TABLE audit_exchanges (" /* ours with that service; of several processes one does it */
        "  role TEXT PRIMARY KEY,"
        "  tried BIGINT NOT NULL,"
        "  sent BIGINT NOT NULL);"; /* our seq that it has */

static int row_peer(const struct store_value *columns, size_t n, void *userdata) {
        struct audit_peer *peer = userdata;

        if (n != 8 || columns[0].type != STORE_TEXT || columns[0].size >= sizeof(peer->role) || columns[1].type != STORE_BLOB ||
            columns[1].size != sizeof(peer->public) || columns[3].type != STORE_BLOB || columns[3].size != sizeof(peer->hash) ||
            columns[6].type != STORE_TEXT || columns[6].size >= sizeof(peer->alarm))
                return -EUCLEAN;

        *peer = (struct audit_peer){
                .seq = columns[2].number, .time = columns[4].number, .recorded = columns[5].number, .alarmed = columns[7].number
        };
        memcpy(peer->role, columns[0].data, columns[0].size);
        memcpy(peer->public, columns[1].data, sizeof(peer->public));
        memcpy(peer->hash, columns[3].data, sizeof(peer->hash));
        memcpy(peer->alarm, columns[6].data, columns[6].size);
        return 0;
}

int audit_peer_load(struct store_txn *txn, const char *role, struct audit_peer *ret) {
        struct audit_peer peer = {};
        int r;

        r = store_query(txn, "SELECT role, public, seq, hash, time, recorded, alarm, alarmed FROM audit_peers WHERE role = $1",
                        STORE_ARGS(store_text(role)), row_peer, &peer);
        if (r < 0)
                return r;
        if (!*peer.role)
                return -ENOENT;
        *ret = peer;
        return 0;
}

static int peer_store(struct store_txn *txn, const struct audit_peer *peer) {
        return store_exec(txn,
                          "INSERT INTO audit_peers (role, public, seq, hash, time, recorded, alarm, alarmed)"
                          " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (role) DO UPDATE SET"
                          " public = $2, seq = $3, hash = $4, time = $5, recorded = $6, alarm = $7, alarmed = $8",
                          STORE_ARGS(store_text(peer->role), store_blob(peer->public, sizeof(peer->public)), store_int(peer->seq),
                                     store_blob(peer->hash, sizeof(peer->hash)), store_int(peer->time), store_int(peer->recorded),
                                     store_text(peer->alarm), store_int(peer->alarmed)),
                          NULL);
}

int audit_peer_forget(struct store_txn *txn, const char *role) {
        int64_t changes;
        int r;

        r = store_exec(txn, "DELETE FROM audit_peers WHERE role = $1", STORE_ARGS(store_text(role)), &changes);
        if (r < 0)
                return r;
        return changes > 0 ? 0 : -ENOENT;
}

static int row_detail(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        json_t *json = columns[0].type == STORE_TEXT ? json_loadb(columns[0].data, columns[0].size, 0, NULL) : NULL;
        int r = audit_head_from_json(json, userdata);

        json_decref(json);
        return r < 0 ? -EUCLEAN : 0;
}

int audit_peer_recorded(struct store_txn *txn, const struct audit_peer *peer, struct audit_head *ret) {
        struct audit_head head = {};
        int r;

        r = store_query(txn, "SELECT detail FROM audit WHERE event = 'audit-head' AND who = $1 ORDER BY seq DESC LIMIT 1",
                        STORE_ARGS(store_text(peer->role)), row_detail, &head);
        if (r < 0)
                return r;
        if (peer->seq == 0 || head.seq != peer->seq)
                return -ENOENT;
        *ret = head;
        return 0;
}

json_t *audit_peer_to_json(const struct audit_peer *peer) {
        json_t *json = json_pack("{s:s, s:I, s:I, s:I}", "role", peer->role, "seq", (json_int_t) peer->seq, "time",
                                 (json_int_t) (peer->time / 1000), "recorded", (json_int_t) (peer->recorded / 1000));

        if (json && set_bin(json, "public", peer->public, sizeof(peer->public)) >= 0 && set_hash(json, "hash", peer->hash) >= 0 &&
            json_object_set_new(json, "alarm", *peer->alarm ? json_string(peer->alarm) : json_null()) == 0 &&
            json_object_set_new(json, "alarmed", *peer->alarm ? json_integer(peer->alarmed / 1000) : json_null()) == 0)
                return json;
        json_decref(json);
        return NULL;
}

/* detail: stolen */
static int record(struct store_txn *txn, const char *event, const char *who, json_t *detail) {
        _cleanup_(freep) char *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;

        json_decref(detail);
        return text ? audit_append(txn, &(struct audit_record){ .event = event, .who = who, .detail = text }) : -ENOMEM;
}

/* NULL: the head fits. */
static const char *what_is_wrong(const struct audit_head *head, int64_t asked, const struct audit_peer *known) {
        if (known->seq > 0 && memcmp(known->public, head->public, sizeof(known->public)) != 0)
                return "another key";
        if (audit_head_verify(head) < 0)
                return "not signed";
        if (head->seq < known->seq)
                return "behind";
        if (head->seq == known->seq && memcmp(head->hash, known->hash, sizeof(known->hash)) != 0)
                return "forked";
        if (known->seq > 0 && head->from_seq == known->seq && memcmp(head->from_hash, known->hash, sizeof(known->hash)) != 0)
                return "forked";
        if (known->seq > 0 && asked == known->seq && head->seq > known->seq && head->from_seq != asked)
                return "not shown to follow";
        return NULL;
}

/* The head goes into the record: signed, it is what shows that there are two pasts. */
static int raise_alarm(struct store_txn *txn, const struct audit_head *head, const char *why, struct audit_peer *peer) {
        int64_t now = (int64_t) clock_realtime_ms();
        bool same = strcmp(peer->alarm, why) == 0;
        json_t *known;
        int r;

        if (*peer->alarm && now - peer->alarmed < (same ? ALARM_EVERY_MS : ALARM_PAUSE_MS) && now >= peer->alarmed)
                return 0;

        known = audit_peer_to_json(peer);
        (void) snprintf(peer->alarm, sizeof(peer->alarm), "%s", why);
        peer->alarmed = now;
        r = record(txn, "audit-alarm", head->role,
                   json_pack("{s:s, s:o, s:o}", "why", why, "known", known, "head", audit_head_to_json(head)));
        return r < 0 ? r : peer_store(txn, peer);
}

static int keep(struct store_txn *txn, const struct audit_head *head, struct audit_peer *peer) {
        int r;

        memcpy(peer->public, head->public, sizeof(peer->public));
        memcpy(peer->hash, head->hash, sizeof(peer->hash));
        peer->seq = head->seq;
        peer->time = head->time;
        peer->recorded = (int64_t) clock_realtime_ms();
        peer->alarm[0] = 0;
        r = peer_store(txn, peer);
        return r < 0 ? r : record(txn, "audit-head", head->role, audit_head_to_json(head));
}

int audit_peer_take(struct store_txn *txn, const struct audit_head *head, int64_t asked, enum audit_taken *ret,
                    struct audit_peer *ret_peer) {
        struct audit_peer peer = {};
        const char *why;
        int r;

        r = audit_peer_load(txn, head->role, &peer);
        if (r == -ENOENT) {
                memcpy(peer.role, head->role, sizeof(peer.role));
                r = 0;
        }
        if (r < 0)
                return r;

        why = what_is_wrong(head, asked, &peer);
        if (why) {
                *ret = AUDIT_ALARM;
                r = raise_alarm(txn, head, why, &peer);
                (void) snprintf(peer.alarm, sizeof(peer.alarm), "%s", why);
        } else if (head->seq == peer.seq)
                *ret = AUDIT_SAME;
        else if (peer.seq > 0 && head->from_seq != peer.seq)
                *ret = AUDIT_NOT_FROM;
        else {
                *ret = AUDIT_RECORDED;
                r = keep(txn, head, &peer);
        }
        if (r < 0)
                return r;

        *ret_peer = peer;
        return 0;
}

static int row_count(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        *(int64_t *) userdata = columns[0].number;
        return 0;
}

int audit_news(struct store_txn *txn, int64_t seq, int64_t limit, int64_t *ret) {
        int64_t count = 0;
        int r;

        r = store_query(txn,
                        "SELECT COUNT(*) FROM (SELECT event FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2) AS news"
                        " WHERE event <> 'audit-head'",
                        STORE_ARGS(store_int(seq), store_int(limit)), row_count, &count);
        if (r < 0)
                return r;
        *ret = count;
        return 0;
}
