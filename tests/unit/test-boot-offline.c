/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a header keeps for the offline way, made and opened by a real token, and every way in which it is not what it was. */

#include "test.h"

#include "boot/offline-blob.h"
#include "luks-image.h"
#include "softhsm.h"

#define KEY_ID_B "ff112233445566778899aabbccddeeff"
static const char UUID[] = "0f9c6a3e-5d1b-4c8e-9a70-1234567890ab", OTHER_UUID[] = "0f9c6a3e-5d1b-4c8e-9a70-1234567890ac";
#define URI(object) "pkcs11:token=node;object=" object

static struct softhsm *softhsm;
static struct pkcs11 *node_token, *other_token;
static struct token signer, other_signer;

struct mechanism {
        enum wrap_mechanism mechanism;
        const char *key, *mac_key;
};
static const struct mechanism mechanisms[] = {
        { WRAP_KWP, URI("wrap"), NULL },           { WRAP_KEY_WRAP_PAD, URI("wrap"), NULL }, { WRAP_GCM, URI("wrap"), NULL },
        { WRAP_CBC_PAD, URI("wrap"), URI("mac") }, { WRAP_RSA_OAEP, URI("rsa"), NULL },      { WRAP_ECDH, URI("ec"), NULL },
};

static void make_signer(struct pkcs11 *pkcs11, struct token *ret) {
        ret->pkcs11 = pkcs11;
        ret->key = softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "sign");
        assert_int_equal(pkcs11_public(pkcs11, &ret->key, &ret->public), 0);
}

static int group_setup(void **state) {
        softhsm = softhsm_new();
        softhsm_token(softhsm, "node");
        softhsm_token(softhsm, "other");
        node_token = softhsm_open("pkcs11:token=node", false);
        other_token = softhsm_open("pkcs11:token=other", false);
        make_signer(node_token, &signer);
        make_signer(other_token, &other_signer);
        (void) softhsm_key(node_token, PKCS11_AES, PKCS11_USE_WRAP, "wrap");
        (void) softhsm_key(node_token, PKCS11_GENERIC, PKCS11_USE_MAC, "mac");
        (void) softhsm_key(node_token, PKCS11_RSA, PKCS11_USE_WRAP, "rsa");
        (void) softhsm_key(node_token, PKCS11_EC_P256, PKCS11_USE_WRAP, "ec");
        (void) softhsm_key(other_token, PKCS11_AES, PKCS11_USE_WRAP, "wrap");
        return 0;
}

static int group_teardown(void **state) {
        blob_done(&signer.public);
        blob_done(&other_signer.public);
        pkcs11_close(node_token);
        pkcs11_close(other_token);
        softhsm = softhsm_free(softhsm);
        return 0;
}

/* An enrollment of one volume: K_b, its manifest, and what says so. */
struct kept {
        struct config config;
        struct offline_token token;
        struct secret *k_b;
        struct blob manifest;
        uint8_t mac[32];
        struct luks_offline blob;
        char error[320];
};

static void make_manifest(struct kept *kept, const char *uuid, uint32_t generation) {
        struct luks_expected volume = { .root = true,
                                        .name = "root",
                                        .cipher = "aes-xts-plain64",
                                        .key_size = 64,
                                        .sector_size = 512,
                                        .digest = (char *) "{}",
                                        .segments = (char *) "{}",
                                        .keyslot_json = (char *) "{}" };
        struct manifest manifest = {
                .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = generation, .volumes = &volume, .n = 1
        };
        _cleanup_(secret_freep) struct secret *key = NULL;
        char *text;

        strcpy(volume.uuid, uuid);
        text = manifest_format(&manifest);
        assert_non_null(text);
        blob_done(&kept->manifest);
        kept->manifest = (struct blob){ (uint8_t *) text, strlen(text) };
        assert_int_equal(derive_manifest_key(kept->k_b, NODE_ID_A, generation, &key), 0);
        assert_int_equal(manifest_mac(key, text, strlen(text), kept->mac), 0);
}

