/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the offline way seals: round trips, and every way in which it is not what it was. */
#include "test.h"

#include "crypto/offline.h"

static const char NODE[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  OTHER_NODE[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba";
static const char KEY[] = "000102030405060708090a0b0c0d0e0f", OTHER_KEY[] = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
static const char UUID[] = "0f9c6a3e-5d1b-4c8e-9a70-1234567890ab", OTHER_UUID[] = "0f9c6a3e-5d1b-4c8e-9a70-1234567890ac";
static const char MANIFEST[] = "{\"version\":1}";
static const uint8_t MAC[32] = { 1, 2, 3, 4 };
static const struct offline_binding BINDING = { NODE, KEY, UUID, 3 };

struct sealing {
        struct secret *group_key, *k_b;
        struct blob sealed;
};

static int setup(void **state) {
        struct sealing *s = calloc(1, sizeof *s);

        assert_non_null(s);
        assert_int_equal(secret_random(32, &s->group_key), 0);
        assert_int_equal(secret_random(32, &s->k_b), 0);
        assert_int_equal(offline_seal(s->group_key, &BINDING, s->k_b, MANIFEST, strlen(MANIFEST), MAC, &s->sealed), 0);
        *state = s;
        return 0;
}

static int teardown(void **state) {
        struct sealing *s = *state;

        secret_free(s->group_key);
        secret_free(s->k_b);
        blob_done(&s->sealed);
        free(s);
        return 0;
}

static int open_with(const struct secret *group_key, const struct offline_binding *binding, const void *data, size_t size) {
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(blob_done) struct blob manifest = {};
        uint8_t mac[32];

        return offline_open(group_key, binding, data, size, &k_b, &manifest, mac);
}

static void sealed_is_opened(void **state) {
        struct sealing *s = *state;
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(blob_done) struct blob manifest = {};
        uint8_t mac[32];

        assert_int_equal(offline_open(s->group_key, &BINDING, s->sealed.data, s->sealed.size, &k_b, &manifest, mac), 0);
        assert_true(secret_equal(k_b, s->k_b));
        assert_int_equal(manifest.size, strlen(MANIFEST));
        assert_memory_equal(manifest.data, MANIFEST, manifest.size);
        assert_memory_equal(mac, MAC, 32);
        assert_int_equal(s->sealed.size, 12 + 32 + strlen(MANIFEST) + 32 + 16);
}

static void every_byte_counts(void **state) {
        struct sealing *s = *state;

        for (size_t i = 0; i < s->sealed.size; i++) {
                s->sealed.data[i] ^= 1;
                assert_int_equal(open_with(s->group_key, &BINDING, s->sealed.data, s->sealed.size), -EKEYREJECTED);
                s->sealed.data[i] ^= 1;
        }
        assert_int_equal(open_with(s->group_key, &BINDING, s->sealed.data, s->sealed.size), 0);
}

static void cut_at_any_length_is_refused(void **state) {
        struct sealing *s = *state;

        for (size_t size = 0; size < s->sealed.size; size++) {
                _cleanup_(freep) uint8_t *exact = malloc(size + 1); /* for the sanitizer */

                memcpy(exact, s->sealed.data, size);
                assert_int_equal(open_with(s->group_key, &BINDING, exact, size), -EKEYREJECTED);
        }
}

/* Of another node, key, generation, volume: each alone. */
static void another_binding_is_refused(void **state) {
        const struct offline_binding others[] = {
                { OTHER_NODE, KEY, UUID, 3 },
                { NODE, OTHER_KEY, UUID, 3 },
                { NODE, KEY, OTHER_UUID, 3 },
                { NODE, KEY, UUID, 2 },
        };
        struct sealing *s = *state;

        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                assert_int_equal(open_with(s->group_key, others + i, s->sealed.data, s->sealed.size), -EKEYREJECTED);
}

static void another_key_is_refused(void **state) {
        struct sealing *s = *state;
        _cleanup_(secret_freep) struct secret *other = NULL, *wrong_size = NULL;

        assert_int_equal(secret_random(32, &other), 0);
        assert_int_equal(secret_random(16, &wrong_size), 0);
        assert_int_equal(open_with(other, &BINDING, s->sealed.data, s->sealed.size), -EKEYREJECTED);
        assert_int_equal(open_with(wrong_size, &BINDING, s->sealed.data, s->sealed.size), -EKEYREJECTED);
}

static void sealing_refuses_what_opening_would(void **state) {
        struct sealing *s = *state;
        _cleanup_(secret_freep) struct secret *wrong_size = NULL;
        _cleanup_(freep) uint8_t *large = calloc(1, OFFLINE_MANIFEST_MAX + 1);
        struct blob sealed = {};

        assert_int_equal(secret_random(16, &wrong_size), 0);
        assert_int_equal(offline_seal(wrong_size, &BINDING, s->k_b, MANIFEST, 1, MAC, &sealed), -EINVAL);
        assert_int_equal(offline_seal(s->group_key, &BINDING, wrong_size, MANIFEST, 1, MAC, &sealed), -EINVAL);
        assert_int_equal(offline_seal(s->group_key, &BINDING, s->k_b, MANIFEST, 0, MAC, &sealed), -EINVAL);
        assert_int_equal(offline_seal(s->group_key, &BINDING, s->k_b, large, OFFLINE_MANIFEST_MAX + 1, MAC, &sealed), -EINVAL);
        assert_null(sealed.data);
        assert_int_equal(offline_seal(s->group_key, &BINDING, s->k_b, large, OFFLINE_MANIFEST_MAX, MAC, &sealed), 0);
        assert_int_equal(open_with(s->group_key, &BINDING, sealed.data, sealed.size), 0);
        blob_done(&sealed);
}

static void two_seals_differ(void **state) {
        struct sealing *s = *state;
        _cleanup_(blob_done) struct blob again = {};

        assert_int_equal(offline_seal(s->group_key, &BINDING, s->k_b, MANIFEST, strlen(MANIFEST), MAC, &again), 0);
        assert_int_equal(again.size, s->sealed.size);
        assert_memory_not_equal(again.data, s->sealed.data, 12);
}

/* The whole of what is in the header is signed, behind the prefix of docs/protocol.md. */
static void message_has_it_all(void **state) {
        static const char start[] = "tallyboot token signature v1";
        const struct blob wrapped = { (uint8_t *) "wrapped", 7 }, sealed = { (uint8_t *) "sealed", 6 };
        _cleanup_(blob_done) struct blob message = {}, list = {};

        assert_int_equal(offline_message(&BINDING, "ecdh", &wrapped, &sealed, &message), 0);
        assert_memory_equal(message.data, start, strlen(start));
        for (size_t i = strlen(start); i < 63; i++)
                assert_int_equal(message.data[i], ' ');
        assert_int_equal(message.data[63], 0);
        assert_int_equal(fields_encode(FIELDS(field_text("tallyboot offline signature v1"), field_text(NODE), field_text(KEY),
                                              field_number(3), field_text(UUID), field_text("ecdh"), field_bytes("wrapped", 7),
                                              field_bytes("sealed", 6)),
                                       &list),
                         0);
        assert_int_equal(message.size, 64 + list.size);
        assert_memory_equal(message.data + 64, list.data, list.size);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(sealed_is_opened),
                TEST(every_byte_counts),
                TEST(cut_at_any_length_is_refused),
                TEST(another_binding_is_refused),
                TEST(another_key_is_refused),
                TEST(sealing_refuses_what_opening_would),
                TEST(two_seals_differ),
                cmocka_unit_test(message_has_it_all),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
