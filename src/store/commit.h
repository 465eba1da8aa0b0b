/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store/sqlite.h"

/* The commit thread: the one writer of this process. Only this folder includes it. */
struct committer;

/* Takes the connection over. */
int committer_start(struct sqlite *connection, struct committer **ret);
int committer_write(struct committer *committer, store_fn fn, void *userdata);
int committer_checkpoint(struct committer *committer);
/* Finishes what waits. */
struct committer *committer_stop(struct committer *committer);
DEFINE_CLEANUP(struct committer *, committer_stop)
