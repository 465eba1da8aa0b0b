/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include "audit/audit.h"
#include "base/ini.h"
#include "service/hold.h"
#include "service/space.h"

struct log_query {
        char node[NODE_ID_LENGTH + 1], incident[17];
        bool has_node, has_incident, has_after;
        uint64_t after, limit;
        json_t *records;
};

static int query_number(const struct service_call *call, const char *name, uint64_t max, uint64_t *value, bool *has) {
        char text[24];
        int r;

        r = service_query(call, name, text, sizeof(text));
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        *has = true;
        return parse_u64(text, 0, max, value);
}

static int query_text(const struct service_call *call, const char *name, bool (*is_valid)(const char *), char *value, size_t size,
                      bool *has) {
        int r;

        r = service_query(call, name, value, size);
        if (r == -ENOENT)
                return 0;
        if (r < 0 || !is_valid(value))
                return -EBADMSG;

        *has = true;
        return 0;
}

static int log_read(struct store_txn *txn, void *userdata) {
        struct log_query *query = userdata;

        return audit_query(txn, query->has_node ? query->node : NULL, query->has_incident ? query->incident : NULL,
                           query->has_after ? (int64_t) query->after : -1, (unsigned) query->limit, &query->records);
}

static void get_log(const struct service_call *call, struct http_response *response) {
        struct log_query query = { .limit = 100 };
        bool has_limit;
        int r;

        if (query_text(call, "node", node_id_is_valid, query.node, sizeof(query.node), &query.has_node) < 0 ||
            query_text(call, "incident", incident_is_valid, query.incident, sizeof(query.incident), &query.has_incident) < 0 ||
            query_number(call, "after", INT64_MAX, &query.after, &query.has_after) < 0 ||
            query_number(call, "limit", 1000, &query.limit, &has_limit) < 0) {
                service_problem(
                        call, response, "malformed",
                        "Wanted: node=ID, incident=16 hexadecimal digits, after=NUMBER, limit=1 to 1000; all may be left out.");
                return;
        }

        r = store_read(call->service->store, log_read, &query);
        if (r < 0) {
                service_failure(call, response, r);
                return;
        }

        service_json(response, 200, json_pack("{s:o}", "records", query.records));
}

static void get_health(const struct service_call *call, struct http_response *response) {
        const char *status = hold_is(call->service) ? "old-database" : space_to_string(service_space(call->service));

        service_json(response, 200, json_pack("{s:s, s:s}", "status", status, "role", call->service->definition->role));
}

const struct service_route service_common_routes[] = {
        { "GET", "/v1/health", ROLE_ANYONE, 0, false, get_health },
        { "GET", "/v1/log", ROLE_OPERATOR, 0, false, get_log },
        {},
};
