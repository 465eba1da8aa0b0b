/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enrollment's view: slots and tokens of a living device; whose slot is whose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "luks-image.h"
#include "luks/internal.h"

static struct luks_device *open_device(struct luks_image *image) {
        struct luks_device *device = NULL;

        if (luks_device_open(image->path, &device, image->error, sizeof(image->error)) < 0)
                fail_msg("%s", image->error);
        return device;
}

static void slots_are_told_apart(void **state) {
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(*state);

        assert_int_equal(luks_slots_active(device), 3);
        assert_int_equal(luks_slots_other(device), 1);
        assert_int_equal(luks_slot_first_free(device), 2);
        assert_string_equal(luks_device_uuid(device), ((struct luks_image *) *state)->expected.uuid);
}

static void wrong_passphrase_is_enokey(void **state) {
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(*state);
        _cleanup_(secret_freep) struct secret *wrong = NULL, *volume_key = NULL;
        int slot;

        assert_int_equal(secret_copy("wrong", 5, &wrong), 0);
        assert_int_equal(luks_unlock_passphrase(device, wrong, &slot, &volume_key), -ENOKEY);
        assert_null(volume_key);
}

/* Our own slot does not count as "another that opens". */
static void our_key_is_not_taken_for_a_passphrase(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        _cleanup_(secret_freep) struct secret *volume_key = NULL;
        int slot;

        assert_int_equal(luks_unlock_passphrase(device, image->key, &slot, &volume_key), -ENOKEY);
        assert_int_equal(luks_slot_test(device, 1, image->key), 0);
        assert_int_equal(luks_slot_test(device, 0, image->key), -ENOKEY);
        assert_int_equal(luks_slot_test(device, 9, image->key), -ENOKEY);
}

static void slot_is_cheap_and_others_are_not(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        struct crypt_pbkdf_type pbkdf;
        int slot;

        assert_int_equal(luks_slot_add(device, image->volume_key, image->key, 7, &slot), 0);
        assert_int_equal(slot, 7);
        assert_int_equal(crypt_keyslot_get_pbkdf(device->cd, 7, &pbkdf), 0);
        assert_string_equal(pbkdf.type, "pbkdf2");
        assert_string_equal(pbkdf.hash, "sha256");
        assert_int_equal(pbkdf.iterations, 1000);
        assert_string_equal(crypt_get_pbkdf_default(CRYPT_LUKS2)->type, "argon2id");
        assert_int_equal(crypt_keyslot_get_priority(device->cd, 7), CRYPT_SLOT_PRIORITY_NORMAL);
}

static void slot_with_a_wrong_volume_key_is_refused(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        int slot;

        image->volume_key->data[0] ^= 1;
        assert_true(luks_slot_add(device, image->volume_key, image->key, -1, &slot) < 0);
        assert_int_equal(luks_slots_active(device), 3);
}

static void no_free_slot_is_enospc(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        int slot, r = 0;

        for (int i = 0; i < LUKS_KEYSLOTS && r == 0; i++)
                r = luks_slot_add(device, image->volume_key, image->key, -1, &slot);
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(luks_slot_first_free(device), -ENOSPC);
}

static void recovery_slot_has_systemds_token(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        _cleanup_(secret_freep) struct secret *recovery = NULL, *volume_key = NULL;
        int slot, found;

        assert_int_equal(secret_copy("bcdefghi-jklnrtuv-bcdefghi-jklnrtuv-bcdefghi-jklnrtuv-bcdefghi-jklnrtuv", 71, &recovery),
                         0);
        assert_int_equal(luks_slot_add_passphrase(device, image->volume_key, recovery, true, &slot), 0);
        assert_int_equal(slot, 2);
        assert_int_equal(luks_slots_other(device), 5);
        assert_int_equal(luks_unlock_passphrase(device, recovery, &found, &volume_key), 0);
        assert_int_equal(found, 2);
        run("cryptsetup luksDump %s | grep -A1 systemd-recovery | grep -q 'Keyslot: *2'", image->path);
        run("printf 'bcdefghi-jklnrtuv-bcdefghi-jklnrtuv-bcdefghi-jklnrtuv-bcdefghi-jklnrtuv' | cryptsetup open --test-passphrase "
            "--key-slot 2 %s",
            image->path);
}

