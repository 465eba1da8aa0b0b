/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/ini.h"

static int callback(const char *section, const char *key, const char *value, unsigned line, char *error, size_t error_size,
                    void *userdata) {
        uint64_t number;
        bool boolean;

        (void) parse_bool(value, &boolean);
        (void) parse_seconds(value, 86400, &number);
        if (strlen(section) > 256 || strlen(key) > 256 || strlen(value) > 4096 || strpbrk(value, "\n\r\x1b") || line == 0)
                abort();
        return parse_u64(value, 0, 1000, &number) < 0 && *section ? -ENOENT : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char error[200];

        if (ini_parse((const char *) data, size, callback, NULL, error, sizeof(error)) < 0 &&
            (!*error || strlen(error) >= sizeof(error)))
                abort();
        return 0;
}
