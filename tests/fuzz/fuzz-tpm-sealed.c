/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "tpm/sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct sealed sealed;
        struct blob again = {};

        if (sealed_parse(data, size, &sealed) < 0)
                return 0;
        if (!tpm_seal_is_valid(&sealed.seal) || sealed_write(&sealed, &again) < 0 || again.size != size ||
            memcmp(again.data, data, size) != 0)
                abort();
        blob_done(&again);
        return 0;
}
