/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/volumes.h"

/* Invariant 13: the root, and what is mounted below it, rests only on volumes that this unlocker opened and the manifest calls root. */
struct root_check {
        const char *mountinfo; /* /proc/self/mountinfo */
        const char *sys;       /* /sys */
        const char *root;      /* /sysroot */
        const struct opened *opened;
        size_t n_opened;
};
/* 0; -EPERM with words in error: what rests on something else, or cannot be followed. */
int root_check(const struct root_check *check, char *error, size_t error_size);
