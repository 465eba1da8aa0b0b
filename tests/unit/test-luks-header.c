/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading: which copy, what is no LUKS2 header at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "luks-image.h"
#include "luks/internal.h"

static int read_header(const struct luks_image *image) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;

        return luks_header_read(image->path, &header);
}

static void luks1_is_emediumtype(void **state) {
        struct luks_image *image = *state;

        run("truncate -s 0 %s && truncate -s 8M %s && cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 %s %s/pass",
            image->path, image->path, image->path, luks_image_directory());
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
}

/* A volume that was LUKS2 and is LUKS1 now: the second copy of before must not bring the old one back. */
static void luks1_before_a_second_copy_is_emediumtype(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 6, "\0\1", 2);
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
}

static void no_luks_is_emediumtype(void **state) {
        struct luks_image *image = *state;

        run("truncate -s 0 %s && truncate -s 1M %s", image->path, image->path);
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
        run("truncate -s 100 %s", image->path);
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
        run("truncate -s 0 %s", image->path);
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
}

static void missing_device_is_enoent(void **state _unused_) {
        struct luks_header *header;

        assert_int_equal(luks_header_read("/nonexistent/device", &header), -ENOENT);
}

static void first_copy_damaged_the_second_is_used(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 5000, "X", 1);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), 0);
}

static void first_copy_zeroed_the_second_is_found(void **state) {
        struct luks_image *image = *state;
        static const uint8_t zero[16384];

        luks_image_patch(image->path, 0, zero, sizeof(zero));
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), 0);
}

static void both_copies_damaged_is_ebadmsg(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 5000, "X", 1);
        luks_image_patch(image->path, 16384 + 5000, "X", 1);
        assert_int_equal(read_header(image), -EBADMSG);
}

/* Each copy says in its own label which one it is. */
static void copy_with_the_higher_seqid_is_chosen(void **state) {
        struct luks_image *image = *state;
        _cleanup_(freep) char *text = luks_image_read_text(image->path, 0);

        for (int newer = 0; newer < 2; newer++) {
                luks_image_patch(image->path, 24, "first", 6);
                luks_image_patch(image->path, 16384 + 24, "second", 7);
                luks_image_write_copy(image->path, newer, text, UINT64_C(0x8000000000000001));
                luks_image_write_copy(image->path, 1 - newer, text, 99);
                luks_image_read(image);
                assert_string_equal((const char *) image->header->binary + 24, newer ? "second" : "first");
                assert_int_equal(luks_image_open(image), 0);
        }
}

/* An older, whole copy must not win over a newer one because of a higher seqid in a damaged one. */
static void damaged_copy_with_the_higher_seqid_is_not_chosen(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 16384 + 16, "\x7f", 1);
        luks_image_read(image);
        assert_int_equal(image->header->binary[16], 0);
        assert_int_equal(luks_image_open(image), 0);
}

static void bad_json(void **state, const char *text) {
        struct luks_image *image = *state;

        luks_image_write_copy(image->path, 0, text, 0);
        luks_image_write_copy(image->path, 1, text, 0);
        assert_int_equal(read_header(image), -EBADMSG);
}

static void json_garbage_is_ebadmsg(void **state) {
        bad_json(state, "{\"keyslots\":");
        bad_json(state, "");
        bad_json(state, "[]");
        bad_json(state, "{} {}");
        bad_json(state, "{\"config\":{},\"config\":{}}");
}

static void json_nested_deeply_is_ebadmsg(void **state) {
        char text[12000];

        memset(text, '[', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        bad_json(state, text);
}

static void empty_json_is_read_and_refused_by_check(void **state) {
        struct luks_image *image = *state;

        luks_image_write_copy(image->path, 0, "{}", 0);
        luks_image_write_copy(image->path, 1, "{}", 0);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
}

static void other_checksum_algorithm_is_ebadmsg(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 72, "md5\0\0\0", 6);
        luks_image_patch(image->path, 16384 + 72, "md5\0\0\0", 6);
        assert_int_equal(read_header(image), -EBADMSG);
}

