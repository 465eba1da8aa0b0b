/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The token of the offline way: parser, and what is in a real header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/encode.h"
#include "luks-image.h"

static json_t *good(void) {
        return json_pack("{s:s, s:[], s:i, s:s, s:s, s:i, s:s, s:s, s:s, s:s}", "type", "tallyboot-offline", "keyslots",
                         "version", 1, "node", NODE_ID_A, "key", KEY_ID_A, "generation", 7, "mechanism", "rsa-oaep", "group_key",
                         "QUJD", "sealed", "QUJDRA", "signature", "QUI");
}

static int parse(const json_t *json) {
        _cleanup_(freep) char *text = json_dumps(json, 0);
        _cleanup_(luks_offline_done) struct luks_offline offline = {};
        char error[128] = "";
        int r;

        assert_non_null(text);
        r = luks_offline_parse(text, &offline, error, sizeof(error));
        assert_true(r == 0 || error[0] != '\0');
        return r;
}

static void good_token_is_parsed(void **state) {
        json_auto_t *json = good();
        _cleanup_(freep) char *text = json_dumps(json, 0);
        _cleanup_(luks_offline_done) struct luks_offline offline = {};

        assert_int_equal(luks_offline_parse(text, &offline, NULL, 0), 0);
        assert_string_equal(offline.node_id, NODE_ID_A);
        assert_string_equal(offline.key_id, KEY_ID_A);
        assert_int_equal(offline.generation, 7);
        assert_string_equal(offline.mechanism, "rsa-oaep");
        assert_int_equal(offline.number, -1);
        assert_int_equal(offline.group_key.size, 3);
        assert_int_equal(offline.sealed.size, 4);
        assert_memory_equal(offline.signature.data, "AB", 2);
        assert_true(luks_offline_is_called(text));
        json_object_del(json, "signature");
        assert_int_equal(parse(json), 0);
}

static const char *const members[] = { "type",       "keyslots",  "version",   "node",   "key",
                                       "generation", "mechanism", "group_key", "sealed", "signature" };

static void every_field_missing_is_refused(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(members) - 1; i++) {
                json_auto_t *json = good();

                json_object_del(json, members[i]);
                assert_int_equal(parse(json), -EBADMSG);
        }
}

static void every_field_doubled_is_refused(void **state) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                json_auto_t *json = good();
                _cleanup_(freep) char *text = json_dumps(json, JSON_COMPACT), *value = NULL, *twice = NULL;
                struct luks_offline offline;

                value = json_dumps(json_object_get(json, members[i]), JSON_ENCODE_ANY);
                assert_true(asprintf(&twice, "{\"%s\":%s,%s", members[i], value, text + 1) > 0);
                assert_int_equal(luks_offline_parse(twice, &offline, NULL, 0), -EBADMSG);
        }
}

static void every_field_of_another_type_is_refused(void **state) {
        static const char *others[] = { "null", "true", "[1]", "{}", "1.5", "\"\"", "-1", "99999999999", "\"A B\"" };

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                for (size_t j = 0; j < ELEMENTSOF(others); j++) {
                        json_auto_t *json = good();

                        json_object_set_new(json, members[i], json_loads(others[j], JSON_DECODE_ANY, NULL));
                        if (parse(json) != -EBADMSG)
                                fail_msg("%s = %s is taken", members[i], others[j]);
                }
}

/* A keyslot in it would make libcryptsetup believe that the token opens that slot. */
static void keyslots_must_be_empty(void **state) {
        json_auto_t *json = good();

        json_object_set_new(json, "keyslots", json_pack("[s]", "1"));
        assert_int_equal(parse(json), -EBADMSG);
}

static void blobs_are_bounded(void **state) {
        static const struct {
                const char *name;
                size_t max;
        } blobs[] = { { "group_key", 4096 }, { "sealed", 98304 }, { "signature", 512 } };

        for (size_t i = 0; i < ELEMENTSOF(blobs); i++) {
                json_auto_t *json = good();
                _cleanup_(freep) uint8_t *data = calloc(1, blobs[i].max + 3);
                _cleanup_(freep) char *most = base64url_encode(data, blobs[i].max),
                                      *more = base64url_encode(data, blobs[i].max + 3);

                json_object_set_new(json, blobs[i].name, json_string(most));
                assert_int_equal(parse(json), 0);
                json_object_set_new(json, blobs[i].name, json_string(more));
                assert_int_equal(parse(json), -EBADMSG);
        }
}

