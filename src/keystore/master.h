/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"

/* What the master key is used for: a key of its own for each, derived once. */
enum master_use { MASTER_CHECK, MASTER_GROUP, MASTER_MAC, MASTER_INBOX, MASTER_AUDIT, _MASTER_USES };

struct master {
        struct secret *keys[_MASTER_USES];
};
int master_load(const char *path, const char *party, struct master *ret, char *error, size_t error_size);
void master_done(struct master *master);

enum { WRAP_OVERHEAD = AEAD_NONCE_SIZE + AEAD_TAG_SIZE, WRAP_SECRET_MAX = 64 };

/* nonce || AES-256-GCM(key, nonce, aad = L(fields), secret). The nonce is random: a key wraps far less than 2^32 times. ret is
 * secret->size + WRAP_OVERHEAD bytes. */
int wrap_seal(const struct secret *key, const struct field *fields, size_t n, const struct secret *secret, uint8_t *ret);
/* -EKEYREJECTED: wrapped under another key, with other fields, or changed. */
int wrap_open(const struct secret *key, const struct field *fields, size_t n, const void *data, size_t size, struct secret **ret);
