/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The LUKS2 token: parser, and what is in a real header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "luks-image.h"

static int parse(const json_t *json) {
        _cleanup_(freep) char *text = json_dumps(json, 0);
        struct luks_token token;
        char error[128] = "";
        int r;

        assert_non_null(text);
        r = luks_token_parse(text, &token, error, sizeof(error));
        assert_true(r == 0 || error[0] != '\0');
        return r;
}

static void good_token_is_parsed(void **state _unused_) {
        json_auto_t *json = luks_image_token(5, "live");
        _cleanup_(freep) char *text = json_dumps(json, 0);
        struct luks_token token;

        assert_int_equal(luks_token_parse(text, &token, NULL, 0), 0);
        assert_string_equal(token.node_id, NODE_ID_A);
        assert_string_equal(token.key_id, KEY_ID_A);
        assert_int_equal(token.generation, 1);
        assert_int_equal(token.slot, 5);
        assert_int_equal(token.number, -1);
        assert_true(token.live && token.assigned);
        json_object_set_new(json, "state", json_string("staged"));
        json_object_set_new(json, "keyslots", json_array());
        free(text);
        text = json_dumps(json, 0);
        assert_int_equal(luks_token_parse(text, &token, NULL, 0), 0);
        assert_false(token.live || token.assigned);
}

static const char *const members[] = { "type", "keyslots", "version", "node", "key", "generation", "state", "slot" };

static void every_field_missing_is_refused(void **state _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                json_auto_t *json = luks_image_token(5, "live");

                json_object_del(json, members[i]);
                assert_int_equal(parse(json), -EBADMSG);
        }
}

static void every_field_doubled_is_refused(void **state _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                json_auto_t *json = luks_image_token(5, "live");
                _cleanup_(freep) char *text = json_dumps(json, JSON_COMPACT), *value = NULL, *twice = NULL;
                struct luks_token token;

                value = json_dumps(json_object_get(json, members[i]), JSON_ENCODE_ANY);
                assert_true(asprintf(&twice, "{\"%s\":%s,%s", members[i], value, text + 1) > 0);
                assert_int_equal(luks_token_parse(twice, &token, NULL, 0), -EBADMSG);
        }
}

static void every_field_of_another_type_is_refused(void **state _unused_) {
        static const char *others[] = { "null", "true", "[1]", "{}", "1.5", "\"\"", "-1", "99999999999" };

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                for (size_t j = 0; j < ELEMENTSOF(others); j++) {
                        json_auto_t *json = luks_image_token(5, "live");

                        json_object_set_new(json, members[i], json_loads(others[j], JSON_DECODE_ANY, NULL));
                        if (parse(json) != -EBADMSG)
                                fail_msg("%s = %s is taken", members[i], others[j]);
                }
}

static void keyslots_must_be_none_or_the_slot(void **state _unused_) {
        static const char *others[] = { "[\"4\"]", "[\"5\",\"6\"]", "[\"5\",\"5\"]", "[5]", "[\"05\"]" };

        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                json_auto_t *json = luks_image_token(5, "live");

                json_object_set_new(json, "keyslots", json_loads(others[i], 0, NULL));
                assert_int_equal(parse(json), -EBADMSG);
        }
}

static void not_json_is_refused(void **state _unused_) {
        static const char *texts[] = { "", "{", "[]", "null", "{\"type\":\"tallyboot\"", "\xff" };
        struct luks_token token;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                assert_int_equal(luks_token_parse(texts[i], &token, NULL, 0), -EBADMSG);
}

static void probe_finds_the_token(void **state) {
        struct luks_image *image = *state;
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        assert_int_equal(luks_probe_token(image->path, uuid, &token), 0);
        assert_string_equal(uuid, image->expected.uuid);
        assert_int_equal(token.slot, 1);
        assert_int_equal(token.number, 0);
}

static void edit_two_tokens(json_t *json) {
        json_t *tokens = json_object_get(json, "tokens");

        json_object_set_new(tokens, "0", luks_image_token(1, "staged"));
        json_object_set_new(tokens, "1", luks_image_token(1, "live"));
}
static void of_two_tokens_probe_takes_the_live_one(void **state) {
        struct luks_image *image = *state;
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        luks_image_edit_json(image->path, edit_two_tokens);
        assert_int_equal(luks_probe_token(image->path, uuid, &token), 0);
        assert_int_equal(token.number, 1);
}

static void edit_no_tokens(json_t *json) {
        json_object_set_new(json, "tokens", json_pack("{s:{s:s, s:[]}}", "3", "type", "clevis", "keyslots"));
}
static void probe_without_token_is_enoent(void **state) {
        struct luks_image *image = *state;
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        luks_image_edit_json(image->path, edit_no_tokens);
        assert_int_equal(luks_probe_token(image->path, uuid, &token), -ENOENT);
        luks_image_patch(image->path, 0, "xxxxxx", 6);
        luks_image_patch(image->path, 16384, "xxxxxx", 6);
        assert_int_equal(luks_probe_token(image->path, uuid, &token), -EMEDIUMTYPE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, luks_image_setup, luks_image_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good_token_is_parsed),
                cmocka_unit_test(every_field_missing_is_refused),
                cmocka_unit_test(every_field_doubled_is_refused),
                cmocka_unit_test(every_field_of_another_type_is_refused),
                cmocka_unit_test(keyslots_must_be_none_or_the_slot),
                cmocka_unit_test(not_json_is_refused),
                TEST(probe_finds_the_token),
                TEST(of_two_tokens_probe_takes_the_live_one),
                TEST(probe_without_token_is_enoent),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
