/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/ec.h>

#include "evidence/evidence-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static EVP_PKEY *key;
        struct ecdsa_signature signature;

        if (!key)
                key = EVP_EC_gen("P-256");
        if (signature_parse(data, size, &signature) >= 0 && signature_verify(key, &signature, data, size) >= 0)
                abort();
        return 0;
}
