/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(config_freep) struct config *config = NULL;
        char error[128];

        if (config_parse((const char *) data, size, &config, error, sizeof error) >= 0 &&
            (config->gate_pcr < 8 || config->gate_pcr > 15 || config->parties[PARTY_TENANT].n == 0))
                abort();
        return 0;
}
