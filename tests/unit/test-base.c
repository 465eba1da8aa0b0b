/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readers, buffers, clock, log lines, secrets. */
#include "test.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"

static void reader_takes_numbers(void **state) {
        static const uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 0xff, 0xee };
        struct reader reader = { data, sizeof(data) };
        const uint8_t *rest;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;

        assert_int_equal(reader_u8(&reader, &u8), 0);
        assert_int_equal(u8, 1);
        assert_int_equal(reader_be16(&reader, &u16), 0);
        assert_int_equal(u16, 0x0203);
        assert_int_equal(reader_be32(&reader, &u32), 0);
        assert_int_equal(u32, 0x04050607);
        assert_int_equal(reader_be64(&reader, &u64), 0);
        assert_true(u64 == 0x08090a0b0c0d0e0fULL);
        assert_int_equal(reader_le16(&reader, &u16), 0);
        assert_int_equal(u16, 0x1110);
        assert_int_equal(reader_le32(&reader, &u32), 0);
        assert_int_equal(u32, 0x15141312);
        assert_int_equal(reader.left, 2);
        assert_int_equal(reader_bytes(&reader, 2, &rest), 0);
        assert_ptr_equal(rest, data + 21);
        assert_int_equal(reader_bytes(&reader, 0, &rest), 0);
}

static void reader_refuses_what_is_not_there(void **state) {
        static const uint8_t data[] = { 1, 2, 3, 4, 5, 6, 7 };
        struct reader reader = { data, 7 };
        uint8_t copy[8] = { 0xaa };
        const uint8_t *rest;
        uint64_t u64 = 42;

        assert_int_equal(reader_be64(&reader, &u64), -EBADMSG);
        assert_true(u64 == 42);
        assert_int_equal(reader.left, 7); /* nothing taken */
        assert_int_equal(reader_copy(&reader, copy, 8), -EBADMSG);
        assert_int_equal(copy[0], 0xaa);
        assert_int_equal(reader_bytes(&reader, SIZE_MAX, &rest), -EBADMSG);
        assert_int_equal(reader_bytes(&reader, 7, &rest), 0);
        assert_int_equal(reader_u8(&reader, copy), -EBADMSG);

        reader = (struct reader){};
        assert_int_equal(reader_bytes(&reader, 0, &rest), 0);
        assert_int_equal(reader_le16(&reader, &(uint16_t){ 0 }), -EBADMSG);
        assert_int_equal(reader_le32(&reader, &(uint32_t){ 0 }), -EBADMSG);
        assert_int_equal(reader_be16(&reader, &(uint16_t){ 0 }), -EBADMSG);
        assert_int_equal(reader_be32(&reader, &(uint32_t){ 0 }), -EBADMSG);
}

static void buffer_grows(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        static const uint8_t expected[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', '-', '7' };

        buffer_u8(&buffer, 1);
        buffer_be16(&buffer, 0x0203);
        buffer_be32(&buffer, 0x04050607);
        buffer_be64(&buffer, 0x08090a0b0c0d0e0fULL);
        buffer_printf(&buffer, "%s-%d", "x", 7);
        buffer_append(&buffer, NULL, 0);
        assert_int_equal(buffer_ok(&buffer), 0);
        assert_int_equal(buffer.size, sizeof(expected));
        assert_memory_equal(buffer.data, expected, sizeof(expected));

        for (unsigned i = 0; i < 100000; i++)
                buffer_be32(&buffer, i);
        assert_int_equal(buffer_ok(&buffer), 0);
        assert_int_equal(buffer.size, sizeof(expected) + 400000);
        assert_memory_equal(buffer.data + buffer.size - 4, ((uint8_t[]){ 0, 1, 0x86, 0x9f }), 4);
}

static void buffer_remembers_failure(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};

        buffer_u8(&buffer, 1);
        buffer_append(&buffer, "", SIZE_MAX - 1);
        buffer_u8(&buffer, 2);
        buffer_printf(&buffer, "x");
        assert_int_equal(buffer_ok(&buffer), -ENOMEM);
        assert_int_equal(buffer.size, 1);
}

