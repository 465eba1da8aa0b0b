/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/log.h"
#include "service/state.h"

struct policy_call {
        const struct service_call *call;
        struct group group;
        char *text;           /* read */
        const char *put;      /* to be stored */
        uint64_t version;     /* that it replaces */
        struct policy policy; /* to be stored, parsed */
        char *uncovered;      /* by it */
        char warning[GROUP_WARNING_SIZE];
};

static int on_text(const struct store_value *columns, size_t n, void *userdata) {
        struct policy_call *p = userdata;

        (void) n;
        if (columns[0].type != STORE_TEXT)
                return -EUCLEAN;
        p->text = strdup(columns[0].data);
        return p->text ? 0 : -ENOMEM;
}

static int get_read(struct store_txn *txn, void *userdata) {
        struct policy_call *p = userdata;
        int r;

        r = group_load(txn, service_parameter(p->call, "name"), &p->group);
        if (r < 0)
                return r;
        if ((r = policy_load(txn, &p->group, &p->policy)) < 0 ||
            (r = group_warning(txn, p->group.name, &p->policy, p->warning)) < 0)
                return r;
        return store_query(txn, "SELECT text FROM policies WHERE group_name = $1 AND version = $2",
                           STORE_ARGS(store_text(p->group.name), store_int(p->group.policy_version)), on_text, p);
}

void policy_get(const struct service_call *call, struct http_response *response) {
        struct policy_call p = { .call = call };
        int r;

        r = store_read(call->service->store, get_read, &p);
        if (r == -ENOENT)
                service_no_group(call, response);
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 200,
                             json_pack("{s:s, s:I, s:s*}", "text", p.text ? p.text : "", "version",
                                       (json_int_t) p.group.policy_version, "warning", p.warning[0] ? p.warning : NULL));
        policy_done(&p.policy);
        free(p.text);
}

static int put_txn(struct store_txn *txn, void *userdata) {
        struct policy_call *p = userdata;
        int r;

        r = group_load(txn, service_parameter(p->call, "name"), &p->group);
        if (r < 0)
                return r;
        if ((uint64_t) p->group.policy_version != p->version)
                return -ECANCELED;

        if ((r = policy_store(txn, &p->group, p->put, p->call->who)) < 0 ||
            (r = group_warning(txn, p->group.name, &p->policy, p->warning)) < 0)
                return r;
        return party_audit(txn, p->call, "policy", "",
                           json_pack("{s:s, s:I, s:I, s:s, s:s*}", "group", p->group.name, "version",
                                     (json_int_t) p->group.policy_version, "sets", (json_int_t) p->policy.n, "uncovered",
                                     p->uncovered, "warning", p->warning[0] ? p->warning : NULL));
}

/* Parsed before it is stored: what is stored always parses. */
static bool check(struct policy_call *p, const json_t *body, struct http_response *response) {
        const json_t *text = json_object_get(body, "text");
        char error[256] = "";
        int r;

        if (!json_is_string(text) || wire_get_u64(body, "version", INT64_MAX / 2, &p->version) < 0) {
                service_problem(p->call, response, "malformed",
                                "Wanted: text; version, of the policy that it replaces (0: none).");
                return false;
        }

        r = policy_parse(json_string_value(text), json_string_length(text), &p->policy, error, sizeof(error));
        if (r == -ENOMEM) {
                service_failure(p->call, response, r);
                return false;
        }
        if (r < 0) {
                service_problem(p->call, response, "malformed", "The policy, line %s", error);
                return false;
        }

        p->put = json_string_value(text);
        p->uncovered = policy_uncovered(&p->policy);
        if (!p->uncovered) {
                service_failure(p->call, response, -ENOMEM);
                return false;
        }
        return true;
}

void policy_put(const struct service_call *call, struct http_response *response) {
        struct policy_call p = { .call = call };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        if (check(&p, body, response)) {
                r = store_write(call->service->store, put_txn, &p);
                if (r == -ENOENT)
                        service_no_group(call, response);
                else if (r == -ECANCELED)
                        service_problem(call, response, "conflict", "The policy is at version %lld by now, not %llu.",
                                        (long long) p.group.policy_version, (unsigned long long) p.version);
                else if (r < 0)
                        service_failure(call, response, r);
                else {
                        log_info("Group %s: policy %lld with %zu sets by %s.", p.group.name, (long long) p.group.policy_version,
                                 p.policy.n, call->who);
                        service_json(response, 200,
                                     json_pack("{s:I, s:s*}", "version", (json_int_t) p.group.policy_version, "warning",
                                               p.warning[0] ? p.warning : NULL));
                }
        }

        policy_done(&p.policy);
        free(p.uncovered);
        json_decref(body);
}
