/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "luks/luks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(manifest_done) struct manifest manifest = {}, again = {};
        _cleanup_(freep) char *text = NULL;

        if (manifest_parse(data, size, &manifest) < 0)
                return 0;
        text = manifest_format(&manifest);
        if (!text || manifest_parse(text, __builtin_strlen(text), &again) < 0)
                abort(); /* what we write is what we read */
        return 0;
}
