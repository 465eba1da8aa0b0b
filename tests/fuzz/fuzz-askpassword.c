/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/askpassword.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct ask ask;

        if (ask_parse((const char *) data, size, &ask) >= 0 && (ask.pid <= 0 || !ask.id[0]))
                abort();
        return 0;
}
