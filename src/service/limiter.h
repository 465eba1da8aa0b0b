/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* How often something happened within the last minute or so, for many names in bounded memory. Eight have room in one place; of
 * more that meet there the one that came least often is forgotten, to the caller's advantage. Thread-safe. */
struct limiter;
int limiter_new(unsigned per_minute, struct limiter **ret);
struct limiter *limiter_free(struct limiter *limiter);
DEFINE_CLEANUP(struct limiter *, limiter_free)
/* One more for kind:name. 0, or the seconds until the next minute begins, where there were per_minute in this one already. */
unsigned limiter_count(struct limiter *limiter, const char *kind, const char *name);
/* The same with a limit of its own; and with a time of its own, which is always the same for a kind. */
unsigned limiter_count_to(struct limiter *limiter, const char *kind, const char *name, unsigned per_minute);
unsigned limiter_count_in(struct limiter *limiter, const char *kind, const char *name, unsigned limit, unsigned seconds);
