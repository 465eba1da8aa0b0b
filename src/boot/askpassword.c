/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/askpassword.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/ini.h"

enum { ASK_SIZE_MAX = 64 * 1024 };

static int on_line(char *line, struct ask *ask) {
        uint64_t pid;

        if (strncmp(line, "PID=", 4) == 0) {
                if (parse_u64(line + 4, 1, 1 << 30, &pid) < 0)
                        return -EBADMSG;
                ask->pid = pid;
        } else if (strncmp(line, "Id=", 3) == 0) {
                if (strlen(line + 3) >= sizeof ask->id)
                        return -EBADMSG;
                strcpy(ask->id, line + 3);
        }
        return 0;
}

int ask_parse(const char *text, size_t size, struct ask *ret) {
        const char *end = text + size;
        struct ask ask = {};

        while (text < end) {
                const char *newline = memchr(text, '\n', end - text);
                size_t length = (newline ? newline : end) - text;
                char line[1024];

                if (length < sizeof line && !memchr(text, '\0', length)) {
                        memcpy(line, text, length);
                        line[length] = '\0';
                        if (on_line(line, &ask) < 0)
                                return -EBADMSG;
                }
                text += length + 1;
        }
        if (ask.pid == 0 || !ask.id[0])
                return -EBADMSG;
        *ret = ask;
        return 0;
}

/* "cryptsetup:" and the device, with systemd's C escapes. */
static bool id_names(const char *id, const char *device) {
        static const char prefix[] = "cryptsetup:";
        char path[512];
        struct stat x, y;
        size_t n = 0;

        if (strncmp(id, prefix, strlen(prefix)) != 0)
                return false;
        for (const char *p = id + strlen(prefix); *p && n < sizeof path - 1; p++) {
                unsigned byte;

                if (p[0] == '\\' && p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) {
                        path[n++] = (char) byte;
                        p += 3;
                } else if (p[0] == '\\' && p[1] == '\\')
                        path[n++] = *p++;
                else
                        path[n++] = *p;
        }
        path[n] = '\0';
        if (strcmp(path, device) == 0)
                return true;
        return stat(path, &x) >= 0 && stat(device, &y) >= 0 && S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode) && x.st_rdev == y.st_rdev;
}

bool ask_is_pending(const char *directory, pid_t pid, const char *device) {
        bool found = false;
        struct dirent *entry;
        DIR *dir;

        if (pid <= 0 || kill(pid, 0) < 0)
                return false;
        dir = opendir(directory);
        while (dir && !found && (entry = readdir(dir))) {
                _cleanup_(freep) char *path = NULL;
                _cleanup_(blob_done) struct blob text = {};
                struct ask ask;

                if (strncmp(entry->d_name, "ask.", 4) != 0)
                        continue;
                path = path_join(directory, entry->d_name);
                if (path && file_read(path, ASK_SIZE_MAX, &text) >= 0 && ask_parse((char *) text.data, text.size, &ask) >= 0)
                        found = ask.pid == pid && id_names(ask.id, device);
        }
        if (dir)
                closedir(dir);
        return found;
}

bool ask_is_any_pending(const char *directory) {
        bool found = false;
        struct dirent *entry;
        DIR *dir = opendir(directory);

        while (dir && !found && (entry = readdir(dir)))
                found = strncmp(entry->d_name, "ask.", 4) == 0;
        if (dir)
                closedir(dir);
        return found;
}
