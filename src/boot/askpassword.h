/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "base/macro.h"

/* A question in /run/systemd/ask-password (https://systemd.io/PASSWORD_AGENTS): asked by pid, for id. */
struct ask {
        pid_t pid;
        char id[512];
};

/* Pure. -EBADMSG: not such a file. */
int ask_parse(const char *text, size_t size, struct ask *ret);
/* Whether the process pid asks for the passphrase of device right now: a file for it is there, and pid lives. */
bool ask_is_pending(const char *directory, pid_t pid, const char *device);
/* Whether anybody asks for anything. */
bool ask_is_any_pending(const char *directory);
#define ASK_DIRECTORY "/run/systemd/ask-password"
