/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "luks-image.h"

enum { BINARY = 4096, HEADER = 16384, IMAGE_SIZE = 17 << 20, COPIED = 1 << 20 };

static char directory[] = "/tmp/tallyboot-test-luks-XXXXXX";
static char *template;
static unsigned copies;

const char *luks_image_directory(void) {
        return directory;
}

void run(const char *format, ...) {
        _cleanup_(freep) char *command = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&command, format, ap);
        va_end(ap);
        assert_true(r > 0);
        if (system(command) != 0)
                fail_msg("failed: %s", command);
}

static void write_at(const char *path, uint64_t offset, const void *data, size_t size) {
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, data, size, (off_t) offset), size);
}

static void read_at(const char *path, uint64_t offset, void *ret, size_t size) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pread(fd, ret, size, (off_t) offset), size);
}

void luks_image_patch(const char *path, uint64_t offset, const void *data, size_t size) {
        write_at(path, offset, data, size);
}

char *luks_image_read_text(const char *path, int copy) {
        char *text = malloc(HEADER - BINARY);

        assert_non_null(text);
        read_at(path, (uint64_t) copy * HEADER + BINARY, text, HEADER - BINARY);
        return text;
}

void luks_image_write_copy(const char *path, int copy, const char *text, uint64_t seqid) {
        uint8_t header[HEADER];
        unsigned size;

        assert_true(strlen(text) < HEADER - BINARY);
        read_at(path, (uint64_t) copy * HEADER, header, BINARY);
        memset(header + BINARY, 0, sizeof(header) - BINARY);
        memcpy(header + BINARY, text, strlen(text));
        for (int i = 0; seqid != 0 && i < 8; i++)
                header[16 + i] = (uint8_t) (seqid >> (56 - 8 * i));
        memset(header + 448, 0, 64);
        assert_int_equal(EVP_Digest(header, sizeof(header), header + 448, &size, EVP_sha256(), NULL), 1);
        write_at(path, (uint64_t) copy * HEADER, header, sizeof(header));
}

void luks_image_edit_json(const char *path, luks_image_edit edit) {
        _cleanup_(freep) char *before = luks_image_read_text(path, 0), *after = NULL;
        json_auto_t *json = json_loads(before, 0, NULL);

        assert_non_null(json);
        edit(json);
        after = json_dumps(json, JSON_COMPACT);
        assert_non_null(after);
        luks_image_write_copy(path, 0, after, 0);
        luks_image_write_copy(path, 1, after, 0);
}

json_t *luks_image_token(int slot, const char *state) {
        char text[12];

        snprintf(text, sizeof(text), "%d", slot);
        return json_pack("{s:s, s:[s], s:i, s:s, s:s, s:i, s:s, s:i}", "type", "tallyboot", "keyslots", text, "version", 1,
                         "node", NODE_ID_A, "key", KEY_ID_A, "generation", 1, "state", state, "slot", slot);
}

static void add_our_slot(const char *path) {
        _cleanup_(secret_freep) struct secret *passphrase = NULL, *key = NULL, *volume_key = NULL;
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        struct luks_token token = { .number = -1, .node_id = NODE_ID_A, .key_id = KEY_ID_A, .generation = 1, .live = true };
        char error[256] = "";
        int slot;

        assert_int_equal(secret_copy("correct horse", 13, &passphrase), 0);
        assert_int_equal(secret_copy("0123456789abcdef0123456789abcdef", 32, &key), 0);
        assert_int_equal(luks_device_open(path, &device, error, sizeof(error)), 0);
        assert_int_equal(luks_unlock_passphrase(device, passphrase, &slot, &volume_key), 0);
        assert_int_equal(luks_slot_add(device, volume_key, key, 1, &token.slot), 0);
        assert_int_equal(token.slot, 1);
        assert_int_equal(luks_token_write(device, &token, true), 0);
}

int luks_image_group_setup(void **state _unused_) {
        assert_non_null(mkdtemp(directory));
        template = format("%s/template", directory);
        run("truncate -s %d %s && printf 'correct horse' > %s/pass && cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 "
            "--pbkdf-force-iterations 1000 %s %s/pass",
            IMAGE_SIZE, template, directory, template, directory);
        add_our_slot(template);
        return 0;
}

int luks_image_group_teardown(void **state _unused_) {
        run("rm -rf %s", directory);
        free(template);
        template = NULL;
        return 0;
}

/* Only the part that is not zero. */
static void copy_template(const char *path) {
        _cleanup_(freep) uint8_t *data = malloc(COPIED);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0 && data);
        read_at(template, 0, data, COPIED);
        assert_int_equal(write(fd, data, COPIED), COPIED);
        assert_int_equal(ftruncate(fd, IMAGE_SIZE), 0);
}

void luks_image_read(struct luks_image *image) {
        image->header = luks_header_free(image->header);
        assert_int_equal(luks_header_read(image->path, &image->header), 0);
}

int luks_image_setup(void **state) {
        struct luks_image *image = calloc(1, sizeof(*image));
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        int slot;

        assert_non_null(image);
        *state = image;
        image->path = format("%s/image-%u", directory, copies++);
        image->slot = 1;
        copy_template(image->path);
        assert_int_equal(secret_copy("correct horse", 13, &image->passphrase), 0);
        assert_int_equal(secret_copy("0123456789abcdef0123456789abcdef", 32, &image->key), 0);
        assert_int_equal(luks_device_open(image->path, &device, image->error, sizeof(image->error)), 0);
        assert_int_equal(luks_unlock_passphrase(device, image->passphrase, &slot, &image->volume_key), 0);
        assert_int_equal(slot, 0);
        luks_image_read(image);
        assert_int_equal(luks_describe(image->header, image->slot, image->volume_key, "root", true, &image->expected), 0);
        return 0;
}

int luks_image_teardown(void **state) {
        struct luks_image *image = *state;

        unlink(image->path);
        free(image->path);
        secret_free(image->key);
        secret_free(image->passphrase);
        secret_free(image->volume_key);
        luks_header_free(image->header);
        luks_expected_done(&image->expected);
        free(image);
        return 0;
}

int luks_image_open(struct luks_image *image) {
        image->error[0] = '\0';
        return luks_open_checked(image->header, &image->expected, image->path, image->key, NULL, NULL, image->error,
                                 sizeof(image->error));
}
