/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/master.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { MASTER_SIZE = 32, MASTER_TEXT = 43 };

/* base/encode.h is not for secrets. No table: its look-ups would depend on the key. */
static int base64url_value(uint8_t c) {
        int value = -1;

        value += (('A' - 1 - c) & (c - ('Z' + 1))) >> 31 & (c - 'A' + 1);
        value += (('a' - 1 - c) & (c - ('z' + 1))) >> 31 & (c - 'a' + 27);
        value += (('0' - 1 - c) & (c - ('9' + 1))) >> 31 & (c - '0' + 53);
        value += (('-' - 1 - c) & (c - ('-' + 1))) >> 31 & 63;
        value += (('_' - 1 - c) & (c - ('_' + 1))) >> 31 & 64;
        return value;
}

static int master_from_text(const struct secret *text, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint32_t bits = 0;
        unsigned n_bits = 0;
        size_t at = 0;
        int r;

        r = secret_new(MASTER_SIZE, &key);
        if (r < 0)
                return r;

        for (size_t i = 0; i < MASTER_TEXT; i++) {
                int value = base64url_value(text->data[i]);

                if (value < 0)
                        return -EBADMSG;
                bits = (bits << 6 | (uint32_t) value) & 0xffff;
                n_bits += 6;
                if (n_bits >= 8 && at < MASTER_SIZE) {
                        n_bits -= 8;
                        key->data[at++] = (uint8_t) (bits >> n_bits);
                }
        }
        memory_wipe(&bits, sizeof(bits));

        *ret = TAKE_PTR(key);
        return 0;
}

static int master_read(const char *path, struct secret **ret, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *file = NULL, *key = NULL;
        int r;

        r = file_read_secret(path, 128, true, &file);
        if (r == -EPERM)
                (void) snprintf(error, error_size, "%s: others than the owner may read the master key, say: chmod 0600 %s", path,
                                path);
        else if (r < 0)
                (void) snprintf(error, error_size, "%s: the master key cannot be read: %s", path, strerror(-r));
        if (r < 0)
                return r;

        if (file->size == MASTER_SIZE) {
                *ret = TAKE_PTR(file);
                return 0;
        }

        r = -EBADMSG;
        if (file->size == MASTER_TEXT || (file->size == MASTER_TEXT + 1 && file->data[MASTER_TEXT] == '\n'))
                r = master_from_text(file, &key);
        if (r < 0) {
                (void) snprintf(error, error_size, "%s: is not a master key (32 bytes, or 43 characters of base64url)", path);
                return r;
        }

        *ret = TAKE_PTR(key);
        return 0;
}

/* O_EXCL and not a temporary file with rename(): a key that is there must never be lost. */
int keystore_create_master(const char *path) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        _cleanup_(closep) int fd = -1;
        int r;

        r = secret_random(MASTER_SIZE, &key);
        if (r < 0)
                return r;

        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;

        r = write_all(fd, key->data, key->size);
        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0)
                (void) unlink(path);
        return r;
}

static int file_create(const struct keystore_options *options, const char *party, struct blob *ret_parameters, char *error,
                       size_t error_size) {
        const char *path = options->master.path;
        int r;

        (void) party;
        (void) ret_parameters;
        r = keystore_create_master(path);
        if (r == -EEXIST)
                (void) snprintf(error, error_size, "%s: is there already, and is not overwritten: what it wrapped would be lost",
                                path);
        else if (r < 0)
                (void) snprintf(error, error_size, "%s: cannot be made: %s", path, strerror(-r));
        return r;
}

static int file_open(struct master *master, const struct keystore_options *options, const struct keystore_source *source,
                     const struct blob *parameters, char *error, size_t error_size) {
        (void) options;
        (void) parameters;
        return master_read(source->path, &master->secret, error, error_size);
}

const struct master_ops master_file = { .name = "file", .create = file_create, .open = file_open };
