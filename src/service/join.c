/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "service/state.h"

enum { JOIN_SECONDS_MAX = 91 * 24 * 3600 }; /* 90 days; clocks differ */

/* A token of before has no id that both parties know. Its group and its end are the same at both; several of one second have one
 * id. */
const char join_migration[] = "ALTER TABLE join_tokens ADD COLUMN id TEXT;"
                              "ALTER TABLE join_tokens ADD COLUMN who TEXT;" /* made it; NULL: before this was kept */
                              "ALTER TABLE join_tokens ADD COLUMN made BIGINT;"
                              "ALTER TABLE join_tokens ADD COLUMN used BIGINT;" /* when; used_by is the node */
                              "ALTER TABLE join_tokens ADD COLUMN cancelled_by TEXT;"
                              "ALTER TABLE join_tokens ADD COLUMN cancelled BIGINT;"
                              "UPDATE join_tokens SET id = group_name || '-' || expires;"
                              "CREATE INDEX join_tokens_id ON join_tokens (id);"
                              "CREATE INDEX join_tokens_expires ON join_tokens (expires);";

static json_t *text_or_null(const struct store_value *column) {
        return column->type == STORE_TEXT ? json_string(column->data) : json_null();
}

static json_t *number_or_null(const struct store_value *column) {
        return column->type == STORE_INT ? json_integer((json_int_t) column->number) : json_null();
}

struct join_list {
        json_t *tokens;
        int64_t now; /* seconds */
};

#define JOIN_COLUMNS JOIN_TOKEN_NAME ", group_name, expires, who, made, used_by, used, cancelled_by, cancelled"

static int on_token(const struct store_value *columns, size_t n, void *userdata) {
        const struct store_value *used = columns + 5, *cancelled = columns + 7;
        struct join_list *list = userdata;
        const char *state = used->type != STORE_NULL               ? "used"
                            : cancelled->type != STORE_NULL        ? "cancelled"
                            : column_int(columns + 2) <= list->now ? "expired"
                                                                   : "open";
        json_t *object;

        assert(n == 9);
        object = json_pack(
                "{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "id", text_or_null(columns), "group", text_or_null(columns + 1),
                "state", state, "expires", number_or_null(columns + 2), "who", text_or_null(columns + 3), "made",
                number_or_null(columns + 4), "used",
                used->type == STORE_NULL ? json_null()
                                         : json_pack("{s:o, s:o}", "node", text_or_null(used), "time", number_or_null(used + 1)),
                "cancelled",
                cancelled->type == STORE_NULL
                        ? json_null()
                        : json_pack("{s:o, s:o}", "who", text_or_null(cancelled), "time", number_or_null(cancelled + 1)));
        return json_array_append_new(list->tokens, object) < 0 ? -ENOMEM : 0;
}

static int list_read(struct store_txn *txn, void *userdata) {
        return store_query(txn, "SELECT " JOIN_COLUMNS " FROM join_tokens ORDER BY COALESCE(made, 0), expires, id", STORE_NO_ARGS,
                           on_token, userdata);
}

void join_tokens_get(const struct service_call *call, struct http_response *response) {
        struct join_list list = { .tokens = json_array(), .now = (int64_t) (clock_realtime_ms() / 1000) };
        int r;

        r = list.tokens ? store_read(call->service->store, list_read, &list) : -ENOMEM;
        if (r < 0) {
                json_decref(list.tokens);
                service_failure(call, response, r);
        } else
                service_json(response, 200, json_pack("{s:o}", "tokens", list.tokens));
}

/* An approval given ahead: this party knows SHA-256(join), never what the node will send. */
struct join_call {
        const struct service_call *call;
        uint8_t digest[32];
        char id[JOIN_TOKEN_ID_MAX + 1]; /* what both parties and the operator call it; no secret */
        bool has_id;
        char group[65];
        uint64_t expires, now; /* seconds */
};

/* An id that somebody chose is one token's. Without (a program of before), as the migration makes them. */
static int settle_id(struct join_call *join, struct store_txn *txn) {
        int64_t n;
        int r;

        if (!join->has_id) {
                (void) snprintf(join->id, sizeof(join->id), "%s-%llu", join->group, (unsigned long long) join->expires);
                return 0;
        }
        r = query_int(txn, "SELECT COUNT(*) FROM join_tokens WHERE id = $1", STORE_ARGS(store_text(join->id)), &n);
        if (r < 0)
                return r;
        return n == 0 ? 0 : -EEXIST;
}

