/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server's reading of requests, without sockets. The first byte is the size of the pieces that the rest comes in (0: all at
 * once); requests follow each other as on a kept connection. */
#include <string.h>

#include "http/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
        do {                      \
                if (!(condition)) \
                        abort();  \
        } while (0)

enum { LIMIT = 100 };

static uint64_t body_bytes;

static int on_header(struct request *request, void *userdata _unused_) {
        CHECK(request->target[0] == '/' && strlen(request->target) + strlen(request->query) <= REQUEST_TARGET_MAX);
        CHECK(!strpbrk(request->target, "%? \r\n") && strlen(request->authorization) <= REQUEST_VALUE_MAX);
        CHECK(strlen(request->incident) == 0 || strlen(request->incident) == 16);
        body_bytes = 0;
        return request->content_length > LIMIT ? 413 : 0;
}

static int on_body(struct request *request, const void *data _unused_, size_t size, void *userdata _unused_) {
        body_bytes += size;
        CHECK(body_bytes <= request->content_length && body_bytes <= LIMIT);
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const struct request_events events = { on_header, on_body };
        struct request request;
        size_t piece;

        if (size == 0)
                return 0;
        piece = data[0] > 0 ? data[0] : size;
        memset(&request, 0xa5, sizeof request); /* nothing may depend on what was there */
        request_init(&request, &events, NULL);

        for (data++, size--; size > 0 && request.state != REQUEST_REFUSED;) {
                size_t taken = request_feed(&request, data, MIN(piece, size));

                CHECK(taken <= MIN(piece, size));
                CHECK(taken > 0 || request.state == REQUEST_REFUSED);
                CHECK(request.header_bytes <= REQUEST_HEADER_MAX + 1);
                data += taken;
                size -= taken;
                if (request.state == REQUEST_WHOLE) {
                        CHECK(body_bytes == request.content_length);
                        request_reset(&request);
                }
        }
        CHECK(request.state != REQUEST_REFUSED || (request.status >= 400 && request.status < 500));
        return 0;
}
