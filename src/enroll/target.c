/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/log.h"
#include "enroll/internal.h"

enum { DEPTH_MAX = 16, LINE_SIZE = 4096 };

void target_done(struct target *target) {
        free(target->device);
        free(target->header);
        target->device = target->header = NULL;
}

int target_resolve(const char *argument, char **ret) {
        static const char *const tags[][2] = {
                { "UUID=", "/dev/disk/by-uuid/" },
                { "PARTUUID=", "/dev/disk/by-partuuid/" },
                { "LABEL=", "/dev/disk/by-label/" },
                { "PARTLABEL=", "/dev/disk/by-partlabel/" },
        };
        _cleanup_(freep) char *path = NULL;
        char *resolved;

        for (size_t i = 0; i < ELEMENTSOF(tags) && !path; i++)
                if (strncmp(argument, tags[i][0], strlen(tags[i][0])) == 0) {
                        path = format("%s%s", tags[i][1], argument + strlen(tags[i][0]));
                        if (!path)
                                return -ENOMEM;
                }
        resolved = realpath(path ?: argument, NULL);
        if (!resolved)
                return -errno;
        *ret = resolved;
        return 0;
}

static int read_line(const char *path, char *ret, size_t size) {
        _cleanup_(blob_done) struct blob text = {};
        int r;

        r = file_read(path, LINE_SIZE, &text);
        if (r < 0)
                return r;
        text.data[strcspn((char *) text.data, "\n")] = '\0';
        return snprintf(ret, size, "%s", (char *) text.data) < (int) size ? 0 : -ENAMETOOLONG;
}

static int read_device_number(const char *path, dev_t *ret) {
        unsigned major, minor;
        char text[32];
        int r;

        r = read_line(path, text, sizeof(text));
        if (r < 0)
                return r;
        if (sscanf(text, "%u:%u", &major, &minor) != 2)
                return -EBADMSG;
        *ret = makedev(major, minor);
        return 0;
}

typedef int (*on_entry)(const char *path, void *userdata);

/* Calls fn for each entry of sysfs/dev/block/M:m/what/; a return other than 0 ends it and is returned. */
static int each_of(const char *sysfs, dev_t device, const char *what, on_entry fn, void *userdata) {
        _cleanup_(freep) char *path = format("%s/dev/block/%u:%u/%s", sysfs, major(device), minor(device), what);
        struct dirent *entry;
        DIR *directory;
        int r = 0;

        if (!path)
                return -ENOMEM;
        directory = opendir(path);
        if (!directory)
                return errno == ENOENT ? 0 : -errno;
        while (r == 0 && (entry = readdir(directory))) {
                _cleanup_(freep) char *one = NULL;

                if (entry->d_name[0] == '.')
                        continue;
                one = path_join(path, entry->d_name);
                r = one ? fn(one, userdata) : -ENOMEM;
        }
        (void) closedir(directory);
        return r;
}

struct rests {
        const char *sysfs;
        dev_t wanted;
        unsigned depth;
};

static int rests(const struct rests *rests, dev_t top);

static int on_slave(const char *path, void *userdata) {
        struct rests deeper = *(const struct rests *) userdata;
        _cleanup_(freep) char *dev = path_join(path, "dev");
        dev_t slave;

        deeper.depth++;
        if (!dev || read_device_number(dev, &slave) < 0)
                return 0;
        return rests(&deeper, slave);
}

static int rests(const struct rests *rests, dev_t top) {
        if (top == rests->wanted)
                return 1;
        if (rests->depth > DEPTH_MAX)
                return 0;
        return each_of(rests->sysfs, top, "slaves", on_slave, (void *) rests);
}

bool target_rests_on(const char *sysfs, dev_t top, dev_t wanted) {
        struct rests start = { .sysfs = sysfs, .wanted = wanted };

        return rests(&start, top) > 0;
}

struct name {
        char *text;
        size_t size;
};

static int on_holder(const char *path, void *userdata) {
        _cleanup_(freep) char *uuid_path = path_join(path, "dm/uuid"), *name_path = path_join(path, "dm/name");
        struct name *name = userdata;
        char uuid[160];

        if (!uuid_path || !name_path)
                return -ENOMEM;
        if (read_line(uuid_path, uuid, sizeof(uuid)) < 0 || strncmp(uuid, "CRYPT-LUKS2-", 12) != 0)
                return 0;
        return read_line(name_path, name->text, name->size) < 0 ? 0 : 1;
}

