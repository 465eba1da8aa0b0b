/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/file.h"
#include "base/ini.h"
#include "boot/notes.h"
#include "boot/volumes.h"

/* The notes about what is open: a file a mapping, opened/NAME, with "UUID root" or "UUID other". */

static int note_name(const char *name, char ret[static LUKS_NAME_MAX + 8]) {
        if (strlen(name) >= LUKS_NAME_MAX || strchr(name, '/'))
                return -EINVAL;
        snprintf(ret, LUKS_NAME_MAX + 8, "opened/%s", name);
        return 0;
}

int opened_note(const char *run_dir, const struct opened *opened) {
        char note[LUKS_NAME_MAX + 8], text[LUKS_UUID_LENGTH + 16];
        int r = note_name(opened->name, note);

        if (r < 0)
                return r;
        snprintf(text, sizeof text, "%s %s\n", opened->uuid, opened->root ? "root" : "other");
        return note_write(run_dir, note, text);
}

void opened_forget(const char *run_dir, const char *name) {
        char note[LUKS_NAME_MAX + 8];

        if (note_name(name, note) >= 0)
                note_remove(run_dir, note);
}

static int read_opened(const char *run_dir, const char *name, struct opened *ret) {
        _cleanup_(freep) char *text = NULL;
        struct opened opened = {};
        char note[LUKS_NAME_MAX + 8], role[8];
        int r = note_name(name, note);

        if (r < 0)
                return r;
        text = note_read(run_dir, note);
        if (!text)
                return -ENOENT;
        if (sscanf(text, "%36s %7s", opened.uuid, role) != 2)
                return -EBADMSG;
        strcpy(opened.name, name);
        opened.root = strcmp(role, "root") == 0;
        *ret = opened;
        return 0;
}

int opened_list(const char *run_dir, struct opened **ret, size_t *ret_n) {
        _cleanup_(freep) char *dir_path = path_join(run_dir, "opened");
        _cleanup_(freep) struct opened *list = NULL;
        struct dirent *entry;
        size_t n = 0;
        DIR *dir;

        if (!dir_path)
                return -ENOMEM;
        dir = opendir(dir_path);
        while (dir && (entry = readdir(dir))) {
                struct opened opened, *more;

                if (entry->d_name[0] == '.' || read_opened(run_dir, entry->d_name, &opened) < 0)
                        continue;
                more = reallocarray(list, n + 1, sizeof *list);
                if (!more) {
                        closedir(dir);
                        return -ENOMEM;
                }
                list = more;
                list[n++] = opened;
        }
        if (dir)
                closedir(dir);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

int opened_close_all(const char *run_dir) {
        _cleanup_(freep) struct opened *list = NULL;
        size_t n = 0;
        int r = opened_list(run_dir, &list, &n), first = 0;

        if (r < 0)
                return r;
        /* LUKS on LUKS: an upper one goes only before its lower one, so go round as long as something is closed. */
        for (bool progress = true; progress;) {
                progress = false;
                first = 0;
                for (size_t i = 0; i < n; i++) {
                        if (!list[i].name[0])
                                continue;
                        r = volume_is_active(list[i].name) ? luks_close(list[i].name) : 0;
                        if (r < 0) {
                                first = first < 0 ? first : r;
                                continue;
                        }
                        opened_forget(run_dir, list[i].name);
                        list[i].name[0] = '\0';
                        progress = true;
                }
        }
        return first;
}

/* Finds /sys/block/dm-N of a mapping's name. -ENOENT. */
static int find_mapping(const char *name, char *ret, size_t size) {
        DIR *dir = opendir("/sys/block");
        struct dirent *entry;
        int r = -ENOENT;

        while (dir && r < 0 && (entry = readdir(dir))) {
                _cleanup_(freep) char *path = NULL;
                _cleanup_(blob_done) struct blob text = {};

                if (strncmp(entry->d_name, "dm-", 3) != 0)
                        continue;
                path = format("/sys/block/%s/dm/name", entry->d_name);
                if (!path || file_read(path, 256, &text) < 0)
                        continue;
                text.data[strcspn((char *) text.data, "\n")] = '\0';
                if (strcmp((char *) text.data, name) != 0)
                        continue;
                snprintf(ret, size, "/sys/block/%s", entry->d_name);
                r = 0;
        }
        if (dir)
                closedir(dir);
        return r;
}

static uint64_t mapping_sectors(const char *sys) {
        _cleanup_(freep) char *path = path_join(sys, "size");
        _cleanup_(blob_done) struct blob text = {};
        uint64_t sectors = 0;

        if (!path || file_read(path, 64, &text) < 0)
                return 0;
        text.data[strcspn((char *) text.data, "\n")] = '\0';
        return parse_u64((char *) text.data, 0, UINT64_MAX, &sectors) < 0 ? 0 : sectors;
}

bool volume_is_active(const char *name) {
        char sys[300];

        return find_mapping(name, sys, sizeof sys) >= 0 && mapping_sectors(sys) > 0;
}

int volume_remove_half_made(const char *name) {
        struct dm_ioctl request = { .version = { DM_VERSION_MAJOR, 0, 0 }, .data_size = sizeof request };
        _cleanup_(closep) int fd = -1;
        char sys[300];

        if (find_mapping(name, sys, sizeof sys) < 0 || mapping_sectors(sys) > 0 || strlen(name) >= sizeof request.name)
                return 0;
        fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        strcpy(request.name, name);
        return ioctl(fd, DM_DEV_REMOVE, &request) < 0 ? -errno : 0;
}
