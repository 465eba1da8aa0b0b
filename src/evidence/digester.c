/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/digester.h"

#include <string.h>

#include "wire/wire.h"

static const char *openssl_name(uint16_t alg) {
        switch (alg) {
        case 0x4:
                return "SHA1";
        case 0xb:
                return "SHA256";
        case 0xc:
                return "SHA384";
        case 0xd:
                return "SHA512";
        default:
                return NULL;
        }
}

int digester_open(uint16_t alg, struct digester *ret) {
        const char *name = openssl_name(alg);
        struct digester digester = {};

        if (!name)
                return -ENOTSUP;
        digester.md = EVP_MD_fetch(NULL, name, NULL);
        digester.context = EVP_MD_CTX_new();
        if (!digester.md || !digester.context) {
                digester_done(&digester);
                return -ENOMEM;
        }
        digester.size = pcr_alg_size(alg);
        *ret = digester;
        return 0;
}

void digester_done(struct digester *digester) {
        EVP_MD_CTX_free(digester->context);
        EVP_MD_free(digester->md);
        *digester = (struct digester){};
}

int digester_run(struct digester *digester, const void *a, size_t a_size, const void *b, size_t b_size, uint8_t *ret) {
        if (EVP_DigestInit_ex2(digester->context, digester->md, NULL) != 1 ||
            EVP_DigestUpdate(digester->context, a, a_size) != 1 ||
            (b_size > 0 && EVP_DigestUpdate(digester->context, b, b_size) != 1) ||
            EVP_DigestFinal_ex(digester->context, ret, NULL) != 1)
                return -EIO;
        return 0;
}

int digester_compare(struct digester *digester, const void *data, size_t size, const uint8_t *digest) {
        uint8_t own[EVP_MAX_MD_SIZE];
        int r = digester_run(digester, data, size, NULL, 0, own);

        if (r < 0)
                return r;
        return memcmp(own, digest, digester->size) == 0 ? 0 : -ENOENT;
}
