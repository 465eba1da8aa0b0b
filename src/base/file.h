/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"

/* A whole regular file of at most max bytes; a NUL that is not counted follows the data. -EFBIG where it is longer. */
int file_read(const char *path, size_t max, struct blob *ret);
int file_read_fd(int fd, size_t max, struct blob *ret);
/* The same into locked memory, for key files. refuse_wide: -EPERM where group or others may read it. */
int file_read_secret(const char *path, size_t max, bool refuse_wide, struct secret **ret);
/* Durable and atomic: a temporary file of an unpredictable name in the same directory, mode, fsync, rename, fsync of the
 * directory. On failure nothing is left behind and the old file is as it was. */
int file_write(const char *path, const void *data, size_t size, mode_t mode);
int write_all(int fd, const void *data, size_t size);
/* Up to size bytes; fewer only at the end of the file. -> how many, or -errno. */
ssize_t read_upto(int fd, void *ret, size_t size);
/* Path join: dir "/" name, new string or NULL. */
char *path_join(const char *dir, const char *name);
int mkdir_p(const char *path, mode_t mode);
/* printf to a new string; NULL when out of memory. */
char *format(const char *format, ...) _printf_(1, 2);
