/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap-internal.h"

#include <string.h>

#include "crypto/crypto.h"

enum { PLAIN_ROOM = 256 };

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_class = CKO_SECRET_KEY;
static CK_KEY_TYPE generic = CKK_GENERIC_SECRET;

/* A mechanism with its parameters, which point into this. */
struct aes {
        CK_MECHANISM mechanism;
        CK_GCM_PARAMS gcm;
        struct blob aad;
        struct pkcs11_key key;
        CK_FLAGS can;
};

static void aes_done(struct aes *aes) {
        blob_done(&aes->aad);
}

CK_MECHANISM_TYPE wrap_aes_mechanism(enum wrap_mechanism mechanism) {
        switch (mechanism) {
        case WRAP_KWP:
                return 0x210bUL; /* CKM_AES_KEY_WRAP_KWP, PKCS#11 3.0 */
        case WRAP_KEY_WRAP_PAD:
                return CKM_AES_KEY_WRAP_PAD;
        case WRAP_GCM:
                return CKM_AES_GCM;
        default:
                return CKM_AES_CBC_PAD;
        }
}

CK_FLAGS wrap_abilities(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_MECHANISM_TYPE type) {
        static const struct {
                CK_FLAGS flag;
                CK_ATTRIBUTE_TYPE attribute;
        } pairs[] = {
                { CKF_ENCRYPT, CKA_ENCRYPT },
                { CKF_DECRYPT, CKA_DECRYPT },
                { CKF_WRAP, CKA_WRAP },
                { CKF_UNWRAP, CKA_UNWRAP },
        };
        CK_FLAGS can = mechanism_flags(pkcs11, type);

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++)
                if ((can & pairs[i].flag) && !attribute_true(pkcs11, key->handle, pairs[i].attribute))
                        can &= ~pairs[i].flag;
        return can;
}

/* Asked of the token once in a session: with an HSM in the network each question is a way there and back. */
static CK_FLAGS abilities(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_MECHANISM_TYPE type) {
        struct ability *ability;

        for (size_t i = 0; i < pkcs11->n_abilities; i++) {
                ability = pkcs11->abilities + i;
                if (ability->handle == key->handle && ability->type == type)
                        return ability->can;
        }
        ability = pkcs11->abilities + (pkcs11->n_abilities < FOUND_CACHE ? pkcs11->n_abilities++ : 0);
        *ability = (struct ability){ key->handle, type, wrap_abilities(pkcs11, key, type) };
        return ability->can;
}

static int prepare(struct wrap_task *task, struct aes *aes) {
        struct wrap_blob *blob = &task->blob;
        int r;

        r = key_find_cached(task->pkcs11, task->how->key, PKCS11_SECRET, &aes->key);
        if (r < 0)
                return r;
        if (aes->key.type != PKCS11_AES)
                return fail(EINVAL, "the wrapping key \"%s\" is not an AES key", aes->key.label);
        aes->mechanism.mechanism = wrap_aes_mechanism(blob->info.mechanism);
        aes->can = abilities(task->pkcs11, &aes->key, aes->mechanism.mechanism);
        if (blob->info.mechanism == WRAP_CBC_PAD) {
                aes->mechanism.pParameter = blob->iv;
                aes->mechanism.ulParameterLen = blob->iv_size;
        }
        if (blob->info.mechanism == WRAP_GCM) {
                r = wrap_aad(task, &aes->aad);
                if (r < 0)
                        return r;
                aes->gcm = (CK_GCM_PARAMS){ blob->iv, blob->iv_size, 8 * blob->iv_size, aes->aad.data, aes->aad.size, 128 };
                aes->mechanism.pParameter = &aes->gcm;
                aes->mechanism.ulParameterLen = sizeof(aes->gcm);
        }
        return 0;
}

/* The token's own IV is zero until it has written one. */
static int choose_iv(struct wrap_task *task) {
        struct pkcs11 *pkcs11 = task->pkcs11;
        struct wrap_blob *blob = &task->blob;
        CK_RV rv;

        blob->iv_size = blob->info.mechanism == WRAP_GCM ? GCM_IV_SIZE : blob->info.mechanism == WRAP_CBC_PAD ? CBC_IV_SIZE : 0;
        memset(blob->iv, 0, sizeof(blob->iv));
        if (blob->iv_size == 0)
                return 0;
        if (!task->how->iv_by_token)
                return random_bytes(blob->iv, blob->iv_size);
        if (blob->info.mechanism == WRAP_GCM)
                return 0;
        rv = pkcs11->f->C_GenerateRandom(pkcs11->session, blob->iv, blob->iv_size);
        return rv == CKR_OK ? 0 : fail_rv(pkcs11, rv, "an IV by the token");
}

static int check_iv(const struct wrap_task *task) {
        static const uint8_t none[GCM_IV_SIZE];

        if (task->blob.info.mechanism == WRAP_GCM && memcmp(task->blob.iv, none, sizeof(none)) == 0)
                return fail(EOPNOTSUPP, "the token \"%s\" makes no IV for CKM_AES_GCM by itself", task->pkcs11->label);
        return 0;
}

