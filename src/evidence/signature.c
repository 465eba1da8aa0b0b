/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "evidence/evidence-internal.h"

enum { ALG_ECDSA = 0x0018, ALG_SHA256 = 0x000b };

/* TPM2B_ECC_PARAMETER (Part 2, 11.2.5.1): a number, in front of which zeros may be left out. */
static int read_number(struct reader *reader, uint8_t ret[static 32]) {
        const uint8_t *bytes;
        uint16_t size;
        int r;

        if ((r = reader_be16(reader, &size)) < 0)
                return r;
        if (size == 0 || size > 32)
                return -EBADMSG;

        r = reader_bytes(reader, size, &bytes);
        if (r < 0)
                return r;

        memset(ret, 0, 32);
        memcpy(ret + 32 - size, bytes, size);
        return 0;
}

int signature_parse(const void *data, size_t size, struct ecdsa_signature *ret) {
        struct reader reader = { .data = data, .left = size };
        struct ecdsa_signature signature;
        uint16_t scheme, hash;
        int r;

        if ((r = reader_be16(&reader, &scheme)) < 0 || (r = reader_be16(&reader, &hash)) < 0)
                return r;
        if (scheme != ALG_ECDSA || hash != ALG_SHA256)
                return -EBADMSG;

        if ((r = read_number(&reader, signature.r)) < 0 || (r = read_number(&reader, signature.s)) < 0)
                return r;
        if (reader.left != 0)
                return -EBADMSG;

        *ret = signature;
        return 0;
}

/* SEQUENCE of two INTEGERs, as OpenSSL wants it: at most 2 + 2 * (2 + 33) bytes. */
static size_t signature_to_der(const struct ecdsa_signature *signature, uint8_t ret[static 72]) {
        const uint8_t *numbers[] = { signature->r, signature->s };
        size_t at = 2;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                size_t skip = 0;
                bool pad;

                while (skip < 31 && numbers[i][skip] == 0)
                        skip++;
                pad = numbers[i][skip] & 0x80;

                ret[at++] = 0x02;
                ret[at++] = (uint8_t) (32 - skip + pad);
                if (pad)
                        ret[at++] = 0;
                memcpy(ret + at, numbers[i] + skip, 32 - skip);
                at += 32 - skip;
        }
        ret[0] = 0x30;
        ret[1] = (uint8_t) (at - 2);
        return at;
}

int signature_verify(EVP_PKEY *key, const struct ecdsa_signature *signature, const void *data, size_t size) {
        uint8_t digest[SHA256_SIZE], der[72];
        EVP_PKEY_CTX *context;
        bool good = false;
        int r;

        if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_bits(key) != 256)
                return -EKEYREJECTED;

        r = sha256(data, size, digest);
        if (r < 0)
                return r;

        context = EVP_PKEY_CTX_new(key, NULL);
        if (!context)
                return -ENOMEM;
        if (EVP_PKEY_verify_init(context) == 1)
                good = EVP_PKEY_verify(context, der, signature_to_der(signature, der), digest, sizeof(digest)) == 1;
        EVP_PKEY_CTX_free(context);
        return good ? 0 : -EKEYREJECTED;
}
