/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The payload file and the archive in it: what goes round, and what does not get in. */
#include "test.h"

#include <stdio.h>

#include "crypto/payload.h"

static const char NODE[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", KEY[] = "000102030405060708090a0b0c0d0e0f";

static void header_of(uint64_t length, uint8_t ret[static PAYLOAD_HEADER_SIZE]) {
        struct payload_header header = { .version = 3, .length = length };

        memcpy(header.node_id, NODE, sizeof(NODE));
        payload_header_encode(&header, ret);
}

static void header_goes_round(void **state) {
        uint8_t data[PAYLOAD_HEADER_SIZE];
        struct payload_header back;

        header_of(123456789012, data);
        assert_int_equal(payload_header_decode(data, &back), 0);
        assert_true(back.version == 3 && back.length == 123456789012);
        assert_string_equal(back.node_id, NODE);
}

static void header_refuses(void **state) {
        static const struct {
                size_t at;
                uint8_t value;
        } rows[] = { { 0, 't' },  { 3, '2' }, { 4, 1 },     { 5, 0 },    { 7, 1 },    { 8, 1 },
                     { 9, 0x20 }, { 16, 1 },  { 17, 0x20 }, { 24, 'A' }, { 75, 'b' }, { 40, 0 } };
        uint8_t data[PAYLOAD_HEADER_SIZE];
        struct payload_header back;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                header_of(5, data);
                assert_int_not_equal(data[rows[i].at], rows[i].value);
                data[rows[i].at] = rows[i].value;
                assert_int_equal(payload_header_decode(data, &back), -EBADMSG);
        }
}

static void sizes_are_right(void **state) {
        static const struct {
                uint64_t length, records;
                size_t last;
        } rows[] = { { 0, 1, 0 }, { 1, 1, 1 }, { 65535, 1, 65535 }, { 65536, 1, 65536 }, { 65537, 2, 1 }, { 131072, 2, 65536 } };
        bool last;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_true(payload_file_size(rows[i].length) == 76 + rows[i].length + 16 * rows[i].records);
                assert_int_equal(payload_record_length(rows[i].length, rows[i].records - 1, &last), rows[i].last);
                assert_true(last);
                assert_int_equal(payload_record_length(rows[i].length, rows[i].records, &last), 0);
                assert_false(last);
                if (rows[i].records > 1) {
                        assert_int_equal(payload_record_length(rows[i].length, 0, &last), 65536);
                        assert_false(last);
                }
        }
}

static void records_go_round_and_nowhere_else(void **state) {
        _cleanup_(secret_freep) struct secret *key = NULL, *other = NULL;
        uint8_t header[PAYLOAD_HEADER_SIZE], longer[PAYLOAD_HEADER_SIZE];
        static uint8_t plain[65536], first[65552], second[116], back[65552];

        assert_int_equal(secret_random(32, &key), 0);
        assert_int_equal(secret_random(32, &other), 0);
        assert_int_equal(random_bytes(plain, sizeof(plain)), 0);
        header_of(65636, header);
        header_of(65636 + 65536, longer);
        assert_int_equal(payload_record_seal(key, header, 0, false, plain, 65536, first), 0);
        assert_int_equal(payload_record_seal(key, header, 1, true, plain, 100, second), 0);
        assert_int_equal(payload_record_open(key, header, 0, false, first, 65552, back), 0);
        assert_memory_equal(back, plain, 65536);
        assert_int_equal(payload_record_open(key, header, 1, true, second, 116, back), 0);
        assert_memory_equal(back, plain, 100);

        /* Another key; another file; another place; cut; the last that is not; more than there is. */
        assert_int_equal(payload_record_open(other, header, 1, true, second, 116, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, longer, 0, false, first, 65552, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, longer, 1, false, first, 65552, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, 1, true, second, 115, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, 0, true, first, 65552, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, 1, false, second, 116, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, 2, true, second, 16, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, UINT64_MAX, true, second, 116, back), -EBADMSG);
        assert_int_equal(payload_record_open(key, header, 1, true, second, 0, back), -EBADMSG);
        assert_int_equal(payload_record_seal(key, header, 2, true, plain, 0, back), -EINVAL);
        assert_int_equal(payload_record_seal(key, header, 2, false, plain, 0, back), -EINVAL);
        assert_int_equal(payload_record_seal(key, header, 1, true, plain, 99, back), -EINVAL);
        second[50] ^= 1;
        assert_int_equal(payload_record_open(key, header, 1, true, second, 116, back), -EBADMSG);
}

