/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Halves as they travel, and what becomes of two that meet. */
#include "test.h"

#include "crypto/split.h"

static const char KEY[] = "000102030405060708090a0b0c0d0e0f", OTHER[] = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
static const char NODE[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  UUID[] = "0f9c6a3e-5d1b-4c8e-9a70-1234567890ab";

static struct halves *halves_of(unsigned n) {
        struct halves *halves = calloc(1, sizeof(*halves));

        assert_non_null(halves);
        halves->items = calloc(MAX(n, 1U), sizeof(*halves->items));
        assert_non_null(halves->items);
        for (halves->n = 0; halves->n < n; halves->n++) {
                struct half *half = halves->items + halves->n;

                memcpy(half->key_id, KEY, sizeof(half->key_id));
                half->kind = KEY_VOLUMES;
                half->state = GENERATION_LIVE;
                half->generation = (uint32_t) halves->n + 1;
                assert_int_equal(secret_random(HALF_SIZE, &half->half), 0);
        }
        return halves;
}

static void halves_go_round(void **state) {
        for (unsigned n = 0; n <= 64; n += 16) {
                _cleanup_(halves_freep) struct halves *halves = halves_of(n), *back = NULL;
                _cleanup_(secret_freep) struct secret *plain = NULL;

                assert_int_equal(halves_encode(halves, &plain), 0);
                assert_int_equal(plain->size, 6 + 54 * n);
                assert_int_equal(halves_decode(plain, &back), 0);
                assert_int_equal(back->n, n);
                for (unsigned i = 0; i < n; i++) {
                        assert_string_equal(back->items[i].key_id, KEY);
                        assert_int_equal(back->items[i].generation, i + 1);
                        assert_true(secret_equal(back->items[i].half, halves->items[i].half));
                        assert_ptr_equal(halves_find(back, KEY, i + 1), back->items + i);
                }
                assert_null(halves_find(back, KEY, n + 1));
                assert_null(halves_find(back, OTHER, 1));
        }
}

static void not_encoded(struct halves *halves) {
        struct secret *plain = NULL;

        assert_int_equal(halves_encode(halves, &plain), -EBADMSG);
        assert_null(plain);
}

static void encode_refuses(void **state) {
        _cleanup_(halves_freep) struct halves *many = halves_of(65), *two = halves_of(2);

        not_encoded(many);
        two->items[1].generation = 1; /* twice */
        not_encoded(two);
        two->items[1].generation = 0;
        not_encoded(two);
        two->items[1].generation = 2;
        two->items[1].kind = KEY_PAYLOAD; /* one key, two kinds */
        not_encoded(two);
        two->items[1].kind = KEY_VOLUMES;
        two->items[1].state = GENERATION_RETIRED;
        not_encoded(two);
        two->items[1].state = GENERATION_STAGED;
        two->items[1].half->size = 31;
        not_encoded(two);
        two->items[1].half->size = 32;
        two->items[1].key_id[0] = 'G';
        not_encoded(two);
}

static int decoded(const uint8_t *data, size_t size) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        _cleanup_(halves_freep) struct halves *halves = NULL;
        int r;

        assert_int_equal(secret_copy(data, size, &plain), 0);
        r = halves_decode(plain, &halves);
        assert_true((r == 0) == (halves != NULL));
        return r;
}

static void decode_refuses(void **state) {
        _cleanup_(halves_freep) struct halves *halves = halves_of(2);
        _cleanup_(secret_freep) struct secret *plain = NULL;
        uint8_t data[6 + 2 * 54 + 1] = {};

        assert_int_equal(halves_encode(halves, &plain), 0);
        memcpy(data, plain->data, plain->size);
        assert_int_equal(decoded(data, plain->size), 0);
        assert_int_equal(decoded(data, plain->size + 1), -EBADMSG);
        for (size_t size = 1; size < plain->size; size++)
                assert_int_equal(decoded(data, size), -EBADMSG);

        static const struct {
                size_t at;
                uint8_t value;
        } rows[] = {
                { 0, 't' }, { 3, '2' },         { 5, 1 },  { 5, 3 }, { 4, 1 }, /* magic, count */
                { 22, 0 },  { 22, 3 },          { 22, 2 }, /* kind: none, unknown, not that of the same key before */
                { 23, 0 },  { 23, 3 },          { 23, 4 }, /* state: none, retired, unknown */
                { 27, 0 },  { 6 + 54 + 21, 1 },            /* generation 0; twice */
        };
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint8_t saved = data[rows[i].at];

                assert_int_not_equal(saved, rows[i].value);
                data[rows[i].at] = rows[i].value;
                assert_int_equal(decoded(data, plain->size), -EBADMSG);
                data[rows[i].at] = saved;
        }
        assert_int_equal(decoded(data, plain->size), 0);
}

