/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "keystore/master-tpm.h"
#include "keystore/recovery.h"

/* What a database's row says of a master key in a TPM, and what a person types for one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct blob parameters = { .data = (uint8_t *) data, .size = size };
        struct secret *text = NULL, *secret = NULL, *again = NULL, *same = NULL;
        struct master_tpm found;

        if (master_tpm_parse(&parameters, &found) == 0 &&
            (!tpm_seal_is_valid(&found.seal) || found.sealed + found.sealed_size != data + size))
                abort();

        if (size == 0 || size > 4096 || secret_copy(data, size, &text) < 0)
                return 0;
        if (recovery_parse(text, &secret) == 0 &&
            (recovery_write(secret, &again) < 0 || recovery_parse(again, &same) < 0 || !secret_equal(secret, same)))
                abort();
        secret_free(text);
        secret_free(secret);
        secret_free(again);
        secret_free(same);
        return 0;
}
