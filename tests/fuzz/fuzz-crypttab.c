/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/crypttab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct crypttab crypttab = {};

        if (crypttab_parse((const char *) data, size, &crypttab) >= 0)
                crypttab_done(&crypttab);
        if (crypttab_from_unit((const char *) data, size, &crypttab) >= 0)
                crypttab_done(&crypttab);
        return 0;
}
