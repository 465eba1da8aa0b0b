/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* The table of docs/protocol.md, 11, as a node sees it. */
enum { RETRY_NEVER = -1, RETRY_NOW = 0, RETRY_BACKOFF = -2 };
int problem_retry(const char *name); /* seconds, or RETRY_* */
int problem_error(const char *name); /* -errno, as in struct outcome */
