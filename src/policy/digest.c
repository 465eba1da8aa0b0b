/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/evp.h>
#include <string.h>

#include "policy/policy-internal.h"

int pcr_bank_digest(uint16_t bank, const void *data, size_t size, uint8_t ret[static WIRE_DIGEST_MAX]) {
        const EVP_MD *md = bank == BANK_SHA256 ? EVP_sha256() : bank == BANK_SHA384 ? EVP_sha384() : NULL;

        if (!md)
                return -ENOTSUP;
        return EVP_Digest(data, size, ret, NULL, md, NULL) == 1 ? 0 : -EIO;
}

int pcr_bank_extend(uint16_t bank, uint8_t value[static WIRE_DIGEST_MAX], const uint8_t *digest) {
        uint8_t both[2 * WIRE_DIGEST_MAX];
        size_t size = pcr_alg_size(bank);

        memcpy(both, value, size);
        memcpy(both + size, digest, size);
        return pcr_bank_digest(bank, both, 2 * size, value);
}