static struct recombine_claim claim_of(const struct kept *kept, uint32_t generation) {
        return (struct recombine_claim){
                .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = generation, .manifest = &kept->manifest, .mac = kept->mac
        };
}

static int make(struct kept *kept, uint32_t generation) {
        const struct recombine_claim claim = claim_of(kept, generation);

        luks_offline_done(&kept->blob);
        kept->blob = (struct luks_offline){};
        return offline_blob_make(&kept->token, UUID, &claim, kept->k_b, &kept->blob, kept->error, sizeof kept->error);
}

/* -EOPNOTSUPP: this token has it not. */
static int kept_new(const struct mechanism *mechanism, struct kept *ret) {
        *ret = (struct kept){ .token = { .pkcs11 = node_token, .signer = &signer } };
        ret->config.offline_key = (char *) mechanism->key;
        ret->config.offline_mac_key = (char *) mechanism->mac_key;
        ret->config.offline_mechanism = mechanism->mechanism;
        assert_int_equal(secret_random(HALF_SIZE, &ret->k_b), 0);
        make_manifest(ret, UUID, 3);
        return offline_token_decide(&ret->token, &ret->config, ret->error, sizeof ret->error);
}

static void kept_done(struct kept *kept) {
        kept->token.signer = NULL;
        offline_token_done(&kept->token);
        secret_free(kept->k_b);
        blob_done(&kept->manifest);
        luks_offline_done(&kept->blob);
}

/* As at boot: nothing is known of the group key. */
static int open_as(struct kept *kept, const char *node_id, const char *uuid, struct offline_opened *ret) {
        struct offline_token token = { .pkcs11 = kept->token.pkcs11, .signer = kept->token.signer };
        int r = offline_blob_open(&token, &kept->config, node_id, uuid, &kept->blob, ret, kept->error, sizeof kept->error);

        assert_true(r >= 0 || kept->error[0] != '\0');
        token.signer = NULL;
        offline_token_done(&token);
        return r;
}

static int open_it(struct kept *kept) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};

        return open_as(kept, NODE_ID_A, UUID, &opened);
}

static void for_each(void (*test)(struct kept *kept)) {
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(mechanisms); i++) {
                _cleanup_(kept_done) struct kept kept;
                int r = kept_new(mechanisms + i, &kept);

                if (r == -EOPNOTSUPP) {
                        print_message("skipped: %s: %s\n", wrap_mechanism_to_string(mechanisms[i].mechanism), kept.error);
                        continue;
                }
                if (r < 0 || make(&kept, 3) < 0)
                        fail_msg("%s: %s", wrap_mechanism_to_string(mechanisms[i].mechanism), kept.error);
                test(&kept);
                n++;
        }
        assert_true(n >= 3);
}

static void goes_round(struct kept *kept) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};

        assert_int_equal(open_as(kept, NODE_ID_A, UUID, &opened), 0);
        assert_true(secret_equal(opened.k_b, kept->k_b));
        assert_string_equal(opened.key_id, KEY_ID_A);
        assert_int_equal(opened.generation, 3);
        assert_int_equal(opened.volumes.n, 1);
        assert_string_equal(opened.volumes.volumes[0].uuid, UUID);
        assert_memory_equal(opened.mac, kept->mac, 32);
}
static void every_mechanism_goes_round(void **state) {
        for_each(goes_round);
}

static void flip_all(struct kept *kept, struct blob *bytes) {
        for (size_t i = 0; i < bytes->size; i++) {
                int r;

                bytes->data[i] ^= 0x10;
                r = open_it(kept);
                if (r >= 0)
                        fail_msg("%s: byte %zu does not count", kept->blob.mechanism, i);
                bytes->data[i] ^= 0x10;
        }
        assert_int_equal(open_it(kept), 0);
}
static void flip(struct kept *kept) {
        flip_all(kept, &kept->blob.group_key);
        flip_all(kept, &kept->blob.signature);
        for (size_t i = 0; i < kept->blob.sealed.size; i += 37) {
                kept->blob.sealed.data[i] ^= 1;
                assert_true(open_it(kept) < 0);
                kept->blob.sealed.data[i] ^= 1;
        }
}
static void every_byte_counts(void **state) {
        for_each(flip);
}

