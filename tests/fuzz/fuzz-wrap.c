/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "pkcs11/wrap-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(blob_done) struct blob again = {};
        struct wrap_blob blob;

        if (wrap_parse(data, size, &blob) < 0)
                return 0;
        if (size > WRAP_BLOB_MAX || wrap_format(&blob, true, &again) < 0 || again.size != size ||
            memcmp(again.data, data, size) != 0)
                abort(); /* one blob has one form */
        return 0;
}
