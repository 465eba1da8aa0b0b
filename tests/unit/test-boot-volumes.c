/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "boot/volumes.h"
#include "luks-image.h"

/* Opening without a device mapper: luks/open.c is played here, for what is on record while a volume is being opened. */

static char run_dir[64];
static int results[2]; /* of each key, in order */
static unsigned calls, closed;
static struct opened during[2];
static size_t n_during[2];

int luks_open_checked(const struct luks_header *header _unused_, const struct luks_expected *expected _unused_,
                      const char *device _unused_, const struct secret *key _unused_, const char *name _unused_,
                      const struct luks_options *options _unused_, char *error, size_t error_size) {
        struct opened *list = NULL;

        assert_int_equal(opened_list(run_dir, &list, n_during + calls), 0);
        if (n_during[calls] > 0)
                during[calls] = list[0];
        free(list);
        if (results[calls] < 0)
                snprintf(error, error_size, "refused");
        return results[calls++];
}

int luks_close(const char *name _unused_) {
        closed++;
        return 0;
}

static int setup(void **state) {
        strcpy(run_dir, "/tmp/tb-volumes-XXXXXX");
        memset(results, 0, sizeof results);
        memset(n_during, 0, sizeof n_during);
        calls = closed = 0;
        return mkdtemp(run_dir) ? luks_image_setup(state) : -1;
}

static int teardown(void **state) {
        run("rm -rf %s", run_dir);
        return luks_image_teardown(state);
}

static struct volume a_root(void) {
        struct volume volume = { .root = true, .n_keys = 2 };

        strcpy(volume.uuid, "7a11b007-0000-4000-8000-000000000002");
        volume.keys[0].expected.root = volume.keys[1].expected.root = true;
        return volume;
}

static size_t noted(struct opened *ret) {
        struct opened *list = NULL;
        size_t n = 0;

        assert_int_equal(opened_list(run_dir, &list, &n), 0);
        if (n > 0)
                *ret = list[0];
        free(list);
        return n;
}

/* Killed in this moment (by who closes the gate, after 8 s), the mapping is there and has to be closed before a shell; a root
 * that the check of the root believes in it is not yet. */
static void what_is_being_opened_is_on_record_and_no_root_yet(void **state) {
        struct luks_image *image = *state;
        struct volume volume = a_root();
        struct opened opened;

        assert_int_equal(volume_open(&volume, image->path, "root", NULL, run_dir), 0);
        assert_int_equal(n_during[0], 1);
        assert_string_equal(during[0].name, "root");
        assert_false(during[0].root);
        assert_int_equal(noted(&opened), 1);
        assert_string_equal(opened.uuid, volume.uuid);
        assert_true(opened.root);
        assert_ptr_equal(volume.opened_by, volume.keys);
}

static void what_was_not_opened_is_not_on_record(void **state) {
        struct luks_image *image = *state;
        struct volume volume = a_root();
        struct opened opened;

        results[0] = -EUCLEAN;
        results[1] = -ENOKEY;
        assert_int_equal(volume_open(&volume, image->path, "root", NULL, run_dir), -ENOKEY);
        assert_int_equal(calls, 2);
        assert_int_equal(noted(&opened), 0);
        assert_int_not_equal(volume.state, VOLUME_OPEN);
        assert_string_equal(volume.error, "refused");
}

/* Another key's manifest may give the same volume another role. */
static void the_manifest_that_opens_says_whether_it_is_a_root(void **state) {
        struct luks_image *image = *state;
        struct volume volume = a_root();
        struct opened opened;

        results[0] = -ENOKEY;
        volume.keys[1].expected.root = false;
        assert_int_equal(volume_open(&volume, image->path, "data", NULL, run_dir), 0);
        assert_int_equal(noted(&opened), 1);
        assert_false(opened.root);
        assert_false(volume.root);
}

static void a_test_leaves_nothing_on_record(void **state) {
        struct luks_image *image = *state;
        struct volume volume = a_root();
        struct opened opened;

        assert_int_equal(volume_open(&volume, image->path, NULL, NULL, run_dir), 0);
        assert_int_equal(n_during[0], 0);
        assert_int_equal(noted(&opened), 0);
}

