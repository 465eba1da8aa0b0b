/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* A new directory under /tmp for a test program. 0 or -1, as cmocka's set-ups and tear-downs return it. */
int scratch_make(char ret[static 64]);
int scratch_remove(const char *directory);
/* Whether a database at path, or what SQLite keeps beside it, has these bytes. */
bool scratch_database_has(const char *path, const void *data, size_t size);
