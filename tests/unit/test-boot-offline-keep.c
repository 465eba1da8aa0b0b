/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a rotation: what the header keeps is made anew by the token of the enrollment, and by no other; whatever a power cut
 * leaves, there is a generation that opens. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "test.h"

#include "base/file.h"
#include "boot/confirm.h"
#include "boot/offline-blob.h"
#include "boot/offline.h"
#include "luks/internal.h"
#include "luks-image.h"
#include "softhsm.h"

enum { HEADER = 16384 };

static struct softhsm *softhsm;
static char pin_file[96];
static struct pkcs11 *identity;
static struct token signer;

/* A volume that has just been opened with generation 2, and keeps generation 1. */
struct fixture {
        struct luks_image *image;
        struct secret *volume_key, *k_b[3]; /* by generation */
        struct manifest manifest[3];
        struct blob text[3];
        uint8_t mac[3][32];
        struct config config;
        struct node node;
        struct unlocker unlocker;
        struct half u, v;
        struct wire_key tenant;
        struct pair pair;
        uint8_t before[2 * HEADER];
};

static int group_setup(void **state) {
        _cleanup_(pkcs11_closep) struct pkcs11 *node = NULL, *other = NULL;

        softhsm = softhsm_new();
        softhsm_token(softhsm, "node");
        softhsm_token(softhsm, "other");
        softhsm_token(softhsm, "identity");
        identity = signer.pkcs11 = softhsm_open("pkcs11:token=identity", false);
        signer.key = softhsm_key(identity, PKCS11_EC_P256, PKCS11_USE_SIGN, "sign");
        assert_int_equal(pkcs11_public(identity, &signer.key, &signer.public), 0);
        node = softhsm_open("pkcs11:token=node", false);
        other = softhsm_open("pkcs11:token=other", false);
        (void) softhsm_key(node, PKCS11_AES, PKCS11_USE_WRAP, "wrap");
        (void) softhsm_key(other, PKCS11_AES, PKCS11_USE_WRAP, "wrap");
        snprintf(pin_file, sizeof pin_file, "%s/pin", softhsm->dir);
        assert_int_equal(file_write(pin_file, SOFTHSM_PIN, strlen(SOFTHSM_PIN), 0600), 0);
        return luks_image_group_setup(state);
}

static int group_teardown(void **state) {
        blob_done(&signer.public);
        pkcs11_close(identity);
        softhsm = softhsm_free(softhsm);
        return luks_image_group_teardown(state);
}

static struct luks_device *open_image(const struct fixture *f) {
        struct luks_device *device = NULL;
        char error[256] = "";

        assert_int_equal(luks_device_open(f->image->path, &device, error, sizeof error), 0);
        return device;
}

/* A slot of that generation, its token, and its manifest. */
static void add_generation(struct fixture *f, uint32_t generation) {
        struct luks_token token = {
                .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = generation, .live = true
        };
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(f);
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(secret_freep) struct secret *key = NULL, *manifest_key = NULL;
        struct manifest *manifest = f->manifest + generation;
        char *text;

        assert_int_equal(secret_random(HALF_SIZE, f->k_b + generation), 0);
        assert_int_equal(derive_volume_key(f->k_b[generation], NODE_ID_A, generation, f->image->expected.uuid, &key), 0);
        assert_int_equal(luks_slot_add(device, f->image->volume_key, key, (int) generation + 3, &token.slot), 0);
        assert_int_equal(luks_token_write(device, &token, true), 0);
        assert_int_equal(luks_header_read(f->image->path, &header), 0);
        *manifest = (struct manifest){ .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = generation, .n = 1 };
        manifest->volumes = calloc(1, sizeof *manifest->volumes);
        assert_non_null(manifest->volumes);
        assert_int_equal(luks_describe(header, token.slot, f->image->volume_key, "root", true, manifest->volumes), 0);
        text = manifest_format(manifest);
        assert_non_null(text);
        f->text[generation] = (struct blob){ (uint8_t *) text, strlen(text) };
        assert_int_equal(derive_manifest_key(f->k_b[generation], NODE_ID_A, generation, &manifest_key), 0);
        assert_int_equal(manifest_mac(manifest_key, text, strlen(text), f->mac[generation]), 0);
}

