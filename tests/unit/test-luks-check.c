/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an attacker with the disk can write into a LUKS2 header, against a manifest made before. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "luks-image.h"
#include "luks/internal.h"

static json_t *at(json_t *json, const char *a, const char *b) {
        json_t *found = json_object_get(json_object_get(json, a), b);

        assert_non_null(found);
        return found;
}

static void set(json_t *json, const char *name, json_t *value) {
        assert_int_equal(json_object_set_new(json, name, value), 0);
}

/* The edit is refused with -EUCLEAN before anything is opened, and the words name what it was. */
static void refused(void **state, luks_image_edit edit, const char *words) {
        struct luks_image *image = *state;

        luks_image_edit_json(image->path, edit);
        luks_image_read(image);
        assert_int_equal(luks_check(image->header, &image->expected, image->error, sizeof(image->error)), -EUCLEAN);
        if (!strstr(image->error, words))
                fail_msg("\"%s\" does not say \"%s\"", image->error, words);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        assert_non_null(strstr(image->error, words));
}

static void accepted(void **state, luks_image_edit edit) {
        struct luks_image *image = *state;

        luks_image_edit_json(image->path, edit);
        luks_image_read(image);
        if (luks_image_open(image) != 0)
                fail_msg("%s", image->error);
}

static void unchanged_header_opens(void **state) {
        struct luks_image *image = *state;

        assert_int_equal(luks_check(image->header, &image->expected, image->error, sizeof(image->error)), 0);
        assert_int_equal(luks_image_open(image), 0);
}

static void edit_cipher_null(json_t *json) {
        set(at(json, "segments", "0"), "encryption", json_string("cipher_null-ecb"));
}
static void null_cipher_in_segment_is_refused(void **state) {
        refused(state, edit_cipher_null, "encrypts nothing");
}

static void edit_keyslot_null(json_t *json) {
        set(json_object_get(at(json, "keyslots", "1"), "area"), "encryption", json_string("cipher_null-ecb"));
}
static void null_cipher_in_keyslot_is_refused(void **state) {
        refused(state, edit_keyslot_null, "not encrypted");
}

static void edit_cipher(json_t *json) {
        set(at(json, "segments", "0"), "encryption", json_string("aes-cbc-plain64"));
}
static void another_cipher_is_refused(void **state) {
        refused(state, edit_cipher, "cipher is aes-cbc-plain64, the manifest says aes-xts-plain64");
}

static void edit_key_size(json_t *json) {
        set(at(json, "keyslots", "1"), "key_size", json_integer(32));
}
static void another_key_size_is_refused(void **state) {
        refused(state, edit_key_size, "key has 32 bytes, the manifest says 64");
}

static void edit_sector_size(json_t *json) {
        set(at(json, "segments", "0"), "sector_size", json_integer(512));
}
static void another_sector_size_is_refused(void **state) {
        refused(state, edit_sector_size, "sectors have 512 bytes, the manifest says 4096");
}

static void edit_integrity(json_t *json) {
        set(at(json, "segments", "0"), "integrity",
            json_pack("{s:s, s:s, s:s}", "type", "hmac(sha256)", "journal_encryption", "none", "journal_integrity", "none"));
}
static void integrity_added_is_refused(void **state) {
        refused(state, edit_integrity, "integrity is \"hmac(sha256)\"");
}

static void edit_slot_iterations(json_t *json) {
        set(json_object_get(at(json, "keyslots", "1"), "kdf"), "iterations", json_integer(400000000));
}
static void iteration_bomb_in_keyslot_is_refused_before_any_open(void **state) {
        refused(state, edit_slot_iterations, "keyslot asks for 400000000 iterations, the manifest says 1000");
}

static void edit_digest_iterations(json_t *json) {
        set(at(json, "digests", "0"), "iterations", json_integer(400000000));
}
static void iteration_bomb_in_digest_is_refused_before_any_open(void **state) {
        refused(state, edit_digest_iterations, "digest of the volume key asks for 400000000 iterations");
}

static void edit_iterations_text(json_t *json) {
        set(at(json, "digests", "0"), "iterations", json_string("1000"));
}
static void iterations_of_another_type_are_refused(void **state) {
        refused(state, edit_iterations_text, "iterations");
}

static void edit_argon2(json_t *json) {
        set(at(json, "keyslots", "1"), "kdf",
            json_pack("{s:s, s:i, s:i, s:i, s:s}", "type", "argon2id", "time", 1000000, "memory", 4194304, "cpus", 4, "salt",
                      "2KByXjtNcVpYXcSrk00yRl3bDKqdXxCJNwVVkYMMiGI="));
}
static void argon2_bomb_in_keyslot_is_refused(void **state) {
        refused(state, edit_argon2, "iterations");
}

