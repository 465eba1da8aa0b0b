/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/counts.h"
#include "service/limiter.h"
#include "service/space.h"
#include "wire/wire.h"

/* Who somebody was is read in the audit log: no person is called what a service, or a node, is called there. */
static bool is_taken(const char *name) {
        static const char *const taken[] = { "node", "service", "registrar", "tenant", "verifier" };

        for (size_t i = 0; i < ELEMENTSOF(taken); i++)
                if (strcmp(name, taken[i]) == 0)
                        return true;

        return false;
}

enum service_role service_peer_role(const struct http_peer *peer, char *ret_who, size_t size) {
        static const struct {
                const char *uri, *who;
                enum service_role role;
        } services[] = {
                { "urn:tallyboot:tenant", "tenant", ROLE_TENANT },
                { "urn:tallyboot:verifier", "verifier", ROLE_VERIFIER },
                { "urn:tallyboot:registrar", "registrar", ROLE_REGISTRAR },
        };
        static const struct {
                const char *prefix;
                enum service_role role;
        } people[] = { { "urn:tallyboot:operator:", ROLE_OPERATOR }, { "urn:tallyboot:monitor:", ROLE_MONITOR } };

        (void) snprintf(ret_who, size, "node");
        if (!peer->present)
                return ROLE_ANYONE;

        for (size_t i = 0; i < ELEMENTSOF(services); i++)
                if (strcmp(peer->uri, services[i].uri) == 0) {
                        (void) snprintf(ret_who, size, "%s", services[i].who);
                        return services[i].role;
                }

        /* The name ends up in the audit log and on terminals. */
        for (size_t i = 0; i < ELEMENTSOF(people); i++) {
                size_t n = strlen(people[i].prefix);

                if (strncmp(peer->uri, people[i].prefix, n) == 0 && service_name_is_valid(peer->uri + n) &&
                    !is_taken(peer->uri + n)) {
                        (void) snprintf(ret_who, size, "%s", peer->uri + n);
                        return people[i].role;
                }
        }

        return ROLE_ANYONE;
}

/* Who is refused by name is as good as without a certificate. */
static enum service_role role_of(struct service *service, const struct http_peer *peer, char *ret_who, size_t size) {
        enum service_role role = service_peer_role(peer, ret_who, size);

        if (role == ROLE_ANYONE || !service_refuses_client(service, peer->uri))
                return role;
        (void) snprintf(ret_who, size, "node");
        return ROLE_ANYONE;
}

static bool parameter_is_valid(const char *name, const char *value) {
        if (strcmp(name, "id") == 0)
                return node_id_is_valid(value);
        if (strcmp(name, "key") == 0)
                return key_id_is_valid(value);
        if (strcmp(name, "name") == 0)
                return service_name_is_valid(value);
        if (strcmp(name, "token") == 0)
                return join_token_id_is_valid(value);
        if (strcmp(name, "version") == 0)
                return value[0] && strlen(value) <= 15 && strspn(value, "0123456789") == strlen(value);

        return false;
}

/* One segment "{name}" of the pattern against the same segment of the path. */
static bool take_parameter(const char *pattern, size_t n, const char *path, size_t m, struct service_call *call) {
        size_t i = call->n_parameters;

        assert(i < SERVICE_PARAMETERS_MAX);
        if (m >= sizeof(call->parameters[i].value) || n - 2 >= sizeof(call->parameters[i].name))
                return false;

        memcpy(call->parameters[i].name, pattern + 1, n - 2);
        call->parameters[i].name[n - 2] = '\0';
        memcpy(call->parameters[i].value, path, m);
        call->parameters[i].value[m] = '\0';
        if (!parameter_is_valid(call->parameters[i].name, call->parameters[i].value))
                return false;

        call->n_parameters++;
        return true;
}

static bool match(const char *pattern, const char *path, struct service_call *call) {
        call->n_parameters = 0;

        while (*pattern == '/' && *path == '/') {
                size_t n, m;

                pattern++;
                path++;
                n = strcspn(pattern, "/");
                m = strcspn(path, "/");

                if (pattern[0] == '{') {
                        if (!take_parameter(pattern, n, path, m, call))
                                return false;
                } else if (n != m || memcmp(pattern, path, n) != 0)
                        return false;

                pattern += n;
                path += m;
        }

        return *pattern == '\0' && *path == '\0';
}

