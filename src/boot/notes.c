/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/notes.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

/* Written under another name first: who sees a note sees all of it. */
static int write_and_rename(const char *path, const char *text) {
        _cleanup_(freep) char *temporary = format("%s.new", path);
        _cleanup_(closep) int fd = -1;
        int r;

        if (!temporary)
                return -ENOMEM;
        fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text));
        if (r >= 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(temporary);
        return r;
}

int note_write(const char *run_dir, const char *name, const char *text) {
        _cleanup_(freep) char *path = path_join(run_dir, name);
        char *slash;
        int r;

        if (!path)
                return -ENOMEM;
        r = write_and_rename(path, text);
        if (r != -ENOENT)
                return r;
        slash = strrchr(path, '/');
        *slash = '\0';
        r = mkdir_p(path, 0700);
        *slash = '/';
        return r < 0 ? r : write_and_rename(path, text);
}

int note_mark(const char *run_dir, const char *name, const char *why) {
        int r = note_write(run_dir, name, why);

        return r == -ENOSPC ? note_write(run_dir, name, "") : r;
}

bool note_exists(const char *run_dir, const char *name) {
        _cleanup_(freep) char *path = path_join(run_dir, name);

        return path && access(path, F_OK) == 0;
}

char *note_read(const char *run_dir, const char *name) {
        _cleanup_(freep) char *path = path_join(run_dir, name);
        struct blob text = {};

        if (!path || file_read(path, 256, &text) < 0)
                return NULL;
        text.data[strcspn((char *) text.data, "\n")] = '\0';
        return (char *) text.data;
}

void note_remove(const char *run_dir, const char *name) {
        _cleanup_(freep) char *path = path_join(run_dir, name);

        if (path)
                (void) unlink(path);
}
