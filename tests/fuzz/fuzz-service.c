/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths, queries and peers, as the three daemons take them apart. Input: method, path, query, URI of the certificate,
 * Authorization, body; a line each. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/nonce.h"
#include "service/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void handle(const struct service_call *call, struct http_response *response) {
        char value[24];
        json_t *body = service_body(call, response);

        (void) service_query(call, "node", value, sizeof(value));
        for (size_t i = 0; i < call->n_parameters; i++)
                assert(service_parameter(call, call->parameters[i].name)[0]);
        if (body)
                service_json(response, 200, body);
}

/* What stands before a body of megabytes: no ticket that somebody makes up opens it. */
static int guard(const struct service_call *call) {
        static const struct nonce_scope scope = { .node_id = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
        static struct secret *key;
        uint8_t ticket[WIRE_LOG_TICKET_SIZE], digest[32];

        if (!key && secret_copy("a key that nobody knows of us...", 32, &key) < 0)
                abort();
        if (service_ticket(call->request, ticket, sizeof(ticket)) < 0)
                return 401;
        if (log_ticket_verify(key, ticket, &scope, 0, 0, digest) != -EKEYREJECTED)
                abort();
        return 409;
}

static const struct service_route routes[] = {
        { "GET", "/v1/log", ROLE_ANYONE, 0, false, handle },
        { "POST", "/v1/nodes/{id}/release", ROLE_ANYONE, 0, false, handle },
        { "POST", "/v1/nodes/{id}/release/logs", ROLE_ANYONE, WIRE_LOGS_MAX, true, handle, guard },
        { "PUT", "/v1/nodes/{id}/keys/{key}/half", ROLE_TENANT, 0, false, handle },
        { "PUT", "/v1/nodes/{id}/payload/{version}", ROLE_OPERATOR, 0, true, handle },
        { "DELETE", "/v1/join-tokens/{token}", ROLE_OPERATOR, 0, false, handle },
        { "PUT", "/v1/groups/{name}/policy", ROLE_OPERATOR | ROLE_VERIFIER, 0, false, handle },
        {},
};
static const struct service_route *const tables[] = { routes, NULL };
static const struct service_definition definition = { .role = "tenant", .routes = tables };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct service service = { .definition = &definition };
        char *text = strndup((const char *) data, size), *rest = text, *parts[5];
        struct http_request request = { .body_fd = -1 };
        struct http_response response = {};
        struct http_limit limit;

        log_set_level(LOG_LEVEL_ERROR);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                parts[i] = rest ? strsep(&rest, "\n") : (char *) "";
        request.method = parts[0];
        request.path = parts[1];
        request.query = parts[2];
        request.peer.present = parts[3][0] != '\0';
        (void) snprintf(request.peer.uri, sizeof(request.peer.uri), "%s", parts[3]);
        request.authorization = parts[4][0] ? parts[4] : NULL;
        request.body = (const uint8_t *) (rest ? rest : "");
        request.body_size = rest ? strlen(rest) : 0;

        (void) service_limit(&request, &limit, &service);
        service_dispatch(&request, &response, &service);
        assert(response.status >= 200 && response.body);
        free(response.body);
        free(text);
        return 0;
}
