/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "base/encode.h"
#include "base/secret.h"

/* RFC 4648, 10 */
static const struct {
        const char *plain, *base64, *base32, *hex;
} rows[] = {
        { "", "", "", "" },
        { "f", "Zg", "my", "66" },
        { "fo", "Zm8", "mzxq", "666f" },
        { "foo", "Zm9v", "mzxw6", "666f6f" },
        { "foob", "Zm9vYg", "mzxw6yq", "666f6f62" },
        { "fooba", "Zm9vYmE", "mzxw6ytb", "666f6f6261" },
        { "foobar", "Zm9vYmFy", "mzxw6ytboi", "666f6f626172" },
};

static void rfc_rows(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                size_t size = strlen(rows[i].plain);
                _cleanup_(freep) char *base64 = base64url_encode(rows[i].plain, size);
                _cleanup_(freep) char *base32 = base32_encode(rows[i].plain, size);
                _cleanup_(freep) char *hex = hex_encode(rows[i].plain, size);
                _cleanup_(blob_done) struct blob blob = {};
                uint8_t bytes[8];

                assert_string_equal(base64, rows[i].base64);
                assert_string_equal(base32, rows[i].base32);
                assert_string_equal(hex, rows[i].hex);

                assert_int_equal(base64url_decode(base64, strlen(base64), &blob), 0);
                assert_int_equal(blob.size, size);
                assert_memory_equal(blob.data, rows[i].plain, size + 1);
                assert_int_equal(base32_decode(base32, bytes, size), 0);
                assert_memory_equal(bytes, rows[i].plain, size);
                memset(bytes, 0, sizeof(bytes));
                assert_int_equal(hex_decode(hex, bytes, size), 0);
                assert_memory_equal(bytes, rows[i].plain, size);
        }
}

static void all_bytes_go_round(void **state) {
        uint8_t bytes[256], back[256];

        for (unsigned i = 0; i < 256; i++)
                bytes[i] = (uint8_t) i;

        for (size_t size = 0; size <= 256; size++) {
                _cleanup_(freep) char *base64 = base64url_encode(bytes, size);
                _cleanup_(freep) char *base32 = base32_encode(bytes, size);
                _cleanup_(freep) char *hex = hex_encode(bytes, size);
                _cleanup_(blob_done) struct blob blob = {};

                assert_int_equal(base64url_decode(base64, strlen(base64), &blob), 0);
                assert_int_equal(blob.size, size);
                assert_memory_equal(blob.data, bytes, size);
                assert_int_equal(base32_decode(base32, back, size), 0);
                assert_memory_equal(back, bytes, size);
                assert_int_equal(hex_decode(hex, back, size), 0);
                assert_memory_equal(back, bytes, size);
        }
}

static void base64url_is_strict(void **state) {
        static const char *const bad[] = {
                "Z",    "A",    "AAAAA", /* a digit that carries nothing */
                "Zh",                    /* spare bits */
                "Zm9",                   /* likewise */
                "Zg==",                  /* padding */
                "Zm+v", "Zm/v", "Zm 9",  "Zm9v\n", " Zg", "Zm9vZ",
        };
        struct blob blob = {};

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), &blob), -EBADMSG);
        assert_int_equal(base64url_decode("Zg\0\0", 4, &blob), -EBADMSG);
        assert_null(blob.data);

        assert_int_equal(base64url_decode("-_-_", 4, &blob), 0);
        assert_memory_equal(blob.data, "\xfb\xff\xbf", 3);
        blob_done(&blob);
}

static void base32_is_strict(void **state) {
        static const char *const bad[] = { "", "m", "mz", "MY", "my======", "m1", "m8", "m ", "myy" };
        uint8_t byte;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(base32_decode(bad[i], &byte, 1), -EBADMSG);
        assert_int_equal(base32_decode("my", &byte, 1), 0);
        assert_int_equal(byte, 'f');
        assert_int_equal(base32_decode("mz", &byte, 1), -EBADMSG); /* spare bits */
}

static void hex_is_strict(void **state) {
        static const char *const bad[] = { "", "0", "00", "000", "00000", "0x00", "00 0", "0g00" };
        uint8_t bytes[2];
        char text[5];

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(hex_decode(bad[i], bytes, 2), -EBADMSG);
        assert_int_equal(hex_decode("aBCd", bytes, 2), 0);
        hex_write(bytes, 2, text);
        assert_string_equal(text, "abcd");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rfc_rows),         cmocka_unit_test(all_bytes_go_round), cmocka_unit_test(base64url_is_strict),
                cmocka_unit_test(base32_is_strict), cmocka_unit_test(hex_is_strict),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