/* As an enrollment keeps it, by the token of that label; k_b and the manifest's MAC may be an attacker's. */
static void keep(struct fixture *f, const char *label, const struct secret *k_b, const struct blob *text, const uint8_t mac[32]) {
        const struct recombine_claim claim = {
                .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 1, .manifest = text, .mac = mac
        };
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(f);
        _cleanup_(luks_offline_done) struct luks_offline blob = {};
        char uri[64], key[64], error[320] = "";
        struct config config = { .offline_key = key };
        struct offline_token token = { .signer = &signer };

        snprintf(uri, sizeof uri, "pkcs11:token=%s", label);
        snprintf(key, sizeof key, "pkcs11:token=%s;object=wrap", label);
        token.pkcs11 = token.owned = softhsm_open(uri, false);
        assert_int_equal(offline_token_decide(&token, &config, error, sizeof error), 0);
        assert_int_equal(offline_blob_make(&token, f->image->expected.uuid, &claim, k_b, &blob, error, sizeof error), 0);
        assert_int_equal(luks_offline_write(device, &blob), 0);
        offline_token_done(&token);
}

static void read_header(const struct fixture *f, uint8_t ret[static 2 * HEADER]) {
        _cleanup_(closep) int fd = open(f->image->path, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(read(fd, ret, 2 * HEADER), 2 * HEADER);
}

static void make_pair(struct fixture *f) {
        strcpy(f->u.key_id, KEY_ID_A);
        f->u.kind = KEY_VOLUMES;
        f->u.generation = 2;
        f->v = f->u;
        assert_int_equal(secret_random(HALF_SIZE, &f->u.half), 0);
        assert_int_equal(split_other(f->k_b[2], f->u.half, &f->v.half), 0);
        f->tenant.manifest = f->text[2];
        memcpy(f->tenant.mac, f->mac[2], 32);
        f->pair = (struct pair){ .u = &f->u, .v = &f->v, .tenant = &f->tenant };
}

static void use_token(struct fixture *f, const char *label) {
        free(f->config.offline_key);
        f->config.offline_key = format("pkcs11:token=%s;object=wrap", label);
}

static int setup(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        void *image = NULL;

        assert_non_null(f);
        assert_int_equal(luks_image_setup(&image), 0);
        f->image = image;
        add_generation(f, 1);
        add_generation(f, 2);
        make_pair(f);
        f->config.unlock = UNLOCK_ONLINE_THEN_OFFLINE;
        f->config.token_key = strdup("pkcs11:token=identity;object=sign");
        f->config.token_module = strdup(SOFTHSM_MODULE);
        f->config.token_pin = (struct pin_source){ PIN_FILE, strdup(pin_file) };
        use_token(f, "node");
        f->node = (struct node){
                .config = &f->config, .id = NODE_ID_A, .has_id = true, .kind = NODE_TOKEN, .token = &signer, .cancel_fd = -1
        };
        f->unlocker = (struct unlocker){
                .config = &f->config, .node = &f->node, .devices = &f->image->path, .n_devices = 1, .run_dir = softhsm->dir
        };
        assert_int_equal(volumes_add(&f->unlocker.volumes, VOLUMES_BY_HALVES, f->manifest + 2, NODE_ID_A, f->k_b[2]), 0);
        f->unlocker.volumes.items[0].opened_by = f->unlocker.volumes.items[0].keys;
        *state = f;
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;

        volumes_done(&f->unlocker.volumes);
        secret_free(f->u.half);
        secret_free(f->v.half);
        for (unsigned i = 1; i < 3; i++) {
                secret_free(f->k_b[i]);
                manifest_done(f->manifest + i);
                blob_done(f->text + i);
        }
        free(f->config.offline_key);
        free(f->config.token_key);
        free(f->config.token_module);
        free(f->config.token_pin.value);
        luks_image_teardown((void **) &f->image);
        free(f);
        return 0;
}

/* The one generation that is kept, and that it opens as it says. */
static uint32_t kept_generation(struct fixture *f) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        _cleanup_(offline_opened_done) struct offline_opened opened = {};
        struct offline_token token = { .signer = &signer };
        char uuid[LUKS_UUID_LENGTH + 1], error[320] = "";

        assert_int_equal(luks_offline_probe(f->image->path, uuid, &list), 0);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.n_malformed, 0);
        token.pkcs11 = token.owned = softhsm_open("pkcs11:token=node", false);
        if (offline_blob_open(&token, &f->config, NODE_ID_A, uuid, list.items, &opened, error, sizeof error) < 0)
                fail_msg("%s", error);
        offline_token_done(&token);
        assert_true(secret_equal(opened.k_b, f->k_b[opened.generation]));
        return opened.generation;
}

static void nothing_changed(struct fixture *f) {
        uint8_t now[2 * HEADER];

        read_header(f, now);
        assert_memory_equal(now, f->before, sizeof now);
}

