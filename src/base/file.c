/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/encode.h"

/* O_NONBLOCK: a FIFO in the file's place must not hang us; it is refused by its type. */
static int open_regular(const char *path, struct stat *ret_stat) {
        _cleanup_(closep) int fd = -1;

        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, ret_stat) < 0)
                return -errno;
        if (S_ISDIR(ret_stat->st_mode))
                return -EISDIR;
        if (!S_ISREG(ret_stat->st_mode))
                return -EINVAL;

        return TAKE_FD(fd);
}

ssize_t read_upto(int fd, void *ret, size_t size) {
        size_t done = 0;

        while (done < size) {
                ssize_t n = read(fd, (uint8_t *) ret + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t) n;
        }

        return (ssize_t) done;
}

/* The size that stat tells is a hint only: files of /sys and /proc have none. */
int file_read_fd(int fd, size_t max, struct blob *ret) {
        _cleanup_(freep) uint8_t *data = NULL;
        size_t size = 0, room = 0;
        struct stat st;

        if (max >= SSIZE_MAX)
                return -EINVAL;
        if (fstat(fd, &st) < 0)
                return -errno;

        for (;;) {
                size_t wanted = room == 0 ? MIN(MAX((size_t) st.st_size, (size_t) 4095), max) + 1 : MIN(room * 2, max + 1);
                uint8_t *grown = realloc(data, wanted + 1);
                ssize_t n;

                if (!grown)
                        return -ENOMEM;
                data = grown;
                room = wanted;

                n = read_upto(fd, data + size, room - size);
                if (n < 0)
                        return (int) n;
                size += (size_t) n;
                if (size > max)
                        return -EFBIG;
                if (size < room)
                        break;
        }

        data[size] = 0;
        *ret = (struct blob){ .data = TAKE_PTR(data), .size = size };
        return 0;
}

int file_read(const char *path, size_t max, struct blob *ret) {
        _cleanup_(closep) int fd = -1;
        struct stat st;

        fd = open_regular(path, &st);
        if (fd < 0)
                return fd;

        return file_read_fd(fd, max, ret);
}

int file_read_secret(const char *path, size_t max, bool refuse_wide, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(closep) int fd = -1;
        struct stat st;
        ssize_t n;
        int r;

        fd = open_regular(path, &st);
        if (fd < 0)
                return fd;
        if (refuse_wide && (st.st_mode & 0077) != 0)
                return -EPERM;
        if (st.st_size > 0 && (uint64_t) st.st_size > max)
                return -EFBIG;

        /* One more than there may be, to see that there is not more; a file of unknown size gets the room that it may have. */
        r = secret_new((st.st_size > 0 ? (size_t) st.st_size : MIN(max, (size_t) 65536)) + 1, &secret);
        if (r < 0)
                return r;

        n = read_upto(fd, secret->data, secret->size);
        if (n < 0)
                return (int) n;
        if (n == 0)
                return -ENODATA;
        if ((size_t) n > max || (size_t) n == secret->size) /* the latter: it grew while we read */
                return -EFBIG;

        secret->size = (size_t) n;
        *ret = TAKE_PTR(secret);
        return 0;
}

int write_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t) n;
        }

        return 0;
}

/* An entry of the directory that leads to path, held open: the rename and its fsync are about the same directory. */
static int open_parent(const char *path, const char **ret_name) {
        _cleanup_(freep) char *dir = NULL;
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        int fd;

        if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return -EINVAL;

        dir = slash ? strndup(path, slash == path ? 1 : (size_t) (slash - path)) : strdup(".");
        if (!dir)
                return -ENOMEM;

        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        *ret_name = name;
        return fd;
}

static int open_temporary(int dir, mode_t mode, char ret_name[static 32]) {
        uint8_t random[8];
        char hex[17];
        int fd;

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        hex_write(random, sizeof(random), hex);
        (void) snprintf(ret_name, 32, ".new-%s", hex);

        fd = openat(dir, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0600);
        return fd < 0 ? -errno : fd;
}

int file_write(const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_(closep) int dir = -1, fd = -1;
        const char *name = NULL;
        char temporary[32];
        int r;

        dir = open_parent(path, &name);
        if (dir < 0)
                return dir;
        fd = open_temporary(dir, mode, temporary);
        if (fd < 0)
                return fd;

        r = write_all(fd, data, size);
        /* The mode goes on last, whatever the umask is: until then nobody else can read. */
        if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || renameat(dir, temporary, dir, name) < 0))
                r = -errno;
        if (r < 0) {
                (void) unlinkat(dir, temporary, 0);
                return r;
        }

        return fsync(dir) < 0 ? -errno : 0;
}

char *path_join(const char *dir, const char *name) {
        size_t n = strlen(dir);

        return format("%s%s%s", dir, n > 0 && dir[n - 1] != '/' ? "/" : "", name);
}

int mkdir_p(const char *path, mode_t mode) {
        _cleanup_(freep) char *copy = strdup(path);
        struct stat st;

        if (!copy)
                return -ENOMEM;
        if (!*copy)
                return -EINVAL;

        for (char *p = copy + 1;; p++) {
                char c = *p;

                if (c && c != '/')
                        continue;
                *p = '\0';
                if (mkdir(copy, mode) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
                        return -errno;
                if (stat(copy, &st) < 0)
                        return -errno;
                if (!S_ISDIR(st.st_mode))
                        return -ENOTDIR;
                if (!c)
                        return 0;
                *p = '/';
        }
}

char *format(const char *format, ...) {
        char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);

        return n < 0 ? NULL : text;
}
