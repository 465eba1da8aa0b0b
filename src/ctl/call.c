/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "wire/wire.h"

struct ctl_call ctl_call(enum server server, const char *method, const char *path_format, ...) {
        struct ctl_call call = { .server = server, .method = method, .body_fd = -1 };
        va_list arguments;

        va_start(arguments, path_format);
        vsnprintf(call.path, sizeof call.path, path_format, arguments);
        va_end(arguments);
        return call;
}

void ctl_call_done(struct ctl_call *call) {
        json_decref(call->answer);
        call->answer = NULL;
}

static int open_client(struct ctl *ctl) {
        struct http_client_options options = {
                .ca_file = ctl->ca,
                .certificate_file = ctl->certificate,
                .key_file = ctl->key,
                .timeout_ms = 60000,
        };

        if (ctl->client)
                return 0;
        return http_client_new(&options, &ctl->client);
}

/* Which of the three files it is, and what to do. */
static int say_unusable(const struct ctl *ctl, int r) {
        const char *const files[] = { ctl->ca, ctl->certificate, ctl->key };

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                if (access(files[i], R_OK) < 0)
                        return log_error_errno(errno, "%s: %m.", files[i]);
        if (r == -EPERM)
                return log_error("%s: others than its owner may read it; say: chmod 0600 %s", ctl->key, ctl->key), r;
        if (r == -EKEYREJECTED)
                return log_error("%s is not the key of %s: copy both anew from the fleet's directory.", ctl->key,
                                 ctl->certificate),
                       r;
        return log_error_errno(r, "%s, %s, %s: the certificates cannot be used: %m", ctl->ca, ctl->certificate, ctl->key);
}

static int problem_to_errno(const char *problem, int status) {
        if (strcmp(problem, "conflict") == 0)
                return -EEXIST;
        if (status == 404)
                return -ENOENT;
        if (status == 401 || status == 403)
                return -EACCES;
        if (status == 429 || status == 503)
                return -EAGAIN;
        return status >= 500 ? -EREMOTEIO : -EBADMSG;
}

static void take_answer(struct ctl_call *call, const struct http_exchange *exchange) {
        struct wire_problem problem = {};
        char title[512];

        call->result = exchange->result;
        if (call->result < 0) {
                text_sanitize(exchange->error, call->error, sizeof call->error);
                return;
        }
        if (exchange->status >= 200 && exchange->status < 300) {
                if (exchange->answer.size > 0) {
                        call->answer = wire_json_parse(exchange->answer.data, exchange->answer.size);
                        if (!call->answer) {
                                call->result = -EBADMSG;
                                snprintf(call->error, sizeof call->error, "its answer is not JSON");
                        }
                }
                return;
        }
        if (wire_problem_parse((char *) exchange->answer.data, exchange->answer.size, &problem) < 0)
                snprintf(problem.title, sizeof problem.title, "HTTP status %d", exchange->status);
        text_sanitize(problem.title, title, sizeof title);
        snprintf(call->error, sizeof call->error, "%s%s%.400s", problem.name, problem.name[0] ? ": " : "", title);
        snprintf(call->problem, sizeof call->problem, "%s", problem.name);
        call->result = problem_to_errno(problem.name, exchange->status);
}

static void ask(struct ctl *ctl, const struct ctl_call *call, const char *text, struct http_exchange *ret) {
        *ret = (struct http_exchange){
                .servers = ctl->servers + call->server,
                .method = call->method,
                .path = call->path,
                .body = text,
                .body_size = text ? strlen(text) : call->body_size,
                .body_fd = call->body_fd,
                .content_type = call->body_fd >= 0 ? "application/octet-stream" : NULL,
                .max_answer = 16 * 1024 * 1024,
        };
}

int ctl_perform(struct ctl *ctl, struct ctl_call *calls, size_t n) {
        struct http_exchange exchanges[SERVERS] = {};
        char *texts[SERVERS] = {};
        int r;

        assert(n <= SERVERS);

        r = open_client(ctl);
        if (r < 0)
                return say_unusable(ctl, r);
        for (size_t i = 0; i < n; i++) {
                if (calls[i].body)
                        texts[i] = json_dumps(calls[i].body, JSON_COMPACT);
                ask(ctl, calls + i, texts[i], exchanges + i);
        }
        r = http_client_perform(ctl->client, exchanges, n, -1);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        take_answer(calls + i, exchanges + i);
                http_exchange_done(exchanges + i);
                free(texts[i]);
        }
        return r < 0 ? log_error_errno(r, "No request could be made: %m") : 0;
}