static void keep_generation_1(struct fixture *f) {
        keep(f, "node", f->k_b[1], f->text + 1, f->mac[1]);
        read_header(f, f->before);
}

static void older_is_made_anew(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        assert_true(offline_is_behind(&f->unlocker, &f->pair));
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0);
        assert_int_equal(kept_generation(f), 2);
        assert_false(offline_is_behind(&f->unlocker, &f->pair));
        read_header(f, f->before);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0); /* nothing to do */
        nothing_changed(f);
}

static void online_keeps_nothing(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        f->config.unlock = UNLOCK_ONLINE;
        assert_false(offline_is_behind(&f->unlocker, &f->pair));
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0);
        nothing_changed(f);
}

static void nothing_kept_is_not_behind(void **state) {
        struct fixture *f = *state;

        read_header(f, f->before);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0); /* a boot enrolls nobody: which token would it trust? */
        nothing_changed(f);
}

/* The same token, by a module that says that it has a reader with keys, on which the PIN is typed at once. */
static void with_keypad(struct fixture *f) {
        char module[PATH_MAX];

        assert_non_null(realpath("build/tests/modules/troubled-token.so", module));
        free(f->config.token_module);
        f->config.token_module = strdup(module);
        assert_int_equal(setenv("TROUBLED_TOKEN", softhsm->dir, 1), 0);
        softhsm_shell(softhsm, "printf %s > keypad", SOFTHSM_PIN);
}

static void nobody_is_asked(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        with_keypad(f); /* where a login without PIN waits for whoever types it */
        f->config.token_pin.kind = PIN_KEYPAD;
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        f->config.token_pin.kind = PIN_ASK;
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
        f->config.token_pin.kind = PIN_FILE;
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0);
}

static void without_the_token_the_older_stays(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        use_token(f, "not-there");
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
        use_token(f, "node");
        assert_int_equal(kept_generation(f), 1);
}

/* Somebody has put his own token in the reader, by the name of ours: it is given nothing. */
static void another_token_gets_nothing(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        use_token(f, "other");
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
}

/* And what his token opens into the header, with a K_b of his own that vouches for a manifest: it opens no slot of this
 * volume. */
static void forge(struct fixture *f, struct secret *k_b) {
        _cleanup_(secret_freep) struct secret *manifest_key = NULL;
        uint8_t mac[32];

        assert_int_equal(derive_manifest_key(k_b, NODE_ID_A, 1, &manifest_key), 0);
        assert_int_equal(manifest_mac(manifest_key, f->text[1].data, f->text[1].size, mac), 0);
        keep(f, "other", k_b, f->text + 1, mac);
        use_token(f, "other");
        read_header(f, f->before);
}

static void another_token_with_a_blob_of_its_own_gets_nothing(void **state) {
        struct fixture *f = *state;
        _cleanup_(secret_freep) struct secret *k_b = NULL;

        assert_int_equal(secret_random(HALF_SIZE, &k_b), 0);
        forge(f, k_b);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
}

/* He has also put a slot of his own, and a digest for it, into the header: another volume key comes out of it. */
static void put_his_slot(struct fixture *f, struct secret **ret_k_b, struct secret **ret_key) {
        _cleanup_(freep) char *key_file = path_join(softhsm->dir, "slot-key");

        assert_int_equal(secret_random(HALF_SIZE, ret_k_b), 0);
        assert_int_equal(derive_volume_key(*ret_k_b, NODE_ID_A, 1, f->image->expected.uuid, ret_key), 0);
        assert_int_equal(file_write(key_file, (*ret_key)->data, (*ret_key)->size, 0600), 0);
        run("printf 'correct horse' | cryptsetup -q luksKillSlot --key-file - %s 4", f->image->path);
        run("printf 'correct horse' | cryptsetup -q luksAddKey --unbound --key-size 512 --key-slot 4 --pbkdf pbkdf2 "
            "--pbkdf-force-iterations 1000 %s %s",
            f->image->path, key_file);
}

static void a_slot_of_his_own_proves_nothing(void **state) {
        struct fixture *f = *state;
        _cleanup_(secret_freep) struct secret *k_b = NULL, *key = NULL;

        put_his_slot(f, &k_b, &key);
        forge(f, k_b);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
}

