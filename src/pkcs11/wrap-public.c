/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap-internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "crypto/internal.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8 * WRAP_DATA_MAX, SHARED_MAX = 48, POINT_MAX = 97 };

static const uint8_t zero_nonce[AEAD_NONCE_SIZE]; /* each key is used once */

static int public_key(struct wrap_task *task, const char *type, EVP_PKEY **ret) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        _cleanup_(blob_done) struct blob spki = {};
        const uint8_t *p;
        int r;

        r = key_public_by_uri(task->pkcs11, task->how->key, &spki);
        if (r < 0)
                return r;
        p = spki.data;
        pkey = d2i_PUBKEY(NULL, &p, (long) spki.size);
        if (!pkey || !EVP_PKEY_is_a(pkey, type))
                return fail(EINVAL, "the key \"%s\" is not an %s key", task->how->key, type);
        *ret = TAKE_PTR(pkey);
        return 0;
}

int wrap_rsa_make(struct wrap_task *task, const struct secret *key, enum oaep_hash hash) {
        const EVP_MD *md = hash == OAEP_SHA1 ? EVP_sha1() : EVP_sha256();
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = NULL;
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        size_t size = sizeof(task->blob.data);
        int r;

        r = public_key(task, "RSA", &pkey);
        if (r < 0)
                return r;
        if (EVP_PKEY_get_bits(pkey) < RSA_BITS_MIN || EVP_PKEY_get_bits(pkey) > RSA_BITS_MAX)
                return fail(EINVAL, "the RSA key \"%s\" has %d bits: 2048 to 4096 are taken", task->how->key,
                            EVP_PKEY_get_bits(pkey));
        ctx = EVP_PKEY_CTX_new(pkey, NULL);
        if (!ctx || EVP_PKEY_encrypt_init(ctx) != 1 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
            EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) != 1 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1 ||
            EVP_PKEY_encrypt(ctx, task->blob.data, &size, key->data, key->size) != 1)
                return fail(EIO, "the key cannot be wrapped by RSA-OAEP");
        task->blob.variant = (uint8_t) hash;
        task->blob.data_size = size;
        return 0;
}

static int rsa_decrypt(struct wrap_task *task, CK_MECHANISM *mechanism, const struct pkcs11_key *key, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_ULONG size = WRAP_DATA_MAX;
        CK_RV rv;
        int r;

        r = secret_new(WRAP_DATA_MAX, &plain);
        if (r < 0)
                return fail(r, "no locked memory for a key");
        rv = pkcs11->f->C_DecryptInit(pkcs11->session, mechanism, key->handle);
        if (rv == CKR_ARGUMENTS_BAD) /* SoftHSM's word for a hash that it lacks */
                rv = CKR_MECHANISM_PARAM_INVALID;
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "unwrapping a key by RSA-OAEP");
        r = login_for_key(pkcs11, key);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_Decrypt(pkcs11->session, task->blob.data, task->blob.data_size, plain->data, &size);
        if (rv != CKR_OK)
                return wrap_refused(pkcs11, rv, "unwrapping a key by RSA-OAEP");
        if (size == 0 || size > WRAP_DATA_MAX)
                return fail(EIO, "the token gave an unwrapped key of %lu bytes", size);
        plain->size = size;
        *ret = TAKE_PTR(plain);
        return 0;
}

static int rsa_unwrap(struct wrap_task *task, CK_MECHANISM *mechanism, const struct pkcs11_key *key, struct secret **ret) {
        CK_OBJECT_HANDLE object = 0;
        CK_RV rv;

        rv = wrap_unwrap_key(task, mechanism, key->handle, &object);
        if (rv != CKR_OK)
                return wrap_refused(task->pkcs11, rv, "unwrapping a key by RSA-OAEP");
        return wrap_take_value(task->pkcs11, object, WRAP_DATA_MAX, ret);
}

/* Decrypting first: what cards can do. */
int wrap_rsa_open(struct wrap_task *task, struct secret **ret) {
        CK_RSA_PKCS_OAEP_PARAMS params = { CKM_SHA256, CKG_MGF1_SHA256, 1 /* CKZ_DATA_SPECIFIED */, NULL, 0 };
        CK_MECHANISM mechanism = { CKM_RSA_PKCS_OAEP, &params, sizeof(params) };
        struct pkcs11_key key;
        CK_FLAGS can;
        int r;

        if (task->blob.variant == OAEP_SHA1) {
                params.hashAlg = CKM_SHA_1;
                params.mgf = CKG_MGF1_SHA1;
        }
        r = key_find_cached(task->pkcs11, task->how->key, PKCS11_PRIVATE, &key);
        if (r < 0)
                return r;
        if (key.type != PKCS11_RSA)
                return fail(EINVAL, "the key \"%s\" is not an RSA key", key.label);
        can = wrap_abilities(task->pkcs11, &key, CKM_RSA_PKCS_OAEP);
        if (can & CKF_DECRYPT)
                return rsa_decrypt(task, &mechanism, &key, ret);
        if (can & CKF_UNWRAP)
                return rsa_unwrap(task, &mechanism, &key, ret);
        return fail(EOPNOTSUPP, "the token \"%s\" cannot unwrap keys by CKM_RSA_PKCS_OAEP with the key \"%s\"",
                    task->pkcs11->label, key.label);
}

