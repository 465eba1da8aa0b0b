/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

uint64_t clock_realtime_ms(void);  /* milliseconds since 1970 */
uint64_t clock_monotonic_ms(void); /* CLOCK_BOOTTIME: goes on in suspend */
void sleep_ms(uint64_t ms);
/* RFC 3339 in UTC, seconds: 2026-01-02T03:04:05Z. ret: 21 bytes. */
void clock_format(uint64_t ms, char ret[static 21]);