static void keys_are_sealed_to_one_place(void **state) {
        _cleanup_(secret_freep) struct secret *key = NULL, *back = NULL, *none = NULL;
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        _cleanup_(blob_done) struct blob ct = {};
        uint8_t header[PAYLOAD_HEADER_SIZE], other[PAYLOAD_HEADER_SIZE], enc[POINT_SIZE];

        assert_int_equal(keypair_generate(&keypair), 0);
        assert_int_equal(secret_random(32, &key), 0);
        header_of(5, header);
        header_of(6, other);
        assert_int_equal(payload_key_seal(keypair->public, header, KEY, 2, key, enc, &ct), 0);
        assert_int_equal(ct.size, 48);
        assert_int_equal(payload_key_open(keypair, header, KEY, 2, enc, ct.data, ct.size, &back), 0);
        assert_true(secret_equal(key, back));
        assert_int_equal(payload_key_open(keypair, other, KEY, 2, enc, ct.data, ct.size, &none), -EBADMSG);
        assert_int_equal(payload_key_open(keypair, header, KEY, 3, enc, ct.data, ct.size, &none), -EBADMSG);
        assert_int_equal(payload_key_open(keypair, header, "100102030405060708090a0b0c0d0e0f", 2, enc, ct.data, ct.size, &none),
                         -EBADMSG);
        assert_int_equal(payload_key_open(keypair, header, KEY, 2, enc, ct.data, 47, &none), -EBADMSG);
        assert_int_equal(payload_key_open(keypair, header, KEY, 2, keypair->public, ct.data, ct.size, &none), -EBADMSG);
        enc[10] ^= 1;
        assert_int_equal(payload_key_open(keypair, header, KEY, 2, enc, ct.data, ct.size, &none), -EBADMSG);
        assert_null(none);
}

static void deals_are_sealed_to_one_place(void **state) {
        _cleanup_(secret_freep) struct secret *half = NULL, *back = NULL, *none = NULL;
        _cleanup_(keypair_freep) struct keypair *inbox = NULL, *other = NULL;
        _cleanup_(blob_done) struct blob ct = {};
        uint8_t enc[POINT_SIZE];

        assert_int_equal(keypair_generate(&inbox), 0);
        assert_int_equal(keypair_generate(&other), 0);
        assert_int_equal(secret_random(32, &half), 0);
        assert_int_equal(deal_seal(inbox->public, NODE, KEY, 1, half, enc, &ct), 0);
        assert_int_equal(deal_open(inbox, NODE, KEY, 1, enc, ct.data, ct.size, &back), 0);
        assert_true(secret_equal(half, back));
        assert_int_equal(deal_open(other, NODE, KEY, 1, enc, ct.data, ct.size, &none), -EBADMSG);
        assert_int_equal(deal_open(inbox, NODE, KEY, 2, enc, ct.data, ct.size, &none), -EBADMSG);
        assert_int_equal(
                deal_open(inbox, "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", KEY, 1, enc, ct.data, ct.size, &none),
                -EBADMSG);
        half->size = 31;
        assert_int_equal(deal_seal(inbox->public, NODE, KEY, 1, half, enc, &ct), -EINVAL);
}

/* What the parser called back, as text. */
struct told {
        char text[4096];
        size_t used;
        int fail_at; /* this callback says -EIO */
};

