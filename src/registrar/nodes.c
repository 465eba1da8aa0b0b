/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "registrar/registrar.h"
#include "service/limiter.h"

/* The index is the last line of "one active AK per EK": no race and no mistake above it gets past. */
const struct store_migration registrar_migration = {
        .number = 3,
        .sql = "CREATE TABLE node ("
               "  id TEXT PRIMARY KEY,"
               "  ek_sha256 TEXT NOT NULL,"
               "  code TEXT NOT NULL,"
               "  state TEXT NOT NULL,"
               "  registered BIGINT NOT NULL,"
               "  document TEXT NOT NULL);"
               "CREATE UNIQUE INDEX node_active ON node (ek_sha256) WHERE state = 'active';"
               "CREATE INDEX node_ek ON node (ek_sha256);",
};

/* Which nodes have a token's key in place of EK and AK, and of which type it is. */
const struct store_migration token_migration = { .number = 5, .sql = "ALTER TABLE node ADD COLUMN token_type TEXT;" };

struct node_seen {
        const struct identity *identity;
        bool same, other_ek, other_ak, revoked;
};

static int row_seen(const struct store_value *columns, size_t n, void *userdata) {
        struct node_seen *seen = userdata;
        bool id, ek;

        if (n != 3 || columns[0].type != STORE_TEXT || columns[1].type != STORE_TEXT || columns[2].type != STORE_TEXT)
                return -EUCLEAN;

        id = strcmp(columns[0].data, seen->identity->id) == 0;
        ek = strcmp(columns[1].data, seen->identity->ek_sha256) == 0;
        if (strcmp(columns[2].data, "active") != 0)
                seen->revoked = true;
        else if (id && ek)
                seen->same = true;
        else if (id)
                seen->other_ek = true;
        else
                seen->other_ak = true;
        return 0;
}

static const char *proof_detail(const struct identity *identity) {
        return identity->token                      ? "{\"token\":true}"
               : identity->ek.proof == EK_CERTIFIED ? "{\"ek\":\"certificate\"}"
               : identity->ek.proof == EK_LISTED    ? "{\"ek\":\"listed\"}"
                                                    : "{\"ek\":\"none\"}";
}

static int insert(struct store_txn *txn, const struct node_addition *addition) {
        const struct identity *identity = addition->identity;

        return store_exec(txn,
                          "INSERT INTO node (id, ek_sha256, code, state, registered, document, token_type)"
                          " VALUES ($1, $2, $3, 'active', $4, $5, $6)",
                          STORE_ARGS(store_text(identity->id), store_text(identity->ek_sha256), store_text(identity->code),
                                     store_int((int64_t) (clock_realtime_ms() / 1000)), store_text(addition->document),
                                     identity->token ? store_text(identity->type) : store_null()),
                          NULL);
}

static int on_count(const struct store_value *columns, size_t n, void *userdata) {
        if (n != 1 || columns[0].type != STORE_INT)
                return -EUCLEAN;
        *(int64_t *) userdata = columns[0].number;
        return 0;
}

/* A TPM has one endorsement key; of keys for tokens anybody makes as many as he likes. */
static int has_room(struct store_txn *txn, const struct node_addition *addition, bool *ret) {
        int64_t count = 0;
        int r;

        if (addition->identity->token) {
                r = store_query(txn, "SELECT COUNT(*) FROM node WHERE token_type IS NOT NULL AND state = 'active'", STORE_NO_ARGS,
                                on_count, &count);
                if (r < 0)
                        return r;
        }
        *ret = !addition->identity->token || count < (int64_t) addition->token_nodes;
        return 0;
}

/* A network's new ones that nothing vouches for. 0, or seconds until the next. */
static unsigned count_uncertified(const struct node_addition *addition) {
        const struct service_call *call = addition->call;

        if (!addition->identity->token && addition->identity->ek.proof != EK_UNPROVEN)
                return 0;
        return limiter_count_in(call->service->limiter, "uncertified", call->request->peer.network,
                                call->service->config.uncertified_per_hour, 3600);
}