/* The token alone finds out, too, where there is no signature. */
static void flip_unsigned(struct kept *kept) {
        if (kept->config.offline_mechanism == WRAP_RSA_OAEP || kept->config.offline_mechanism == WRAP_ECDH)
                return;
        kept->token.signer = NULL;
        assert_int_equal(make(kept, 3), 0);
        assert_int_equal(kept->blob.signature.size, 0);
        flip_all(kept, &kept->blob.group_key);
}
static void every_byte_counts_without_a_signature(void **state) {
        for_each(flip_unsigned);
}

static void cut(struct kept *kept) {
        struct blob *parts[] = { &kept->blob.group_key, &kept->blob.sealed, &kept->blob.signature };

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                size_t size = parts[i]->size;

                for (size_t part = 0; part < size; part += 1 + size / 16) {
                        parts[i]->size = part;
                        assert_true(open_it(kept) < 0);
                }
                parts[i]->size = size;
        }
        assert_int_equal(open_it(kept), 0);
}
static void cut_is_refused(void **state) {
        for_each(cut);
}

static void of_another(struct kept *kept) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};

        assert_int_equal(open_as(kept, NODE_ID_B, UUID, &opened), -EKEYREJECTED); /* another machine */
        assert_non_null(strstr(kept->error, "node"));
        assert_int_equal(open_as(kept, NODE_ID_A, OTHER_UUID, &opened), -EKEYREJECTED); /* another volume */
        kept->blob.generation = 4;
        assert_int_equal(open_it(kept), -EKEYREJECTED);
        kept->blob.generation = 3;
        strcpy(kept->blob.key_id, KEY_ID_B);
        assert_int_equal(open_it(kept), -EKEYREJECTED);
}
static void of_another_is_refused(void **state) {
        for_each(of_another);
}

/* Of another machine, relabelled: what is inside does not go along. */
static void relabelled_is_refused_without_a_signature_too(void **state) {
        _cleanup_(kept_done) struct kept kept;
        _cleanup_(offline_opened_done) struct offline_opened opened = {};

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("wrap"), NULL }, &kept), 0);
        kept.token.signer = NULL;
        assert_int_equal(make(&kept, 3), 0);
        strcpy(kept.blob.node_id, NODE_ID_B);
        assert_int_equal(open_as(&kept, NODE_ID_B, UUID, &opened), -EKEYREJECTED);
        strcpy(kept.blob.node_id, NODE_ID_A);
        assert_int_equal(open_as(&kept, NODE_ID_A, OTHER_UUID, &opened), -EKEYREJECTED);
        assert_int_equal(open_it(&kept), 0);
        kept.token.pkcs11 = other_token;
        kept.config.offline_key = (char *) "pkcs11:token=other;object=wrap";
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
        kept.token.pkcs11 = node_token;
}

/* Anybody can wrap to a public key: a volume, a K_b, a manifest of his own, all of it right, but for the signature. */
static void forged(struct kept *kept) {
        if (kept->config.offline_mechanism != WRAP_RSA_OAEP && kept->config.offline_mechanism != WRAP_ECDH)
                return;
        kept->token.signer = &other_signer;
        assert_int_equal(make(kept, 3), 0);
        kept->token.signer = &signer;
        assert_int_equal(open_it(kept), -EKEYREJECTED);
        assert_non_null(strstr(kept->error, "signature"));
        kept->blob.signature.size = 0;
        assert_int_equal(open_it(kept), -EACCES);
        kept->token.signer = NULL;
        assert_int_equal(open_it(kept), -EACCES);
        assert_int_equal(offline_token_decide(&kept->token, &kept->config, kept->error, sizeof kept->error), -EINVAL);
        assert_non_null(strstr(kept->error, "token-key"));
}
static void wrapped_by_anybody_is_refused(void **state) {
        for_each(forged);
}