/* Not even where he got the volume opened by what is his: the halves' manifest says which volume key is ours. */
static void what_opened_the_volume_proves_nothing(void **state) {
        struct fixture *f = *state;
        struct luks_expected *opened_by = &f->unlocker.volumes.items[0].keys[0].expected;
        _cleanup_(secret_freep) struct secret *k_b = NULL, *key = NULL, *his = NULL;
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;

        put_his_slot(f, &k_b, &key);
        device = open_image(f);
        assert_int_equal(luks_unlock_slot(device, 4, key, &his), 0);
        assert_int_equal(luks_fingerprint(his->data, his->size, f->image->expected.uuid, opened_by->fingerprint), 0);
        forge(f, k_b);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), -EAGAIN);
        nothing_changed(f);
}

static uint32_t slots_of(struct fixture *f) {
        _cleanup_(luks_device_freep) struct luks_device *device = open_image(f);

        return luks_slots_active(device) & (1U << 4 | 1U << 5);
}

/* In a boot that opened with generation 2, which the parties have confirmed and retired before. */
static void then_the_older_slot_goes(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        f->unlocker.pairs = (struct pairs){ .items = &f->pair, .n = 1 };
        assert_int_equal(confirm_boot(&f->unlocker), 0);
        assert_int_equal(slots_of(f), 1U << 5);
        assert_int_equal(kept_generation(f), 2);
}

static void until_then_the_older_slot_stays(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        f->unlocker.pairs = (struct pairs){ .items = &f->pair, .n = 1 };
        use_token(f, "not-there");
        assert_int_equal(confirm_boot(&f->unlocker), 0);
        use_token(f, "other");
        assert_int_equal(confirm_boot(&f->unlocker), 0);
        nothing_changed(f);
        assert_int_equal(slots_of(f), 1U << 4 | 1U << 5);
        use_token(f, "node"); /* it is there again */
        assert_int_equal(confirm_boot(&f->unlocker), 0);
        assert_int_equal(slots_of(f), 1U << 5);
}

/* The power went after the header got the new one, before the slot was wiped by a boot that has retired it. */
static void a_leftover_of_both_goes(void **state) {
        struct fixture *f = *state;

        keep_generation_1(f);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0);
        keep(f, "node", f->k_b[1], f->text + 1, f->mac[1]); /* a copy of the older one put back */
        f->unlocker.pairs = (struct pairs){ .items = &f->pair, .n = 1 };
        assert_true(offline_is_behind(&f->unlocker, &f->pair));
        assert_int_equal(confirm_boot(&f->unlocker), 0);
        assert_int_equal(slots_of(f), 1U << 5);
        assert_int_equal(kept_generation(f), 2);
}

/* Each of the two copies of the header as it was, as it will be, or torn: one generation is kept, and its slot is there. */
static void power_cut_leaves_one_that_opens(void **state) {
        struct fixture *f = *state;
        uint8_t after[2 * HEADER];

        keep_generation_1(f);
        assert_int_equal(offline_keep(&f->unlocker, &f->pair), 0);
        read_header(f, after);
        for (unsigned first = 0; first < 3; first++)
                for (unsigned second = 0; second < 3; second++) {
                        const uint8_t *sources[] = { f->before, after, after };
                        uint32_t generation;
                        char zero[512] = {};

                        if (first == 2 && second == 2)
                                continue; /* one is written after the other */
                        luks_image_patch(f->image->path, 0, sources[first], HEADER);
                        luks_image_patch(f->image->path, HEADER, sources[second] + HEADER, HEADER);
                        if (first == 2)
                                luks_image_patch(f->image->path, 8192, zero, sizeof zero);
                        if (second == 2)
                                luks_image_patch(f->image->path, HEADER + 8192, zero, sizeof zero);
                        generation = kept_generation(f);
                        assert_true(generation == 1 || generation == 2);
                        {
                                _cleanup_(luks_device_freep) struct luks_device *device = open_image(f);
                                _cleanup_(secret_freep) struct secret *key = NULL;

                                assert_int_equal(derive_volume_key(f->k_b[generation], NODE_ID_A, generation,
                                                                   f->image->expected.uuid, &key),
                                                 0);
                                assert_int_equal(luks_slot_test(device, (int) generation + 3, key), 0);
                        }
                }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(older_is_made_anew),
                TEST(online_keeps_nothing),
                TEST(nothing_kept_is_not_behind),
                TEST(nobody_is_asked),
                TEST(without_the_token_the_older_stays),
                TEST(another_token_gets_nothing),
                TEST(another_token_with_a_blob_of_its_own_gets_nothing),
                TEST(a_slot_of_his_own_proves_nothing),
                TEST(what_opened_the_volume_proves_nothing),
                TEST(then_the_older_slot_goes),
                TEST(until_then_the_older_slot_stays),
                TEST(a_leftover_of_both_goes),
                TEST(power_cut_leaves_one_that_opens),
        };

        return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
