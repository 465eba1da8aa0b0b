/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "verifier/verifier.h"

static int on_accept(const struct store_value *columns, size_t n, void *userdata) {
        struct wire_details *details = userdata;
        size_t i = details->n_accept;

        (void) n;
        if (i >= ELEMENTSOF(details->accept))
                return 0;
        details->accept[i].version = (uint64_t) column_int(columns);
        details->n_accept++;
        return column_fixed(columns + 1, details->accept[i].sha256, sizeof(details->accept[i].sha256));
}

/* The newest first: a node uses a payload only if it is among them. */
int accept_describe(struct store_txn *txn, const char *node, struct wire_details *details) {
        return store_query(txn, "SELECT version, sha256 FROM accepts WHERE node = $1 ORDER BY version DESC LIMIT 4",
                           STORE_ARGS(store_text(node)), on_accept, details);
}

int accept_object(struct store_txn *txn, const char *node, json_t **ret) {
        struct wire_details details = {};
        char hex[65];
        int r;

        r = accept_describe(txn, node, &details);
        if (r < 0)
                return r;

        hex_write(details.accept[0].sha256, sizeof(details.accept[0].sha256), hex);
        *ret = details.n_accept > 0 ? json_pack("{s:I, s:s}", "version", (json_int_t) details.accept[0].version, "sha256", hex)
                                    : json_null();
        return *ret ? 0 : -ENOMEM;
}

struct acceptance {
        const struct service_call *call;
        const char *node;
        uint64_t version;
        uint8_t sha256[32];
        bool final;
};

/* A version is named once, for one file. */
static int store_accept(struct acceptance *acceptance, struct store_txn *txn) {
        int64_t same;
        int r;

        r = store_exec(txn, "INSERT INTO accepts (node, version, sha256) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                       STORE_ARGS(store_text(acceptance->node), store_int((int64_t) acceptance->version),
                                  store_blob(acceptance->sha256, sizeof(acceptance->sha256))),
                       NULL);
        if (r < 0)
                return r;
        r = query_int(txn, "SELECT 1 FROM accepts WHERE node = $1 AND version = $2 AND sha256 = $3",
                      STORE_ARGS(store_text(acceptance->node), store_int((int64_t) acceptance->version),
                                 store_blob(acceptance->sha256, sizeof(acceptance->sha256))),
                      &same);
        if (r < 0)
                return r == -ENOENT ? -EEXIST : r;

        if (!acceptance->final)
                return 0;
        return store_exec(txn, "DELETE FROM accepts WHERE node = $1 AND version < $2",
                          STORE_ARGS(store_text(acceptance->node), store_int((int64_t) acceptance->version)), NULL);
}

static int accept_txn(struct store_txn *txn, void *userdata) {
        struct acceptance *acceptance = userdata;
        _cleanup_(node_done) struct node node = {};
        char hex[65];
        int r;

        r = node_load(txn, acceptance->node, &node);
        if (r < 0)
                return r;
        r = store_accept(acceptance, txn);
        if (r < 0)
                return r;
        r = node_save(txn, &node, true);
        if (r < 0)
                return r;

        hex_write(acceptance->sha256, sizeof(acceptance->sha256), hex);
        return party_audit(txn, acceptance->call, "payload", acceptance->node,
                           json_pack("{s:I, s:s, s:b}", "version", (json_int_t) acceptance->version, "sha256", hex, "final",
                                     (int) acceptance->final));
}

static int read_body(struct acceptance *acceptance, const json_t *body) {
        int r;

        if ((r = wire_get_u64(body, "version", INT64_MAX / 2, &acceptance->version)) < 0 ||
            (r = wire_get_hex_fixed(body, "sha256", acceptance->sha256, sizeof(acceptance->sha256))) < 0)
                return r;
        r = wire_get_bool(body, "final", &acceptance->final);
        return r == -ENOENT ? 0 : r;
}

static void accept_post(const struct service_call *call, struct http_response *response) {
        struct acceptance acceptance = { .call = call, .node = service_parameter(call, "id") };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        if (read_body(&acceptance, body) < 0)
                service_problem(call, response, "malformed", "Wanted: version, a number; sha256, in hex; final, true or false.");
        else {
                r = store_write(call->service->store, accept_txn, &acceptance);
                if (r == -ENOENT)
                        service_no_node(call, response);
                else if (r == -EEXIST)
                        service_problem(call, response, "conflict", "This version is another file already.");
                else if (r < 0)
                        service_failure(call, response, r);
                else
                        service_json(response, 201, json_pack("{s:I}", "version", (json_int_t) acceptance.version));
        }

        json_decref(body);
}

const struct service_route accept_routes[] = {
        { "POST", "/v1/nodes/{id}/payload", ROLE_OPERATOR, 0, false, accept_post },
        {},
};
