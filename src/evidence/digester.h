/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/evp.h>

#include "base/macro.h"

/* Many digests of one algorithm: fetched once, for OpenSSL 3 takes longer to find SHA-256 than to run it over a line. */
struct digester {
        EVP_MD *md;
        EVP_MD_CTX *context;
        size_t size;
};

/* alg: a TPM_ALG_ID. -ENOTSUP: not one of SHA-1, 256, 384, 512. */
int digester_open(uint16_t alg, struct digester *ret);
void digester_done(struct digester *digester);
/* Over a, then b. ret gets digester->size bytes, and may be a or b. */
int digester_run(struct digester *digester, const void *a, size_t a_size, const void *b, size_t b_size, uint8_t *ret);
/* -ENOENT: data are not what has this digest. */
int digester_compare(struct digester *digester, const void *data, size_t size, const uint8_t *digest);
