/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* One "key = value" line. section is "" before the first header; for [set NAME] it is "set NAME". Returns 0, or a negative errno
 * after writing what is wrong to error (error_size bytes). Unknown sections and keys must be refused by the callback
 * (-ENOENT). */
typedef int (*ini_callback)(const char *section, const char *key, const char *value, unsigned line, char *error,
                            size_t error_size, void *userdata);

/* Strict: sections in [], key = value, comments from # or ; at the start of a line, no continuation, no NUL, no control
 * characters, lines of 4096 bytes at most, a key not twice in a section unless the callback accepts it (it is called each time).
 * On failure error holds "LINE: what is wrong, what to do" (NAME: is not in it) and -EBADMSG is returned, -ENOMEM otherwise.
 * error may be NULL. */
int ini_parse(const char *text, size_t size, ini_callback callback, void *userdata, char *error, size_t error_size);

/* Values. -EINVAL when not of the type or out of range. */
int parse_bool(const char *text, bool *ret);                                /* yes no true false on off 1 0 */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret); /* decimal digits only */
int parse_seconds(const char *text, uint64_t max, uint64_t *ret);           /* 90, 90s, 5min, 2h, 7d */
