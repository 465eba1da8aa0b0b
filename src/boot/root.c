/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/root.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { DEPTH_MAX = 16, MOUNTINFO_MAX = 1 << 20, NAME_SIZE = 256 };

/* One line of mountinfo: proc(5). */
struct mount {
        unsigned major, minor;
        char point[PATH_MAX];
        char type[64];
        char source[PATH_MAX];
};

static int parse_mount(const char *line, struct mount *ret) {
        const char *separator = strstr(line, " - ");

        if (!separator || sscanf(line, "%*d %*d %u:%u %*s %4095s", &ret->major, &ret->minor, ret->point) != 3 ||
            sscanf(separator, " - %63s %4095s", ret->type, ret->source) != 2)
                return -EBADMSG;
        return 0;
}

static int refuse(const char *what, const char *why, char *error, size_t error_size) {
        snprintf(error, error_size, "%s: %s", what, why);
        return -EPERM;
}

static int read_line(const char *dir, const char *name, char *ret, size_t size) {
        _cleanup_(freep) char *path = path_join(dir, name);
        _cleanup_(blob_done) struct blob text = {};
        int r;

        if (!path)
                return -ENOMEM;
        r = file_read(path, size - 1, &text);
        if (r < 0)
                return r;
        snprintf(ret, size, "%.*s", (int) strcspn((char *) text.data, "\n"), (char *) text.data);
        return 0;
}

static const char *not_ours(const struct root_check *check) {
        static const char *const words[] = { [ACCEPTS_ROOT] = "is not a root volume that both halves opened",
                                             [ACCEPTS_OPENED] = "is not a volume that both halves opened",
                                             [ACCEPTS_ENCRYPTED] = "is not encrypted" };

        return words[check->accepts];
}

/* dm/uuid of a LUKS2 mapping: CRYPT-LUKS2-<UUID without its hyphens>-<name>. */
static bool is_ours(const struct root_check *check, const char *name, const char *dm_uuid) {
        if (check->accepts == ACCEPTS_ENCRYPTED)
                return strncmp(dm_uuid, "CRYPT-", 6) == 0;
        for (size_t i = 0; i < check->n_opened; i++) {
                const struct opened *opened = check->opened + i;
                char uuid[LUKS_UUID_LENGTH + 1], wanted[2 * NAME_SIZE];
                size_t n = 0;

                if ((check->accepts == ACCEPTS_ROOT && !opened->root) || strcmp(opened->name, name) != 0)
                        continue;
                for (const char *p = opened->uuid; *p; p++)
                        if (*p != '-')
                                uuid[n++] = *p;
                uuid[n] = '\0';
                snprintf(wanted, sizeof wanted, "CRYPT-LUKS2-%s-%s", uuid, name);
                if (strcmp(dm_uuid, wanted) == 0)
                        return true;
        }
        return false;
}

static int check_block(const struct root_check *check, const char *dir, unsigned depth, char *error, size_t error_size);

/* Every member of a device that is made of others. */
static int check_members(const struct root_check *check, const char *slaves, unsigned depth, size_t *ret_n, char *error,
                         size_t error_size) {
        DIR *dir = opendir(slaves);
        struct dirent *entry;
        size_t n = 0;
        int r = 0;

        while (dir && r >= 0 && (entry = readdir(dir))) {
                _cleanup_(freep) char *member = NULL;

                if (entry->d_name[0] == '.')
                        continue;
                n++;
                member = path_join(slaves, entry->d_name);
                r = member ? check_block(check, member, depth + 1, error, error_size) : -ENOMEM;
        }
        if (dir)
                closedir(dir);
        *ret_n = n;
        return r;
}

/* dir: a block device's directory in sysfs. A partition rests on its disk, a mapping or an array on its members; what rests on
 * nothing is a real disk, and a real disk is not ours. */
