/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "luks/internal.h"

#define NODE_ID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static json_t *good_volume(const char *name, const char *uuid) {
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:i, s:s, s:s, s:s, s:s}", "role", "root", "name", name,
                         "uuid", uuid, "fingerprint", HEX_32, "cipher", "aes-xts-plain64", "key_size", 64, "sector_size", 4096,
                         "integrity", "", "keyslot", 1, "keyslot_area_sha256", HEX_32, "digest", "{\"iterations\":1000}",
                         "segments", "{\"0\":{}}", "keyslot_json", "{\"kdf\":{\"iterations\":1000}}");
}

static json_t *good(void) {
        return json_pack("{s:i, s:s, s:s, s:i, s:[o, o]}", "version", 1, "node", NODE_ID, "key",
                         "00112233445566778899aabbccddeeff", "generation", 3, "volumes",
                         good_volume("root", "11111111-2222-3333-4444-555555555555"),
                         good_volume("data", "11111111-2222-3333-4444-666666666666"));
}

static int parse(const json_t *json) {
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(freep) char *text = json_dumps(json, 0);

        assert_non_null(text);
        return manifest_parse(text, strlen(text), &manifest);
}

static void what_is_formatted_is_parsed_again(void **state _unused_) {
        _cleanup_(manifest_done) struct manifest manifest = {}, again = {};
        _cleanup_(freep) char *text = NULL, *first = NULL, *second = NULL;
        json_auto_t *json = good();

        text = json_dumps(json, 0);
        assert_int_equal(manifest_parse(text, strlen(text), &manifest), 0);
        assert_int_equal(manifest.n, 2);
        assert_int_equal(manifest.generation, 3);
        assert_true(manifest.volumes[0].root);
        assert_int_equal(manifest.volumes[0].fingerprint[31], 0x1f);
        assert_string_equal(manifest.volumes[1].name, "data");
        first = manifest_format(&manifest);
        assert_int_equal(manifest_parse(first, strlen(first), &again), 0);
        second = manifest_format(&again);
        assert_string_equal(first, second);
}

static const char *const members[] = { "version", "node", "key", "generation", "volumes" };
static const char *const volume_members[] = { "role",     "name",        "uuid",        "fingerprint", "cipher",
                                              "key_size", "sector_size", "integrity",   "keyslot",     "keyslot_area_sha256",
                                              "digest",   "segments",    "keyslot_json" };

static void every_member_missing_or_of_another_type_is_ebadmsg(void **state _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                json_auto_t *missing = good(), *null = good(), *array = good();

                json_object_del(missing, members[i]);
                assert_int_equal(parse(missing), -EBADMSG);
                json_object_set_new(null, members[i], json_null());
                assert_int_equal(parse(null), -EBADMSG);
                json_object_set_new(array, members[i], json_pack("[i]", 1));
                assert_int_equal(parse(array), -EBADMSG);
        }
        for (size_t i = 0; i < ELEMENTSOF(volume_members); i++) {
                json_auto_t *missing = good(), *other = good();
                json_t *volume = json_array_get(json_object_get(missing, "volumes"), 1);

                json_object_del(volume, volume_members[i]);
                assert_int_equal(parse(missing), -EBADMSG);
                volume = json_array_get(json_object_get(other, "volumes"), 1);
                json_object_set_new(volume, volume_members[i], json_real(1.5));
                assert_int_equal(parse(other), -EBADMSG);
        }
}

struct bad {
        const char *name, *value; /* JSON */
};

