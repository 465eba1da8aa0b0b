/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "base/macro.h"

/* systemd, over its private socket: there is no bus daemon in an initramfs. */
struct pid1;
int pid1_open(struct pid1 **ret); /* -ENOENT ... : systemd is not there */
struct pid1 *pid1_free(struct pid1 *pid1);
DEFINE_CLEANUP(struct pid1 *, pid1_free)

struct pid1_unit {
        bool loaded;
        char active[32], sub[32]; /* ActiveState, SubState */
        pid_t main_pid;
};
int pid1_unit(struct pid1 *pid1, const char *name, struct pid1_unit *ret);
int pid1_restart(struct pid1 *pid1, const char *name);
int pid1_start(struct pid1 *pid1, const char *name);
