/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <http_parser.h>

#include "base/buffer.h"

/* Reads one HTTP/1.1 request after the other from bytes. No sockets, no files: what arrives goes to the events. */
enum {
        REQUEST_HEADER_MAX = 16 * 1024,
        REQUEST_TARGET_MAX = 2048,
        REQUEST_VALUE_MAX = 1024, /* of a header that is looked at */
};

enum request_state {
        REQUEST_IDLE,    /* not a byte yet */
        REQUEST_HEADER,  /* some */
        REQUEST_BODY,    /* header complete and admitted */
        REQUEST_WHOLE,   /* nothing more is read until request_reset() */
        REQUEST_REFUSED, /* see status */
};

enum request_header { /* the ones that are looked at */
                      HEADER_OTHER,
                      HEADER_AUTHORIZATION,
                      HEADER_INCIDENT,
                      HEADER_EXPECT,
                      HEADER_TRANSFER_ENCODING,
};

struct request;
struct request_events {
        /* The header is complete: 0, or the status to refuse it with. content_length bytes will follow. */
        int (*header)(struct request *request, void *userdata);
        /* Some of the body: 0, or a status. */
        int (*body)(struct request *request, const void *data, size_t size, void *userdata);
};

struct request {
        const struct request_events *events;
        void *userdata;
        http_parser parser;
        enum request_state state;
        int status; /* why refused */

        char target[REQUEST_TARGET_MAX + 1]; /* the path; the query behind a NUL */
        size_t target_size;
        const char *query; /* inside target; "" where none */
        char authorization[REQUEST_VALUE_MAX + 1], incident[17];
        bool has_authorization, has_incident, expect_continue, keep_alive;
        uint64_t content_length;

        /* the header line that is being read */
        size_t header_bytes;
        char name[32], value[REQUEST_VALUE_MAX + 1];
        size_t name_size, value_size;
        bool in_value;
};

void request_init(struct request *request, const struct request_events *events, void *userdata);
void request_reset(struct request *request); /* for the next one */
/* Takes bytes until they end or the request is whole or refused; returns how many were taken. */
size_t request_feed(struct request *request, const void *data, size_t size);
const char *request_method(const struct request *request);
