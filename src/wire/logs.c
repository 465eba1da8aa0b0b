/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/json.h"

#include <string.h>

/* The problem logs-wanted, and what a node sends then (docs/protocol.md, 6, Logs). */

static json_t *log_to_json(const char *kind, uint64_t from) {
        struct put put = put_new();

        put_string(&put, "kind", kind);
        put_u64(&put, "from", from);
        return put_end(&put);
}

char *wire_logs_wanted_encode(const struct wire_problem *problem, const struct wire_logs_wanted *wanted) {
        _cleanup_(freep) char *text = wire_problem_encode(problem);
        struct put put = { .object = text ? wire_json_parse(text, strlen(text)) : NULL };
        json_t *logs = json_array();

        put.failed = !put.object || !logs || (wanted->firmware && !put_element(logs, log_to_json("firmware", 0))) ||
                     (wanted->ima && !put_element(logs, log_to_json("ima", wanted->ima_from)));
        put_json(&put, "logs", logs);
        put_bin(&put, "ticket", wanted->ticket, sizeof wanted->ticket);
        return put_text(&put);
}

static void take_log(struct take *take, const json_t *log, struct wire_logs_wanted *wanted) {
        struct take item = { .object = log, .error = json_is_object(log) ? take->error : -EBADMSG };
        char kind[16];
        uint64_t from;

        take_string(&item, "kind", kind, sizeof kind);
        from = take_u64(&item, "from", 0, WIRE_LOG_FROM_MAX);
        take_check(take, item.error == 0);
        if (take->error < 0)
                return;

        if (strcmp(kind, "firmware") == 0) {
                take_check(take, !wanted->firmware && from == 0);
                wanted->firmware = true;
        } else if (strcmp(kind, "ima") == 0) {
                take_check(take, !wanted->ima);
                wanted->ima = true;
                wanted->ima_from = from;
        } else
                take_check(take, false);
}

int wire_logs_wanted_parse(const char *text, size_t size, struct wire_logs_wanted *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };
        struct wire_logs_wanted wanted = {};
        const json_t *logs = take_array(&take, "logs", 2);

        for (size_t i = 0; take.error == 0 && i < json_array_size(logs); i++)
                take_log(&take, json_array_get(logs, i), &wanted);
        take_check(&take, wanted.firmware || wanted.ima);
        take_bin_fixed(&take, "ticket", wanted.ticket, sizeof wanted.ticket);
        if (take.error < 0)
                return take.error;

        *ret = wanted;
        return 0;
}

/* One field of L(...). */
static int take_field(struct reader *reader, size_t max, struct wire_span *ret) {
        uint32_t size;
        int r;

        r = reader_be32(reader, &size);
        if (r < 0)
                return r;
        if (size > max)
                return -E2BIG;
        ret->size = size;
        return reader_bytes(reader, size, &ret->data);
}

int wire_logs_parse(const void *data, size_t size, struct wire_logs *ret) {
        struct reader reader = { data, size };
        struct wire_logs logs;
        int r;

        if ((r = take_field(&reader, WIRE_REQUEST_MAX, &logs.evidence)) < 0 ||
            (r = take_field(&reader, WIRE_FIRMWARE_LOG_MAX, &logs.firmware)) < 0 ||
            (r = take_field(&reader, WIRE_IMA_LIST_MAX, &logs.ima)) < 0)
                return r;
        if (reader.left > 0)
                return -EBADMSG;

        *ret = logs;
        return 0;
}

int wire_logs_encode(const struct wire_logs *logs, struct buffer *ret) {
        const struct wire_span *const spans[] = { &logs->evidence, &logs->firmware, &logs->ima };

        for (size_t i = 0; i < ELEMENTSOF(spans); i++) {
                buffer_be32(ret, (uint32_t) spans[i]->size);
                buffer_append(ret, spans[i]->data, spans[i]->size);
        }
        return buffer_ok(ret);
}
