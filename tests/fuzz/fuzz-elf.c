/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *why;

        (void) elf_check(data, size, size, &why);
        (void) elf_check(data, size, 1 << 20, &why);
        return 0;
}
