/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

/* This program again, under another name, with a socket to it as file descriptor 3 and nothing else of ours. */
int process_spawn(const char *name, pid_t *ret_pid, int *ret_fd);
