/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "keystore/master.h"

static int tpm_create(const struct keystore_options *options, const char *party, struct blob *ret_parameters, char *error,
                      size_t error_size) {
        (void) options;
        (void) party;
        (void) ret_parameters;
        (void) snprintf(error, error_size, "a master key in the TPM is not supported yet");
        return -EOPNOTSUPP;
}

static int tpm_open(struct master *master, const struct keystore_options *options, const struct keystore_source *source,
                    const struct blob *parameters, char *error, size_t error_size) {
        (void) master;
        (void) options;
        (void) source;
        (void) parameters;
        (void) snprintf(error, error_size, "a master key in the TPM is not supported yet");
        return -EOPNOTSUPP;
}

const struct master_ops master_tpm = { .name = "tpm", .create = tpm_create, .open = tpm_open };
