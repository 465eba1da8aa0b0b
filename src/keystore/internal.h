/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

#include "keystore/box.h"
#include "keystore/keystore.h"
#include "keystore/master.h"

enum { MACS_MAX = 64 };

struct keystore {
        struct store *store;
        char *party;
        struct master *master;
        struct secret *check_key, *group_key, *mac_key, *inbox_key, *audit_key;
        struct keypair *inbox, *audit;
        pthread_mutex_t lock; /* of what follows */
        struct group_key {
                char *name;
                uint8_t wrapped[AEAD_KEY_SIZE + BOX_OVERHEAD]; /* the row that it was opened from */
                struct secret *key;
        } * groups;
        size_t n_groups;
        struct mac_key {
                uint32_t number;
                struct secret *key;
        } macs[MACS_MAX];
        size_t n_macs;
};

/* One blob of one row; -ENOENT. */
int keystore_get_blob(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n, struct blob *ret);