static void a_volume_that_cannot_be_put_on_record_is_not_opened(void **state) {
        struct luks_image *image = *state;
        struct volume volume = a_root();

        assert_true(volume_open(&volume, image->path, "root", NULL, "/proc/none") < 0);
        assert_non_null(strstr(volume.error, "/proc/none/opened/root cannot be written: No such file"));
        assert_int_equal(calls, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* docs/protocol.md, 14: halves and a token never open side by side. */
static void halves_and_token_are_never_mixed(void **state _unused_) {
        static const enum volumes_source sources[] = { VOLUMES_BY_HALVES, VOLUMES_BY_TOKEN };

        for (size_t i = 0; i < 2; i++) {
                struct volumes volumes = {};
                _cleanup_(secret_freep) struct secret *k_b = NULL;

                assert_int_equal(secret_random(HALF_SIZE, &k_b), 0);
                for (unsigned generation = 3; generation > 0; generation--) { /* the last is the other's */
                        struct luks_expected *expected = calloc(1, sizeof *expected);
                        struct manifest manifest = { .generation = generation, .volumes = expected, .n = 1 };
                        bool other = generation == 1;

                        assert_non_null(expected);
                        strcpy(expected->uuid, "7a11b007-0000-4000-8000-000000000002");
                        assert_int_equal(volumes_add(&volumes, sources[other ? 1 - i : i], &manifest, NODE_ID_A, k_b),
                                         other ? -EXDEV : 0);
                        manifest_done(&manifest);
                }
                assert_int_equal(volumes.n, 1);
                assert_int_equal(volumes.items[0].n_keys, 2);
                volumes_done(&volumes);
        }
}

/* A disk that is gone, and whose name another one has by now: that its unit says "opened" is no passphrase typed for the
 * first. */
static void a_name_is_the_open_volumes(void **state _unused_) {
        struct volume items[3] = { { .name = "data" }, { .name = "data", .state = VOLUME_OPEN }, { .name = "data" } };
        struct volumes volumes = { .items = items, .n = ELEMENTSOF(items) };

        assert_ptr_equal(volumes_find_name(&volumes, "data"), items + 1);
        items[1].state = VOLUME_FAILED;
        assert_ptr_equal(volumes_find_name(&volumes, "data"), items);
        assert_null(volumes_find_name(&volumes, "root"));
}

/* Each enroll --again is another key, and those before stay live at the parties: any of them may be the one that opens, for they
 * come in the order of their random ids. */
static void no_enrollment_of_a_volume_is_left_out(void **state _unused_) {
        struct volumes volumes = {};
        _cleanup_(secret_freep) struct secret *k_b = NULL;

        assert_int_equal(secret_random(HALF_SIZE, &k_b), 0);
        for (unsigned i = 0; i < WIRE_KEYS_MAX; i++) {
                struct luks_expected *expected = calloc(1, sizeof *expected);
                struct manifest manifest = { .generation = 1, .volumes = expected, .n = 1 };

                assert_non_null(expected);
                snprintf(manifest.key_id, sizeof manifest.key_id, "%032x", i);
                strcpy(expected->uuid, "7a11b007-0000-4000-8000-000000000002");
                assert_int_equal(volumes_add(&volumes, VOLUMES_BY_HALVES, &manifest, NODE_ID_A, k_b), 0);
                manifest_done(&manifest);
                assert_int_equal(volumes.n, 1);
                assert_int_equal(volumes.items[0].n_keys, i + 1);
        }
        volumes_done(&volumes);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                test(a_name_is_the_open_volumes),
                test(no_enrollment_of_a_volume_is_left_out),
                test(what_is_being_opened_is_on_record_and_no_root_yet),
                test(what_was_not_opened_is_not_on_record),
                test(the_manifest_that_opens_says_whether_it_is_a_root),
                test(a_test_leaves_nothing_on_record),
                test(a_volume_that_cannot_be_put_on_record_is_not_opened),
                test(halves_and_token_are_never_mixed),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
