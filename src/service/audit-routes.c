/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "audit/audit.h"
#include "audit/head.h"
#include "audit/past.h"
#include "base/ini.h"
#include "service/counts.h"
#include "service/heads.h"

/* What operators see. */
struct audit_ask {
        const struct service_call *call;
        struct audit_head head;
        json_t *peers, *records;
        uint64_t after, limit;
};

static int read_status(struct store_txn *txn, void *userdata) {
        static const char *const roles[] = { "registrar", "tenant", "verifier" };
        struct audit_ask *ask = userdata;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(roles); i++) {
                struct audit_peer peer;

                r = audit_peer_load(txn, roles[i], &peer);
                if (r == -ENOENT)
                        continue;
                if (r >= 0)
                        r = json_array_append_new(ask->peers, audit_peer_to_json(&peer)) < 0 ? -ENOMEM : 0;
                if (r < 0)
                        return r;
        }
        return audit_head_read(txn, ask->call->service->definition->role, 0, &ask->head);
}

static void status_handler(const struct service_call *call, struct http_response *response) {
        struct audit_ask ask = { .call = call, .peers = json_array() };
        struct service *service = call->service;
        int r;

        r = ask.peers ? store_read(service->store, read_status, &ask) : -ENOMEM;
        if (r >= 0)
                r = audit_head_sign(&ask.head, keystore_audit_key(service->keystore));
        if (r < 0) {
                json_decref(ask.peers);
                service_failure(call, response, r);
                return;
        }
        service_json(response, 200,
                     json_pack("{s:o, s:o, s:o}", "head", audit_head_to_json(&ask.head), "peers", ask.peers, "counts",
                               counts_totals(service->counts)));
}

static int read_records(struct store_txn *txn, void *userdata) {
        struct audit_ask *ask = userdata;

        return audit_export(txn, (int64_t) ask->after, (unsigned) ask->limit, &ask->records);
}

static int query_u64(const struct service_call *call, const char *name, uint64_t max, uint64_t *ret) {
        char text[24];
        int r;

        r = service_query(call, name, text, sizeof(text));
        if (r == -ENOENT)
                return 0;
        return r < 0 ? r : parse_u64(text, 0, max, ret);
}

static void records_handler(const struct service_call *call, struct http_response *response) {
        struct audit_ask ask = { .call = call, .limit = AUDIT_EXPORT_MAX };
        int r;

        if (query_u64(call, "after", INT64_MAX >> 10, &ask.after) < 0 ||
            query_u64(call, "limit", AUDIT_EXPORT_MAX, &ask.limit) < 0 || ask.limit == 0) {
                service_problem(call, response, "malformed", "Wanted: after=NUMBER, limit=1 to %d; both may be left out.",
                                AUDIT_EXPORT_MAX);
                return;
        }
        r = store_read(call->service->store, read_records, &ask);
        if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 200, json_pack("{s:o}", "records", ask.records));
}

/* Of the service itself: its own database is an older one, and the operator knows. Of another: its next head is the first
 * again. */
static int accept_log(struct store_txn *txn, const struct service_call *call, const char *role, json_t **ret_detail) {
        struct audit_peer peer;
        int r;

        if (strcmp(role, call->service->definition->role) == 0) {
                r = audit_past_accept(txn);
                if (r >= 0)
                        *ret_detail = json_pack("{s:s}", "of", role);
                return r;
        }
        if ((r = audit_peer_load(txn, role, &peer)) < 0 || (r = audit_peer_forget(txn, role)) < 0)
                return r;
        *ret_detail = json_pack("{s:s, s:o}", "of", role, "known", audit_peer_to_json(&peer));
        return 0;
}

static int accept_txn(struct store_txn *txn, void *userdata) {
        struct audit_ask *ask = userdata;
        _cleanup_(freep) char *detail = NULL;
        json_t *json = NULL;
        int r;

        r = accept_log(txn, ask->call, service_parameter(ask->call, "name"), &json);
        if (r < 0)
                return r;
        detail = json ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        if (!detail)
                return -ENOMEM;
        return audit_append(txn, &(struct audit_record){ .event = "audit-accept",
                                                         .incident = ask->call->request->incident,
                                                         .who = ask->call->who,
                                                         .detail = detail });
}

static void accept_handler(const struct service_call *call, struct http_response *response) {
        struct audit_ask ask = { .call = call };
        int r;

        r = store_write(call->service->store, accept_txn, &ask);
        if (r == -ENOENT)
                service_problem(call, response, "not-found", "There is nothing to accept of such a service here.");
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_empty(response, 204);
}

const struct service_route service_audit_routes[] = {
        { "GET", "/v1/audit", ROLE_OPERATOR, 0, false, status_handler },
        { "GET", "/v1/audit/records", ROLE_OPERATOR, 0, false, records_handler },
        { "POST", "/v1/audit/peers/{name}/accept", ROLE_OPERATOR, 0, false, accept_handler },
        {},
};
