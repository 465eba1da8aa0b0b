/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/volumes.h"

/* Invariant 13: the root, and what is mounted below it, rests only on volumes that this unlocker opened and the manifest calls
 * root. */
enum root_accepts {
        ACCEPTS_ROOT,      /* what both halves opened, as root */
        ACCEPTS_OPENED,    /* what both halves opened */
        ACCEPTS_ENCRYPTED, /* any dm-crypt mapping */
};
struct root_check {
        const char *mountinfo; /* /proc/self/mountinfo */
        const char *sys;       /* /sys */
        const char *root;      /* /sysroot */
        const struct opened *opened;
        size_t n_opened;
        enum root_accepts accepts;
};
/* 0; -EPERM with words in error: what rests on something else, or cannot be followed. */
int root_check(const struct root_check *check, char *error, size_t error_size);
/* The same for one block device, which has no mount yet: a hibernation image on a disk that anybody can write is a whole system
 * of theirs, and it starts with what this kernel's memory still holds, volume keys too. */
int root_check_device(const struct root_check *check, unsigned major, unsigned minor, char *error, size_t error_size);
