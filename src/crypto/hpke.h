/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/internal.h"

/* LabeledExtract and LabeledExpand of RFC 9180, 4, with the KEM's suite id. */
int kem_extract(const void *salt, size_t salt_size, const char *label, const struct part *ikm, uint8_t ret[static 32]);
int kem_expand(const uint8_t prk[static 32], const char *label, const struct part *info, uint8_t *ret, size_t size);

/* x coordinate of the shared point. -EBADMSG: peer is not a point of the curve. */
int keypair_ecdh(const struct keypair *keypair, const uint8_t peer[static POINT_SIZE], uint8_t ret[static 32]);
