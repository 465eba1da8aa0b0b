/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "scratch.h"

static char dir[64];

static int set_up(void **state) {
        return scratch_make(dir);
}

static int tear_down(void **state) {
        return scratch_remove(dir);
}

static unsigned entries(void) {
        DIR *d = opendir(dir);
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n - 2;
}

static void writes_and_reads(void **state) {
        _cleanup_(freep) char *path = path_join(dir, "one");
        _cleanup_(blob_done) struct blob blob = {};
        struct stat st;

        assert_int_equal(file_write(path, "hello", 5, 0640), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(file_read(path, 5, &blob), 0);
        assert_int_equal(blob.size, 5);
        assert_string_equal((char *) blob.data, "hello");
        assert_int_equal(entries(), 1);

        /* A file that is there is replaced whole, and takes the new mode. */
        assert_int_equal(file_write(path, "", 0, 0600), 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_size, 0);
        blob_done(&blob);
        assert_int_equal(file_read(path, 0, &blob), 0);
        assert_int_equal(blob.size, 0);
        assert_int_equal(unlink(path), 0);
}

static void reads_within_the_limit(void **state) {
        _cleanup_(freep) char *path = path_join(dir, "big"), *data = calloc(1, 100001);
        struct blob blob = {};

        assert_int_equal(file_write(path, data, 100001, 0600), 0);
        assert_int_equal(file_read(path, 100000, &blob), -EFBIG);
        assert_null(blob.data);
        assert_int_equal(file_read(path, 100001, &blob), 0);
        assert_int_equal(blob.size, 100001);
        blob_done(&blob);

        /* No size in the inode. */
        assert_int_equal(file_read("/proc/self/status", 100000, &blob), 0);
        assert_true(blob.size > 100);
        blob_done(&blob);
        assert_int_equal(file_read("/proc/self/status", 100, &blob), -EFBIG);
        assert_int_equal(unlink(path), 0);
}

static void refuses_other_things(void **state) {
        _cleanup_(freep) char *fifo = path_join(dir, "fifo");
        struct secret *secret = NULL;
        struct blob blob = {};

        assert_int_equal(mkfifo(fifo, 0600), 0);
        assert_int_equal(file_read(fifo, 100, &blob), -EINVAL); /* and does not hang */
        assert_int_equal(file_read_secret(fifo, 100, false, &secret), -EINVAL);
        assert_int_equal(file_read(dir, 100, &blob), -EISDIR);
        assert_int_equal(file_read("/nowhere/at/all", 100, &blob), -ENOENT);
        assert_int_equal(unlink(fifo), 0);
}

static void secrets_from_files(void **state) {
        _cleanup_(freep) char *path = path_join(dir, "key");
        struct secret *secret = NULL;

        assert_int_equal(file_write(path, "0123456789abcdef", 16, 0640), 0);
        assert_int_equal(file_read_secret(path, 16, true, &secret), -EPERM);
        assert_int_equal(file_read_secret(path, 15, false, &secret), -EFBIG);
        assert_int_equal(file_read_secret(path, 4096, false, &secret), 0);
        assert_int_equal(secret->size, 16);
        assert_memory_equal(secret->data, "0123456789abcdef", 16);
        secret = secret_free(secret);

        assert_int_equal(file_read_secret(path, SIZE_MAX, false, &secret), 0);
        secret = secret_free(secret);

        assert_int_equal(file_write(path, "", 0, 0600), 0);
        assert_int_equal(file_read_secret(path, 16, true, &secret), -ENODATA);
        assert_null(secret);
        assert_int_equal(unlink(path), 0);
}

/* A full disk, as far as the writer can tell. */
static void failed_write_leaves_the_old_file(void **state) {
        _cleanup_(freep) char *path = path_join(dir, "kept"), *data = calloc(1, 100000);
        _cleanup_(blob_done) struct blob blob = {};
        struct rlimit old;

        assert_int_equal(file_write(path, "old", 3, 0600), 0);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 4096, old.rlim_max }), 0);
        assert_int_equal(file_write(path, data, 100000, 0600), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);

        assert_int_equal(file_read(path, 10, &blob), 0);
        assert_string_equal((char *) blob.data, "old");
        assert_int_equal(entries(), 1);
        assert_int_equal(unlink(path), 0);
}

static void bad_places_to_write(void **state) {
        _cleanup_(freep) char *under = path_join(dir, "none/x"), *is_dir = path_join(dir, "d");

        assert_int_equal(file_write(under, "x", 1, 0600), -ENOENT);
        assert_int_equal(mkdir(is_dir, 0700), 0);
        assert_int_equal(file_write(is_dir, "x", 1, 0600), -EISDIR);
        assert_int_equal(file_write("", "x", 1, 0600), -EINVAL);
        assert_int_equal(file_write("/tmp/..", "x", 1, 0600), -EINVAL);
        assert_int_equal(entries(), 1);
        assert_int_equal(rmdir(is_dir), 0);
}

static void a_link_is_replaced_not_followed(void **state) {
        _cleanup_(freep) char *target = path_join(dir, "target"), *link = path_join(dir, "link");
        _cleanup_(blob_done) struct blob blob = {};
        struct stat st;

        assert_int_equal(file_write(target, "target", 6, 0600), 0);
        assert_int_equal(symlink(target, link), 0);
        assert_int_equal(file_write(link, "new", 3, 0600), 0);
        assert_int_equal(lstat(link, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(file_read(target, 10, &blob), 0);
        assert_string_equal((char *) blob.data, "target");
        assert_int_equal(unlink(link), 0);
        assert_int_equal(unlink(target), 0);
}

static void makes_folders(void **state) {
        _cleanup_(freep) char *deep = path_join(dir, "a/b//c/"), *file = path_join(dir, "f"), *under = path_join(file, "g"),
                              *a = NULL;
        struct stat st;

        assert_int_equal(mkdir_p(deep, 0700), 0);
        assert_int_equal(stat(deep, &st), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(mkdir_p(deep, 0700), 0);
        assert_int_equal(file_write(file, "", 0, 0600), 0);
        assert_int_equal(mkdir_p(file, 0700), -ENOTDIR);
        assert_int_equal(mkdir_p(under, 0700), -ENOTDIR);
        assert_int_equal(mkdir_p("", 0700), -EINVAL);

        a = path_join("/", "x");
        assert_string_equal(a, "/x");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(writes_and_reads),
                cmocka_unit_test(reads_within_the_limit),
                cmocka_unit_test(refuses_other_things),
                cmocka_unit_test(secrets_from_files),
                cmocka_unit_test(failed_write_leaves_the_old_file),
                cmocka_unit_test(bad_places_to_write),
                cmocka_unit_test(a_link_is_replaced_not_followed),
                cmocka_unit_test(makes_folders),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
