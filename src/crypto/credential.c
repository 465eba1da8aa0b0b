/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/credential.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <string.h>

#include "crypto/tpmt.h"

/* TPM 2.0 Library, Part 1: 24 (credential protection), 11.4.10 (KDFa, KDFe), B.10.4 (secrets to RSA keys), C.6.4 (to ECC
 * keys). */

enum { NAME_SIZE = 34, SECRET_MAX = 32, SYMMETRIC_MAX = 32, PROTECTED_MAX = 2 + SECRET_MAX };

/* What the EK says about how it protects. */
struct ek {
        EVP_PKEY *key;
        enum tpm_hash hash;
        size_t symmetric_size; /* bytes of the AES key */
        const char *group;     /* ECC: the curve */
        size_t field_size;
};

static void ek_done(struct ek *ek) {
        EVP_PKEY_free(ek->key);
}

static void wipe_hash(uint8_t (*p)[HASH_SIZE_MAX]) {
        memory_wipe(*p, HASH_SIZE_MAX);
}

static int ek_hash(TPMI_ALG_HASH algorithm, enum tpm_hash *ret) {
        switch (algorithm) {
        case TPM2_ALG_SHA256:
                *ret = HASH_SHA256;
                return 0;
        case TPM2_ALG_SHA384:
                *ret = HASH_SHA384;
                return 0;
        case TPM2_ALG_SHA512:
                *ret = HASH_SHA512;
                return 0;
        default:
                return -EBADMSG;
        }
}

static int ek_parse(const void *public, size_t size, struct ek *ek) {
        const TPMT_SYM_DEF_OBJECT *symmetric;
        TPMT_PUBLIC parsed;
        int r;

        r = tpmt_parse(public, size, &parsed);
        if (r < 0)
                return r;
        if (parsed.type != TPM2_ALG_RSA && parsed.type != TPM2_ALG_ECC)
                return -EBADMSG;
        if ((parsed.objectAttributes & (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_SIGN_ENCRYPT)) !=
            (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT))
                return -EBADMSG;

        symmetric = &parsed.parameters.asymDetail.symmetric;
        if (symmetric->algorithm != TPM2_ALG_AES || symmetric->mode.aes != TPM2_ALG_CFB ||
            (symmetric->keyBits.aes != 128 && symmetric->keyBits.aes != 256))
                return -EBADMSG;
        ek->symmetric_size = symmetric->keyBits.aes / 8;

        if (parsed.type == TPM2_ALG_ECC)
                ek->group = tpm_curve(parsed.parameters.eccDetail.curveID, &ek->field_size);
        r = ek_hash(parsed.nameAlg, &ek->hash);
        if (r < 0)
                return r;

        r = pubkey_from_tpmt(public, size, &ek->key);
        return r == -EOPNOTSUPP ? -EBADMSG : r;
}

/* KDFa: HMAC(key, counter || label || 00 || context || bits); label with its NUL is just that. */
static int kdf_a(enum tpm_hash hash, const uint8_t *key, const char *label, const struct part *context, uint8_t *ret,
                 size_t size) {
        _cleanup_(wipe_hash) uint8_t block[HASH_SIZE_MAX];
        const uint32_t bits = (uint32_t) size * 8;
        const uint8_t one[4] = { 0, 0, 0, 1 };
        const uint8_t bits_be[4] = { (uint8_t) (bits >> 24), (uint8_t) (bits >> 16), (uint8_t) (bits >> 8), (uint8_t) bits };
        int r;

        assert(size <= hash_size(hash)); /* one round is all that AES keys and HMAC keys take */

        r = hmac_parts(hash, key, hash_size(hash), PARTS({ one, 4 }, { label, strlen(label) + 1 }, *context, { bits_be, 4 }),
                       block);
        if (r < 0)
                return r;

        memcpy(ret, block, size);
        return 0;
}

/* The seed for an RSA EK: random, in OAEP with the EK's nameAlg and the label "IDENTITY" with its NUL. */
static int seed_rsa(const struct ek *ek, uint8_t *ret_seed, struct buffer *secret) {
        static const char label[] = "IDENTITY";
        OSSL_PARAM params[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, (char *) OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
                OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *) EVP_MD_get0_name(hash_md(ek->hash)),
                                                 0),
                OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, (char *) label, sizeof(label)),
                OSSL_PARAM_construct_end(),
        };
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, ek->key, NULL);
        uint8_t sealed[TPM2_MAX_RSA_KEY_BYTES];
        size_t size = sizeof(sealed);
        int r;

        r = random_bytes(ret_seed, hash_size(ek->hash));
        if (r < 0)
                return r;
        if (!ctx || EVP_PKEY_encrypt_init_ex(ctx, params) != 1 ||
            EVP_PKEY_encrypt(ctx, sealed, &size, ret_seed, hash_size(ek->hash)) != 1)
                return crypto_failed("RSA-OAEP");

        buffer_be16(secret, (uint16_t) size);
        buffer_append(secret, sealed, size);
        return 0;
}

static int point_of(EVP_PKEY *key, uint8_t *ret, size_t size) {
        size_t written;

        if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, ret, size, &written) != 1 || written != size ||
            ret[0] != 0x04)
                return crypto_failed("EC point");

        return 0;
}