/* -ENOENT: no such path; -ENOTSUP: not with this method. */
static int find_route(const struct service_definition *definition, const char *method, const char *path,
                      struct service_call *call) {
        int r = -ENOENT;

        for (const struct service_route *const *table = definition->routes; *table; table++)
                for (const struct service_route *route = *table; route->method; route++) {
                        if (!match(route->pattern, path, call))
                                continue;
                        if (strcmp(route->method, method) == 0) {
                                call->route = route;
                                return 0;
                        }
                        r = -ENOTSUP;
                }

        return r;
}

static bool role_may(const struct service_route *route, enum service_role role) {
        return route->roles & ROLE_ANYONE || (role != ROLE_ANYONE && route->roles & role);
}

int service_limit(const struct http_request *head, struct http_limit *ret, void *userdata) {
        struct service *service = userdata;
        struct service_call call = { .service = service, .request = head };
        struct http_limit limit = { .max = WIRE_REQUEST_MAX };
        int status = 0;

        /* Nobody makes the service read more than a node's request before it is known that he may: he gets his 403 or 404. */
        call.role = role_of(service, &head->peer, call.who, sizeof(call.who));
        if (find_route(service->definition, head->method, head->path, &call) >= 0 && role_may(call.route, call.role)) {
                if (call.route->guard)
                        status = call.route->guard(&call);
                limit.to_file = call.route->body_to_file;
                if (call.route->max_body > 0)
                        limit.max = call.route->max_body;
        }

        *ret = limit;
        return status;
}

static void dispatch(struct service_call *call, struct http_response *response) {
        const struct http_request *request = call->request;
        int r;

        r = find_route(call->service->definition, request->method, request->path, call);
        if (r == -ENOENT) {
                service_problem(call, response, "not-found", "There is nothing here.");
                return;
        }
        if (r < 0) {
                service_problem(call, response, "method-not-allowed", "Not with this method.");
                return;
        }

        if (!role_may(call->route, call->role)) {
                if (service_may_log(call, "unauthorized"))
                        log_notice("%s %s refused: %s%s from %s", request->method, request->path,
                                   request->peer.present ? "not for a certificate of " : "no client certificate",
                                   request->peer.uri, request->peer.address);
                service_problem(call, response, "unauthorized",
                                !request->peer.present ? "A client certificate is needed."
                                : service_refuses_client(call->service, request->peer.uri)
                                        ? "Certificates of this name are refused here (client-refuse)."
                                        : "Not with this client certificate.");
                return;
        }

        if (call->route->is_new_work && service_refuses_new_work(call, response))
                return;
        call->route->handler(call, response);
        if (response->status == 0)
                service_failure(call, response, -ENODATA);
}

/* Who shows no certificate can be anybody; by address, so that nobody shuts out a node in its name. */
static bool asks_too_often(const struct service_call *call, struct http_response *response) {
        struct service *service = call->service;

        if (call->role != ROLE_ANYONE || !service->limiter)
                return false;
        response->retry_after =
                limiter_count_to(service->limiter, "requests", call->request->peer.network, service->config.requests_per_minute);
        if (response->retry_after == 0)
                return false;
        service_problem(call, response, "rate-limited", "Too many requests from this address.");
        return true;
}

/* Refusals; of those who showed no certificate, and whose refusal is not in the audit log, samples too. */
static void count(const struct service_call *call, const struct http_response *response) {
        const struct counts_sample sample = { .address = call->request->peer.address,
                                              .node = call->n_parameters > 0 ? call->parameters[0].value : "",
                                              .incident = call->request->incident };
        bool unproven = call->role == ROLE_ANYONE && !call->outcome->recorded;

        if (response->status >= 400)
                counts_add(call->service->counts, *call->outcome->problem ? call->outcome->problem : "internal",
                           unproven ? &sample : NULL);
}

void service_dispatch(const struct http_request *request, struct http_response *response, void *userdata) {
        struct service_outcome outcome = {};
        struct service_call call = { .service = userdata, .request = request, .outcome = &outcome };

        response->body_fd = -1;
        call.role = role_of(call.service, &request->peer, call.who, sizeof(call.who));
        if (!asks_too_often(&call, response))
                dispatch(&call, response);
        count(&call, response);
        service_count_answer(&call, response->status);
}
