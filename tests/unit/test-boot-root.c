/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "boot/root.h"
#include "scratch.h"

/* The check of the root over a sysfs of our own: what rests on what is a tree of directories and links. */

#define UUID "7a11b007-0000-4000-8000-000000000002"
#define DM_UUID "CRYPT-LUKS2-7a11b00700004000800000000000000002-root"
#define GOOD_DM_UUID "CRYPT-LUKS2-7a11b007000040008000000000000002-root"

static char top[64], sys[80], mountinfo[80];

static void put(const char *path, const char *text) {
        char full[512], *slash;

        snprintf(full, sizeof full, "%s/%s", sys, path);
        slash = strrchr(full, '/');
        *slash = '\0';
        assert_int_equal(mkdir_p(full, 0700), 0);
        *slash = '/';
        assert_int_equal(file_write(full, text, strlen(text), 0600), 0);
}

static void lead(const char *path, const char *target) {
        char full[512], *slash;

        snprintf(full, sizeof full, "%s/%s", sys, path);
        slash = strrchr(full, '/');
        *slash = '\0';
        assert_int_equal(mkdir_p(full, 0700), 0);
        *slash = '/';
        assert_int_equal(symlink(target, full), 0);
}

/* A block device, with dm names where it is a mapping. */
static void device(const char *name, const char *number, const char *dm_name, const char *dm_uuid) {
        char path[128], target[128];

        snprintf(path, sizeof path, "block/%s/size", name);
        put(path, "8\n");
        if (dm_name) {
                snprintf(path, sizeof path, "block/%s/dm/name", name);
                snprintf(target, sizeof target, "%s\n", dm_name);
                put(path, target);
                snprintf(path, sizeof path, "block/%s/dm/uuid", name);
                snprintf(target, sizeof target, "%s\n", dm_uuid);
                put(path, target);
        }
        snprintf(path, sizeof path, "dev/block/%s", number);
        snprintf(target, sizeof target, "../../block/%s", name);
        lead(path, target);
}

static void rests_on(const char *name, const char *member) {
        char path[128], target[128];

        snprintf(path, sizeof path, "block/%s/slaves/%s", name, member);
        snprintf(target, sizeof target, "../../%s", member);
        lead(path, target);
}

static void mounts(const char *text) {
        assert_int_equal(file_write(mountinfo, text, strlen(text), 0600), 0);
}

#define ROOT_ON(number, type, source) "30 1 " number " / /sysroot rw - " type " " source " rw\n"
#define OUTSIDE \
        "20 1 0:5 / / rw - rootfs rootfs rw\n21 1 8:1 / /boot rw - ext4 /dev/sda1 rw\n22 1 8:1 / /sysrootx rw - ext4 /dev/sda1 rw\n"

static int check(const char *words) {
        static const struct opened opened[] = { { .name = "root", .uuid = UUID, .root = true },
                                                { .name = "data", .uuid = "7a11b007-0000-4000-8000-000000000003" } };
        const struct root_check what = {
                .mountinfo = mountinfo, .sys = sys, .root = "/sysroot", .opened = opened, .n_opened = 2
        };
        char error[512] = "";
        int r = root_check(&what, error, sizeof error);

        if (words && !strstr(error, words))
                fail_msg("\"%s\" is not in \"%s\"", words, error);
        return r;
}

static int setup(void **state _unused_) {
        if (scratch_make(top) < 0)
                return -1;
        snprintf(sys, sizeof sys, "%s/sys", top);
        snprintf(mountinfo, sizeof mountinfo, "%s/mountinfo", top);
        device("sda1", "8:1", NULL, NULL);
        device("dm-0", "253:0", "root", GOOD_DM_UUID);
        rests_on("dm-0", "sda1");
        device("dm-1", "253:1", "data", "CRYPT-LUKS2-7a11b007000040008000000000000003-data");
        rests_on("dm-1", "sda1");
        return 0;
}

static int teardown(void **state _unused_) {
        return scratch_remove(top);
}

static void our_root_is_ours(void **state _unused_) {
        mounts(OUTSIDE ROOT_ON("253:0", "ext4", "/dev/mapper/root") "31 30 0:30 / /sysroot/run rw - tmpfs tmpfs rw\n");
        assert_int_equal(check(NULL), 0);
}

static void a_plain_partition_is_not(void **state _unused_) {
        mounts(OUTSIDE ROOT_ON("8:1", "ext4", "/dev/sda1"));
        assert_int_equal(check("is not a root volume"), -EPERM);
}

static void an_opened_volume_of_another_role_is_not(void **state _unused_) {
        mounts(ROOT_ON("253:1", "ext4", "/dev/mapper/data"));
        assert_int_equal(check("data: is not a root volume"), -EPERM);
}

static void another_mapping_of_that_name_is_not(void **state _unused_) {
        device("dm-2", "253:2", "root", "CRYPT-PLAIN-root");
        rests_on("dm-2", "sda1");
        mounts(ROOT_ON("253:2", "ext4", "/dev/mapper/root"));
        assert_int_equal(check("is not a root volume"), -EPERM);
        device("dm-3", "253:3", "root", DM_UUID);
        mounts(ROOT_ON("253:3", "ext4", "/dev/mapper/root"));
        assert_int_equal(check("is not a root volume"), -EPERM);
}

static void lvm_counts_with_every_member(void **state _unused_) {
        device("dm-4", "253:4", "vg-root", "LVM-abc");
        rests_on("dm-4", "dm-0");
        mounts(ROOT_ON("253:4", "ext4", "/dev/mapper/vg-root"));
        assert_int_equal(check(NULL), 0);
        rests_on("dm-4", "sda1");
        assert_int_equal(check("sda1: is not a root volume"), -EPERM);
}

