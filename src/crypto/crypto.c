/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/crypto.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "crypto/internal.h"

int crypto_failed(const char *what) {
        char text[256] = "no reason given";
        unsigned long code = ERR_peek_last_error();

        if (code != 0)
                ERR_error_string_n(code, text, sizeof(text));
        ERR_clear_error();
        log_debug("OpenSSL: %s: %s", what, text);
        return -EIO;
}

int random_bytes(void *ret, size_t size) {
        if (size > INT32_MAX)
                return -EINVAL;

        return RAND_priv_bytes(ret, (int) size) == 1 ? 0 : crypto_failed("random bytes");
}

/* Looking an algorithm up costs more than hashing a name with it: each is fetched once and kept for the life of the process. */
static const char *const digest_names[] = { [HASH_SHA256] = "SHA256", [HASH_SHA384] = "SHA384", [HASH_SHA512] = "SHA512" };
static EVP_MD *digests[ELEMENTSOF(digest_names)];
static EVP_MAC *hmac;

static void fetch(void) {
        for (size_t i = 0; i < ELEMENTSOF(digests); i++)
                digests[i] = EVP_MD_fetch(NULL, digest_names[i], NULL);
        hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

static void fetch_once(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        (void) pthread_once(&once, fetch);
}

const EVP_MD *hash_md(enum tpm_hash hash) {
        fetch_once();
        return digests[hash];
}

size_t hash_size(enum tpm_hash hash) {
        return hash == HASH_SHA256 ? 32 : hash == HASH_SHA384 ? 48 : 64;
}

int hash_parts(enum tpm_hash hash, const struct part *parts, size_t n, uint8_t *ret) {
        const EVP_MD *md = hash_md(hash);
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        bool ok;

        ok = ctx && md && EVP_DigestInit_ex2(ctx, md, NULL) == 1;
        for (size_t i = 0; ok && i < n; i++)
                ok = EVP_DigestUpdate(ctx, parts[i].data, parts[i].size) == 1;
        ok = ok && EVP_DigestFinal_ex(ctx, ret, NULL) == 1;

        EVP_MD_CTX_free(ctx);
        return ok ? 0 : crypto_failed("digest");
}

int hmac_parts(enum tpm_hash hash, const void *key, size_t key_size, const struct part *parts, size_t n, uint8_t *ret) {
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *) digest_names[hash], 0),
                OSSL_PARAM_construct_end(),
        };
        EVP_MAC_CTX *ctx;
        size_t size;
        bool ok;

        fetch_once();
        ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

        /* A NULL key would mean "the key of before", not "no bytes". */
        ok = ctx && EVP_MAC_init(ctx, key_size > 0 ? key : (const uint8_t *) "", key_size, params) == 1;
        for (size_t i = 0; ok && i < n; i++)
                ok = EVP_MAC_update(ctx, parts[i].data, parts[i].size) == 1;
        ok = ok && EVP_MAC_final(ctx, ret, &size, hash_size(hash)) == 1;

        EVP_MAC_CTX_free(ctx);
        return ok ? 0 : crypto_failed("HMAC");
}

int sha256(const void *data, size_t size, uint8_t ret[static 32]) {
        return hash_parts(HASH_SHA256, PARTS({ data, size }), ret);
}

int hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t ret[static 32]) {
        return hmac_parts(HASH_SHA256, key, key_size, PARTS({ data, size }), ret);
}

int hkdf_expand(const uint8_t prk[static 32], const struct part *info, size_t n, uint8_t *ret, size_t size) {
        _cleanup_(wipe_32) uint8_t block[32];
        struct part parts[8];
        int r;

        if (n + 2 > ELEMENTSOF(parts) || size > 255 * sizeof(block))
                return -EINVAL;

        for (size_t i = 0; i < n; i++)
                parts[i + 1] = info[i];

        for (uint8_t counter = 1; size > 0; counter++) {
                size_t take = MIN(size, sizeof(block));

                parts[0] = (struct part){ block, counter == 1 ? 0 : sizeof(block) };
                parts[n + 1] = (struct part){ &counter, 1 };
                r = hmac_parts(HASH_SHA256, prk, 32, parts, n + 2, block);
                if (r < 0)
                        return r;

                memcpy(ret, block, take);
                ret += take;
                size -= take;
        }

        return 0;
}

int hkdf_sha256(const struct secret *ikm, const void *salt, size_t salt_size, const void *info, size_t info_size, size_t size,
                struct secret **ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(wipe_32) uint8_t prk[32];
        int r;

        r = hmac_parts(HASH_SHA256, salt, salt_size, PARTS({ ikm->data, ikm->size }), prk);
        if (r < 0)
                return r;
        r = secret_new(size, &secret);
        if (r < 0)
                return r;
        r = hkdf_expand(prk, PARTS({ info, info_size }), secret->data, size);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(secret);
        return 0;
}
