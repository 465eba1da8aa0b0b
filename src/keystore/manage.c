/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/manage.h"

#include <stdio.h>

int keystore_init(const struct keystore_options *options, _unused_ struct store *store, _unused_ const char *party, char *error,
                  size_t error_size) {
        (void) options;
        (void) snprintf(error, error_size, "not there yet");
        return -EOPNOTSUPP;
}

int keystore_masters(_unused_ struct keystore *keystore, _unused_ struct store *store, _unused_ struct keystore_master **ret,
                     _unused_ size_t *ret_n) {
        return -EOPNOTSUPP;
}

int keystore_keks(_unused_ struct store *store, _unused_ struct keystore_kek **ret, _unused_ size_t *ret_n) {
        return -EOPNOTSUPP;
}

int keystore_rotate(_unused_ struct keystore *keystore, _unused_ const char *group, _unused_ int64_t *ret_generation) {
        return -EOPNOTSUPP;
}

int keystore_rotate_step(_unused_ struct keystore *keystore, _unused_ const char *group, _unused_ unsigned max,
                         _unused_ struct keystore_progress *ret) {
        return -EOPNOTSUPP;
}

int keystore_rewrap_step(_unused_ struct keystore *keystore, _unused_ unsigned max, _unused_ struct keystore_progress *ret,
                         _unused_ char *ret_group) {
        return -EOPNOTSUPP;
}

int keystore_scrub(_unused_ struct store *store) {
        return -EOPNOTSUPP;
}

int keystore_verify(_unused_ struct keystore *keystore, _unused_ keystore_found found, _unused_ void *userdata,
                    _unused_ struct keystore_verified *ret) {
        return -EOPNOTSUPP;
}
