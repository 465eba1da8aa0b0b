/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/box.h"

int box_seal(const struct secret *key, const struct field *fields, size_t n, const struct secret *secret, uint8_t *ret) {
        _cleanup_(blob_done) struct blob aad = {};
        int r;

        r = fields_encode(fields, n, &aad);
        if (r < 0)
                return r;

        r = random_bytes(ret, AEAD_NONCE_SIZE);
        if (r < 0)
                return r;

        return aead_seal(key->data, ret, aad.data, aad.size, secret->data, secret->size, ret + AEAD_NONCE_SIZE);
}

int box_open(const struct secret *key, const struct field *fields, size_t n, const void *data, size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(blob_done) struct blob aad = {};
        const uint8_t *bytes = data;
        int r;

        if (size <= BOX_OVERHEAD || size > BOX_OVERHEAD + BOX_SECRET_MAX)
                return -EKEYREJECTED;

        r = fields_encode(fields, n, &aad);
        if (r < 0)
                return r;

        r = secret_new(size - BOX_OVERHEAD, &secret);
        if (r < 0)
                return r;

        r = aead_open(key->data, bytes, aad.data, aad.size, bytes + AEAD_NONCE_SIZE, size - AEAD_NONCE_SIZE, secret->data);
        if (r < 0)
                return r == -EBADMSG ? -EKEYREJECTED : r;

        *ret = TAKE_PTR(secret);
        return 0;
}