static int tell(struct told *told, const char *text) {
        size_t n = strlen(text);

        if (told->fail_at > 0 && --told->fail_at == 0)
                return -EIO;
        if (told->used + n < sizeof(told->text)) {
                memcpy(told->text + told->used, text, n + 1);
                told->used += n;
        }
        return 0;
}

static int on_directory(const char *path, unsigned mode, void *userdata) {
        char text[1100];

        (void) snprintf(text, sizeof(text), "d%o %s;", mode, path);
        return tell(userdata, text);
}

static int on_begin(const char *path, unsigned mode, uint64_t size, void *userdata) {
        char text[1100];

        (void) snprintf(text, sizeof(text), "f%o %s %llu:", mode, path, (unsigned long long) size);
        return tell(userdata, text);
}

static int on_data(const void *data, size_t size, void *userdata) {
        char text[1100];

        (void) snprintf(text, sizeof(text), "%.*s", (int) size, (const char *) data);
        return tell(userdata, text);
}

static int on_end(void *userdata) {
        return tell(userdata, ";");
}

static const struct archive_callbacks callbacks = { on_directory, on_begin, on_data, on_end };

static void put(struct buffer *buffer, uint8_t type, unsigned mode, const char *path, const char *data) {
        buffer_u8(buffer, type);
        buffer_be16(buffer, (uint16_t) mode);
        buffer_be16(buffer, (uint16_t) strlen(path));
        buffer_append(buffer, path, strlen(path));
        if (type == 1) {
                buffer_be64(buffer, strlen(data));
                buffer_append(buffer, data, strlen(data));
        }
}

static int parse(const struct buffer *buffer, size_t piece, struct told *told) {
        _cleanup_(archive_freep) struct archive *archive = NULL;
        int r = 0;

        assert_int_equal(buffer_ok(buffer), 0);
        assert_int_equal(archive_new(&callbacks, told, &archive), 0);
        for (size_t at = 0; r == 0 && at < buffer->size; at += piece)
                r = archive_feed(archive, buffer->data + at, MIN(piece, buffer->size - at));
        return r < 0 ? r : archive_finish(archive);
}

static void good_archive(struct buffer *buffer) {
        buffer_append(buffer, "TBA1", 4);
        put(buffer, 2, 0755, "etc", NULL);
        put(buffer, 1, 0640, "etc/key", "hello");
        put(buffer, 2, 0700, "etc/more ..", NULL);
        put(buffer, 1, 0, "etc/more ../.hidden", "");
        put(buffer, 1, 0777, "z", "zz");
        buffer_u8(buffer, 0);
}

static void archives_are_read_in_any_pieces(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};

        good_archive(&buffer);
        for (size_t piece = 1; piece <= buffer.size; piece++) {
                struct told told = {};

                assert_int_equal(parse(&buffer, piece, &told), 0);
                assert_string_equal(told.text,
                                    "d755 etc;f640 etc/key 5:hello;d700 etc/more ..;f0 etc/more ../.hidden 0:;f777 z 2:zz;");
        }
}

static void cut_archives_are_refused(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        size_t size;

        good_archive(&buffer);
        size = buffer.size;
        for (buffer.size = 0; buffer.size < size; buffer.size++)
                assert_int_equal(parse(&buffer, 7, &(struct told){}), -EBADMSG);
        assert_int_equal(parse(&buffer, 7, &(struct told){}), 0);
        buffer_u8(&buffer, 0); /* a byte after the end */
        assert_int_equal(parse(&buffer, 7, &(struct told){}), -EBADMSG);
}

static void callbacks_errors_end_it(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};

        good_archive(&buffer);
        for (int at = 1; at <= 10; at++) {
                _cleanup_(archive_freep) struct archive *archive = NULL;
                struct told told = { .fail_at = at };

                assert_int_equal(archive_new(&callbacks, &told, &archive), 0);
                assert_int_equal(archive_feed(archive, buffer.data, buffer.size), -EIO);
                assert_int_equal(archive_feed(archive, "", 1), -EBADMSG);
                assert_int_equal(archive_finish(archive), -EBADMSG);
        }
}