static void without_a_signature_is_refused_where_there_is_a_signing_key(void **state) {
        _cleanup_(kept_done) struct kept kept;

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("wrap"), NULL }, &kept), 0);
        assert_int_equal(make(&kept, 3), 0);
        blob_done(&kept.blob.signature);
        kept.blob.signature = (struct blob){};
        assert_int_equal(open_it(&kept), -EACCES);
}

static void another_mechanism_than_configured_is_refused(void **state) {
        _cleanup_(kept_done) struct kept kept;

        assert_int_equal(kept_new(&(struct mechanism){ WRAP_GCM, URI("wrap"), NULL }, &kept), 0);
        assert_int_equal(make(&kept, 3), 0);
        kept.config.offline_mechanism = WRAP_KWP;
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
        kept.config.offline_mechanism = 0;
        assert_int_equal(open_it(&kept), 0);
        strcpy(kept.blob.mechanism, "kwp"); /* what is said is not what is inside */
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
}

static void mechanism_follows_the_key(void **state) {
        static const struct {
                const char *key;
                bool asymmetric;
        } keys[] = { { URI("wrap"), false }, { URI("rsa"), true }, { URI("ec"), true } };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_(kept_done) struct kept kept;
                enum wrap_mechanism mechanism;

                assert_int_equal(kept_new(&(struct mechanism){ 0, keys[i].key, NULL }, &kept), 0);
                mechanism = kept.token.how.mechanism;
                assert_int_equal(mechanism == WRAP_RSA_OAEP || mechanism == WRAP_ECDH, keys[i].asymmetric);
                assert_int_equal(make(&kept, 3), 0);
                assert_int_equal(open_it(&kept), 0);
        }
}

static void manifest_must_name_the_volume(void **state) {
        _cleanup_(kept_done) struct kept kept;

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("wrap"), NULL }, &kept), 0);
        make_manifest(&kept, OTHER_UUID, 3);
        assert_int_equal(make(&kept, 3), 0);
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
        assert_non_null(strstr(kept.error, "does not name"));
        make_manifest(&kept, UUID, 2); /* of another generation inside */
        assert_int_equal(make(&kept, 3), 0);
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
        make_manifest(&kept, UUID, 3);
        kept.mac[5] ^= 1;
        assert_int_equal(make(&kept, 3), 0);
        assert_int_equal(open_it(&kept), -EKEYREJECTED);
}

static void group_key_is_one_for_a_generation(void **state) {
        _cleanup_(kept_done) struct kept kept;
        _cleanup_(luks_offline_done) struct luks_offline second = {};
        struct recombine_claim claim;

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("wrap"), NULL }, &kept), 0);
        assert_int_equal(make(&kept, 3), 0);
        claim = claim_of(&kept, 3);
        assert_int_equal(offline_blob_make(&kept.token, OTHER_UUID, &claim, kept.k_b, &second, kept.error, sizeof kept.error), 0);
        assert_int_equal(second.group_key.size, kept.blob.group_key.size);
        assert_memory_equal(second.group_key.data, kept.blob.group_key.data, second.group_key.size);
        assert_int_equal(make(&kept, 4), 0);
        assert_memory_not_equal(second.group_key.data, kept.blob.group_key.data, second.group_key.size);
}