int node_add(struct store_txn *txn, void *userdata) {
        struct node_addition *addition = userdata;
        const struct identity *identity = addition->identity;
        struct node_seen seen = { .identity = identity };
        bool room;
        int r;

        r = store_query(txn, "SELECT id, ek_sha256, state FROM node WHERE id = $1 OR ek_sha256 = $2",
                        STORE_ARGS(store_text(identity->id), store_text(identity->ek_sha256)), row_seen, &seen);
        if (r < 0)
                return r;

        addition->result = seen.revoked                     ? NODE_REVOKED
                           : seen.other_ek || seen.other_ak ? NODE_CONFLICT
                           : seen.same                      ? NODE_SAME
                                                            : NODE_ADDED;
        if (addition->result == NODE_SAME)
                return 0;
        if (addition->result == NODE_ADDED) {
                r = has_room(txn, addition, &room);
                if (r < 0 || !room) {
                        addition->result = NODE_FULL;
                        return r;
                }
                addition->wait = count_uncertified(addition);
                if (addition->wait > 0) {
                        addition->result = NODE_LIMITED;
                        return 0;
                }
                r = insert(txn, addition);
                if (r < 0)
                        return r;
        }

        addition->record.event = addition->result == NODE_ADDED ? "register" : "refusal";
        addition->record.detail = addition->result == NODE_ADDED     ? proof_detail(identity)
                                  : addition->result == NODE_REVOKED ? "{\"reason\":\"revoked\"}"
                                  : seen.other_ek                    ? "{\"reason\":\"another EK for this node id\"}"
                                                                     : "{\"reason\":\"another AK for this EK\"}";
        return audit_append(txn, &addition->record);
}

/* What the routes below have in common: one node, one transaction, one answer. */
struct node_ask {
        const struct service_call *call;
        const char *id; /* NULL: all */
        const char *state;
        const char *detail;
        json_t *json;
};

/* id, code, ek_sha256, state, registered, token_type or NULL, document or NULL */
static int row_node(const struct store_value *columns, size_t n, void *userdata) {
        json_t *json, **array = userdata;

        if (n != 7 || columns[0].type != STORE_TEXT || columns[1].type != STORE_TEXT || columns[2].type != STORE_TEXT ||
            columns[3].type != STORE_TEXT || columns[4].type != STORE_INT)
                return -EUCLEAN;

        json = columns[6].type == STORE_TEXT ? json_loads(columns[6].data, JSON_REJECT_DUPLICATES, NULL) : json_object();
        if (!json_is_object(json)) {
                json_decref(json);
                return -EUCLEAN;
        }
        if (json_object_set_new(json, "id", json_string(columns[0].data)) < 0 ||
            json_object_set_new(json, "code", json_string(columns[1].data)) < 0 ||
            json_object_set_new(json, "ek_sha256", json_string(columns[2].data)) < 0 ||
            json_object_set_new(json, "state", json_string(columns[3].data)) < 0 ||
            json_object_set_new(json, "registered", json_integer(columns[4].number)) < 0 ||
            json_object_set_new(json, "token", columns[5].type == STORE_TEXT ? json_string(columns[5].data) : json_null()) < 0) {
                json_decref(json);
                return -ENOMEM;
        }
        return json_array_append_new(*array, json) == 0 ? 0 : -ENOMEM;
}

#define NODE_COLUMNS "SELECT id, code, ek_sha256, state, registered, token_type, "

static int nodes_read(struct store_txn *txn, void *userdata) {
        struct node_ask *ask = userdata;
        _cleanup_(json_decrefp) json_t *array = json_array();
        int r;

        if (!array)
                return -ENOMEM;

        if (ask->id)
                r = store_query(txn, NODE_COLUMNS "document FROM node WHERE id = $1", STORE_ARGS(store_text(ask->id)), row_node,
                                &array);
        else if (ask->state)
                r = store_query(txn, NODE_COLUMNS "NULL FROM node WHERE state = $1 ORDER BY id",
                                STORE_ARGS(store_text(ask->state)), row_node, &array);
        else
                r = store_query(txn, NODE_COLUMNS "NULL FROM node ORDER BY id", STORE_NO_ARGS, row_node, &array);
        if (r < 0)
                return r;

        if (!ask->id)
                ask->json = json_pack("{s:O}", "nodes", array);
        else if (json_array_size(array) == 0)
                return -ENOENT;
        else
                ask->json = json_incref(json_array_get(array, 0));
        return ask->json ? 0 : -ENOMEM;
}