static void wrong_hdr_size_is_ebadmsg(void **state) {
        static const char *sizes[] = { "\0\0\0\0\0\0\0\0", "\0\0\0\0\0\0\x10\0", "\xff\xff\xff\xff\xff\xff\xff\xff",
                                       "\0\0\0\0\0\0\x40\1" };
        struct luks_image *image = *state;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                luks_image_patch(image->path, 8, sizes[i], 8);
                luks_image_patch(image->path, 16384 + 8, sizes[i], 8);
                assert_int_equal(read_header(image), -EBADMSG);
        }
}

static void truncated_file_is_refused(void **state) {
        struct luks_image *image = *state;

        /* in our area, in slot 0's area, in the second copy, in the first copy's JSON, in the first binary header */
        run("truncate -s 300000 %s", image->path);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        assert_non_null(strstr(image->error, "cannot be read"));
        run("truncate -s 40000 %s", image->path);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        run("truncate -s 20000 %s", image->path);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        run("truncate -s 10000 %s", image->path);
        assert_int_equal(read_header(image), -EBADMSG);
        run("truncate -s 4095 %s", image->path);
        assert_int_equal(read_header(image), -EMEDIUMTYPE);
}

static void large_metadata_area_is_read(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;

        run("truncate -s 0 %s && truncate -s 40M %s && cryptsetup -q luksFormat --type luks2 --luks2-metadata-size 1m --pbkdf pbkdf2 "
            "--pbkdf-force-iterations 1000 %s %s/pass",
            image->path, image->path, image->path, luks_image_directory());
        assert_int_equal(luks_header_read(image->path, &header), 0);
        assert_int_equal(header->hdr_size, 1 << 20);
        assert_non_null(header->areas[0].data);
}

static void large_metadata_area_opens_from_the_copy(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_expected_done) struct luks_expected expected = {};
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(secret_freep) struct secret *volume_key = NULL;
        int slot;

        run("truncate -s 0 %s && truncate -s 40M %s && cryptsetup -q luksFormat --type luks2 --luks2-metadata-size 1m --key-size 256 "
            "--sector-size 512 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 %s %s/pass",
            image->path, image->path, image->path, luks_image_directory());
        {
                _cleanup_(luks_device_freep) struct luks_device *device = NULL;

                assert_int_equal(luks_device_open(image->path, &device, NULL, 0), 0);
                assert_int_equal(luks_unlock_passphrase(device, image->passphrase, &slot, &volume_key), 0);
                assert_int_equal(luks_slot_add(device, volume_key, image->key, -1, &slot), 0);
        }
        assert_int_equal(luks_header_read(image->path, &header), 0);
        assert_int_equal(luks_describe(header, slot, volume_key, "data", false, &expected), 0);
        assert_int_equal(expected.key_size, 32);
        assert_int_equal(expected.sector_size, 512);
        assert_int_equal(
                luks_open_checked(header, &expected, image->path, image->key, NULL, NULL, image->error, sizeof(image->error)), 0);
}

static void reading_from_memory_is_the_same(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(blob_done) struct blob data = {};

        assert_int_equal(file_read(image->path, 32 << 20, &data), 0);
        assert_int_equal(luks_header_parse(data.data, data.size, &header), 0);
        assert_int_equal(luks_check(header, &image->expected, image->error, sizeof(image->error)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, luks_image_setup, luks_image_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(luks1_is_emediumtype),
                TEST(luks1_before_a_second_copy_is_emediumtype),
                TEST(no_luks_is_emediumtype),
                TEST(missing_device_is_enoent),
                TEST(first_copy_damaged_the_second_is_used),
                TEST(first_copy_zeroed_the_second_is_found),
                TEST(both_copies_damaged_is_ebadmsg),
                TEST(copy_with_the_higher_seqid_is_chosen),
                TEST(damaged_copy_with_the_higher_seqid_is_not_chosen),
                TEST(json_garbage_is_ebadmsg),
                TEST(json_nested_deeply_is_ebadmsg),
                TEST(empty_json_is_read_and_refused_by_check),
                TEST(other_checksum_algorithm_is_ebadmsg),
                TEST(wrong_hdr_size_is_ebadmsg),
                TEST(truncated_file_is_refused),
                TEST(large_metadata_area_is_read),
                TEST(large_metadata_area_opens_from_the_copy),
                TEST(reading_from_memory_is_the_same),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
