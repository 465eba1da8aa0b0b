/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Bytes that must not leave memory: pages of their own, locked, not in core dumps, not inherited by fork, wiped on free. */
struct secret {
        size_t size;   /* bytes that count; may be lowered by the owner, never raised */
        size_t mapped; /* bytes of the mapping */
        uint8_t *data;
};

/* A new secret of size bytes (1 to 1 MiB), zero. Returns -ENOMEM, or -EPERM where memory cannot be locked (RLIMIT_MEMLOCK) and
 * secret_require_lock() was called; without that call the failure to lock is ignored. */
int secret_new(size_t size, struct secret **ret);
int secret_copy(const void *data, size_t size, struct secret **ret);
int secret_random(size_t size, struct secret **ret);
struct secret *secret_free(struct secret *secret);

static inline void secret_freep(struct secret **p) {
        secret_free(*p);
}

/* From now on a secret that cannot be locked is an error. */
void secret_require_lock(void);

/* Constant time in the contents; false at once where the sizes differ. */
bool secret_equal(const struct secret *a, const struct secret *b);
bool bytes_equal_ct(const void *a, const void *b, size_t size);

/* Never optimized away. */
void memory_wipe(void *data, size_t size);

/* For stack buffers: _cleanup_(wipe_32) uint8_t key[32]. */
static inline void wipe_32(uint8_t (*p)[32]) {
        memory_wipe(*p, 32);
}

/* First thing in every main(): PR_SET_DUMPABLE 0, RLIMIT_CORE 0, umask 0077, raises RLIMIT_MEMLOCK to its hard limit. 0 or
 * -errno. */
int process_harden(void);
