/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "boot/recombine.h"

#define NODE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER_NODE "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY "00112233445566778899aabbccddeeff"
#define OTHER_KEY "ff112233445566778899aabbccddeeff"

/* Both parties as they answered: each released halves and said what they are. */
struct fixture {
        struct outcome outcomes[2];
        struct pairs pairs;
};

static void release(struct fixture *fixture, enum party party, const char *key_id, uint32_t generation, enum key_kind kind,
                    enum generation_state state, uint8_t byte) {
        struct outcome *outcome = fixture->outcomes + party;
        struct wire_key *key;
        struct half *half;

        if (!outcome->halves)
                outcome->halves = calloc(1, sizeof *outcome->halves);
        outcome->halves->items = realloc(outcome->halves->items, (outcome->halves->n + 1) * sizeof *half);
        half = outcome->halves->items + outcome->halves->n++;
        *half = (struct half){ .kind = kind, .state = state, .generation = generation };
        strcpy(half->key_id, key_id);
        assert_int_equal(secret_new(HALF_SIZE, &half->half), 0);
        memset(half->half->data, byte, HALF_SIZE);

        outcome->details.keys = realloc(outcome->details.keys, (outcome->details.n_keys + 1) * sizeof *key);
        key = outcome->details.keys + outcome->details.n_keys++;
        *key = (struct wire_key){ .kind = kind, .state = state, .generation = generation };
        strcpy(key->id, key_id);
}

static void release_both(struct fixture *fixture, uint32_t generation, enum generation_state tenant,
                         enum generation_state verifier) {
        release(fixture, PARTY_TENANT, KEY, generation, KEY_VOLUMES, tenant, (uint8_t) generation);
        release(fixture, PARTY_VERIFIER, KEY, generation, KEY_VOLUMES, verifier, (uint8_t) (generation + 100));
}

static int setup(void **state) {
        *state = calloc(1, sizeof(struct fixture));
        return *state ? 0 : -1;
}

static int teardown(void **state) {
        struct fixture *fixture = *state;

        for (size_t i = 0; i < 2; i++) {
                halves_free(fixture->outcomes[i].halves);
                wire_details_done(&fixture->outcomes[i].details);
        }
        pairs_done(&fixture->pairs);
        free(fixture);
        return 0;
}

static void live_at_both_is_used_newest_first(void **state) {
        struct fixture *fixture = *state;

        release_both(fixture, 3, GENERATION_LIVE, GENERATION_LIVE);
        release_both(fixture, 7, GENERATION_LIVE, GENERATION_LIVE);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), 0);
        assert_int_equal(fixture->pairs.n, 2);
        assert_int_equal(fixture->pairs.items[0].u->generation, 7);
        assert_true(fixture->pairs.items[0].supersedes);
        assert_false(fixture->pairs.items[0].confirm);
        assert_int_equal(fixture->pairs.items[1].u->generation, 3);
        assert_false(fixture->pairs.items[1].supersedes);
}

static void staged_at_the_tenant_is_not_used(void **state) {
        struct fixture *fixture = *state;

        release_both(fixture, 1, GENERATION_STAGED, GENERATION_LIVE);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), -ENOKEY);
}

static void staged_at_the_verifier_is_used_and_confirmed_again(void **state) {
        struct fixture *fixture = *state;

        release_both(fixture, 1, GENERATION_LIVE, GENERATION_STAGED);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), 0);
        assert_true(fixture->pairs.items[0].confirm);
}

static void u_of_one_generation_never_meets_v_of_another(void **state) {
        struct fixture *fixture = *state;
        struct secret *k_b = NULL;

        release(fixture, PARTY_TENANT, KEY, 1, KEY_VOLUMES, GENERATION_LIVE, 1);
        release(fixture, PARTY_VERIFIER, KEY, 2, KEY_VOLUMES, GENERATION_LIVE, 2);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), -ENOKEY);
        assert_int_equal(split_join(fixture->outcomes[0].halves->items, fixture->outcomes[1].halves->items, &k_b), -EINVAL);
}

static void u_of_one_key_never_meets_v_of_another(void **state) {
        struct fixture *fixture = *state;

        release(fixture, PARTY_TENANT, KEY, 1, KEY_VOLUMES, GENERATION_LIVE, 1);
        release(fixture, PARTY_VERIFIER, OTHER_KEY, 1, KEY_VOLUMES, GENERATION_LIVE, 2);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), -ENOKEY);
}

static void a_half_for_volumes_never_meets_one_for_a_payload(void **state) {
        struct fixture *fixture = *state;

        release(fixture, PARTY_TENANT, KEY, 1, KEY_VOLUMES, GENERATION_LIVE, 1);
        release(fixture, PARTY_VERIFIER, KEY, 1, KEY_PAYLOAD, GENERATION_LIVE, 2);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), -ENOKEY);
}

static void without_one_party_there_is_no_pair(void **state) {
        struct fixture *fixture = *state;

        release(fixture, PARTY_TENANT, KEY, 1, KEY_VOLUMES, GENERATION_LIVE, 1);
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), -ENOKEY);
}

/* A manifest without volumes, with the MAC that K_b makes, at both parties. */
static struct secret *with_manifest(struct fixture *fixture, const char *text) {
        struct secret *k_b = NULL, *key = NULL;
        struct wire_key *tenant, *verifier;