/* What goes into the KDF beside the shared secret: the mechanism, the point, and what the key is for. */
static int shared_info(struct wrap_task *task, uint8_t ret[static SHA256_SIZE]) {
        _cleanup_(blob_done) struct blob aad = {}, all = {};
        int r;

        r = wrap_aad(task, &aad);
        if (r < 0)
                return r;
        r = wrap_context(&(struct wrap_task){ .n = 0 }, "tallyboot wrap ecdh v1", task->blob.iv, task->blob.iv_size, &all);
        if (r < 0)
                return r;
        r = hash_parts(HASH_SHA256, PARTS({ all.data, all.size }, { aad.data, aad.size }), ret);
        return r < 0 ? fail(r, "a hash failed") : 0;
}

/* ANSI X9.63, 5.6.3 (SEC 1, 3.6.1): one block of SHA-256 is the whole key. */
static int x963(const uint8_t *z, size_t size, const uint8_t info[static SHA256_SIZE], uint8_t ret[static 32]) {
        static const uint8_t counter[4] = { 0, 0, 0, 1 };

        return hash_parts(HASH_SHA256, PARTS({ z, size }, { counter, sizeof(counter) }, { info, SHA256_SIZE }), ret);
}

static int ephemeral(EVP_PKEY *peer, EVP_PKEY **ret, struct wrap_blob *blob) {
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(peer, NULL);
        _cleanup_(evp_pkey_freep) EVP_PKEY *own = NULL;
        size_t size = 0;

        if (!ctx || EVP_PKEY_keygen_init(ctx) != 1 || EVP_PKEY_generate(ctx, &own) != 1 ||
            EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_PUB_KEY, blob->iv, sizeof(blob->iv), &size) != 1)
                return fail(EIO, "no key for ECDH");
        if (size != 65 && size != POINT_MAX)
                return fail(EINVAL, "ECDH is done with P-256 and P-384");
        blob->iv_size = size;
        *ret = TAKE_PTR(own);
        return 0;
}

int wrap_ecdh_make(struct wrap_task *task, const struct secret *key) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *peer = NULL, *own = NULL;
        _cleanup_(blob_done) struct blob aad = {};
        uint8_t z[SHARED_MAX], info[SHA256_SIZE], wrapping[AEAD_KEY_SIZE];
        size_t z_size;
        int r;

        r = public_key(task, "EC", &peer);
        if (r < 0)
                return r;
        r = ephemeral(peer, &own, &task->blob);
        if (r < 0)
                return r;
        z_size = (task->blob.iv_size - 1) / 2;
        r = shared_info(task, info);
        if (r >= 0)
                r = wrap_aad(task, &aad);
        if (r >= 0)
                r = ecdh(own, peer, z, z_size);
        if (r >= 0)
                r = x963(z, z_size, info, wrapping);
        if (r >= 0)
                r = aead_seal(wrapping, zero_nonce, aad.data, aad.size, key->data, key->size, task->blob.data);
        task->blob.data_size = key->size + AEAD_TAG_SIZE;
        memory_wipe(z, sizeof(z));
        memory_wipe(wrapping, sizeof(wrapping));
        return r < 0 ? fail(r, "the key cannot be wrapped by ECDH") : 0;
}