/* An object of this session: what is to be wrapped. */
static int import(struct pkcs11 *pkcs11, const struct secret *key, CK_OBJECT_HANDLE *ret) {
        CK_ATTRIBUTE template[] = {
                { CKA_CLASS, &secret_class, sizeof(secret_class) },
                { CKA_KEY_TYPE, &generic, sizeof(generic) },
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, &no, sizeof(no) },
                { CKA_EXTRACTABLE, &yes, sizeof(yes) },
                { CKA_VALUE, key->data, key->size },
        };
        CK_RV rv = pkcs11->f->C_CreateObject(pkcs11->session, template, ELEMENTSOF(template), ret);

        return rv == CKR_OK ? 0 : fail_rv(pkcs11, rv, "giving the token a key to wrap");
}

static int generate(struct pkcs11 *pkcs11, bool sensitive, CK_OBJECT_HANDLE *ret) {
        CK_MECHANISM ways[] = { { CKM_GENERIC_SECRET_KEY_GEN, NULL, 0 }, { CKM_AES_KEY_GEN, NULL, 0 } };
        CK_ULONG size = TOKEN_KEY_SIZE;
        CK_ATTRIBUTE template[] = {
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, sensitive ? &yes : &no, sizeof(yes) },
                { CKA_EXTRACTABLE, &yes, sizeof(yes) },
                { CKA_VALUE_LEN, &size, sizeof(size) },
        };
        CK_RV rv = CKR_OK;

        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                rv = pkcs11->f->C_GenerateKey(pkcs11->session, ways + i, template, ELEMENTSOF(template), ret);
                if (rv == CKR_OK)
                        return 0;
        }
        return fail_rv(pkcs11, rv, "a key made by the token");
}

static int wrap_object(struct wrap_task *task, struct aes *aes, const struct secret *key) {
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_ULONG size = sizeof(task->blob.data);
        CK_OBJECT_HANDLE object = 0;
        CK_RV rv;
        int r;

        r = key ? import(pkcs11, key, &object) : generate(pkcs11, task->how->always_sensitive, &object);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_WrapKey(pkcs11->session, &aes->mechanism, aes->key.handle, object, task->blob.data, &size);
        (void) pkcs11->f->C_DestroyObject(pkcs11->session, object);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "wrapping a key");
        task->blob.data_size = size;
        return 0;
}

static int encrypt(struct wrap_task *task, struct aes *aes, const struct secret *key) {
        _cleanup_(secret_freep) struct secret *made = NULL;
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_ULONG size = sizeof(task->blob.data);
        CK_RV rv = CKR_OK;

        if (!key) {
                int r = secret_new(TOKEN_KEY_SIZE, &made);

                if (r < 0)
                        return fail(r, "no locked memory for a key");
                rv = pkcs11->f->C_GenerateRandom(pkcs11->session, made->data, made->size);
                key = made;
        }
        if (rv == CKR_OK)
                rv = pkcs11->f->C_EncryptInit(pkcs11->session, &aes->mechanism, aes->key.handle);
        if (rv == CKR_OK)
                rv = pkcs11->f->C_Encrypt(pkcs11->session, key->data, key->size, task->blob.data, &size);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "wrapping a key");
        task->blob.data_size = size;
        return 0;
}

static int lacks(const struct wrap_task *task, const struct aes *aes, const char *what) {
        char number[32];

        return fail(EOPNOTSUPP, "the token \"%s\" cannot %s keys by %s with the key \"%s\"", task->pkcs11->label, what,
                    mechanism_name(aes->mechanism.mechanism, number), aes->key.label);
}

int wrap_aes_make(struct wrap_task *task, const struct secret *key) {
        _cleanup_(aes_done) struct aes aes = {};
        int r;

        r = choose_iv(task);
        if (r < 0)
                return r;
        r = prepare(task, &aes);
        if (r < 0)
                return r;
        if (aes.can & CKF_WRAP)
                r = wrap_object(task, &aes, key);
        else if (aes.can & CKF_ENCRYPT)
                r = encrypt(task, &aes, key);
        else
                return lacks(task, &aes, "wrap");
        return r < 0 ? r : check_iv(task);
}

int wrap_take_value(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, size_t max, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *value = NULL;
        CK_ATTRIBUTE attribute = { CKA_VALUE, NULL, max };
        CK_RV rv;
        int r;

        r = secret_new(max, &value);
        if (r < 0)
                return fail(r, "no locked memory for a key");
        attribute.pValue = value->data;
        rv = pkcs11->f->C_GetAttributeValue(pkcs11->session, object, &attribute, 1);
        (void) pkcs11->f->C_DestroyObject(pkcs11->session, object);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "reading an unwrapped key");
        if (attribute.ulValueLen == 0 || attribute.ulValueLen > max)
                return fail(EIO, "the token does not show an unwrapped key");
        value->size = attribute.ulValueLen;
        *ret = TAKE_PTR(value);
        return 0;
}

