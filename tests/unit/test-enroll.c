/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What enroll finds out without a service: names, what the root rests on, recovery keys, the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "base/file.h"
#include "enroll/internal.h"
#include "scratch.h"

static char tree[64];

static void put(const char *text, const char *path, ...) {
        char name[256], whole[512];
        va_list ap;

        va_start(ap, path);
        vsnprintf(name, sizeof(name), path, ap);
        va_end(ap);
        snprintf(whole, sizeof(whole), "%s/%s", tree, name);
        *strrchr(whole, '/') = '\0';
        assert_int_equal(mkdir_p(whole, 0700), 0);
        snprintf(whole, sizeof(whole), "%s/%s", tree, name);
        assert_int_equal(file_write(whole, text, strlen(text), 0600), 0);
}

/* sda (8:0) with sda1, sda2; crypt 254:0 on sda2; LVM 254:1 on the crypt; md 9:0 on sda1 and sdb1 (8:17). */
static int tree_setup(void **state _unused_) {
        assert_int_equal(scratch_make(tree), 0);
        put("8:2\n", "dev/block/254:0/slaves/sda2/dev");
        put("254:0\n", "dev/block/254:1/slaves/dm-0/dev");
        put("8:1\n", "dev/block/9:0/slaves/sda1/dev");
        put("8:17\n", "dev/block/9:0/slaves/sdb1/dev");
        put("254:2\n", "dev/block/254:2/slaves/dm-2/dev"); /* a circle, which no kernel makes */
        put("CRYPT-LUKS2-11111111222233334444555555555555-secret\n", "dev/block/8:2/holders/dm-0/dm/uuid");
        put("secret\n", "dev/block/8:2/holders/dm-0/dm/name");
        put("LVM-abc\n", "dev/block/8:1/holders/dm-7/dm/uuid");
        put("vg-lv\n", "dev/block/8:1/holders/dm-7/dm/name");
        return 0;
}

static int tree_teardown(void **state _unused_) {
        return scratch_remove(tree);
}

static void root_is_followed_down_through_every_member(void **state _unused_) {
        assert_true(target_rests_on(tree, makedev(254, 1), makedev(8, 2)));
        assert_true(target_rests_on(tree, makedev(254, 0), makedev(8, 2)));
        assert_true(target_rests_on(tree, makedev(8, 2), makedev(8, 2)));
        assert_true(target_rests_on(tree, makedev(9, 0), makedev(8, 17)));
        assert_false(target_rests_on(tree, makedev(254, 1), makedev(8, 1)));
        assert_false(target_rests_on(tree, makedev(8, 2), makedev(254, 0)));
        assert_false(target_rests_on(tree, makedev(254, 2), makedev(8, 2)));
        assert_false(target_rests_on(tree, makedev(77, 7), makedev(8, 2)));
}

static void active_name_is_that_of_a_luks2_mapping(void **state _unused_) {
        char name[64];

        assert_int_equal(target_active_name(tree, makedev(8, 2), name, sizeof(name)), 0);
        assert_string_equal(name, "secret");
        assert_int_equal(target_active_name(tree, makedev(8, 1), name, sizeof(name)), -ENOENT);
        assert_int_equal(target_active_name(tree, makedev(8, 9), name, sizeof(name)), -ENOENT);
}

static void mountinfo_names_the_device(void **state _unused_) {
        static const char text[] = "1 1 0:2 / / rw - rootfs none rw\n"
                                   "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw\n"
                                   "23 22 0:35 /@usr /usr rw,relatime - btrfs /dev/mapper/usr rw,subvol=/@usr\n"
                                   "24 22 0:4 / /proc rw - proc proc rw\n"
                                   "nonsense\n";
        char source[128];
        dev_t device;

        assert_int_equal(target_mount_device(text, "/", source, sizeof(source), &device), 0);
        assert_int_equal(device, makedev(254, 1));
        assert_string_equal(source, "/dev/mapper/vg-root");
        assert_int_equal(target_mount_device(text, "/usr", source, sizeof(source), &device), 0);
        assert_int_equal(major(device), 0);
        assert_string_equal(source, "/dev/mapper/usr");
        assert_int_equal(target_mount_device(text, "/home", source, sizeof(source), &device), -ENOENT);
        assert_int_equal(target_mount_device("", "/", source, sizeof(source), &device), -ENOENT);
}

