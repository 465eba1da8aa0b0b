/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "base/macro.h"

/* What was refused before anything was proven is counted here, in bounded memory, and not recorded one by one: a flood fills
 * no disk. Once a minute, where there was something, the numbers and a few samples become one record of the audit log.
 * Thread-safe. */
struct counts;
int counts_new(struct counts **ret);
struct counts *counts_free(struct counts *counts);
DEFINE_CLEANUP(struct counts *, counts_free)

struct counts_sample {
        const char *address, *node, *incident; /* "" where not known */
};
/* reason: a name of at most 31 characters, of a small number of them. sample NULL: for the totals only, not for the record. */
void counts_add(struct counts *counts, const char *reason, const struct counts_sample *sample);
/* Whether there were so few of it in this minute that a line in the log for each does no harm. */
bool counts_are_few(struct counts *counts, const char *reason);
/* {reason: number, ...} since the start. */
json_t *counts_totals(struct counts *counts);
/* {"since": time, "counts": {reason: number}, "samples": [{"reason","address","node","incident"}]} of what came since the last
 * time, which is now. -ENODATA: nothing. */
int counts_take(struct counts *counts, json_t **ret);