static void edit_requirement(json_t *json) {
        set(json_object_get(json, "config"), "requirements", json_pack("{s:[s]}", "mandatory", "something-new"));
}
static void requirement_is_refused(void **state) {
        refused(state, edit_requirement, "something-new");
}

static void edit_reencrypt_requirement(json_t *json) {
        set(json_object_get(json, "config"), "requirements", json_pack("{s:[s]}", "mandatory", "online-reencrypt-v2"));
}
static void reencryption_requirement_is_refused(void **state) {
        refused(state, edit_reencrypt_requirement, "re-encryption is under way");
}

static void edit_segment_flags(json_t *json) {
        set(at(json, "segments", "0"), "flags", json_pack("[s]", "in-reencryption"));
}
static void segment_in_reencryption_is_refused(void **state) {
        refused(state, edit_segment_flags, "re-encryption is under way");
}

static void edit_second_segment(json_t *json) {
        json_t *second = json_copy(at(json, "segments", "0"));

        set(second, "type", json_string("linear"));
        set(json_object_get(json, "segments"), "1", second);
}
static void second_segment_is_refused(void **state) {
        refused(state, edit_second_segment, "2 segments");
}

static void edit_linear(json_t *json) {
        set(at(json, "segments", "0"), "type", json_string("linear"));
}
static void segment_that_is_not_encrypted_is_refused(void **state) {
        refused(state, edit_linear, "not encrypted");
}

static void edit_offset(json_t *json) {
        set(at(json, "segments", "0"), "offset", json_string("16781312"));
}
static void segment_at_another_place_is_refused(void **state) {
        refused(state, edit_offset, "segment");
}

static void edit_tweak(json_t *json) {
        set(at(json, "segments", "0"), "iv_tweak", json_string("8"));
}
static void segment_with_another_tweak_is_refused(void **state) {
        refused(state, edit_tweak, "segment");
}