static int join_txn(struct store_txn *txn, void *userdata) {
        struct join_call *join = userdata;
        struct group group;
        int64_t changes;
        char hex[65];
        int r;

        if ((r = group_load(txn, join->group, &group)) < 0 || (r = settle_id(join, txn)) < 0)
                return r;

        hex_write(join->digest, sizeof(join->digest), hex);
        r = store_exec(txn,
                       "INSERT INTO join_tokens (sha256, group_name, expires, id, who, made) VALUES ($1, $2, $3, $4, $5, $6) "
                       "ON CONFLICT DO NOTHING",
                       STORE_ARGS(store_text(hex), store_text(join->group), store_int((int64_t) join->expires),
                                  store_text(join->id), store_text(join->call->who), store_int((int64_t) join->now)),
                       &changes);
        if (r < 0)
                return r;
        if (changes != 1)
                return -EEXIST;

        return party_audit(txn, join->call, "join-token", "",
                           json_pack("{s:s, s:s, s:s, s:I}", "id", join->id, "group", join->group, "sha256", hex, "expires",
                                     (json_int_t) join->expires));
}

static bool read_body(struct join_call *join, const json_t *body) {
        uint8_t id[JOIN_TOKEN_ID_SIZE];
        int r;

        r = wire_get_hex_fixed(body, "id", id, sizeof(id));
        if (r < 0 && r != -ENOENT)
                return false;
        join->has_id = r >= 0;
        if (join->has_id)
                hex_write(id, sizeof(id), join->id);
        return wire_get_hex_fixed(body, "sha256", join->digest, sizeof(join->digest)) == 0 &&
               wire_get_string(body, "group", join->group, sizeof(join->group)) == 0 &&
               wire_get_u64(body, "expires", INT64_MAX / 2, &join->expires) == 0 && join->expires > join->now &&
               join->expires <= join->now + JOIN_SECONDS_MAX;
}

void join_tokens_post(const struct service_call *call, struct http_response *response) {
        struct join_call join = { .call = call, .now = clock_realtime_ms() / 1000 };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        if (!read_body(&join, body))
                service_problem(call, response, "malformed",
                                "Wanted: sha256, in hex; group; expires, a time that lies ahead, by 90 days at most; id, of 16 "
                                "hexadecimal digits, or none.");
        else {
                r = store_write(call->service->store, join_txn, &join);
                if (r == -ENOENT)
                        service_no_group(call, response);
                else if (r == -EEXIST)
                        service_problem(call, response, "conflict", "This join token is known already.");
                else if (r < 0)
                        service_failure(call, response, r);
                else
                        service_json(response, 201,
                                     json_pack("{s:s, s:s, s:I}", "id", join.id, "group", join.group, "expires",
                                               (json_int_t) join.expires));
        }

        json_decref(body);
}

struct cancellation {
        const struct service_call *call;
        const char *name; /* an id, or the token's sha256 */
        struct join_list list;
        int64_t changes;
};

#define IS_NAMED "(" JOIN_TOKEN_NAME " = $1 OR sha256 = $1)"

/* Whether it is used or cancelled is settled here and in enroll.c, each in one transaction: one of the two is first. */
static int cancel_txn(struct store_txn *txn, void *userdata) {
        struct cancellation *cancel = userdata;
        const json_t *first;
        int r;

        (void) json_array_clear(cancel->list.tokens);
        r = store_exec(txn,
                       "UPDATE join_tokens SET cancelled_by = $2, cancelled = $3 WHERE " IS_NAMED
                       " AND used_by IS NULL AND cancelled IS NULL",
                       STORE_ARGS(store_text(cancel->name), store_text(cancel->call->who), store_int(cancel->list.now)),
                       &cancel->changes);
        if (r < 0)
                return r;
        r = store_query(txn, "SELECT " JOIN_COLUMNS " FROM join_tokens WHERE " IS_NAMED, STORE_ARGS(store_text(cancel->name)),
                        on_token, &cancel->list);
        if (r < 0 || cancel->changes == 0)
                return r;

        first = json_array_get(cancel->list.tokens, 0);
        return party_audit(txn, cancel->call, "join-token-cancel", "",
                           json_pack("{s:O, s:O, s:I}", "id", json_object_get(first, "id"), "group",
                                     json_object_get(first, "group"), "tokens", (json_int_t) cancel->changes));
}

void join_token_delete(const struct service_call *call, struct http_response *response) {
        struct cancellation cancel = { .call = call,
                                       .name = service_parameter(call, "token"),
                                       .list = { json_array(), (int64_t) (clock_realtime_ms() / 1000) } };
        int r;

        r = cancel.list.tokens ? store_write(call->service->store, cancel_txn, &cancel) : -ENOMEM;
        if (r < 0) {
                json_decref(cancel.list.tokens);
                service_failure(call, response, r);
                return;
        }
        if (cancel.changes > 0)
                log_info("Join token %s: cancelled by %s.", cancel.name, call->who);
        service_json(response, 200, json_pack("{s:o}", "tokens", cancel.list.tokens));
}
