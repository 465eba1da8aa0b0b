/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

/* This program again, under another name, with a socket to it as file descriptor 3 and nothing else of ours. The first time it
 * is what process_prepare() has made, if that was called: a copy of this process, as it was before it had threads, files or
 * secrets. */
int process_prepare(const char *name);
int process_spawn(const char *name, pid_t *ret_pid, int *ret_fd);
