/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "service/counts.h"
#include "service/space.h"
#include "wire/wire.h"

const char *service_parameter(const struct service_call *call, const char *name) {
        for (size_t i = 0; i < call->n_parameters; i++)
                if (strcmp(call->parameters[i].name, name) == 0)
                        return call->parameters[i].value;

        assert(false);
        return "";
}

void service_text(struct http_response *response, int status, char *take) {
        if (!take)
                status = 500;

        response->status = status;
        response->body = take;
        response->body_size = take ? strlen(take) : 0;
        response->body_fd = -1;
}

void service_json(struct http_response *response, int status, json_t *take) {
        char *text = take ? json_dumps(take, JSON_COMPACT) : NULL;

        json_decref(take);
        service_text(response, status, text);
}

void service_empty(struct http_response *response, int status) {
        response->status = status;
        response->body = NULL;
        response->body_size = 0;
        response->body_fd = -1;
}

void service_problem(const struct service_call *call, struct http_response *response, const char *name, const char *title, ...) {
        struct wire_problem problem = { .status = wire_problem_status(name) };
        va_list ap;

        va_start(ap, title);
        (void) vsnprintf(problem.title, sizeof(problem.title), title, ap);
        va_end(ap);
        (void) snprintf(problem.name, sizeof(problem.name), "%s", name);
        (void) snprintf(problem.incident, sizeof(problem.incident), "%s", call->request->incident);

        if (strcmp(name, "method-not-allowed") == 0)
                problem.status = 405;
        /* "unauthorized" has two: nobody said who it is, or somebody who may not did. */
        if (strcmp(name, "unauthorized") == 0 && !call->request->peer.present)
                problem.status = 401;
        if ((problem.status == 429 || problem.status == 503) && response->retry_after == 0)
                response->retry_after = 5;

        if (call->outcome)
                (void) snprintf(call->outcome->problem, sizeof(call->outcome->problem), "%s", name);
        log_debug("%s %s: %s: %s", call->request->method, call->request->path, name, problem.title);
        service_text(response, problem.status, wire_problem_encode(&problem));
}

void service_no_node(const struct service_call *call, struct http_response *response) {
        service_problem(call, response, "unknown-node", "This node is not known here.");
}

void service_no_group(const struct service_call *call, struct http_response *response) {
        service_problem(call, response, "not-found", SERVICE_NO_GROUP);
}

void service_failure(const struct service_call *call, struct http_response *response, int r) {
        if (service_may_log(call, "failed"))
                log_error_errno(r, "%s %s, incident %s: %m", call->request->method, call->request->path,
                                call->request->incident[0] ? call->request->incident : "none");

        if (r == -ENOSPC || r == -EDQUOT || r == -EIO)
                service_space_failed(call->service);
        if (r == -EIO || r == -ENOSPC || r == -EROFS || r == -EDQUOT || r == -EBUSY)
                service_problem(call, response, "unavailable", "The service cannot store anything at the moment.");
        else if (r == -ENOLINK || r == -ENOKEY)
                service_problem(call, response, "unavailable", "The service cannot come to its keys at the moment.");
        else
                service_problem(call, response, "internal", "The service failed; its journal says why.");
}

void service_recorded(const struct service_call *call) {
        if (call->outcome)
                call->outcome->recorded = true;
}

bool service_may_log(const struct service_call *call, const char *reason) {
        return counts_are_few(call->service->counts, reason);
}

json_t *service_body(const struct service_call *call, struct http_response *response) {
        json_t *body;

        body = call->request->body_size == 0 ? json_object() : wire_json_parse(call->request->body, call->request->body_size);
        if (!body)
                service_problem(call, response, "malformed", "The body is not one JSON object.");
        return body;
}

static bool is_plain(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool service_name_is_valid(const char *text) {
        size_t length = strlen(text);

        if (length == 0 || length > 64 || text[0] == '.' || text[0] == '-')
                return false;
        for (size_t i = 0; i < length; i++)
                if (!is_plain(text[i]))
                        return false;

        return true;
}

int service_query(const struct service_call *call, const char *name, char *ret, size_t size) {
        const char *at = call->request->query ? call->request->query : "";
        size_t length = strlen(name);

        while (*at) {
                size_t part = strcspn(at, "&");

                if (part > length && strncmp(at, name, length) == 0 && at[length] == '=') {
                        const char *value = at + length + 1;
                        size_t n = part - length - 1;

                        if (n == 0)
                                return -ENOENT;
                        if (n >= size)
                                return -EBADMSG;
                        for (size_t i = 0; i < n; i++)
                                if (!is_plain(value[i]) && value[i] != ':')
                                        return -EBADMSG;
                        memcpy(ret, value, n);
                        ret[n] = '\0';
                        return 0;
                }

                at += part;
                at += *at == '&';
        }

        return -ENOENT;
}

int service_ticket(const struct http_request *request, void *ret, size_t size) {
        static const char scheme[] = "Tallyboot ";
        _cleanup_(blob_done) struct blob ticket = {};
        const char *value = request->authorization;

        if (!value || strncmp(value, scheme, sizeof(scheme) - 1) != 0)
                return -EPERM;
        value += sizeof(scheme) - 1;
        if (base64url_decode(value, strlen(value), &ticket) < 0 || ticket.size != size)
                return -EPERM;

        memcpy(ret, ticket.data, size);
        return 0;
}