static void blob_is_a_copy(void **state) {
        struct blob blob = {};

        assert_int_equal(blob_copy("abc", 3, &blob), 0);
        assert_string_equal((char *) blob.data, "abc");
        blob_done(&blob);
        assert_null(blob.data);
        assert_int_equal(blob_copy(NULL, 0, &blob), 0);
        assert_int_equal(blob.size, 0);
        assert_non_null(blob.data);
        blob_done(&blob);
}

static void clock_tells_time(void **state) {
        char text[21];
        uint64_t before;

        clock_format(1767323045678, text);
        assert_string_equal(text, "2026-01-02T03:04:05Z");
        clock_format(0, text);
        assert_string_equal(text, "1970-01-01T00:00:00Z");
        clock_format(UINT64_MAX, text);
        assert_string_equal(text, "9999-12-31T23:59:59Z");

        assert_true(clock_realtime_ms() > 1600000000000);
        before = clock_monotonic_ms();
        sleep_ms(20);
        assert_in_range(clock_monotonic_ms() - before, 19, 600000);
}

static void sanitized(const char *text, const char *expected) {
        char ret[128];

        text_sanitize(text, ret, sizeof(ret));
        assert_string_equal(ret, expected);
}

static void text_is_sanitized(void **state) {
        char small[6];

        sanitized("plain text 100%", "plain text 100%");
        sanitized("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91");
        sanitized("a\nb\x1b[31mc\x7f\t", "a\\x0ab\\x1b[31mc\\x7f\\x09");
        sanitized("\xff\xc3", "\\xff\\xc3");          /* not UTF-8; cut short */
        sanitized("\xc0\xaf", "\\xc0\\xaf");          /* longer than needed */
        sanitized("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
        sanitized("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
        sanitized("\xc2\x9b"
                  "1m",
                  "\\xc2\\x9b"
                  "1m"); /* CSI as one C1 control */
        sanitized("\xe2\x80\xae"
                  "x",
                  "\\xe2\\x80\\xae"
                  "x"); /* right to left from here */

        text_sanitize("abcdefgh", small, sizeof(small));
        assert_string_equal(small, "abcde");
        text_sanitize("abc\n", small, sizeof(small)); /* no half of an escape */
        assert_string_equal(small, "abc");
        text_sanitize("abc\xe2\x82\xac", small, sizeof(small)); /* and none of a character */
        assert_string_equal(small, "abc");
        small[0] = 'z';
        text_sanitize("abc", small, 0);
        assert_int_equal(small[0], 'z');
}

/* What fn writes to standard error. */
static void capture(void (*fn)(void), char *ret, size_t size) {
        int saved = dup(STDERR_FILENO), fds[2];
        ssize_t n;

        assert_int_equal(pipe(fds), 0);
        assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
        fn();
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        close(saved);
        close(fds[1]);
        n = read(fds[0], ret, size - 1);
        assert_true(n >= 0);
        ret[n] = '\0';
        close(fds[0]);
}

static void say_things(void) {
        log_set_program("prog");
        log_set_level(LOG_LEVEL_INFO);
        log_info("node \"%s\"", "evil\nprog: all is well");
        log_debug("not seen");
        errno = EPERM;
        assert_int_equal(log_error_errno(-ENOENT, "no: %m"), -ENOENT);
        assert_int_equal(log_warning_errno(ENOMEM, "no: %m"), -ENOMEM);
        assert_int_equal(errno, EPERM);
        assert_int_equal(log_debug_errno(-EIO, "not seen"), -EIO);
}

static void say_much(void) {
        char text[8192];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        log_info("%s", text);
}

static void log_writes_lines(void **state) {
        char text[8192];

        capture(say_things, text, sizeof(text));
        assert_string_equal(text, "prog: node \"evil\\x0aprog: all is well\"\nprog: no: No such file or directory\n"
                                  "prog: no: Cannot allocate memory\n");
        capture(say_much, text, sizeof(text));
        assert_in_range(strlen(text), 1000, 2200);
        assert_int_equal(text[strlen(text) - 1], '\n');
}

static void secrets_are_copied_and_compared(void **state) {
        _cleanup_(secret_freep) struct secret *a = NULL, *b = NULL, *c = NULL, *big = NULL;

        assert_int_equal(secret_copy("0123456789", 10, &a), 0);
        assert_int_equal(secret_copy("0123456789", 10, &b), 0);
        assert_int_equal(secret_new(10, &c), 0);
        assert_true(secret_equal(a, b));
        assert_false(secret_equal(a, c));
        b->size = 9;
        assert_false(secret_equal(a, b));
        assert_true(bytes_equal_ct("ab", "ab", 2));
        assert_false(bytes_equal_ct("ab", "aB", 2));
        assert_false(bytes_equal_ct("ab", "Ab", 2));
        assert_true(bytes_equal_ct("a", "b", 0));

        assert_int_equal(secret_new(0, &big), -EINVAL);
        assert_int_equal(secret_new(1024 * 1024 + 2, &big), -EINVAL);
        assert_null(big);
        assert_int_equal(secret_random(100000, &big), 0);
        assert_false(bytes_equal_ct(big->data, big->data + 32, 32));
        assert_null(secret_free(NULL));
}

/* The kernel's word for the mapping that holds address: field of its entry in /proc/self/smaps. */
static void mapping_field(const void *address, const char *field, char *ret, size_t size) {
        FILE *f = fopen("/proc/self/smaps", "re");
        unsigned long start, end;
        bool inside = false;
        char line[512];

        assert_non_null(f);
        ret[0] = '\0';
        while (fgets(line, sizeof(line), f)) {
                if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
                        inside = (unsigned long) address >= start && (unsigned long) address < end;
                else if (inside && strncmp(line, field, strlen(field)) == 0)
                        (void) snprintf(ret, size, "%.200s", line + strlen(field));
        }
        fclose(f);
}

static void secrets_are_locked_and_not_dumped(void **state) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        char field[256];

        assert_int_equal(secret_random(32, &secret), 0);
        mapping_field(secret->data, "VmFlags:", field, sizeof(field));
        assert_non_null(strstr(field, " dd")); /* not in a core */
        assert_non_null(strstr(field, " dc")); /* not in a child */
#ifndef __SANITIZE_ADDRESS__                   /* whose mlock() does nothing */
        assert_non_null(strstr(field, " lo"));
#endif
}

static void unlocked_secret_is_refused_where_it_matters(void **state) {
        int status;
        pid_t pid;

#ifdef __SANITIZE_ADDRESS__
        skip();
#endif
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct secret *secret = NULL;

                (void) setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){});
                if (setresuid(65534, 65534, 65534) < 0)
                        _exit(77);
                if (secret_new(32, &secret) != 0) /* ignored ... */
                        _exit(1);
                secret_require_lock();
                _exit(secret_new(32, &secret) == -EPERM ? 0 : 2); /* ... until it is asked for */
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void freed_secrets_are_wiped(void **state) {
        uint8_t bytes[64];
        struct secret *secret;
        int pipes[2];

        memset(bytes, 0x55, sizeof(bytes));
        memory_wipe(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
                assert_int_equal(bytes[i], 0);

        /* Gone: the kernel does not read it for us. */
        assert_int_equal(secret_random(32, &secret), 0);
        assert_int_equal(pipe(pipes), 0);
        uint8_t *data = secret->data;
        secret_free(secret);
        assert_int_equal(write(pipes[1], data, 1), -1);
        assert_int_equal(errno, EFAULT);
        close(pipes[0]);
        close(pipes[1]);
}

static void process_is_hardened(void **state) {
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                struct rlimit core;

                if (process_harden() < 0 || getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
                        _exit(1);
                _exit(prctl(PR_GET_DUMPABLE) == 0 && umask(0) == 0077 ? 0 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reader_takes_numbers),
                cmocka_unit_test(reader_refuses_what_is_not_there),
                cmocka_unit_test(buffer_grows),
                cmocka_unit_test(buffer_remembers_failure),
                cmocka_unit_test(blob_is_a_copy),
                cmocka_unit_test(clock_tells_time),
                cmocka_unit_test(text_is_sanitized),
                cmocka_unit_test(log_writes_lines),
                cmocka_unit_test(secrets_are_copied_and_compared),
                cmocka_unit_test(secrets_are_locked_and_not_dumped),
                cmocka_unit_test(unlocked_secret_is_refused_where_it_matters),
                cmocka_unit_test(freed_secrets_are_wiped),
                cmocka_unit_test(process_is_hardened),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