static void one_entry(uint8_t type, unsigned mode, const char *path) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        struct told told = {};

        buffer_append(&buffer, "TBA1", 4);
        put(&buffer, 2, 0700, "d", NULL);
        put(&buffer, 1, 0600, "f", "");
        told.used = 0;
        put(&buffer, type, mode, path, "x");
        buffer_u8(&buffer, 0);
        assert_int_equal(parse(&buffer, 1, &told), -EBADMSG);
        assert_string_equal(told.text, "d700 d;f600 f 0:;"); /* the bad one was never told */
}

static void bad_entries_are_refused(void **state) {
        static const char *const paths[] = {
                "",         "/",    "/etc", "..",   ".",    "d/..",      "d/../x", "../x", "d/./x",
                "./x",      "d//x", "d/",   "d/x/", "a\nb", "a\x1b[31m", "a\x7f",  "d", /* twice */
                "f",                                                                    /* twice */
                "f/x",                                                                  /* in a file */
                "none/x",                                                               /* before its directory */
                "d/none/x",                                                             /* likewise */
        };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                one_entry(1, 0600, paths[i]);
                one_entry(2, 0700, paths[i]);
        }
        one_entry(1, 04755, "suid");
        one_entry(2, 01777, "sticky");
        one_entry(1, 0100644, "type");
        one_entry(3, 0600, "link");
        one_entry(255, 0600, "device");
}

static void paths_have_a_limit(void **state) {
        char path[1026];

        memset(path, 'x', sizeof(path));
        assert_true(archive_path_is_valid(path, 1024));
        assert_false(archive_path_is_valid(path, 1025));
        assert_false(archive_path_is_valid("a\0b", 3));
        path[1025] = '\0';
        one_entry(1, 0600, path);
        assert_true(archive_path_is_valid("...", 3));
        assert_true(archive_path_is_valid("caf\xc3\xa9/..a/b..", 13));
}

/* Many entries: refused before they take all memory, and not slower the more there are. */
static void bombs_of_entries_are_refused(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        struct told told = {};
        char path[16];

        buffer_append(&buffer, "TBA1", 4);
        for (unsigned i = 0; i < 65536; i++) {
                (void) snprintf(path, sizeof(path), "%u", i);
                put(&buffer, 2, 0700, path, NULL);
        }
        buffer_u8(&buffer, 0);
        assert_int_equal(parse(&buffer, 65536, &told), 0);

        buffer.size--;
        put(&buffer, 2, 0700, "one more", NULL);
        buffer_u8(&buffer, 0);
        assert_int_equal(parse(&buffer, 65536, &told), -EBADMSG);
}

/* A size of 2^64 - 1 is for the unpacker to refuse: the parser passes it on and takes no memory for it. */
static void large_sizes_are_passed_on(void **state) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        struct told told = {};

        buffer_append(&buffer, "TBA1", 4);
        put(&buffer, 1, 0600, "f", "x");
        memset(buffer.data + 4 + 6, 0xff, 8);
        assert_int_equal(parse(&buffer, 3, &told), -EBADMSG);
        assert_string_equal(told.text, "f600 f 18446744073709551615:x");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(header_goes_round),
                cmocka_unit_test(header_refuses),
                cmocka_unit_test(sizes_are_right),
                cmocka_unit_test(records_go_round_and_nowhere_else),
                cmocka_unit_test(keys_are_sealed_to_one_place),
                cmocka_unit_test(deals_are_sealed_to_one_place),
                cmocka_unit_test(archives_are_read_in_any_pieces),
                cmocka_unit_test(cut_archives_are_refused),
                cmocka_unit_test(callbacks_errors_end_it),
                cmocka_unit_test(bad_entries_are_refused),
                cmocka_unit_test(paths_have_a_limit),
                cmocka_unit_test(bombs_of_entries_are_refused),
                cmocka_unit_test(large_sizes_are_passed_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