static void edit_digest(json_t *json) {
        set(at(json, "digests", "0"), "digest", json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
}
static void another_digest_is_refused(void **state) {
        refused(state, edit_digest, "digest of the volume key is not");
}

static void edit_other_digest(json_t *json) {
        json_t *second = json_deep_copy(at(json, "digests", "0"));

        set(second, "salt", json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        set(json_object_get(json, "digests"), "1", second);
}
static void second_digest_for_our_slot_is_refused(void **state) {
        refused(state, edit_other_digest, "2 digests");
}

static void edit_slot_unbound(json_t *json) {
        set(at(json, "digests", "0"), "keyslots", json_pack("[s]", "0"));
        edit_other_digest(json);
        set(at(json, "digests", "1"), "keyslots", json_pack("[s]", "1"));
        set(at(json, "digests", "1"), "segments", json_array());
}
static void slot_that_holds_another_key_is_refused(void **state) {
        refused(state, edit_slot_unbound, "keyslot 1");
}

static void edit_segment_of_nobody(json_t *json) {
        edit_slot_unbound(json);
        set(at(json, "digests", "0"), "segments", json_array());
        set(at(json, "digests", "0"), "keyslots", json_array());
}
static void segment_without_a_digest_is_refused(void **state) {
        refused(state, edit_segment_of_nobody, "another key than the segment's");
}

static void edit_slots_swapped(json_t *json) {
        json_t *keyslots = json_object_get(json, "keyslots"), *zero = json_incref(json_object_get(keyslots, "0"));

        set(keyslots, "0", json_incref(json_object_get(keyslots, "1")));
        set(keyslots, "1", zero);
}
static void another_slot_under_our_number_is_refused(void **state) {
        refused(state, edit_slots_swapped, "our keyslot");
}

static void edit_no_slot(json_t *json) {
        assert_int_equal(json_object_del(json_object_get(json, "keyslots"), "1"), 0);
}
static void missing_slot_is_refused(void **state) {
        refused(state, edit_no_slot, "not there any more");
}

static void edit_area_far(json_t *json) {
        set(json_object_get(at(json, "keyslots", "1"), "area"), "offset", json_string("18446744073709551615"));
}
static void area_beyond_the_device_is_refused(void **state) {
        refused(state, edit_area_far, "our keyslot");
}

static void edit_uuid(const char *path) {
        _cleanup_(freep) char *text = luks_image_read_text(path, 0);

        luks_image_patch(path, 168, "11111111-2222-3333-4444-555555555555", 37);
        luks_image_patch(path, 16384 + 168, "11111111-2222-3333-4444-555555555555", 37);
        luks_image_write_copy(path, 0, text, 0);
        luks_image_write_copy(path, 1, text, 0);
}
static void another_uuid_is_refused(void **state) {
        struct luks_image *image = *state;

        edit_uuid(image->path);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        assert_non_null(strstr(image->error, "UUID is 11111111-2222-3333-4444-555555555555"));
}

/* Slot 1's area follows slot 0's: 32768 + 258048. */
static void one_byte_in_the_keyslot_area_is_refused(void **state) {
        struct luks_image *image = *state;

        luks_image_patch(image->path, 290816 + 200000, "\x55", 1);
        luks_image_read(image);
        assert_int_equal(luks_image_open(image), -EUCLEAN);
        assert_non_null(strstr(image->error, "area of our keyslot was changed"));
}

static void edit_passphrase_added(json_t *json) {
        json_t *slot = json_deep_copy(at(json, "keyslots", "0"));

        set(json_object_get(slot, "area"), "offset", json_string("548864"));
        set(json_object_get(json, "keyslots"), "2", slot);
        json_array_append_new(json_object_get(at(json, "digests", "0"), "keyslots"), json_string("2"));
}
static void passphrase_added_by_a_person_is_accepted(void **state) {
        accepted(state, edit_passphrase_added);
}

static void edit_no_token(json_t *json) {
        set(json, "tokens", json_object());
}
static void header_without_token_is_accepted(void **state) {
        accepted(state, edit_no_token);
}

static void edit_token_garbage(json_t *json) {
        set(json_object_get(json, "tokens"), "7", json_pack("{s:s, s:[], s:i}", "type", "tallyboot", "keyslots", "slot", 77));
}
static void token_of_garbage_decides_nothing(void **state) {
        accepted(state, edit_token_garbage);
}

static void edit_flags(json_t *json) {
        set(json_object_get(json, "config"), "flags",
            json_pack("[s, s, s, s, i]", "allow-discards", "no-read-workqueue", "no-journal", "same-cpu-crypt", 7));
}
static void persistent_flags_are_accepted(void **state) {
        accepted(state, edit_flags);
}

/* ... and decide nothing but who does the work: discards and the journal are crypttab's. */
static void invariant_6_flags_of_the_disk_weaken_nothing(void **state) {
        struct luks_image *image = *state;
        _cleanup_(freep) char *text = NULL;

        luks_image_edit_json(image->path, edit_flags);
        luks_image_read(image);
        assert_int_equal(luks_compose_json(image->header, &image->expected, &text), 0);
        assert_non_null(strstr(text, "\"flags\":[\"same-cpu-crypt\",\"no-read-workqueue\"]"));
        assert_null(strstr(text, "discards"));
        assert_null(strstr(text, "journal"));
}

/* The whole header is gone between read and open: the copy is what opens. */
static void header_zeroed_between_read_and_open_opens_from_the_copy(void **state) {
        struct luks_image *image = *state;
        static const uint8_t zero[1 << 20];

        luks_image_patch(image->path, 0, zero, sizeof(zero));
        assert_int_equal(luks_image_open(image), 0);
}

static void header_changed_between_read_and_open_opens_from_the_copy(void **state) {
        struct luks_image *image = *state;

        luks_image_edit_json(image->path, edit_cipher_null);
        assert_int_equal(luks_image_open(image), 0);
}

static void wrong_key_is_enokey(void **state) {
        struct luks_image *image = *state;

        image->key->data[31] ^= 1;
        assert_int_equal(luks_image_open(image), -ENOKEY);
        image->key->data[31] ^= 1;
        assert_int_equal(luks_image_open(image), 0);
}

/* The passphrase opens slot 0, and slot 0 only: our slot is opened by number. */
static void passphrase_of_another_slot_is_enokey(void **state) {
        struct luks_image *image = *state;

        assert_int_equal(luks_open_checked(image->header, &image->expected, image->path, image->passphrase, NULL, NULL,
                                           image->error, sizeof(image->error)),
                         -ENOKEY);
}

static void another_fingerprint_is_refused(void **state) {
        struct luks_image *image = *state;

        image->expected.fingerprint[0] ^= 1;
        assert_int_equal(luks_image_open(image), -EKEYREJECTED);
}

static void describe_refuses_what_check_refuses(void **state) {
        static const luks_image_edit edits[] = { edit_cipher_null,    edit_keyslot_null, edit_requirement,  edit_segment_flags,
                                                 edit_second_segment, edit_linear,       edit_other_digest, edit_slot_unbound };
        struct luks_image *image = *state;
        struct luks_expected expected;

        for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
                _cleanup_(freep) char *text = luks_image_read_text(image->path, 0);

                luks_image_edit_json(image->path, edits[i]);
                luks_image_read(image);
                assert_int_equal(luks_describe(image->header, 1, image->volume_key, "root", true, &expected), -EUCLEAN);
                luks_image_write_copy(image->path, 0, text, 0);
                luks_image_write_copy(image->path, 1, text, 0);
        }
        luks_image_read(image);
        assert_int_equal(luks_describe(image->header, 1, image->volume_key, "a/b", true, &expected), -EINVAL);
        assert_int_equal(luks_describe(image->header, 1, image->key, "root", true, &expected), -EINVAL);
}

static void edit_passphrase_iterations(json_t *json) {
        set(json_object_get(at(json, "keyslots", "0"), "kdf"), "iterations", json_integer(400000000));
}
/* A rotation makes the next manifest from a header that it reads anew, long after the volume was opened. */
static void header_changed_between_open_and_rotation_is_not_vouched_for(void **state) {
        static const luks_image_edit edits[] = { edit_cipher, edit_sector_size, edit_offset,
                                                 edit_tweak,  edit_digest,      edit_integrity };
        struct luks_image *image = *state;
        struct luks_expected again;

        assert_int_equal(luks_describe_again(image->header, &image->expected, 1, image->volume_key, &again), 0);
        assert_string_equal(again.segments, image->expected.segments);
        assert_string_equal(again.name, image->expected.name);
        luks_expected_done(&again);
        assert_int_equal(luks_describe_again(image->header, &image->expected, 1, image->key, &again), -EUCLEAN);
        for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
                _cleanup_(freep) char *text = luks_image_read_text(image->path, 0);

                luks_image_edit_json(image->path, edits[i]);
                luks_image_read(image);
                assert_int_equal(luks_describe(image->header, 1, image->volume_key, "root", true, &again), 0);
                luks_expected_done(&again);
                assert_int_equal(luks_describe_again(image->header, &image->expected, 1, image->volume_key, &again), -EUCLEAN);
                luks_image_write_copy(image->path, 0, text, 0);
                luks_image_write_copy(image->path, 1, text, 0);
        }
        luks_image_edit_json(image->path, edit_passphrase_iterations);
        luks_image_read(image);
        assert_int_equal(luks_describe_again(image->header, &image->expected, 0, image->volume_key, &again), -EUCLEAN);
        assert_int_equal(luks_describe_again(image->header, &image->expected, 1, image->volume_key, &again), 0);
        luks_expected_done(&again);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, luks_image_setup, luks_image_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(unchanged_header_opens),
                TEST(null_cipher_in_segment_is_refused),
                TEST(null_cipher_in_keyslot_is_refused),
                TEST(another_cipher_is_refused),
                TEST(another_key_size_is_refused),
                TEST(another_sector_size_is_refused),
                TEST(integrity_added_is_refused),
                TEST(iteration_bomb_in_keyslot_is_refused_before_any_open),
                TEST(iteration_bomb_in_digest_is_refused_before_any_open),
                TEST(iterations_of_another_type_are_refused),
                TEST(argon2_bomb_in_keyslot_is_refused),
                TEST(requirement_is_refused),
                TEST(reencryption_requirement_is_refused),
                TEST(segment_in_reencryption_is_refused),
                TEST(second_segment_is_refused),
                TEST(segment_that_is_not_encrypted_is_refused),
                TEST(segment_at_another_place_is_refused),
                TEST(segment_with_another_tweak_is_refused),
                TEST(another_digest_is_refused),
                TEST(second_digest_for_our_slot_is_refused),
                TEST(slot_that_holds_another_key_is_refused),
                TEST(segment_without_a_digest_is_refused),
                TEST(another_slot_under_our_number_is_refused),
                TEST(missing_slot_is_refused),
                TEST(area_beyond_the_device_is_refused),
                TEST(another_uuid_is_refused),
                TEST(one_byte_in_the_keyslot_area_is_refused),
                TEST(passphrase_added_by_a_person_is_accepted),
                TEST(header_without_token_is_accepted),
                TEST(token_of_garbage_decides_nothing),
                TEST(persistent_flags_are_accepted),
                TEST(invariant_6_flags_of_the_disk_weaken_nothing),
                TEST(header_zeroed_between_read_and_open_opens_from_the_copy),
                TEST(header_changed_between_read_and_open_opens_from_the_copy),
                TEST(wrong_key_is_enokey),
                TEST(passphrase_of_another_slot_is_enokey),
                TEST(another_fingerprint_is_refused),
                TEST(describe_refuses_what_check_refuses),
                TEST(header_changed_between_open_and_rotation_is_not_vouched_for),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
