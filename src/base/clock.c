/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/clock.h"

#include <string.h>
#include <time.h>

static uint64_t clock_ms(clockid_t id) {
        struct timespec ts = {};

        (void) clock_gettime(id, &ts);
        return ts.tv_sec < 0 ? 0 : (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

uint64_t clock_realtime_ms(void) {
        return clock_ms(CLOCK_REALTIME);
}

uint64_t clock_monotonic_ms(void) {
        return clock_ms(CLOCK_BOOTTIME);
}

void sleep_ms(uint64_t ms) {
        struct timespec ts = { .tv_sec = (time_t) MIN(ms / 1000, (uint64_t) INT32_MAX), .tv_nsec = (long) (ms % 1000) * 1000000 };

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
                ;
}

void clock_format(uint64_t ms, char ret[static 21]) {
        const uint64_t last = 253402300799; /* 9999-12-31T23:59:59Z: what four digits of a year can say */
        time_t seconds = (time_t) MIN(ms / 1000, last);
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(ret, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) != 20)
                memcpy(ret, "1970-01-01T00:00:00Z", 21);
}
