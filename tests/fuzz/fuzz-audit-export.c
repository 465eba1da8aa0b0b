/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "audit/verify.h"

static void ignore(bool wrong _unused_, const char *text _unused_, void *userdata _unused_) {
}

/* Two files, with a line of a NUL between them, each line by line. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct audit_file files[2] = { { .name = "one" }, { .name = "two" } };
        size_t at = 0, file = 0, compared;

        while (at < size) {
                const uint8_t *end = memchr(data + at, '\n', size - at);
                size_t length = end ? (size_t) (end - (data + at)) : size - at;

                if (length == 1 && data[at] == 0 && file == 0)
                        file = 1;
                else if (audit_file_line(files + file, (const char *) data + at, length, ignore, NULL) < 0)
                        break;
                at += length + 1;
        }
        for (size_t i = 0; i < 2; i++)
                audit_file_end(files + i, ignore, NULL);
        audit_files_compare(files, 2, ignore, NULL, &compared);
        for (size_t i = 0; i < 2; i++)
                audit_file_done(files + i);
        return 0;
}
