/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What gets into a payload while somebody else can write where it is read from. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "ctl/pack.h"
#include "scratch.h"

static char top[64];

static void at(const char *name, const char *text) {
        _cleanup_(freep) char *path = path_join(top, name);

        assert_int_equal(text ? file_write(path, text, strlen(text), 0600) : mkdir(path, 0700), 0);
}

static void move(const char *from, const char *to) {
        _cleanup_(freep) char *a = path_join(top, from), *b = path_join(top, to);

        assert_int_equal(rename(a, b), 0);
}

static void lay_link(const char *target, const char *name) {
        _cleanup_(freep) char *path = path_join(top, name);

        assert_int_equal(symlink(target, path), 0);
}

static int make_tree(void **state) {
        if (scratch_make(top) < 0)
                return -1;
        at("tree", NULL);
        at("tree/sub", NULL);
        at("tree/sub/file", "inside");
        at("outside", NULL);
        at("outside/file", "beyond");
        return 0;
}

static int remove_tree(void **state) {
        return scratch_remove(top);
}

static int collect(const char *name, struct pack *ret) {
        _cleanup_(freep) char *path = path_join(top, name);

        return pack_collect(path, ret);
}

static int write_out(const struct pack *pack) {
        _cleanup_(closep) int fd = memfd_create("payload", MFD_CLOEXEC);
        struct payload_header header = { .version = 1, .length = pack->length };
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t digest[32];

        memset(header.node_id, 'a', NODE_ID_LENGTH);
        assert_int_equal(secret_random(AEAD_KEY_SIZE, &key), 0);
        return pack_write(pack, &header, key, fd, digest);
}

static void what_is_there_is_taken(void **state) {
        static const char *const names[] = { "tree", "tree/", "tree/sub/file" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(pack_done) struct pack pack = { .top = -1 };

                assert_int_equal(collect(names[i], &pack), 0);
                assert_int_equal(pack.n, i < 2 ? 2 : 1);
                assert_string_equal(pack.entries[pack.n - 1].name, i < 2 ? "sub/file" : "file");
                assert_int_equal(write_out(&pack), 0);
        }
}

static void links_are_refused(void **state) {
        _cleanup_(pack_done) struct pack pack = { .top = -1 };

        lay_link("../outside", "tree/link");
        assert_int_equal(collect("tree", &pack), -EINVAL);
        assert_int_equal(collect("tree/link/file", &pack), 0); /* the operator's own word */
        pack_done(&pack);
        lay_link("file", "tree/sub/link");
        assert_int_equal(collect("tree/sub/link", &pack), -EINVAL);
}

static void a_directory_becomes_a_link(void **state) {
        _cleanup_(pack_done) struct pack pack = { .top = -1 };

        assert_int_equal(collect("tree", &pack), 0);
        move("tree/sub", "tree/was");
        lay_link("../outside", "tree/sub");
        assert_int_equal(write_out(&pack), -ENOTDIR);
}

static void a_file_becomes_something_else(void **state) {
        _cleanup_(pack_done) struct pack pack = { .top = -1 };
        _cleanup_(freep) char *path = path_join(top, "tree/sub/file");

        assert_int_equal(collect("tree", &pack), 0);
        move("tree/sub/file", "tree/was");
        assert_int_equal(mkfifo(path, 0600), 0); /* reading it would wait for ever */
        assert_int_equal(write_out(&pack), -ESTALE);
        assert_int_equal(unlink(path), 0);
        lay_link("../../outside/file", "tree/sub/file");
        assert_int_equal(write_out(&pack), -ELOOP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_there_is_taken, make_tree, remove_tree),
                cmocka_unit_test_setup_teardown(links_are_refused, make_tree, remove_tree),
                cmocka_unit_test_setup_teardown(a_directory_becomes_a_link, make_tree, remove_tree),
                cmocka_unit_test_setup_teardown(a_file_becomes_something_else, make_tree, remove_tree),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