static bool unreached(int result) {
        return result == -ENOLINK || result == -ETIMEDOUT || result == -EKEYREJECTED;
}

int ctl_followed(const struct ctl_call *calls, size_t n) {
        size_t done = 0, lost = 0;

        for (size_t i = 0; i < n; i++) {
                if (calls[i].result == 0) {
                        done++;
                        continue;
                }
                lost += unreached(calls[i].result);
                log_error("The %s %s: %s", server_names[calls[i].server],
                          unreached(calls[i].result) ? "was not reached" : "refused", calls[i].error);
        }
        if (done == n)
                return CTL_OK;
        if (done > 0) {
                log_error("Not every server has followed. Mend what is said above and run the same command again.");
                return CTL_NOT_FOLLOWED;
        }
        return lost == n ? CTL_UNREACHED : CTL_REFUSED;
}

int ctl_get(struct ctl *ctl, enum server server, const char *path, json_t **ret_answer) {
        _cleanup_(ctl_call_done) struct ctl_call call = ctl_call(server, "GET", "%s", path);
        int r;

        if (ctl_perform(ctl, &call, 1) < 0)
                return CTL_FAILURE;
        r = ctl_followed(&call, 1);
        if (r == CTL_OK)
                *ret_answer = TAKE_PTR(call.answer);
        return r;
}

/* A node matches by id, by a prefix of it, or by its code. */
static bool node_matches(const json_t *node, const char *text, size_t length) {
        const char *id = ctl_string(node, "id");

        if (strcmp(ctl_string(node, "code"), text) == 0)
                return true;
        return length >= 6 && strncmp(id, text, length) == 0;
}

static int resolve_in(struct ctl *ctl, enum server server, const char *text, char *found, size_t *matches) {
        _cleanup_(ctl_call_done) struct ctl_call call = ctl_call(server, "GET", "/v1/nodes");
        size_t i;
        json_t *node;

        if (ctl_perform(ctl, &call, 1) < 0)
                return CTL_FAILURE;
        if (call.result < 0) {
                log_debug("%s: %s", server_names[server], call.error);
                return unreached(call.result) ? CTL_UNREACHED : CTL_REFUSED;
        }
        json_array_foreach (json_object_get(call.answer, "nodes"), i, node) {
                const char *id = ctl_string(node, "id");

                if (!node_matches(node, text, strlen(text)) || !node_id_is_valid(id) || strcmp(id, found) == 0)
                        continue;
                memcpy(found, id, NODE_ID_LENGTH + 1);
                (*matches)++;
        }
        return CTL_OK;
}

int ctl_resolve_node(struct ctl *ctl, const char *given, char ret[static NODE_ID_LENGTH + 1]) {
        char found[NODE_ID_LENGTH + 1] = "", text[NODE_ID_LENGTH + 2];
        size_t matches = 0;
        int worst = CTL_UNREACHED;

        snprintf(text, sizeof text, "%s", given);
        for (char *p = text; *p; p++) /* as it was read out on the telephone */
                *p = *p >= 'A' && *p <= 'Z' ? (char) (*p - 'A' + 'a') : *p;
        if (node_id_is_valid(text)) {
                memcpy(ret, text, NODE_ID_LENGTH + 1);
                return CTL_OK;
        }
        for (int server = 0; server < SERVERS; server++) {
                int r = resolve_in(ctl, server, text, found, &matches);

                if (r == CTL_OK || worst == CTL_UNREACHED)
                        worst = r;
        }
        if (matches == 1) {
                memcpy(ret, found, sizeof found);
                return CTL_OK;
        }
        if (matches == 0 && worst != CTL_OK)
                log_error("\"%s\" could not be looked up: no server %s.", text,
                          worst == CTL_UNREACHED ? "was reached" : "allowed it");
        else if (matches == 0)
                log_error("No node has the id or code \"%s\" (a prefix needs 6 characters). \"tallyctl node list\" shows all.",
                          text);
        else
                log_error("\"%s\" fits more than one node: give more characters of the id.", text);
        return matches == 0 && worst != CTL_OK ? worst : CTL_REFUSED;
}
