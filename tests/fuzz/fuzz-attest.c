/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct attest attest;

        if (attest_parse(data, size, &attest) >= 0 &&
            (attest.n_selections > ELEMENTSOF(attest.selections) || attest.extra_data_size > sizeof(attest.extra_data) ||
             attest.pcr_digest_size > sizeof(attest.pcr_digest)))
                abort();
        (void) ak_check_template(data, size);
        return 0;
}