static int node_record(struct store_txn *txn, const struct node_ask *ask, const char *event) {
        const struct audit_record record = {
                .event = event,
                .node = ask->id,
                .incident = ask->call->request->incident,
                .who = ask->call->who,
                .detail = ask->detail,
        };

        return audit_append(txn, &record);
}

static int node_revoke(struct store_txn *txn, void *userdata) {
        struct node_ask *ask = userdata;
        int64_t changes;
        int r;

        r = store_exec(txn, "UPDATE node SET state = 'revoked' WHERE id = $1", STORE_ARGS(store_text(ask->id)), &changes);
        if (r >= 0 && changes == 0)
                r = -ENOENT;
        if (r >= 0)
                r = node_record(txn, ask, "revoke");
        return r < 0 ? r : nodes_read(txn, ask);
}

static int node_delete(struct store_txn *txn, void *userdata) {
        struct node_ask *ask = userdata;
        int64_t changes;
        int r;

        r = store_exec(txn, "DELETE FROM node WHERE id = $1", STORE_ARGS(store_text(ask->id)), &changes);
        if (r >= 0 && changes == 0)
                r = -ENOENT;
        return r < 0 ? r : node_record(txn, ask, "delete");
}

static void node_answer(const struct service_call *call, struct http_response *response, int r, json_t *json) {
        if (r == -ENOENT)
                service_problem(call, response, "unknown-node", "No node of this id is registered here");
        else if (r < 0)
                service_failure(call, response, r);
        else if (json)
                service_json(response, 200, json_incref(json));
        else
                service_empty(response, 204);
}

static void handle_list(const struct service_call *call, struct http_response *response) {
        struct node_ask ask = { .call = call };
        char state[16];
        int r;

        r = service_query(call, "state", state, sizeof(state));
        if (r == -EBADMSG) {
                service_problem(call, response, "malformed", "state is active or revoked");
                return;
        }
        if (r >= 0)
                ask.state = state;

        r = store_read(call->service->store, nodes_read, &ask);
        node_answer(call, response, r, ask.json);
        json_decref(ask.json);
}

static void handle_show(const struct service_call *call, struct http_response *response) {
        struct node_ask ask = { .call = call, .id = service_parameter(call, "id") };
        int r;

        r = store_read(call->service->store, nodes_read, &ask);
        node_answer(call, response, r, ask.json);
        json_decref(ask.json);
}

static void handle_revoke(const struct service_call *call, struct http_response *response) {
        struct node_ask ask = { .call = call, .id = service_parameter(call, "id") };
        _cleanup_(json_decrefp) json_t *body = service_body(call, response), *detail = NULL;
        _cleanup_(freep) char *text = NULL;
        json_t *reason;
        int r;

        if (!body)
                return;

        reason = json_object_get(body, "reason");
        if (reason && (!json_is_string(reason) || json_string_length(reason) > 1024)) {
                service_problem(call, response, "malformed", "reason is a text of at most 1024 bytes");
                return;
        }
        detail = reason ? json_pack("{s:O}", "reason", reason) : json_object();
        ask.detail = text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;
        if (!text) {
                service_failure(call, response, -ENOMEM);
                return;
        }

        r = store_write(call->service->store, node_revoke, &ask);
        node_answer(call, response, r, ask.json);
        json_decref(ask.json);
}

static void handle_delete(const struct service_call *call, struct http_response *response) {
        struct node_ask ask = { .call = call, .id = service_parameter(call, "id") };

        node_answer(call, response, store_write(call->service->store, node_delete, &ask), NULL);
}

const struct service_route registrar_operator_routes[] = {
        { .method = "GET", .pattern = "/v1/nodes", .roles = ROLE_OPERATOR, .handler = handle_list },
        { .method = "GET",
          .pattern = "/v1/nodes/{id}",
          .roles = ROLE_OPERATOR | ROLE_TENANT | ROLE_VERIFIER,
          .handler = handle_show },
        { .method = "POST", .pattern = "/v1/nodes/{id}/revoke", .roles = ROLE_OPERATOR, .handler = handle_revoke },
        { .method = "DELETE", .pattern = "/v1/nodes/{id}", .roles = ROLE_OPERATOR, .handler = handle_delete },
        {},
};
