/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "base/file.h"
#include "boot/logs.h"
#include "scratch.h"
#include "soft-log.h"

/* The kernel's logs, from a directory in securityfs' place. */

static char folder[64];
static struct config config;
static struct soft_log made;

static int start(void **state _unused_) {
        assert_int_equal(scratch_make(folder), 0);
        config = (struct config){ .securityfs = folder, .tpm = (char *) "device:/dev/tpmrm0" };
        soft_log_start_ima(&made);
        return 0;
}

static int done(void **state _unused_) {
        soft_log_done(&made);
        return scratch_remove(folder);
}

static void put(const char *directory, const char *name, const void *data, size_t size) {
        _cleanup_(freep) char *parent = path_join(folder, directory), *path = path_join(parent, name);

        assert_int_equal(mkdir_p(parent, 0700), 0);
        assert_int_equal(file_write(path, data, size, 0600), 0);
}

static void firmware_is(const char *tpm, const char *expected) {
        struct blob log = {};

        config.tpm = (char *) tpm;
        assert_int_equal(logs_read_firmware(&config, &log), 0);
        assert_int_equal(log.size, strlen(expected));
        assert_memory_equal(log.data ?: (uint8_t *) "", expected, log.size);
        blob_done(&log);
}

static void the_log_of_the_configured_tpm(void **state _unused_) {
        put("tpm0", "binary_bios_measurements", "zero", 4);
        put("tpm12", "binary_bios_measurements", "twelve", 6);
        firmware_is("device:/dev/tpmrm0", "zero");
        firmware_is("device:/dev/tpmrm12", "twelve");
        firmware_is("device:/dev/tpm12", "twelve");
        firmware_is("device:/dev/tpmrm1", "");
        firmware_is("device:/dev/tpm", "zero");
        firmware_is("swtpm:path=/run/tpm3", "zero");
}

static void a_log_that_is_too_large_is_not_sent(void **state _unused_) {
        size_t size = (size_t) WIRE_FIRMWARE_LOG_MAX + 1;
        uint8_t *huge = calloc(1, size);

        assert_non_null(huge);
        put("tpm0", "binary_bios_measurements", huge, size);
        firmware_is("device:/dev/tpmrm0", "");
        free(huge);
}

static void ima_from(uint64_t from, size_t expected) {
        struct blob list = {};

        assert_int_equal(logs_read_ima(&config, from, &list), 0);
        assert_int_equal(list.size, made.bytes.size - expected);
        if (list.size > 0)
                assert_memory_equal(list.data, made.bytes.data + expected, list.size);
        blob_done(&list);
}

static void entries_that_the_party_has_are_left_out(void **state _unused_) {
        static const uint8_t old[] = "\12\0\0\0"
                                     "01234567890123456789"
                                     "\3\0\0\0ima"
                                     "01234567890123456789"
                                     "\5\0\0\0/init";
        static const uint8_t digest[32];
        size_t ends[5] = {};

        for (size_t i = 1; i < 3; i++) {
                soft_ima(&made, false, "/usr/bin/something", digest);
                ends[i] = made.bytes.size;
        }
        buffer_append(&made.bytes, old, sizeof old - 1);
        ends[3] = made.bytes.size;
        soft_ima(&made, false, "/last", digest);
        ends[4] = made.bytes.size;
        put("ima", "binary_runtime_measurements", made.bytes.data, made.bytes.size);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                ima_from(i, ends[i]);
        ima_from(5, ends[4]);
        ima_from(UINT64_MAX, ends[4]);
}

static void a_cut_list(void **state _unused_) {
        static const uint8_t digest[32];
        size_t skipped;

        soft_ima(&made, false, "/init", digest);
        for (size_t size = 1; size < made.bytes.size; size++)
                assert_int_equal(logs_skip_ima(made.bytes.data, size, 1, &skipped), -EBADMSG);
        assert_int_equal(logs_skip_ima(made.bytes.data, made.bytes.size - 1, 0, &skipped), 0);
        assert_int_equal(skipped, 0);
        put("ima", "binary_runtime_measurements", made.bytes.data, made.bytes.size - 1);
        ima_from(1, made.bytes.size);
}

static void a_body_of_three_fields(void **state _unused_) {
        struct wire_logs_wanted wanted = { .firmware = true };
        struct wire_logs logs;
        uint8_t body[64];
        size_t size;
        int fd;

        put("tpm0", "binary_bios_measurements", "firmware", 8);
        put("ima", "binary_runtime_measurements", "", 0);
        assert_int_equal(logs_body(&config, &wanted, "{}", &fd, &size), 0);
        assert_int_equal(size, 12 + 2 + 8);
        assert_int_equal(read(fd, body, size), size);
        close(fd);
        assert_int_equal(wire_logs_parse(body, size, &logs), 0);
        assert_memory_equal(logs.evidence.data, "{}", 2);
        assert_memory_equal(logs.firmware.data, "firmware", 8);
        assert_int_equal(logs.ima.size, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, done)
                TEST(the_log_of_the_configured_tpm),
                TEST(a_log_that_is_too_large_is_not_sent),
                TEST(entries_that_the_party_has_are_left_out),
                TEST(a_cut_list),
                TEST(a_body_of_three_fields),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
