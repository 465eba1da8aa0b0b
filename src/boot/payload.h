/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* The payload: RUN/payload, a file system in memory that is not swapped, of a bounded size, read-only in the end, mode 0700.
 * Nothing in it is ever run. RUN/payload-ready is there once all of it is. */

/* 0: it is there, or there is none; -ECANCELED; else it could not be had (said on the console). */
int payload_fetch(struct unlocker *unlocker);
/* The tenant has one for this node, and the verifier accepts it. Pure. */
bool payload_is_offered(const struct conversation *conversation);
int payload_remove(const char *run_dir);
