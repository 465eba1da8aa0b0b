/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "test.h"

void softhsm_shell(const struct softhsm *softhsm, const char *format, ...) {
        char command[2048];
        va_list args;
        int n;

        n = snprintf(command, sizeof(command), "cd %s && ", softhsm->dir);
        va_start(args, format);
        n = vsnprintf(command + n, sizeof(command) - (size_t) n, format, args);
        va_end(args);
        assert_true(n > 0 && n < 1900);
        if (system(command) != 0)
                fail_msg("failed: %s", command);
}

struct softhsm *softhsm_new(void) {
        struct softhsm *softhsm = calloc(1, sizeof(*softhsm));
        char path[128], text[256];

        assert_non_null(softhsm);
        strcpy(softhsm->dir, "/tmp/test-softhsm-XXXXXX");
        assert_non_null(mkdtemp(softhsm->dir));
        (void) snprintf(path, sizeof(path), "%s/tokens", softhsm->dir);
        assert_int_equal(mkdir(path, 0700), 0);
        (void) snprintf(
                text, sizeof(text),
                "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
                softhsm->dir);
        (void) snprintf(path, sizeof(path), "%s/softhsm2.conf", softhsm->dir);
        assert_int_equal(file_write(path, text, strlen(text), 0600), 0);
        assert_int_equal(setenv("SOFTHSM2_CONF", path, 1), 0);
        return softhsm;
}

struct softhsm *softhsm_free(struct softhsm *softhsm) {
        if (softhsm)
                softhsm_shell(softhsm, "rm -rf %s", softhsm->dir);
        free(softhsm);
        return NULL;
}

void softhsm_token(const struct softhsm *softhsm, const char *label) {
        softhsm_shell(softhsm, "softhsm2-util --init-token --free --label '%s' --so-pin %s --pin %s >log 2>&1", label,
                      SOFTHSM_SO_PIN, SOFTHSM_PIN);
}

struct secret *secret_of(const char *text) {
        struct secret *secret = NULL;

        assert_int_equal(secret_copy(text, strlen(text), &secret), 0);
        return secret;
}

struct pkcs11 *softhsm_open(const char *uri, bool apart) {
        return token_open(uri, SOFTHSM_MODULE, apart);
}

struct pkcs11 *token_open(const char *uri, const char *module, bool apart) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        struct pkcs11 *pkcs11 = NULL;
        char error[512] = "";

        if (pkcs11_open(&(struct pkcs11_where){ uri, module, apart }, &pkcs11, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        if (pkcs11_login(pkcs11, pin) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return pkcs11;
}

struct pkcs11_key softhsm_key(struct pkcs11 *pkcs11, enum pkcs11_type type, enum pkcs11_use use, const char *label) {
        struct pkcs11_new new = { .type = type, .bits = 2048, .use = use, .label = label };
        struct pkcs11_key key = {};

        if (pkcs11_generate(pkcs11, &new, &key) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return key;
}

bool signature_is_good(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const char *message, const struct blob *signature) {
        _cleanup_(blob_done) struct blob spki = {};
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *pctx = NULL;
        const uint8_t *p;
        uint8_t *der = NULL;
        size_t size = signature->size;
        bool good;

        assert_int_equal(pkcs11_public(pkcs11, key, &spki), 0);
        p = spki.data;
        EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long) spki.size);
        assert_non_null(pkey);
        assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, key->type == PKCS11_EC_P384 ? EVP_sha384() : EVP_sha256(), NULL, pkey),
                         1);
        if (key->type == PKCS11_RSA) {
                assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
                assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32), 1);
                der = memcpy(malloc(size), signature->data, size);
        } else {
                ECDSA_SIG *sig = ECDSA_SIG_new();
                int half = (int) size / 2;

                ECDSA_SIG_set0(sig, BN_bin2bn(signature->data, half, NULL), BN_bin2bn(signature->data + half, half, NULL));
                size = (size_t) i2d_ECDSA_SIG(sig, &der);
                ECDSA_SIG_free(sig);
        }
        good = EVP_DigestVerify(ctx, der, size, (const uint8_t *) message, strlen(message)) == 1;
        free(der);
        EVP_PKEY_free(pkey);
        EVP_MD_CTX_free(ctx);
        return good;
}