/* The seed for an ECC EK: KDFe(Z, "IDENTITY", x of ours, x of theirs) of a key of ours for this once. */
static int seed_ecc(const struct ek *ek, uint8_t *ret_seed, struct buffer *secret) {
        const size_t field = ek->field_size, point_size = 1 + 2 * field;
        uint8_t own[1 + 2 * 66], peer[1 + 2 * 66], z[66];
        _cleanup_(evp_pkey_freep) EVP_PKEY *ephemeral = EVP_EC_gen(ek->group);
        const uint8_t one[4] = { 0, 0, 0, 1 };
        static const char label[] = "IDENTITY";
        int r;

        if (!ephemeral)
                return crypto_failed("ephemeral EC key");
        r = point_of(ephemeral, own, point_size);
        if (r == 0)
                r = point_of(ek->key, peer, point_size);
        if (r == 0)
                r = ecdh(ephemeral, ek->key, z, field);
        if (r == 0)
                r = hash_parts(ek->hash,
                               PARTS({ one, 4 }, { z, field }, { label, sizeof(label) }, { own + 1, field }, { peer + 1, field }),
                               ret_seed);
        memory_wipe(z, sizeof(z));
        if (r < 0)
                return r;

        buffer_be16(secret, (uint16_t) (2 * (2 + field)));
        buffer_be16(secret, (uint16_t) field);
        buffer_append(secret, own + 1, field);
        buffer_be16(secret, (uint16_t) field);
        buffer_append(secret, own + 1 + field, field);
        return 0;
}

static int aes_cfb(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size, uint8_t *ret) {
        const uint8_t iv[16] = {};
        const EVP_CIPHER *cipher = key_size == 16 ? EVP_aes_128_cfb128() : EVP_aes_256_cfb128();
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        int n;
        bool ok;

        ok = ctx && EVP_EncryptInit_ex2(ctx, cipher, key, iv, NULL) == 1 &&
             EVP_EncryptUpdate(ctx, ret, &n, data, (int) size) == 1 && (size_t) n == size;
        EVP_CIPHER_CTX_free(ctx);
        return ok ? 0 : crypto_failed("AES-CFB");
}

/* encIdentity = AES-CFB(KDFa(seed, "STORAGE", Name), TPM2B_DIGEST of the secret) */
static int encrypt_identity(const struct ek *ek, const uint8_t *seed, const struct part *name, const struct part *secret,
                            uint8_t ret[static PROTECTED_MAX]) {
        _cleanup_(wipe_32) uint8_t key[SYMMETRIC_MAX];
        uint8_t plain[PROTECTED_MAX] = { 0, (uint8_t) secret->size };
        int r;

        r = kdf_a(ek->hash, seed, "STORAGE", name, key, ek->symmetric_size);
        if (r < 0)
                return r;

        memcpy(plain + 2, secret->data, secret->size);
        r = aes_cfb(key, ek->symmetric_size, plain, 2 + secret->size, ret);
        memory_wipe(plain, sizeof(plain));
        return r;
}

/* TPM2B_ID_OBJECT: the outer HMAC under KDFa(seed, "INTEGRITY"), then encIdentity. */
static int id_object(const struct ek *ek, const uint8_t *seed, const struct part *name, const struct part *secret,
                     struct buffer *object) {
        _cleanup_(wipe_hash) uint8_t key[HASH_SIZE_MAX];
        uint8_t encrypted[PROTECTED_MAX], mac[HASH_SIZE_MAX];
        const size_t mac_size = hash_size(ek->hash), encrypted_size = 2 + secret->size;
        int r;

        r = encrypt_identity(ek, seed, name, secret, encrypted);
        if (r < 0)
                return r;
        r = kdf_a(ek->hash, seed, "INTEGRITY", &(struct part){}, key, mac_size);
        if (r < 0)
                return r;
        r = hmac_parts(ek->hash, key, mac_size, PARTS({ encrypted, encrypted_size }, *name), mac);
        if (r < 0)
                return r;

        buffer_be16(object, (uint16_t) (2 + mac_size + encrypted_size));
        buffer_be16(object, (uint16_t) mac_size);
        buffer_append(object, mac, mac_size);
        buffer_append(object, encrypted, encrypted_size);
        return 0;
}

int credential_make(const void *ek_public, size_t ek_public_size, const uint8_t name[static 34], const void *secret,
                    size_t secret_size, struct blob *ret_id_object, struct blob *ret_secret) {
        _cleanup_(buffer_done) struct buffer object = {}, sealed = {};
        _cleanup_(wipe_hash) uint8_t seed[HASH_SIZE_MAX];
        _cleanup_(ek_done) struct ek ek = {};
        int r;

        if (secret_size < 1 || secret_size > SECRET_MAX)
                return -EINVAL;

        r = ek_parse(ek_public, ek_public_size, &ek);
        if (r < 0)
                return r;
        r = ek.group ? seed_ecc(&ek, seed, &sealed) : seed_rsa(&ek, seed, &sealed);
        if (r < 0)
                return r;
        r = id_object(&ek, seed, &(struct part){ name, NAME_SIZE }, &(struct part){ secret, secret_size }, &object);
        if (r < 0)
                return r;
        if (buffer_ok(&object) < 0 || buffer_ok(&sealed) < 0)
                return -ENOMEM;

        *ret_id_object = (struct blob){ .data = TAKE_PTR(object.data), .size = object.size };
        *ret_secret = (struct blob){ .data = TAKE_PTR(sealed.data), .size = sealed.size };
        return 0;
}
