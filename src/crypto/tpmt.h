/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <tss2/tss2_tpm2_types.h>

#include "crypto/internal.h"

/* The whole of size bytes is one TPMT_PUBLIC (TPM 2.0 Library, Part 2, 12.2.4), else -EBADMSG. */
int tpmt_parse(const void *public, size_t size, TPMT_PUBLIC *ret);
/* OpenSSL's name of a curve and the bytes of a coordinate; NULL: not a curve that we take. */
const char *tpm_curve(TPMI_ECC_CURVE curve, size_t *ret_size);