int target_active_name(const char *sysfs, dev_t device, char *ret, size_t size) {
        struct name name = { .text = ret, .size = size };
        int r;

        r = each_of(sysfs, device, "holders", on_holder, &name);
        return r < 0 ? r : r == 0 ? -ENOENT : 0;
}

/* proc(5), /proc/self/mountinfo: ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE. The last mount on a point
 * counts. */
int target_mount_device(const char *mountinfo, const char *mount_point, char *ret_source, size_t size, dev_t *ret) {
        int found = -ENOENT;

        for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                char one[LINE_SIZE], point[1024], source[1024] = "";
                unsigned a, b;
                const char *tail;

                snprintf(one, sizeof(one), "%.*s", (int) strcspn(line, "\n"), line);
                if (sscanf(one, "%*u %*u %u:%u %*s %1023s", &a, &b, point) != 3 || strcmp(point, mount_point) != 0)
                        continue;
                tail = strstr(one, " - ");
                if (tail)
                        (void) sscanf(tail, " - %*s %1023s", source);
                snprintf(ret_source, size, "%s", source);
                *ret = makedev(a, b);
                found = 0;
        }
        return found;
}

/* btrfs and the like have a device number of their own: then the source says which device. */
static bool mount_rests_on(const char *mountinfo, const char *mount_point, dev_t wanted) {
        char source[1024];
        struct stat st;
        dev_t device;

        if (target_mount_device(mountinfo, mount_point, source, sizeof(source), &device) < 0)
                return false;
        if (major(device) == 0) {
                if (stat(source, &st) < 0 || !S_ISBLK(st.st_mode))
                        return false;
                device = st.st_rdev;
        }
        return target_rests_on("/sys", device, wanted);
}

static bool is_below_root(dev_t device) {
        _cleanup_(blob_done) struct blob mountinfo = {};

        if (file_read("/proc/self/mountinfo", 1 << 20, &mountinfo) < 0)
                return false;
        return mount_rests_on((char *) mountinfo.data, "/", device) || mount_rests_on((char *) mountinfo.data, "/usr", device);
}

static bool entry_is(const struct crypttab_entry *entry, const struct stat *st, const char *uuid) {
        struct stat other;

        if (strncmp(entry->device, "/dev/disk/by-uuid/", 18) == 0 && strcmp(entry->device + 18, uuid) == 0)
                return true;
        return S_ISBLK(st->st_mode) && stat(entry->device, &other) == 0 && S_ISBLK(other.st_mode) && other.st_rdev == st->st_rdev;
}

static int use_crypttab(struct target *target, const struct stat *st, const char *uuid) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};

        if (crypttab_load_all(&crypttab) < 0)
                return 0;
        for (size_t i = 0; i < crypttab.n; i++) {
                const struct crypttab_entry *entry = crypttab.items + i;

                if (entry->not_luks || !entry_is(entry, st, uuid))
                        continue;
                snprintf(target->name, sizeof(target->name), "%s", entry->name);
                if (entry->header && !target->header) {
                        target->header = strdup(entry->header);
                        if (!target->header)
                                return -ENOMEM;
                }
                return 0;
        }
        return 0;
}

int target_find(const char *argument, const struct enroll_options *options, const char *uuid, struct target *ret) {
        _cleanup_(target_done) struct target target = {};
        struct stat st;
        int r;

        r = target_resolve(argument, &target.device);
        if (r < 0)
                return r;
        if (stat(target.device, &st) < 0)
                return -errno;
        if (options->header) {
                r = target_resolve(options->header, &target.header);
                if (r < 0)
                        return r;
        }
        r = use_crypttab(&target, &st, uuid);
        if (r < 0)
                return r;
        if (options->name)
                r = snprintf(target.name, sizeof(target.name), "%s", options->name) < (int) sizeof(target.name) ? 0 : -EINVAL;
        else if (!target.name[0] &&
                 (!S_ISBLK(st.st_mode) || target_active_name("/sys", st.st_rdev, target.name, sizeof(target.name)) < 0))
                r = snprintf(target.name, sizeof(target.name), "luks-%s", uuid) < 0 ? -EINVAL : 0;
        if (r < 0)
                return r;
        target.root =
                options->role == ROLE_ROOT || (options->role == ROLE_LOOK && S_ISBLK(st.st_mode) && is_below_root(st.st_rdev));
        *ret = target;
        target = (struct target){};
        return 0;
}