/* Tokens differ in whether they do the KDF, and in how they want the point: as it is, or in an OCTET STRING. */
static int derive(struct wrap_task *task, const struct pkcs11_key *key, CK_ECDH1_DERIVE_PARAMS *params, struct secret **ret) {
        CK_MECHANISM mechanism = { CKM_ECDH1_DERIVE, params, sizeof(*params) };
        CK_OBJECT_CLASS class = CKO_SECRET_KEY;
        CK_KEY_TYPE type = CKK_GENERIC_SECRET;
        CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
        CK_ULONG size = params->kdf == CKD_NULL ? (task->blob.iv_size - 1) / 2 : AEAD_KEY_SIZE;
        CK_ATTRIBUTE template[] = {
                { CKA_CLASS, &class, sizeof(class) },   { CKA_KEY_TYPE, &type, sizeof(type) },
                { CKA_TOKEN, &no, sizeof(no) },         { CKA_SENSITIVE, &no, sizeof(no) },
                { CKA_EXTRACTABLE, &yes, sizeof(yes) }, { CKA_VALUE_LEN, &size, sizeof(size) },
        };
        struct pkcs11 *pkcs11 = task->pkcs11;
        _cleanup_(secret_freep) struct secret *value = NULL;
        CK_OBJECT_HANDLE object = 0;
        CK_RV rv;
        int r;

        rv = pkcs11->f->C_DeriveKey(pkcs11->session, &mechanism, key->handle, template, ELEMENTSOF(template), &object);
        if (rv != CKR_OK)
                return wrap_refused(pkcs11, rv, "unwrapping a key by ECDH");
        r = wrap_take_value(pkcs11, object, SHARED_MAX, &value);
        if (r < 0)
                return r;
        if (value->size != size)
                return fail(EIO, "the token derived %zu bytes instead of %lu", value->size, size);
        *ret = TAKE_PTR(value);
        return 0;
}

static int derive_somehow(struct wrap_task *task, const struct pkcs11_key *key, const uint8_t info[static SHA256_SIZE],
                          uint8_t ret[static 32]) {
        uint8_t der[2 + POINT_MAX] = { 0x04, (uint8_t) task->blob.iv_size };
        int r = -EOPNOTSUPP;

        memcpy(der + 2, task->blob.iv, task->blob.iv_size);
        for (unsigned way = 0; way < 4; way++) {
                _cleanup_(secret_freep) struct secret *value = NULL;
                bool kdf = way < 2, raw = way % 2 == 0;
                CK_ECDH1_DERIVE_PARAMS params = {
                        .kdf = kdf ? CKD_SHA256_KDF : CKD_NULL,
                        .ulSharedDataLen = kdf ? SHA256_SIZE : 0,
                        .pSharedData = kdf ? (uint8_t *) info : NULL,
                        .ulPublicDataLen = task->blob.iv_size + (raw ? 0 : 2),
                        .pPublicData = raw ? task->blob.iv : der,
                };

                r = derive(task, key, &params, &value);
                if (r == -ENODEV || r == -EACCES || r == -EBUSY || task->pkcs11->lost)
                        return r;
                if (r >= 0 && kdf)
                        memcpy(ret, value->data, 32);
                else if (r >= 0)
                        r = x963(value->data, value->size, info, ret);
                if (r >= 0)
                        return 0;
        }
        return r;
}

/* A point that is not on the curve makes a careless token tell about its key: it does not get one. */
static int check_point(const struct wrap_task *task, const struct pkcs11_key *key) {
        const char *group = key->type == PKCS11_EC_P256 ? "P-256" : "P-384";
        _cleanup_(evp_pkey_freep) EVP_PKEY *point = NULL;

        if (key->type != PKCS11_EC_P256 && key->type != PKCS11_EC_P384)
                return fail(EINVAL, "the key \"%s\" is not an EC key (P-256, P-384)", key->label);
        if (task->blob.iv_size != (key->type == PKCS11_EC_P256 ? 65 : POINT_MAX) ||
            ec_public_key(group, task->blob.iv, task->blob.iv_size, &point) < 0)
                return fail(EKEYREJECTED, "the wrapped key was changed, or made for another key than \"%s\"", key->label);
        return 0;
}

int wrap_ecdh_open(struct wrap_task *task, struct secret **ret) {
        _cleanup_(wipe_32) uint8_t wrapping[AEAD_KEY_SIZE] = {};
        _cleanup_(secret_freep) struct secret *plain = NULL;
        _cleanup_(blob_done) struct blob aad = {};
        uint8_t info[SHA256_SIZE];
        struct pkcs11_key key;
        int r;

        r = key_find_cached(task->pkcs11, task->how->key, PKCS11_PRIVATE, &key);
        if (r < 0)
                return r;
        r = check_point(task, &key);
        if (r < 0)
                return r;
        r = shared_info(task, info);
        if (r < 0)
                return r;
        r = wrap_aad(task, &aad);
        if (r < 0)
                return r;
        r = derive_somehow(task, &key, info, wrapping);
        if (r < 0)
                return r;
        r = secret_new(task->blob.data_size - AEAD_TAG_SIZE, &plain);
        if (r < 0)
                return fail(r, "no locked memory for a key");
        r = aead_open(wrapping, zero_nonce, aad.data, aad.size, task->blob.data, task->blob.data_size, plain->data);
        if (r < 0)
                return fail(r == -EBADMSG ? EKEYREJECTED : r,
                            "the wrapped key was changed, belongs to something else, or was wrapped for another key");
        *ret = TAKE_PTR(plain);
        return 0;
}
