/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/file.h"

enum { ENTRIES_MAX = 65536, ENTRY_COST = 4096 /* what a file costs beside its bytes */ };

struct unpack {
        int top_fd, hidden_fd, file_fd;
        char hidden[32]; /* name of the hidden directory */
        uint64_t left;
        unsigned entries;
};

int unpack_new(const char *directory, uint64_t size_max, struct unpack **ret) {
        _cleanup_(unpack_freep) struct unpack *unpack = calloc(1, sizeof *unpack);
        uint8_t random[8];
        char hex[17];
        int r;

        if (!unpack)
                return -ENOMEM;
        unpack->top_fd = unpack->hidden_fd = unpack->file_fd = -1;
        unpack->left = size_max;
        r = random_bytes(random, sizeof random);
        if (r < 0)
                return r;
        hex_write(random, sizeof random, hex);
        snprintf(unpack->hidden, sizeof unpack->hidden, ".new-%s", hex);
        unpack->top_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (unpack->top_fd < 0 || mkdirat(unpack->top_fd, unpack->hidden, 0700) < 0)
                return -errno;
        unpack->hidden_fd = openat(unpack->top_fd, unpack->hidden, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (unpack->hidden_fd < 0)
                return -errno;
        *ret = TAKE_PTR(unpack);
        return 0;
}

static int charge(struct unpack *unpack, uint64_t size) {
        if (unpack->entries >= ENTRIES_MAX || unpack->left < ENTRY_COST || size > unpack->left - ENTRY_COST)
                return -EFBIG;
        unpack->entries++;
        unpack->left -= size + ENTRY_COST;
        return 0;
}

static int on_directory(const char *path, unsigned mode, void *userdata) {
        struct unpack *unpack = userdata;
        int r = charge(unpack, 0);

        if (r < 0)
                return r;
        /* Ours to write in until the end: a mode without w would refuse what comes into it. Root does not care, tests do. */
        return mkdirat(unpack->hidden_fd, path, (mode & 0777) | 0700) < 0 ? -errno : 0;
}

static int on_file_begin(const char *path, unsigned mode, uint64_t size, void *userdata) {
        struct unpack *unpack = userdata;
        int r = charge(unpack, size);

        if (r < 0)
                return r;
        unpack->file_fd = openat(unpack->hidden_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (unpack->file_fd < 0)
                return -errno;
        return fchmod(unpack->file_fd, mode & 0777) < 0 ? -errno : 0;
}

static int on_file_data(const void *data, size_t size, void *userdata) {
        struct unpack *unpack = userdata;

        return write_all(unpack->file_fd, data, size);
}

static int on_file_end(void *userdata) {
        struct unpack *unpack = userdata;

        return close(TAKE_FD(unpack->file_fd)) < 0 ? -errno : 0;
}

const struct archive_callbacks unpack_callbacks = {
        .directory = on_directory,
        .file_begin = on_file_begin,
        .file_data = on_file_data,
        .file_end = on_file_end,
};

int unpack_reveal(struct unpack *unpack) {
        DIR *dir = fdopendir(dup(unpack->hidden_fd));
        struct dirent *entry;
        int r = dir ? 0 : -errno;

        while (r >= 0 && (errno = 0, entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (renameat(unpack->hidden_fd, entry->d_name, unpack->top_fd, entry->d_name) < 0)
                        r = -errno;
                else
                        rewinddir(dir);
        }
        if (dir)
                closedir(dir);
        if (r >= 0 && unlinkat(unpack->top_fd, unpack->hidden, AT_REMOVEDIR) < 0)
                r = -errno;
        return r;
}

struct unpack *unpack_free(struct unpack *unpack) {
        if (!unpack)
                return NULL;
        closep(&unpack->file_fd);
        closep(&unpack->hidden_fd);
        closep(&unpack->top_fd);
        free(unpack);
        return NULL;
}