static void token_goes_from_staged_to_live(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        struct luks_token token = { .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 2, .slot = 2 };
        struct luks_token list[LUKS_KEYSLOTS];
        size_t n;
        int slot;

        assert_int_equal(luks_token_write(device, &token, false), 0);
        assert_int_equal(token.number, 1);
        assert_false(luks_token_owns_slot(device, &token)); /* not there yet */
        assert_int_equal(luks_slot_add(device, image->volume_key, image->key, 2, &slot), 0);
        assert_true(luks_token_owns_slot(device, &token)); /* cut here: still ours */
        assert_int_equal(luks_token_write(device, &token, true), 0);
        token.live = true;
        assert_int_equal(luks_token_write(device, &token, true), 0);
        assert_int_equal(luks_token_list(device, list, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(list[1].generation, 2);
        assert_true(list[1].live && list[1].assigned);
        assert_int_equal(luks_slot_wipe(device, 2), 0);
        assert_int_equal(luks_token_remove(device, 1), 0);
        assert_int_equal(luks_token_list(device, list, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(luks_slot_test(device, 0, image->passphrase), 0);
        assert_int_equal(luks_slot_test(device, 1, image->key), 0);
}

/* A staged token that was cut before its slot was made, and somebody put something else there since. */
static void slot_of_somebody_else_is_never_ours(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        struct luks_token token = { .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 1, .slot = 2 };
        static const struct crypt_pbkdf_type person = {
                .type = CRYPT_KDF_PBKDF2, .hash = "sha256", .iterations = 5000, .flags = CRYPT_PBKDF_NO_BENCHMARK
        };

        assert_int_equal(luks_token_write(device, &token, false), 0);
        assert_int_equal(crypt_set_pbkdf_type(device->cd, &person), 0);
        assert_int_equal(crypt_keyslot_add_by_volume_key(device->cd, 2, (char *) image->volume_key->data, 64, "person", 6), 2);
        assert_false(luks_token_owns_slot(device, &token));
        assert_int_equal(luks_slots_other(device), 5);
}

static void slot_of_another_token_is_never_ours(void **state) {
        struct luks_image *image = *state;
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(image);
        struct luks_token token = { .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 1, .slot = 2 };
        int slot;

        assert_int_equal(luks_token_write(device, &token, false), 0);
        assert_int_equal(luks_slot_add_passphrase(device, image->volume_key, image->passphrase, true, &slot), 0);
        assert_int_equal(slot, 2);
        assert_false(luks_token_owns_slot(device, &token));
}

static void token_with_nonsense_is_not_written(void **state) {
        _cleanup_(luks_device_freep) struct luks_device *device = open_device(*state);
        struct luks_token token = { .number = -1, .node_id = "x", .key_id = KEY_ID_A, .generation = 1, .slot = 2 };

        assert_int_equal(luks_token_write(device, &token, false), -EINVAL);
}

static void edit_requirement(json_t *json) {
        json_object_set_new(json_object_get(json, "config"), "requirements",
                            json_pack("{s:[s]}", "mandatory", "online-reencrypt"));
}
static void device_in_reencryption_is_refused(void **state) {
        struct luks_image *image = *state;
        struct luks_device *device = NULL;

        luks_image_edit_json(image->path, edit_requirement);
        assert_int_equal(luks_device_open(image->path, &device, image->error, sizeof(image->error)), -EUCLEAN);
        assert_null(device);
        assert_non_null(strstr(image->error, "re-encryption is under way"));
}

static void luks1_is_said_in_words(void **state) {
        struct luks_image *image = *state;
        struct luks_device *device = NULL;

        run("truncate -s 0 %s && truncate -s 8M %s && cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 %s %s/pass",
            image->path, image->path, image->path, luks_image_directory());
        assert_int_equal(luks_device_open(image->path, &device, image->error, sizeof(image->error)), -EMEDIUMTYPE);
        assert_non_null(strstr(image->error, "LUKS1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, luks_image_setup, luks_image_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(slots_are_told_apart),
                TEST(wrong_passphrase_is_enokey),
                TEST(our_key_is_not_taken_for_a_passphrase),
                TEST(slot_is_cheap_and_others_are_not),
                TEST(slot_with_a_wrong_volume_key_is_refused),
                TEST(no_free_slot_is_enospc),
                TEST(recovery_slot_has_systemds_token),
                TEST(token_goes_from_staged_to_live),
                TEST(slot_of_somebody_else_is_never_ours),
                TEST(slot_of_another_token_is_never_ours),
                TEST(token_with_nonsense_is_not_written),
                TEST(device_in_reencryption_is_refused),
                TEST(luks1_is_said_in_words),
        };

        return cmocka_run_group_tests(tests, luks_image_group_setup, luks_image_group_teardown);
}
