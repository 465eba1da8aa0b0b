/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a variable or signature list is made of. */
static void look_into(const struct eventlog_event *event) {
        struct eventlog_signatures signatures = {};
        struct eventlog_variable variable;
        const uint8_t *signature;
        char *text = NULL;
        size_t size;

        if (utf16_to_utf8(event->data, event->size, &text) >= 0) {
                struct buffer wide = {};

                if (utf8_to_utf16(text, &wide) < 0)
                        abort();
                buffer_done(&wide);
        }
        free(text);
        if (eventlog_variable(event->data, event->size, &variable) < 0)
                return;
        signatures.lists = (struct reader){ variable.data, variable.size };
        while (eventlog_signature_next(&signatures, &signature, &size) > 0)
                if (signature < variable.data || signature + size > variable.data + variable.size)
                        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct eventlog_event event;
        struct eventlog_pcrs pcrs;
        struct eventlog log;
        char error[160];
        int r = eventlog_open(data, size, &log);

        while (r >= 0 && (r = eventlog_next(&log, &event)) > 0) {
                if ((event.type != EV_NO_ACTION && event.pcr >= WIRE_PCRS) || event.data + event.size > data + size)
                        abort();
                look_into(&event);
        }
        /* Whoever replays a log has seen it whole. */
        if (eventlog_replay(data, size, 0xb, &pcrs, error, sizeof error) >= 0 && r < 0)
                abort();
        (void) eventlog_replay(data, size, 0x4, &pcrs, error, sizeof error);
        return 0;
}