static void luks_of_somebody_on_our_root_is_not(void **state _unused_) {
        device("dm-5", "253:5", "inner", "CRYPT-LUKS2-0-inner");
        rests_on("dm-5", "dm-0");
        mounts(ROOT_ON("253:5", "ext4", "/dev/mapper/inner"));
        assert_int_equal(check("inner: is not a root volume"), -EPERM);
}

static void a_partition_counts_as_its_disk(void **state _unused_) {
        device("md0", "9:0", NULL, NULL);
        rests_on("md0", "dm-0");
        put("block/md0/md0p1/partition", "1\n");
        lead("dev/block/259:0", "../../block/md0/md0p1");
        mounts(ROOT_ON("259:0", "ext4", "/dev/md0p1"));
        assert_int_equal(check(NULL), 0);
        rests_on("md0", "sda1");
        assert_int_equal(check("is not a root volume"), -EPERM);
}

static void btrfs_counts_with_every_member(void **state _unused_) {
        lead("fs/btrfs/abc/devices/dm-0", "../../../../block/dm-0");
        mounts(ROOT_ON("0:40", "btrfs", "/dev/dm-0"));
        assert_int_equal(check(NULL), 0);
        lead("fs/btrfs/abc/devices/sda1", "../../../../block/sda1");
        assert_int_equal(check("sda1: is not a root volume"), -EPERM);
        mounts(ROOT_ON("0:40", "btrfs", "/dev/dm-9"));
        assert_int_equal(check("cannot be found"), -EPERM);
}

static void what_is_mounted_below_counts(void **state _unused_) {
        mounts(ROOT_ON("253:0", "ext4", "/dev/mapper/root") "31 30 8:1 / /sysroot/usr rw - ext4 /dev/sda1 rw\n");
        assert_int_equal(check("sda1: is not a root volume"), -EPERM);
}

static void what_is_no_volume_is_not(void **state _unused_) {
        mounts(ROOT_ON("0:50", "overlay", "overlay"));
        assert_int_equal(check("overlay is not a file system on a volume"), -EPERM);
        mounts(ROOT_ON("0:50", "tmpfs", "tmpfs"));
        assert_int_equal(check("tmpfs"), -EPERM);
        mounts(ROOT_ON("253:0", "ext4", "/dev/mapper/root") "31 30 0:60 / /sysroot/home rw - nfs4 host:/home rw\n");
        assert_int_equal(check("nfs4"), -EPERM);
}

static void without_a_root_there_is_nothing_to_switch_to(void **state _unused_) {
        mounts(OUTSIDE);
        assert_int_equal(check("nothing is mounted"), -EPERM);
}

static void a_loop_ends(void **state _unused_) {
        device("dm-6", "253:6", "a", "LVM-a");
        device("dm-7", "253:7", "b", "LVM-b");
        rests_on("dm-6", "dm-7");
        rests_on("dm-7", "dm-6");
        mounts(ROOT_ON("253:6", "ext4", "/dev/mapper/a"));
        assert_int_equal(check("layers"), -EPERM);
}

/* What a hibernation image lies on. */
static int check_image(enum root_accepts accepts, unsigned minor, const char *words) {
        static const struct opened opened[] = { { .name = "swap", .uuid = UUID } };
        const struct root_check what = { .sys = sys, .opened = opened, .n_opened = 1, .accepts = accepts };
        char error[512] = "";
        int r = root_check_device(&what, 253, minor, error, sizeof error);

        if (words && !strstr(error, words))
                fail_msg("\"%s\" is not in \"%s\"", words, error);
        return r;
}

static void an_image_is_ours_on_what_the_halves_opened(void **state _unused_) {
        device("sda2", "253:9", NULL, NULL);
        device("dm-8", "253:8", "swap", "CRYPT-LUKS2-7a11b007000040008000000000000002-swap");
        rests_on("dm-8", "sda2");
        assert_int_equal(check_image(ACCEPTS_OPENED, 8, NULL), 0);
        assert_int_equal(check_image(ACCEPTS_OPENED, 1, "data: is not a volume that both halves opened"), -EPERM);
        assert_int_equal(check_image(ACCEPTS_OPENED, 9, "sda2: is not a volume that both halves opened"), -EPERM);
        assert_int_equal(check_image(ACCEPTS_ROOT, 8, "swap: is not a root volume"), -EPERM);
        assert_int_equal(check_image(ACCEPTS_ENCRYPTED, 1, NULL), 0);
        assert_int_equal(check_image(ACCEPTS_ENCRYPTED, 9, "sda2: is not encrypted"), -EPERM);
        device("dm-9", "253:10", "vg-swap", "LVM-x");
        rests_on("dm-9", "sda2");
        assert_int_equal(check_image(ACCEPTS_ENCRYPTED, 10, "sda2: is not encrypted"), -EPERM);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(our_root_is_ours),
                test(a_plain_partition_is_not),
                test(an_opened_volume_of_another_role_is_not),
                test(another_mapping_of_that_name_is_not),
                test(lvm_counts_with_every_member),
                test(luks_of_somebody_on_our_root_is_not),
                test(a_partition_counts_as_its_disk),
                test(btrfs_counts_with_every_member),
                test(what_is_mounted_below_counts),
                test(what_is_no_volume_is_not),
                test(without_a_root_there_is_nothing_to_switch_to),
                test(a_loop_ends),
                test(an_image_is_ours_on_what_the_halves_opened),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
