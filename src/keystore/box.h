/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/crypto.h"

enum { BOX_OVERHEAD = AEAD_NONCE_SIZE + AEAD_TAG_SIZE, BOX_SECRET_MAX = 64 };

/* nonce || AES-256-GCM(key, nonce, aad = L(fields), secret). The nonce is random: a key wraps far less than 2^32 times. ret is
 * secret->size + BOX_OVERHEAD bytes. */
int box_seal(const struct secret *key, const struct field *fields, size_t n, const struct secret *secret, uint8_t *ret);
/* -EKEYREJECTED: wrapped under another key, with other fields, or changed. */
int box_open(const struct secret *key, const struct field *fields, size_t n, const void *data, size_t size, struct secret **ret);
