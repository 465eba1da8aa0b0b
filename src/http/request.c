/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/request.h"

#include <string.h>
#include <strings.h>

static int refuse(struct request *request, int status) {
        if (request->state != REQUEST_REFUSED) {
                request->state = REQUEST_REFUSED;
                request->status = status;
        }
        return -1; /* ends http_parser_execute() */
}

static int on_target(http_parser *parser, const char *data, size_t size) {
        struct request *request = parser->data;

        if (size > REQUEST_TARGET_MAX - request->target_size)
                return refuse(request, 413);
        memcpy(request->target + request->target_size, data, size);
        request->target_size += size;
        return 0;
}

static enum request_header header_from_name(const char *name) {
        static const char *const names[] = {
                [HEADER_AUTHORIZATION] = "Authorization",
                [HEADER_INCIDENT] = "Tallyboot-Incident",
                [HEADER_EXPECT] = "Expect",
                [HEADER_TRANSFER_ENCODING] = "Transfer-Encoding",
        };

        for (size_t i = HEADER_OTHER + 1; i < ELEMENTSOF(names); i++)
                if (strcasecmp(names[i], name) == 0)
                        return (enum request_header) i;
        return HEADER_OTHER;
}

static bool is_incident(const char *text) {
        return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
}

static int take_authorization(struct request *request) {
        if (request->has_authorization || request->value_size > REQUEST_VALUE_MAX)
                return refuse(request, 400);
        request->has_authorization = true;
        memcpy(request->authorization, request->value, request->value_size + 1);
        return 0;
}

/* A header line is complete. */
static int take_header(struct request *request) {
        enum request_header header = HEADER_OTHER;

        if (request->name_size < sizeof request->name) {
                request->name[request->name_size] = 0;
                /* the parser lets it pass; who is in front of us may read another name (RFC 9112, 5.1) */
                if (strchr(request->name, ' '))
                        return refuse(request, 400);
                header = header_from_name(request->name);
        }
        request->value[MIN(request->value_size, (size_t) REQUEST_VALUE_MAX)] = 0;

        switch (header) {
        case HEADER_AUTHORIZATION:
                return take_authorization(request);
        case HEADER_TRANSFER_ENCODING: /* chunked and all the others */
                return refuse(request, 411);
        case HEADER_INCIDENT:
                if (!request->has_incident && is_incident(request->value))
                        memcpy(request->incident, request->value, sizeof request->incident);
                else
                        request->incident[0] = 0; /* twice: neither */
                request->has_incident = true;
                return 0;
        case HEADER_EXPECT:
                request->expect_continue = strcasecmp(request->value, "100-continue") == 0;
                return 0;
        case HEADER_OTHER:
                return 0;
        }
        return 0;
}

static int end_header(struct request *request) {
        int r = 0;

        if (request->name_size > 0)
                r = take_header(request);
        request->name_size = request->value_size = 0;
        request->in_value = false;
        return r;
}

static int on_field(http_parser *parser, const char *data, size_t size) {
        struct request *request = parser->data;

        if (request->in_value && end_header(request) < 0)
                return -1;
        if (request->name_size < sizeof request->name)
                memcpy(request->name + request->name_size, data, MIN(size, sizeof request->name - request->name_size));
        request->name_size += size;
        return 0;
}

static int on_value(http_parser *parser, const char *data, size_t size) {
        struct request *request = parser->data;

        request->in_value = true;
        if (request->value_size < REQUEST_VALUE_MAX)
                memcpy(request->value + request->value_size, data, MIN(size, REQUEST_VALUE_MAX - request->value_size));
        request->value_size += size;
        return 0;
}

/* A path of visible ASCII from the root, nothing percent-encoded: there is one way to write each of ours. */
static bool split_target(struct request *request) {
        char *query;

        request->target[request->target_size] = 0;
        if (request->target[0] != '/')
                return false;
        for (const char *p = request->target; *p; p++)
                if (*p <= 0x20 || *p > 0x7e || *p == '#')
                        return false;
        if (strlen(request->target) != request->target_size)
                return false;
        query = strchr(request->target, '?');
        if (query)
                *query++ = 0;
        request->query = query ?: "";
        return !strchr(request->target, '%');
}

static bool needs_body(const http_parser *parser) {
        return parser->method == HTTP_POST || parser->method == HTTP_PUT || parser->method == HTTP_PATCH;
}

static int on_header_end(http_parser *parser) {
        struct request *request = parser->data;
        bool has_length = parser->content_length != UINT64_MAX;
        int status;

        if (end_header(request) < 0)
                return -1;
        if (parser->http_major != 1 || parser->upgrade || !split_target(request))
                return refuse(request, 400);
        if (parser->flags & F_CHUNKED || (!has_length && needs_body(parser)))
                return refuse(request, 411);

        request->content_length = has_length ? parser->content_length : 0;
        request->keep_alive = http_should_keep_alive(parser) != 0;
        status = request->events->header(request, request->userdata);
        if (status != 0)
                return refuse(request, status);
        request->state = REQUEST_BODY;
        return 0;
}

static int on_body(http_parser *parser, const char *data, size_t size) {
        struct request *request = parser->data;
        int status;

        status = request->events->body(request, data, size, request->userdata);
        return status == 0 ? 0 : refuse(request, status);
}

static int on_whole(http_parser *parser) {
        struct request *request = parser->data;

        request->state = REQUEST_WHOLE;
        http_parser_pause(parser, 1); /* a pipelined request waits for the answer to this one */
        return 0;
}

static const http_parser_settings settings = {
        .on_url = on_target,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_header_end,
        .on_body = on_body,
        .on_message_complete = on_whole,
};

void request_reset(struct request *request) {
        request_init(request, request->events, request->userdata);
}

void request_init(struct request *request, const struct request_events *events, void *userdata) {
        /* not the whole struct: its texts are large, and only their first bytes and sizes count */
        http_parser_init(&request->parser, HTTP_REQUEST);
        request->parser.data = request;
        request->events = events;
        request->userdata = userdata;
        request->state = REQUEST_IDLE;
        request->status = 0;
        request->target[0] = request->authorization[0] = request->incident[0] = 0;
        request->query = "";
        request->has_authorization = request->has_incident = request->expect_continue = request->keep_alive = false;
        request->content_length = 0;
        request->target_size = request->header_bytes = request->name_size = request->value_size = 0;
        request->in_value = false;
}

size_t request_feed(struct request *request, const void *data, size_t size) {
        size_t taken;

        if (size == 0 || request->state == REQUEST_WHOLE || request->state == REQUEST_REFUSED)
                return 0;
        if (request->state == REQUEST_IDLE)
                request->state = REQUEST_HEADER;
        if (request->state == REQUEST_HEADER) {
                /* one byte more than is left, so that going over is seen */
                size = MIN(size, REQUEST_HEADER_MAX + 1 - request->header_bytes);
        }

        taken = http_parser_execute(&request->parser, &settings, data, size);
        if (request->state == REQUEST_HEADER) {
                request->header_bytes += taken;
                if (request->header_bytes > REQUEST_HEADER_MAX)
                        (void) refuse(request, 413);
        }
        if (HTTP_PARSER_ERRNO(&request->parser) != HPE_OK && HTTP_PARSER_ERRNO(&request->parser) != HPE_PAUSED)
                (void) refuse(request, HTTP_PARSER_ERRNO(&request->parser) == HPE_HEADER_OVERFLOW ? 413 : 400);
        return taken;
}

const char *request_method(const struct request *request) {
        return http_method_str((enum http_method) request->parser.method);
}
