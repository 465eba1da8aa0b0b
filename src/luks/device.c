/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "luks/internal.h"

static __thread char last_error[256];

static void on_log(int level, const char *message, void *userdata _unused_) {
        size_t length = strcspn(message, "\n");

        if (level == CRYPT_LOG_ERROR)
                snprintf(last_error, sizeof(last_error), "%.*s", (int) MIN(length, sizeof(last_error) - 1), message);
        log_debug("libcryptsetup: %.*s", (int) length, message);
}

void luks_library_setup(struct crypt_device *cd) {
        if (!cd)
                crypt_token_external_disable();
        crypt_set_log_callback(cd, on_log, NULL);
}

const char *luks_library_error(void) {
        return last_error;
}

void luks_library_error_clear(void) {
        last_error[0] = '\0';
}

static const char *library_words(void) {
        return last_error[0] ? last_error : "libcryptsetup cannot read it";
}

static int refuse(int r, const char *words, char *error, size_t error_size) {
        if (error && error_size > 0)
                snprintf(error, error_size, "%s", words);
        return r;
}

/* Our own reader says what it is better than crypt_load() does (-EINVAL for all of it). */
static int check_kind(const char *device, struct luks_device *ret, char *error, size_t error_size) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        int r;

        r = luks_header_read(device, &header);
        if (r == -EMEDIUMTYPE)
                return refuse(r, "no LUKS2 header there (LUKS1 can be converted: cryptsetup convert --type luks2)", error,
                              error_size);
        if (r == -EBADMSG)
                return refuse(r, "both copies of the LUKS2 header are damaged", error, error_size);
        if (r < 0) {
                if (error && error_size > 0)
                        snprintf(error, error_size, "cannot be read: %s", strerror(-r));
                return r;
        }
        memcpy(ret->uuid, header->uuid, sizeof(ret->uuid));
        return luks_check_requirements(header, error, error_size);
}

int luks_device_open(const char *path, struct luks_device **ret, char *error, size_t error_size) {
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        int r;

        device = calloc(1, sizeof(*device));
        if (!device)
                return -ENOMEM;
        r = check_kind(path, device, error, error_size);
        if (r < 0)
                return r;
        luks_library_setup(NULL);
        luks_library_error_clear();
        r = crypt_init(&device->cd, path);
        if (r < 0)
                return refuse(r, library_words(), error, error_size);
        luks_library_setup(device->cd);
        r = crypt_load(device->cd, CRYPT_LUKS2, NULL);
        if (r < 0)
                return refuse(r == -EINVAL ? -EBADMSG : r, library_words(), error, error_size);
        *ret = TAKE_PTR(device);
        return 0;
}

struct luks_device *luks_device_free(struct luks_device *device) {
        if (!device)
                return NULL;
        if (device->cd)
                crypt_free(device->cd);
        free(device);
        return NULL;
}

const char *luks_device_uuid(const struct luks_device *device) {
        return device->uuid;
}
