/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first byte picks the message; what a parser accepts, its encoder writes and the parser accepts again. */
#include "wire/wire.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
        do {                      \
                if (!(condition)) \
                        abort();  \
        } while (0)

#define LOOK_DONE(m, done)                                                           \
        static void look_##m(const char *text, size_t size) {                        \
                struct wire_##m first = {}, second = {};                             \
                char *again;                                                         \
                                                                                     \
                if (wire_##m##_parse(text, size, &first) < 0)                        \
                        return;                                                      \
                again = wire_##m##_encode(&first);                                   \
                CHECK(again &&wire_##m##_parse(again, strlen(again), &second) >= 0); \
                free(again);                                                         \
                done(&first);                                                        \
                done(&second);                                                       \
        }
#define LOOK(m) LOOK_DONE(m, wire_##m##_done)
#define LOOK_PLAIN(m) LOOK_DONE(m, (void) )

LOOK(registration)
LOOK(registered)
LOOK(challenge)
LOOK(evidence)
LOOK(sealed)
LOOK(details)
LOOK(confirm_body)
LOOK_PLAIN(enroll_body)
LOOK_PLAIN(rotate_body)
LOOK_PLAIN(confirmed)
LOOK_PLAIN(problem)

static void look_challenge_request(const char *text, size_t size) {
        enum purpose purpose;

        (void) wire_challenge_request_parse(text, size, &purpose);
}

static void look_logs_wanted(const char *text, size_t size) {
        struct wire_logs_wanted first, second;
        struct wire_problem problem;
        char *again;

        if (wire_logs_wanted_parse(text, size, &first) < 0 || wire_problem_parse(text, size, &problem) < 0)
                return;
        again = wire_logs_wanted_encode(&problem, &first);
        CHECK(again && wire_logs_wanted_parse(again, strlen(again), &second) >= 0);
        CHECK(first.firmware == second.firmware && first.ima == second.ima && first.ima_from == second.ima_from);
        free(again);
}

static void look_logs(const char *data, size_t size) {
        _cleanup_(buffer_done) struct buffer again = {};
        struct wire_logs logs;

        if (wire_logs_parse(data, size, &logs) < 0)
                return;
        CHECK(wire_logs_encode(&logs, &again) >= 0 && again.size == size && memcmp(again.data, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static void (*const looks[])(const char *text, size_t size) = {
                look_registration, look_registered, look_challenge_request, look_challenge,   look_evidence,
                look_sealed,       look_details,    look_enroll_body,       look_rotate_body, look_confirm_body,
                look_confirmed,    look_problem,    look_logs_wanted,       look_logs,
        };

        if (size > 0 && data[0] >= 'a' && data[0] < 'a' + ELEMENTSOF(looks))
                looks[data[0] - 'a']((const char *) data + 1, size - 1);
        return 0;
}