static void halves_join(void **state) {
        _cleanup_(halves_freep) struct halves *u = halves_of(2), *v = halves_of(2);
        _cleanup_(secret_freep) struct secret *k_b = NULL, *again = NULL, *none = NULL;

        assert_int_equal(split_join(u->items, v->items, &k_b), 0);
        for (size_t i = 0; i < HALF_SIZE; i++)
                assert_int_equal(k_b->data[i], u->items[0].half->data[i] ^ v->items[0].half->data[i]);
        assert_int_equal(split_other(k_b, u->items[0].half, &again), 0);
        assert_true(secret_equal(again, v->items[0].half));

        /* U of one generation, kind or key with V of another. */
        assert_int_equal(split_join(u->items, v->items + 1, &none), -EINVAL);
        v->items[0].kind = KEY_PAYLOAD;
        assert_int_equal(split_join(u->items, v->items, &none), -EINVAL);
        v->items[0].kind = KEY_VOLUMES;
        memcpy(v->items[0].key_id, OTHER, sizeof(OTHER));
        assert_int_equal(split_join(u->items, v->items, &none), -EINVAL);
        u->items[0].half->size = 31;
        assert_int_equal(split_other(k_b, u->items[0].half, &none), -EINVAL);
        assert_null(none);
}

static void derivations_differ(void **state) {
        _cleanup_(secret_freep) struct secret *k_b = NULL, *a = NULL, *b = NULL, *c = NULL, *d = NULL, *e = NULL;
        char node[sizeof(NODE)];

        assert_int_equal(secret_random(32, &k_b), 0);
        assert_int_equal(derive_volume_key(k_b, NODE, 1, UUID, &a), 0);
        assert_int_equal(a->size, 32);
        assert_int_equal(derive_volume_key(k_b, NODE, 2, UUID, &b), 0);
        assert_int_equal(derive_volume_key(k_b, NODE, 1, "1f9c6a3e-5d1b-4c8e-9a70-1234567890ab", &c), 0);
        memcpy(node, NODE, sizeof(node));
        node[0] = 'b';
        assert_int_equal(derive_volume_key(k_b, node, 1, UUID, &d), 0);
        assert_int_equal(derive_manifest_key(k_b, NODE, 1, &e), 0);
        const struct secret *all[] = { a, b, c, d, e, k_b };
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                for (size_t j = 0; j < i; j++)
                        assert_false(secret_equal(all[i], all[j]));
}

static void derivations_refuse(void **state) {
        static const char *const uuids[] = { "",
                                             "0F9C6A3E-5D1B-4C8E-9A70-1234567890AB",
                                             "0f9c6a3e5d1b4c8e9a701234567890ab",
                                             "0f9c6a3e-5d1b-4c8e-9a70-1234567890abc",
                                             "0f9c6a3e-5d1b-4c8e-9a70-1234567890a",
                                             "0f9c6a3e-5d1b-4c8e-9a7-01234567890ab" };
        _cleanup_(secret_freep) struct secret *k_b = NULL, *none = NULL;
        struct keypair *keypair = NULL;

        assert_int_equal(secret_random(32, &k_b), 0);
        for (size_t i = 0; i < ELEMENTSOF(uuids); i++)
                assert_int_equal(derive_volume_key(k_b, NODE, 1, uuids[i], &none), -EINVAL);
        assert_int_equal(derive_volume_key(k_b, "node", 1, UUID, &none), -EINVAL);
        k_b->size = 31;
        assert_int_equal(derive_manifest_key(k_b, NODE, 1, &none), -EINVAL);
        assert_int_equal(derive_payload_keypair(k_b, NODE, 1, &keypair), -EINVAL);
        assert_null(none);
        assert_null(keypair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(halves_go_round), cmocka_unit_test(encode_refuses),     cmocka_unit_test(decode_refuses),
                cmocka_unit_test(halves_join),     cmocka_unit_test(derivations_differ), cmocka_unit_test(derivations_refuse),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
