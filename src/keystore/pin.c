/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/pin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PIN_MAX = 255 };

static int path_of(const char *source, char **ret, char *error, size_t error_size) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");

        if (strncmp(source, "credential:", 11) == 0) {
                if (!directory) {
                        (void) snprintf(error, error_size,
                                        "%s: no credentials were given to this process (LoadCredential= of its unit)", source);
                        return -ENOENT;
                }
                *ret = path_join(directory, source + 11);
        } else if (strncmp(source, "file:", 5) == 0)
                *ret = strdup(strncmp(source + 5, "//", 2) == 0 ? source + 7 : source + 5);
        else
                *ret = strdup(source);
        if (!*ret)
                return -ENOMEM;
        if (**ret == '/')
                return 0;

        (void) snprintf(error, error_size, "%s: is not the path of a file with a PIN", source);
        free(TAKE_PTR(*ret));
        return -EINVAL;
}

int keystore_pin_read(const char *source, struct secret **ret, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        _cleanup_(freep) char *path = NULL;
        int r;

        r = path_of(source, &path, error, error_size);
        if (r < 0)
                return r;
        r = file_read_secret(path, PIN_MAX + 1, true, &pin);
        if (r == -EPERM)
                (void) snprintf(error, error_size, "%s: others than the owner may read the PIN, say: chmod 0600 %s", path, path);
        else if (r < 0)
                (void) snprintf(error, error_size, "%s: the PIN cannot be read: %s", path, strerror(-r));
        if (r < 0)
                return r;

        while (pin->size > 0 && (pin->data[pin->size - 1] == '\n' || pin->data[pin->size - 1] == '\r'))
                pin->size--;
        if (pin->size == 0 || pin->size > PIN_MAX || memchr(pin->data, '\n', pin->size)) {
                (void) snprintf(error, error_size, "%s: is not one line with a PIN", path);
                return -EBADMSG;
        }
        *ret = TAKE_PTR(pin);
        return 0;
}
