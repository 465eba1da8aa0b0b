/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint8_t name[34] = { 0x00, 0x0b };
        struct blob object = {}, secret = {};
        EVP_PKEY *key = NULL;
        uint8_t digest[32];

        if (pubkey_from_tpmt(data, size, &key) == 0) {
                if (pubkey_digest(key, digest) < 0)
                        abort();
                EVP_PKEY_free(key);
        }
        if (credential_make(data, size, name, "secret", 6, &object, &secret) == 0 && !key)
                abort();
        blob_done(&object);
        blob_done(&secret);
        return 0;
}
