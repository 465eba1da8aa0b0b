/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A key is the one DER encoding that OpenSSL would give it; what follows it (after its length) verifies nothing. */
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

#include "evidence/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_encoding(const struct blob *public) {
        const uint8_t *at = public->data;
        EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long) public->size);
        uint8_t *der = NULL;
        int n = key ? i2d_PUBKEY(key, &der) : 0;

        if (n < 0 || (size_t) n != public->size || memcmp(der, public->data, public->size) != 0)
                abort();
        OPENSSL_free(der);
        EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const struct blob message = { (uint8_t *) "fuzz", 4 };
        struct blob public = {}, signature = {};
        struct token_key key;

        if (size < 2 || (size_t) (data[0] << 8 | data[1]) > size - 2)
                return 0;
        public.size = (size_t) (data[0] << 8 | data[1]);
        if (blob_copy(data + 2, public.size, &public) < 0 ||
            blob_copy(data + 2 + public.size, size - 2 - public.size, &signature) < 0)
                abort();

        if (token_key_parse(public.data, public.size, &key) >= 0) {
                check_encoding(&public);
                if (token_verify(&public, &message, &signature) >= 0)
                        abort();
        }
        blob_done(&public);
        blob_done(&signature);
        return 0;
}
