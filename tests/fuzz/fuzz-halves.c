/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(secret_freep) struct secret *plain = NULL, *again = NULL;
        _cleanup_(halves_freep) struct halves *halves = NULL;

        if (size == 0 || secret_copy(data, size, &plain) < 0 || halves_decode(plain, &halves) < 0)
                return 0;
        if (halves_encode(halves, &again) < 0 || !secret_equal(plain, again))
                abort();
        return 0;
}
