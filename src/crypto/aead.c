/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/crypto.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "crypto/internal.h"

static EVP_CIPHER *gcm_128, *gcm_256;

static void fetch(void) {
        gcm_128 = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
        gcm_256 = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
}

static const EVP_CIPHER *gcm(size_t key_size) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        (void) pthread_once(&once, fetch);
        return key_size == 16 ? gcm_128 : gcm_256;
}

static inline void cipher_ctx_freep(EVP_CIPHER_CTX **p) {
        EVP_CIPHER_CTX_free(*p);
}

/* Initialized and fed with the aad. NULL on failure. */
static EVP_CIPHER_CTX *gcm_begin(const uint8_t *key, size_t key_size, const uint8_t *nonce, const struct part *aad, int encrypt) {
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        int n;

        if (ctx && EVP_CipherInit_ex2(ctx, gcm(key_size), key, nonce, encrypt, NULL) == 1 && aad->size <= INT32_MAX &&
            (aad->size == 0 || EVP_CipherUpdate(ctx, NULL, &n, aad->data, (int) aad->size) == 1))
                return ctx;

        EVP_CIPHER_CTX_free(ctx);
        return NULL;
}

int gcm_seal(const uint8_t *key, size_t key_size, const uint8_t nonce[static 12], const struct part *aad, const void *data,
             size_t size, uint8_t *ret) {
        _cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = NULL;
        int n = 0;

        if (size > INT32_MAX - AEAD_TAG_SIZE)
                return -EINVAL;

        ctx = gcm_begin(key, key_size, nonce, aad, 1);
        if (!ctx || (size > 0 && EVP_EncryptUpdate(ctx, ret, &n, data, (int) size) != 1) ||
            EVP_EncryptFinal_ex(ctx, ret + size, &n) != 1 ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE, ret + size) != 1)
                return crypto_failed("AES-GCM");

        return 0;
}

int gcm_open(const uint8_t *key, size_t key_size, const uint8_t nonce[static 12], const struct part *aad, const void *data,
             size_t size, uint8_t *ret) {
        _cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = NULL;
        const uint8_t *sealed = data;
        uint8_t none[16];
        int n = 0;

        if (size < AEAD_TAG_SIZE || size > INT32_MAX)
                return -EBADMSG;
        size -= AEAD_TAG_SIZE;

        ctx = gcm_begin(key, key_size, nonce, aad, 0);
        if (!ctx || (size > 0 && EVP_DecryptUpdate(ctx, ret, &n, sealed, (int) size) != 1) ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, (void *) (sealed + size)) != 1) {
                memory_wipe(ret, size);
                return crypto_failed("AES-GCM");
        }

        if (EVP_DecryptFinal_ex(ctx, none, &n) != 1) {
                memory_wipe(ret, size);
                return -EBADMSG;
        }

        return 0;
}

int aead_seal(const uint8_t key[static 32], const uint8_t nonce[static 12], const void *aad, size_t aad_size, const void *data,
              size_t size, uint8_t *ret) {
        return gcm_seal(key, AEAD_KEY_SIZE, nonce, &(struct part){ aad, aad_size }, data, size, ret);
}

int aead_open(const uint8_t key[static 32], const uint8_t nonce[static 12], const void *aad, size_t aad_size, const void *data,
              size_t size, uint8_t *ret) {
        return gcm_open(key, AEAD_KEY_SIZE, nonce, &(struct part){ aad, aad_size }, data, size, ret);
}
