/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "http/connection.h"

enum { RETRY_SECONDS = 30 };

static const struct {
        int status;
        const char *phrase;
        const char *problem; /* docs/protocol.md, 11 */
        const char *title;
} statuses[] = {
        { 200, "OK", NULL, NULL },
        { 201, "Created", NULL, NULL },
        { 202, "Accepted", NULL, NULL },
        { 204, "No Content", NULL, NULL },
        { 400, "Bad Request", "malformed", "The request is malformed." },
        { 401, "Unauthorized", "unauthorized", "A client certificate is needed." },
        { 403, "Forbidden", "unauthorized", "Not allowed." },
        { 404, "Not Found", "not-found", "There is nothing here." },
        { 405, "Method Not Allowed", "not-found", "There is no such method here." },
        { 409, "Conflict", "stale-nonce", "Too old: a new challenge is needed." }, /* before a body: a ticket */
        { 411, "Length Required", "malformed", "The request needs Content-Length and no transfer coding." },
        { 413, "Content Too Large", "too-large", "The request is larger than allowed." },
        { 429, "Too Many Requests", "rate-limited", "Too many requests." },
        { 500, "Internal Server Error", "internal", "The server has failed." },
        { 503, "Service Unavailable", "unavailable", "Not now." },
};

static size_t find_status(int status) {
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++)
                if (statuses[i].status == status)
                        return i;
        return ELEMENTSOF(statuses);
}

static const char *phrase_of(int status) {
        size_t i = find_status(status);

        return i < ELEMENTSOF(statuses) ? statuses[i].phrase : "Other";
}

void response_done(struct http_response *response) {
        free(response->body);
        closep(&response->body_fd);
        *response = (struct http_response){ .body_fd = -1 };
}

/* What goes wrong before or beside a handler. Every text here is ours: nothing needs escaping. */
void response_problem(int status, const char *incident, struct http_response *ret) {
        size_t i = find_status(status);

        if (i == ELEMENTSOF(statuses) || !statuses[i].problem)
                i = find_status(status = 500);
        *ret = (struct http_response){ .status = status, .body_fd = -1 };
        ret->body = format("{\"type\":\"urn:tallyboot:problem:%s\",\"title\":\"%s\",\"status\":%d,\"incident\":\"%s\"}",
                           statuses[i].problem, statuses[i].title, status, incident);
        ret->body_size = ret->body ? strlen(ret->body) : 0;
        ret->retry_after = status == 429 || status == 503 ? RETRY_SECONDS : 0;
}

static const char *content_type(const struct http_response *response) {
        if (response->content_type)
                return response->content_type;
        if (!response->body && response->body_fd >= 0)
                return "application/octet-stream";
        return response->status >= 400 ? "application/problem+json" : "application/json";
}

char *response_encode(const struct http_response *response, uint64_t size, bool with_body, bool keep_alive, size_t *ret_size) {
        char retry[48] = "", content[128] = "", length[48] = "";
        size_t body = with_body ? response->body_size : 0;
        char *text;
        int n;

        if (response->retry_after > 0)
                snprintf(retry, sizeof retry, "Retry-After: %u\r\n", response->retry_after);
        if (size > 0)
                snprintf(content, sizeof content, "Content-Type: %s\r\n", content_type(response));

        if (response->status != 204) /* RFC 9110, 8.6 */
                snprintf(length, sizeof length, "Content-Length: %" PRIu64 "\r\n", size);

        text = malloc(512 + body);
        if (!text)
                return NULL;
        n = snprintf(text, 512, "HTTP/1.1 %d %s\r\n%s%s%sCache-Control: no-store\r\n%s\r\n", response->status,
                     phrase_of(response->status), content, length, retry, keep_alive ? "" : "Connection: close\r\n");
        if (body > 0)
                memcpy(text + n, response->body, body);
        *ret_size = (size_t) n + body;
        return text;
}