static int check_block(const struct root_check *check, const char *dir, unsigned depth, char *error, size_t error_size) {
        char name[NAME_SIZE] = "", uuid[NAME_SIZE] = "", partition[16];
        _cleanup_(freep) char *slaves = path_join(dir, "slaves"), *disk = NULL, *real = NULL;
        size_t n = 0;
        int r;

        if (!slaves)
                return -ENOMEM;
        if (depth > DEPTH_MAX)
                return refuse(dir, "more layers than can be followed", error, error_size);
        if (read_line(dir, "dm/name", name, sizeof name) >= 0 && read_line(dir, "dm/uuid", uuid, sizeof uuid) >= 0 &&
            is_ours(check, name, uuid))
                return 0;
        if (strncmp(uuid, "CRYPT-", 6) == 0)
                return refuse(name, not_ours(check), error, error_size);
        if (read_line(dir, "partition", partition, sizeof partition) >= 0) {
                real = realpath(dir, NULL); /* .../block/md0/md0p1 */
                disk = real ? path_join(real, "..") : NULL;
                return disk ? check_block(check, disk, depth + 1, error, error_size) : -ENOMEM;
        }
        r = check_members(check, slaves, depth, &n, error, error_size);
        if (r < 0)
                return r;
        if (n > 0)
                return 0;
        real = realpath(dir, NULL);
        return refuse(name[0] ? name : real ? strrchr(real, '/') + 1 : dir, not_ours(check), error, error_size);
}

/* Member devices of a btrfs: /sys/fs/btrfs/UUID/devices holds a link for each. The one that is mounted says which UUID it is. */
static int check_btrfs(const struct root_check *check, const char *source, char *error, size_t error_size) {
        _cleanup_(freep) char *top = path_join(check->sys, "fs/btrfs");
        const char *base = strrchr(source, '/');
        _cleanup_(freep) char *real = realpath(source, NULL);
        DIR *dir = top ? opendir(top) : NULL;
        struct dirent *entry;
        int r = -ENOENT;

        if (real)
                base = strrchr(real, '/');
        while (dir && base && r == -ENOENT && (entry = readdir(dir))) {
                _cleanup_(freep) char *member = format("%s/%s/devices%s", top, entry->d_name, base);
                _cleanup_(freep) char *devices = format("%s/%s/devices", top, entry->d_name);
                size_t n;

                if (entry->d_name[0] == '.' || !member || !devices || access(member, F_OK) < 0)
                        continue;
                r = check_members(check, devices, 0, &n, error, error_size);
        }
        if (dir)
                closedir(dir);
        return r == -ENOENT ? refuse(source, "the members of this btrfs cannot be found", error, error_size) : r;
}

/* File systems of the kernel's own: nothing of anybody's disk is in them. */
static bool is_virtual(const char *type) {
        static const char *const types[] = { "tmpfs",    "ramfs",      "proc",    "sysfs",   "devtmpfs",  "devpts",   "cgroup2",
                                             "cgroup",   "securityfs", "debugfs", "tracefs", "mqueue",    "bpf",      "pstore",
                                             "efivarfs", "configfs",   "fusectl", "autofs",  "selinuxfs", "hugetlbfs" };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (strcmp(types[i], type) == 0)
                        return true;
        return false;
}

static int check_mount(const struct root_check *check, const struct mount *mount, char *error, size_t error_size) {
        bool top = strcmp(mount->point, check->root) == 0;

        if (strcmp(mount->type, "btrfs") == 0)
                return check_btrfs(check, mount->source, error, error_size);
        if (mount->major == 0 && !top && is_virtual(mount->type))
                return 0;
        if (mount->major == 0) {
                snprintf(error, error_size, "%s: %s is not a file system on a volume", mount->point, mount->type);
                return -EPERM;
        }
        return root_check_device(check, mount->major, mount->minor, error, error_size);
}

static bool is_below(const char *path, const char *root) {
        size_t length = strlen(root);

        return strncmp(path, root, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

int root_check(const struct root_check *check, char *error, size_t error_size) {
        _cleanup_(blob_done) struct blob text = {};
        char *save = NULL;
        bool seen = false;
        int r = file_read(check->mountinfo, MOUNTINFO_MAX, &text);

        if (r < 0)
                return refuse(check->mountinfo, strerror(-r), error, error_size);
        for (char *line = strtok_r((char *) text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                struct mount mount;

                if (parse_mount(line, &mount) < 0)
                        return refuse(check->mountinfo, "a line cannot be understood", error, error_size);
                if (!is_below(mount.point, check->root))
                        continue;
                seen = seen || strcmp(mount.point, check->root) == 0;
                r = check_mount(check, &mount, error, error_size);
                if (r < 0)
                        return r;
        }
        return seen ? 0 : refuse(check->root, "nothing is mounted there", error, error_size);
}

int root_check_device(const struct root_check *check, unsigned major, unsigned minor, char *error, size_t error_size) {
        _cleanup_(freep) char *dir = format("%s/dev/block/%u:%u", check->sys, major, minor);

        return dir ? check_block(check, dir, 0, error, error_size) : -ENOMEM;
}