static void bad_values_are_ebadmsg(void **state _unused_) {
        static const struct bad bad[] = {
                { "role", "\"ROOT\"" },
                { "name", "\"../x\"" },
                { "name", "\"\"" },
                { "name", "\"data\"" }, /* twice */
                { "name", "\"a\\nb\"" },
                { "uuid", "\"11111111-2222-3333-4444-66666666666\"" },
                { "uuid", "\"11111111-2222-3333-4444-666666666666\"" }, /* twice */
                { "uuid", "\"11111111-2222-3333-4444-66666666666G\"" },
                { "fingerprint", "\"00\"" },
                { "cipher", "\"\"" },
                { "key_size", "0" },
                { "key_size", "-1" },
                { "sector_size", "100000" },
                { "keyslot", "32" },
                { "keyslot", "-1" },
                { "keyslot_area_sha256", "\"zz\"" },
                { "digest", "\"{\"" },
                { "digest", "\"[]\"" },
                { "segments", "\"{ }\"" },                           /* not canonical */
                { "segments", "\"{\\\"b\\\":1,\\\"a\\\":1}\"" },     /* not sorted */
                { "keyslot_json", "\"{\\\"a\\\":1,\\\"a\\\":1}\"" }, /* twice */
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                json_auto_t *json = good();
                json_t *value = json_loads(bad[i].value, JSON_DECODE_ANY, NULL);

                assert_non_null(value);
                json_object_set_new(json_array_get(json_object_get(json, "volumes"), 0), bad[i].name, value);
                if (parse(json) != -EBADMSG)
                        fail_msg("%s = %s is taken", bad[i].name, bad[i].value);
        }
}

static void no_volumes_too_many_too_large_are_ebadmsg(void **state _unused_) {
        json_auto_t *none = good(), *many = good();
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(freep) char *large = malloc(70000);

        json_object_set_new(none, "volumes", json_array());
        assert_int_equal(parse(none), -EBADMSG);
        for (int i = 0; i < 31; i++) {
                char name[16], uuid[64];

                snprintf(name, sizeof(name), "v%d", i);
                snprintf(uuid, sizeof(uuid), "11111111-2222-3333-4444-7777777777%02d", i);
                json_array_append_new(json_object_get(many, "volumes"), good_volume(name, uuid));
        }
        assert_int_equal(parse(many), -EBADMSG);
        memset(large, ' ', 70000);
        memcpy(large, "{}", 2);
        assert_int_equal(manifest_parse(large, 70000, &manifest), -EBADMSG);
        assert_int_equal(manifest_parse("", 0, &manifest), -EBADMSG);
}

static void other_version_is_ebadmsg(void **state _unused_) {
        json_auto_t *json = good();

        json_object_set_new(json, "version", json_integer(2));
        assert_int_equal(parse(json), -EBADMSG);
}

static void unknown_members_are_ignored(void **state _unused_) {
        json_auto_t *json = good();

        json_object_set_new(json, "later", json_integer(2));
        assert_int_equal(parse(json), 0);
}

static void member_twice_is_ebadmsg(void **state _unused_) {
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(freep) char *text = NULL, *twice = NULL;
        json_auto_t *json = good();

        text = json_dumps(json, 0);
        assert_true(asprintf(&twice, "{\"generation\": 3, %s", text + 1) > 0);
        assert_int_equal(manifest_parse(twice, strlen(twice), &manifest), -EBADMSG);
}

static void canonical_form_is_sorted_and_compact(void **state _unused_) {
        json_auto_t *json = json_loads("{ \"b\" : [1, {\"z\":\"\\u00e4/\", \"A\":null}], \"B\": true, \"a\": {} }", 0, NULL);
        _cleanup_(freep) char *text = luks_json_canonical(json);

        assert_string_equal(text, "{\"B\":true,\"a\":{},\"b\":[1,{\"A\":null,\"z\":\"\xc3\xa4/\"}]}");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_formatted_is_parsed_again),
                cmocka_unit_test(every_member_missing_or_of_another_type_is_ebadmsg),
                cmocka_unit_test(bad_values_are_ebadmsg),
                cmocka_unit_test(no_volumes_too_many_too_large_are_ebadmsg),
                cmocka_unit_test(other_version_is_ebadmsg),
                cmocka_unit_test(unknown_members_are_ignored),
                cmocka_unit_test(member_twice_is_ebadmsg),
                cmocka_unit_test(canonical_form_is_sorted_and_compact),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