static struct luks_device *open_image(const struct luks_image *image) {
        struct luks_device *device = NULL;
        char error[256] = "";

        assert_int_equal(luks_device_open(image->path, &device, error, sizeof(error)), 0);
        return device;
}

static void make(size_t sealed, struct luks_offline *ret) {
        static const uint8_t zero[32768];
        struct luks_offline offline = {
                .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 2, .mechanism = "kwp"
        };

        assert_int_equal(blob_copy("wrapped", 7, &offline.group_key), 0);
        assert_int_equal(blob_copy(zero, sealed, &offline.sealed), 0);
        *ret = offline;
}

static void written_token_is_read_again(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(image);
        _cleanup_(luks_offline_done) struct luks_offline offline = {};
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {}, probed = {};
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        make(2500, &offline);
        assert_int_equal(luks_offline_write(device, &offline), 0);
        assert_true(offline.number > 0); /* beside the other one, which stays */
        offline.generation = 3;
        assert_int_equal(luks_offline_write(device, &offline), 0); /* in its own place */
        assert_int_equal(luks_offline_list(device, &list), 0);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.items[0].generation, 3);
        assert_int_equal(list.items[0].sealed.size, 2500);
        assert_int_equal(list.items[0].signature.size, 0);
        assert_int_equal(luks_offline_probe(image->path, uuid, &probed), 0);
        assert_int_equal(probed.n, 1);
        assert_int_equal(probed.items[0].number, offline.number);
        assert_memory_equal(probed.items[0].group_key.data, "wrapped", 7);
        assert_string_equal(uuid, image->expected.uuid);
        assert_int_equal(luks_probe_token(image->path, uuid, &token), 0);
        assert_int_equal(token.number, 0);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), 0); /* opens as before */
}

static void removed_are_all_of_them_and_nothing_else(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(image);
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n;

        int numbers[3];

        for (unsigned i = 0; i < ELEMENTSOF(numbers); i++) {
                _cleanup_(luks_offline_done) struct luks_offline offline = {};

                make(64, &offline);
                assert_int_equal(luks_offline_write(device, &offline), 0);
                numbers[i] = offline.number;
        }
        assert_int_equal(luks_offline_remove_others(device, numbers[1], &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(luks_offline_list(device, &list), 0);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.items[0].number, numbers[1]);
        luks_offline_list_done(&list);
        assert_int_equal(luks_offline_remove_others(device, -1, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(luks_offline_list(device, &list), 0);
        assert_int_equal(list.n, 0);
        assert_int_equal(luks_token_list(device, tokens, &n), 0);
        assert_int_equal(n, 1);
}

static void too_large_for_the_header_leaves_it_as_it_was(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(image);
        _cleanup_(luks_offline_done) struct luks_offline offline = {};

        make(16000, &offline);
        assert_int_equal(luks_offline_write(device, &offline), -ENOSPC);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), 0);
}

static void edit_many_tokens(json_t *json) {
        json_t *tokens = json_object_get(json, "tokens");

        for (int i = 1; i < 12; i++) {
                char name[12];

                snprintf(name, sizeof(name), "%d", i);
                json_object_set_new(tokens, name, good());
        }
        json_object_set_new(tokens, "20", json_pack("{s:s, s:[]}", "type", "tallyboot-offline", "keyslots"));
}
static void probe_is_bounded_and_counts_malformed(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        char uuid[LUKS_UUID_LENGTH + 1];

        luks_image_edit_json(image->path, edit_many_tokens);
        assert_int_equal(luks_offline_probe(image->path, uuid, &list), 0);
        assert_int_equal(list.n, LUKS_OFFLINE_MAX);
        assert_int_equal(list.n_malformed, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, luks_image_setup, luks_image_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good_token_is_parsed),
                cmocka_unit_test(every_field_missing_is_refused),
                cmocka_unit_test(every_field_doubled_is_refused),
                cmocka_unit_test(every_field_of_another_type_is_refused),
                cmocka_unit_test(keyslots_must_be_empty),
                cmocka_unit_test(blobs_are_bounded),
                TEST(written_token_is_read_again),
                TEST(removed_are_all_of_them_and_nothing_else),
                TEST(too_large_for_the_header_leaves_it_as_it_was),
                TEST(probe_is_bounded_and_counts_malformed),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