static void target_of_a_file_is_named_by_its_uuid(void **state _unused_) {
        static const char uuid[] = "11111111-2222-3333-4444-555555555555";
        _cleanup_(target_done) struct target target = {}, named = {};
        struct enroll_options options = {}, with_name = { .name = "data", .role = ROLE_ROOT };
        _cleanup_(freep) char *path = path_join(tree, "file");

        assert_int_equal(file_write(path, "x", 1, 0600), 0);
        assert_int_equal(target_find(path, &options, uuid, &target), 0);
        assert_string_equal(target.name, "luks-11111111-2222-3333-4444-555555555555");
        assert_string_equal(target.device, path);
        assert_null(target.header);
        assert_false(target.root);
        assert_int_equal(target_find(path, &with_name, uuid, &named), 0);
        assert_string_equal(named.name, "data");
        assert_true(named.root);
}

static void recovery_key_has_systemds_form(void **state _unused_) {
        uint8_t bytes[32];
        char text[RECOVERY_LENGTH + 1] = "";

        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (i * 8 + i / 2);
        recovery_format(bytes, text);
        assert_int_equal(strlen(text), 71);
        for (size_t i = 0; i < 71; i++)
                assert_true(i % 9 == 8 ? text[i] == '-' : strchr("cbdefghijklnrtuv", text[i]) != NULL);
        memset(bytes, 0, sizeof(bytes));
        bytes[0] = 0x0f;
        bytes[31] = 0xa1;
        recovery_format(bytes, text);
        assert_string_equal(text, "cvcccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccccc-cccccclb");
}

static void recovery_keys_differ(void **state _unused_) {
        _cleanup_(secret_freep) struct secret *a = NULL, *b = NULL;

        assert_int_equal(recovery_new(&a), 0);
        assert_int_equal(recovery_new(&b), 0);
        assert_int_equal(a->size, 71);
        assert_false(secret_equal(a, b));
}

#define PARSE(fn, options, ...)                                         \
        ({                                                              \
                char *_argv[] = { (char *) "verb", __VA_ARGS__, NULL }; \
                fn((int) ELEMENTSOF(_argv) - 1, _argv, options);        \
        })

static void options_are_taken(void **state _unused_) {
        struct enroll_options options;

        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--key-file", (char *) "k", (char *) "/dev/a",
                               (char *) "/dev/b", (char *) "--no-wait"),
                         EXIT_OK);
        assert_string_equal(options.key_file, "k");
        assert_true(options.no_wait && !options.payload);
        assert_int_equal(options.n_devices, 2);
        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--recovery-key=no"), EXIT_OK);
        assert_true(options.payload); /* nothing else to do */
        assert_int_equal(options.recovery, RECOVERY_NO);
}

static void bad_options_are_usage(void **state _unused_) {
        struct enroll_options options;

        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--nonsense"), EXIT_USAGE);
        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--name=x"), EXIT_USAGE);
        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--name=x", (char *) "a", (char *) "b"), EXIT_USAGE);
        assert_int_equal(PARSE(enroll_options_parse, &options, (char *) "--recovery-key=maybe", (char *) "a"), EXIT_USAGE);
        assert_int_equal(
                PARSE(enroll_options_parse, &options, (char *) "--key-file=-", (char *) "--join-token-file=-", (char *) "a"),
                EXIT_USAGE);
        assert_int_equal(PARSE(unenroll_options_parse, &options, (char *) "--without-other-key"), EXIT_USAGE);
        assert_int_equal(PARSE(unenroll_options_parse, &options, (char *) "--payload", (char *) "a"), EXIT_USAGE);
        assert_int_equal(PARSE(unenroll_options_parse, &options, (char *) "a"), EXIT_OK);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(root_is_followed_down_through_every_member),
                cmocka_unit_test(active_name_is_that_of_a_luks2_mapping),
                cmocka_unit_test(mountinfo_names_the_device),
                cmocka_unit_test(target_of_a_file_is_named_by_its_uuid),
                cmocka_unit_test(recovery_key_has_systemds_form),
                cmocka_unit_test(recovery_keys_differ),
                cmocka_unit_test(options_are_taken),
                cmocka_unit_test(bad_options_are_usage),
        };

        return cmocka_run_group_tests(tests, tree_setup, tree_teardown);
}