static void one_token_opens_many(void **state) {
        _cleanup_(kept_done) struct kept kept;
        struct offline_token token = { .pkcs11 = node_token, .signer = &signer };

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("wrap"), NULL }, &kept), 0);
        for (uint32_t generation = 3; generation < 6; generation++) {
                _cleanup_(offline_opened_done) struct offline_opened opened = {};

                make_manifest(&kept, UUID, generation);
                assert_int_equal(make(&kept, generation), 0);
                assert_int_equal(offline_blob_open(&token, &kept.config, NODE_ID_A, UUID, &kept.blob, &opened, kept.error,
                                                   sizeof kept.error),
                                 0);
                assert_int_equal(opened.generation, generation);
        }
        token.signer = NULL;
        offline_token_done(&token);
}

static void missing_keys_are_named(void **state) {
        _cleanup_(kept_done) struct kept kept, other;

        assert_int_equal(kept_new(&(struct mechanism){ 0, URI("none"), NULL }, &kept), -ENOKEY);
        assert_non_null(strstr(kept.error, "offline-key"));
        assert_int_equal(kept_new(&(struct mechanism){ WRAP_CBC_PAD, URI("wrap"), URI("none") }, &other), -ENOKEY);
        assert_non_null(strstr(other.error, "offline-mac-key"));
}

static void retired_generation_is_told(void **state) {
        struct luks_offline blob = { .key_id = KEY_ID_A, .generation = 1 };
        struct luks_token tokens[] = { { .key_id = KEY_ID_A, .generation = 2, .live = true },
                                       { .key_id = KEY_ID_A, .generation = 1, .live = true } };

        assert_true(offline_is_retired(&blob, tokens, 1));
        assert_false(offline_is_retired(&blob, tokens, 2)); /* a rotation that is not finished */
        tokens[0].live = false;
        assert_false(offline_is_retired(&blob, tokens, 1));
        tokens[0].live = true;
        strcpy(tokens[0].key_id, KEY_ID_B);
        assert_false(offline_is_retired(&blob, tokens, 1));
        assert_false(offline_is_retired(&blob, tokens, 0));
}

static void uris_of_one_token(void **state) {
        static const struct {
                const char *uri, *other;
                bool same;
        } uris[] = {
                { "pkcs11:token=a;object=x", "pkcs11:token=a;object=y;type=private", true },
                { "pkcs11:serial=1;token=a;id=%01", "pkcs11:token=a;serial=1", true },
                { "pkcs11:token=a;object=x?pin-source=file:/x", "pkcs11:token=a;object=y", true },
                { "pkcs11:token=a;object=x", "pkcs11:token=b;object=x", false },
                { "pkcs11:token=a;object=x", "pkcs11:object=x", false },
                { "pkcs11:token=a", "pkcs11:token=ab", false },
                { "pkcs11:token=a?module-path=/m", "pkcs11:token=a", false },
                { "pkcs11:token=a?module-path=/m", "pkcs11:token=a;object=x?module-path=/m", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(uris); i++) {
                assert_int_equal(offline_same_token(uris[i].uri, uris[i].other), uris[i].same);
                assert_int_equal(offline_same_token(uris[i].other, uris[i].uri), uris[i].same);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_mechanism_goes_round),
                cmocka_unit_test(every_byte_counts),
                cmocka_unit_test(every_byte_counts_without_a_signature),
                cmocka_unit_test(cut_is_refused),
                cmocka_unit_test(of_another_is_refused),
                cmocka_unit_test(relabelled_is_refused_without_a_signature_too),
                cmocka_unit_test(wrapped_by_anybody_is_refused),
                cmocka_unit_test(without_a_signature_is_refused_where_there_is_a_signing_key),
                cmocka_unit_test(another_mechanism_than_configured_is_refused),
                cmocka_unit_test(mechanism_follows_the_key),
                cmocka_unit_test(manifest_must_name_the_volume),
                cmocka_unit_test(group_key_is_one_for_a_generation),
                cmocka_unit_test(one_token_opens_many),
                cmocka_unit_test(missing_keys_are_named),
                cmocka_unit_test(retired_generation_is_told),
                cmocka_unit_test(uris_of_one_token),
        };

        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