CK_RV wrap_unwrap_key(struct wrap_task *task, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE *ret) {
        CK_ATTRIBUTE template[] = {
                { CKA_CLASS, &secret_class, sizeof(secret_class) },
                { CKA_KEY_TYPE, &generic, sizeof(generic) },
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_SENSITIVE, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_EXTRACTABLE, &yes, sizeof(yes) },
        };
        static const size_t sizes[] = { ELEMENTSOF(template), 4, 3 };
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_RV rv = CKR_OK;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                rv = pkcs11->f->C_UnwrapKey(pkcs11->session, mechanism, key, task->blob.data, task->blob.data_size, template,
                                            sizes[i], ret);
                if (rv != CKR_ATTRIBUTE_READ_ONLY && rv != CKR_TEMPLATE_INCONSISTENT && rv != CKR_ATTRIBUTE_TYPE_INVALID &&
                    rv != CKR_ATTRIBUTE_VALUE_INVALID)
                        break;
        }
        return rv;
}

static int unwrap_object(struct wrap_task *task, struct aes *aes, struct secret **ret) {
        CK_OBJECT_HANDLE object = 0;
        CK_RV rv;

        rv = wrap_unwrap_key(task, &aes->mechanism, aes->key.handle, &object);
        if (rv != CKR_OK)
                return wrap_refused(task->pkcs11, rv, "unwrapping a key");
        return wrap_take_value(task->pkcs11, object, PLAIN_ROOM, ret);
}

static int decrypt(struct wrap_task *task, struct aes *aes, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_ULONG size = PLAIN_ROOM;
        CK_RV rv;
        int r;

        r = secret_new(PLAIN_ROOM, &plain);
        if (r < 0)
                return fail(r, "no locked memory for a key");
        rv = pkcs11->f->C_DecryptInit(pkcs11->session, &aes->mechanism, aes->key.handle);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "unwrapping a key");
        rv = pkcs11->f->C_Decrypt(pkcs11->session, task->blob.data, task->blob.data_size, plain->data, &size);
        if (rv != CKR_OK)
                return wrap_refused(pkcs11, rv, "unwrapping a key");
        if (size == 0 || size > PLAIN_ROOM)
                return fail(EIO, "the token gave an unwrapped key of %lu bytes", size);
        plain->size = size;
        *ret = TAKE_PTR(plain);
        return 0;
}

int wrap_aes_open(struct wrap_task *task, struct secret **ret) {
        _cleanup_(aes_done) struct aes aes = {};
        int r;

        r = prepare(task, &aes);
        if (r < 0)
                return r;
        if (aes.can & CKF_UNWRAP)
                return unwrap_object(task, &aes, ret);
        if (aes.can & CKF_DECRYPT)
                return decrypt(task, &aes, ret);
        return lacks(task, &aes, "unwrap");
}

/* Keys that stay in the token (wrap-inside.c): AES, and of the session. */

int wrap_aes_make_inside(struct wrap_task *task) {
        _cleanup_(aes_done) struct aes aes = {};
        CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
        CK_ULONG length = TOKEN_KEY_SIZE, size = sizeof(task->blob.data);
        CK_ATTRIBUTE template[] = {
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, &yes, sizeof(yes) },
                { CKA_EXTRACTABLE, &yes, sizeof(yes) },
                { CKA_VALUE_LEN, &length, sizeof(length) },
        };
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_OBJECT_HANDLE object = 0;
        CK_RV rv;
        int r;

        r = choose_iv(task);
        if (r >= 0)
                r = prepare(task, &aes);
        if (r < 0)
                return r;
        if (!(aes.can & CKF_WRAP) || !(aes.can & CKF_UNWRAP))
                return lacks(task, &aes, "wrap and unwrap");
        rv = pkcs11->f->C_GenerateKey(pkcs11->session, &mechanism, template, ELEMENTSOF(template), &object);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "a key made by the token");
        rv = pkcs11->f->C_WrapKey(pkcs11->session, &aes.mechanism, aes.key.handle, object, task->blob.data, &size);
        (void) pkcs11->f->C_DestroyObject(pkcs11->session, object);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "wrapping a key");
        task->blob.data_size = size;
        return check_iv(task);
}

int wrap_aes_open_inside(struct wrap_task *task, CK_OBJECT_HANDLE *ret) {
        static CK_KEY_TYPE type = CKK_AES;
        CK_ATTRIBUTE template[] = {
                { CKA_CLASS, &secret_class, sizeof(secret_class) },
                { CKA_KEY_TYPE, &type, sizeof(type) },
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, &yes, sizeof(yes) },
                { CKA_EXTRACTABLE, &no, sizeof(no) },
                { CKA_ENCRYPT, &yes, sizeof(yes) },
                { CKA_DECRYPT, &yes, sizeof(yes) },
        };
        _cleanup_(aes_done) struct aes aes = {};
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_RV rv;
        int r;

        r = prepare(task, &aes);
        if (r < 0)
                return r;
        if (!(aes.can & CKF_UNWRAP))
                return lacks(task, &aes, "unwrap");
        rv = pkcs11->f->C_UnwrapKey(pkcs11->session, &aes.mechanism, aes.key.handle, task->blob.data, task->blob.data_size,
                                    template, ELEMENTSOF(template), ret);
        return rv == CKR_OK ? 0 : wrap_refused(pkcs11, rv, "unwrapping a key");
}
