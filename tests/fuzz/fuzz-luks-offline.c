/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "luks/luks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *text = strndup((const char *) data, size);
        _cleanup_(luks_offline_done) struct luks_offline offline = {};
        char error[64];

        if (text)
                (void) luks_offline_parse(text, &offline, error, sizeof(error));
        return 0;
}