        release_both(fixture, 5, GENERATION_LIVE, GENERATION_LIVE);
        tenant = fixture->outcomes[PARTY_TENANT].details.keys;
        verifier = fixture->outcomes[PARTY_VERIFIER].details.keys;
        assert_int_equal(blob_copy(text, strlen(text), &tenant->manifest), 0);
        assert_int_equal(sha256(text, strlen(text), verifier->manifest_sha256), 0);
        verifier->has_manifest_sha256 = true;
        assert_int_equal(recombine_pairs(fixture->outcomes, &fixture->pairs), 0);
        assert_int_equal(split_join(fixture->pairs.items->u, fixture->pairs.items->v, &k_b), 0);
        assert_int_equal(derive_manifest_key(k_b, NODE, 5, &key), 0);
        assert_int_equal(manifest_mac(key, text, strlen(text), tenant->mac), 0);
        secret_free(key);
        return k_b;
}

static char *manifest_text(const char *node, const char *key, uint32_t generation) {
        struct luks_expected volume = { .name = "root",
                                        .root = true,
                                        .uuid = "7a11b007-0000-4000-8000-000000000002",
                                        .cipher = "aes-xts-plain64",
                                        .key_size = 64,
                                        .sector_size = 512,
                                        .keyslot = 1,
                                        .digest = (char[]){ "{}" },
                                        .segments = (char[]){ "{}" },
                                        .keyslot_json = (char[]){ "{}" } };
        struct manifest manifest = { .generation = generation, .volumes = &volume, .n = 1 };
        char *text;

        strcpy(manifest.node_id, node);
        strcpy(manifest.key_id, key);
        text = manifest_format(&manifest);
        assert_non_null(text);
        return text;
}

static int judge(struct fixture *fixture, const struct secret *k_b, const char *words) {
        _cleanup_(manifest_done) struct manifest manifest = {};
        char error[256] = "";
        int r = recombine_manifest(fixture->pairs.items, NODE, k_b, &manifest, error, sizeof error);

        if (words && !strstr(error, words))
                fail_msg("\"%s\" is not in \"%s\"", words, error);
        return r;
}

static void a_manifest_that_both_answer_for_is_used(void **state) {
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(*state, text);

        assert_int_equal(judge(*state, k_b, NULL), 0);
}

static void a_manifest_of_another_k_b_is_refused(void **state) {
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(*state, text);

        k_b->data[31] ^= 1; /* a half of another try */
        assert_int_equal(judge(*state, k_b, "do not belong together"), -EKEYREJECTED);
}

static void a_manifest_that_the_tenant_changed_is_refused(void **state) {
        struct fixture *fixture = *state;
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(fixture, text);

        fixture->outcomes[PARTY_TENANT].details.keys->manifest.data[10] ^= 1;
        assert_int_equal(judge(fixture, k_b, "was changed"), -EKEYREJECTED);
}

static void a_manifest_that_the_verifier_does_not_confirm_is_refused(void **state) {
        struct fixture *fixture = *state;
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(fixture, text);
        struct wire_key *verifier = fixture->outcomes[PARTY_VERIFIER].details.keys;

        verifier->manifest_sha256[0] ^= 1;
        assert_int_equal(judge(fixture, k_b, "another manifest"), -EKEYREJECTED);
        verifier->manifest_sha256[0] ^= 1;
        verifier->has_manifest_sha256 = false;
        assert_int_equal(judge(fixture, k_b, "does not confirm"), -EKEYREJECTED);
        fixture->pairs.items->confirm = true; /* staged there: it has no digest yet */
        assert_int_equal(judge(fixture, k_b, NULL), 0);
}

static void a_manifest_of_another_node_key_or_generation_is_refused(void **state) {
        _cleanup_(freep) char *text = manifest_text(OTHER_NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(*state, text);

        assert_int_equal(judge(*state, k_b, "another node's"), -EKEYREJECTED);
}

static void a_manifest_of_an_older_generation_is_refused(void **state) {
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 4);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(*state, text);

        assert_int_equal(judge(*state, k_b, "generation's"), -EKEYREJECTED);
}

static void no_manifest_key_from_a_payload_key(void **state) {
        struct fixture *fixture = *state;
        _cleanup_(freep) char *text = manifest_text(NODE, KEY, 5);
        _cleanup_(secret_freep) struct secret *k_b = with_manifest(fixture, text);

        fixture->outcomes[PARTY_VERIFIER].details.keys->kind = KEY_PAYLOAD;
        assert_int_equal(judge(fixture, k_b, "not one for volumes"), -EKEYREJECTED);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(live_at_both_is_used_newest_first),
                test(staged_at_the_tenant_is_not_used),
                test(staged_at_the_verifier_is_used_and_confirmed_again),
                test(u_of_one_generation_never_meets_v_of_another),
                test(u_of_one_key_never_meets_v_of_another),
                test(a_half_for_volumes_never_meets_one_for_a_payload),
                test(without_one_party_there_is_no_pair),
                test(a_manifest_that_both_answer_for_is_used),
                test(a_manifest_of_another_k_b_is_refused),
                test(a_manifest_that_the_tenant_changed_is_refused),
                test(a_manifest_that_the_verifier_does_not_confirm_is_refused),
                test(a_manifest_of_another_node_key_or_generation_is_refused),
                test(a_manifest_of_an_older_generation_is_refused),
                test(no_manifest_key_from_a_payload_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
