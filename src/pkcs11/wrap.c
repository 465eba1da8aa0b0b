/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap-internal.h"

#include <string.h>

#include "pkcs11/apart.h"

int wrap_check_how(const struct wrap_how *how) {
        if (how->mechanism < WRAP_KWP || how->mechanism > WRAP_ECDH || how->mac > WRAP_MAC_AES_MAC_64 || !how->key)
                return fail(EINVAL, "it is not said how keys are to be wrapped");
        if (how->mac != WRAP_MAC_NONE && !wrap_is_aes(how->mechanism))
                return fail(EINVAL, "%s takes no MAC key", wrap_mechanism_to_string(how->mechanism));
        if (how->mechanism == WRAP_CBC_PAD && how->mac == WRAP_MAC_NONE)
                return fail(EINVAL, "cbc-pad keeps nobody from changing a wrapped key: it needs a MAC key");
        if (how->mac != WRAP_MAC_NONE && !how->mac_key)
                return fail(EINVAL, "%s needs a MAC key", wrap_mac_to_string(how->mac));
        return 0;
}

/* To open with the token what it just wrapped: a key that cannot be had again is not handed out. */
static int make_aes(struct wrap_task *task, const struct secret *key, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *again = NULL;
        int r;

        r = wrap_aes_make(task, key);
        if (r < 0)
                return r;
        r = wrap_aes_open(task, &again);
        if (r < 0)
                return r;
        if (key ? !secret_equal(key, again) : again->size != TOKEN_KEY_SIZE)
                return fail(EIO, "the token \"%s\" unwraps another key than it wrapped", task->pkcs11->label);
        *ret = TAKE_PTR(again);
        return 0;
}

/* Which hash the token has shows only when it decrypts, and that needs the login: SHA-256 where it cannot be tried. */
static int make_rsa(struct wrap_task *task, const struct secret *key) {
        struct pkcs11_key private_key;
        int r, tried;

        r = wrap_rsa_make(task, key, OAEP_SHA256);
        if (r < 0 || key_find_cached(task->pkcs11, task->how->key, PKCS11_PRIVATE, &private_key) < 0)
                return r;
        for (enum oaep_hash hash = OAEP_SHA256; hash >= OAEP_SHA1; hash--) {
                _cleanup_(secret_freep) struct secret *again = NULL;

                r = wrap_rsa_make(task, key, hash);
                if (r < 0)
                        return r;
                tried = wrap_rsa_open(task, &again);
                if (tried >= 0)
                        return secret_equal(key, again) ? 0
                                                        : fail(EIO, "the token \"%s\" unwraps another key", task->pkcs11->label);
                if (task->pkcs11->lost || (tried != -EOPNOTSUPP && tried != -EKEYREJECTED))
                        return tried;
        }
        return tried;
}

static int make(struct wrap_task *task, const struct secret *key, struct secret **ret_key) {
        _cleanup_(secret_freep) struct secret *copy = NULL;
        int r;

        task->blob.info = (struct wrap_info){ task->how->mechanism, task->how->mac, task->how->generation };
        if (wrap_is_aes(task->how->mechanism))
                r = make_aes(task, key, &copy);
        else {
                r = key ? secret_copy(key->data, key->size, &copy) : secret_random(TOKEN_KEY_SIZE, &copy);
                if (r < 0)
                        return fail(r, "no locked memory for a key");
                r = task->how->mechanism == WRAP_RSA_OAEP ? make_rsa(task, copy) : wrap_ecdh_make(task, copy);
        }
        if (r >= 0)
                r = wrap_check_make(task, copy);
        if (r >= 0)
                *ret_key = TAKE_PTR(copy);
        return r;
}

static int make_blob(struct wrap_task *task, const struct secret *key, struct blob *ret, struct secret **ret_key) {
        _cleanup_(secret_freep) struct secret *copy = NULL;
        _cleanup_(blob_done) struct blob blob = {};
        struct wrap_blob parsed;
        int r;

        r = wrap_check_how(task->how);
        if (r < 0)
                return r;
        if (key && (key->size < WRAP_KEY_MIN || key->size > WRAP_KEY_MAX))
                return fail(EINVAL, "a key of %zu bytes is not wrapped: %d to %d", key->size, WRAP_KEY_MIN, WRAP_KEY_MAX);
        if (key && key->size % 8 != 0 && task->how->mechanism == WRAP_KEY_WRAP_PAD)
                return fail(EINVAL, "a key of %zu bytes is not wrapped by key-wrap-pad: tokens differ in how they pad",
                            key->size);
        task->blob = (struct wrap_blob){};
        r = make(task, key, &copy);
        if (r < 0)
                return r;
        r = wrap_format(&task->blob, true, &blob);
        if (r < 0)
                return fail(r, "out of memory");
        if (wrap_parse(blob.data, blob.size, &parsed) < 0)
                return fail(EIO, "the token \"%s\" wrapped a key into %zu bytes, which is not what %s gives", task->pkcs11->label,
                            task->blob.data_size, wrap_mechanism_to_string(task->how->mechanism));
        *ret = blob;
        blob = (struct blob){};
        if (ret_key)
                *ret_key = TAKE_PTR(copy);
        return 0;
}

/* Whoever can write blobs must not choose how they are held against: what has no MAC where one is configured (but for GCM, which
 * is bound without), or a weaker one, is refused. */
int wrap_check_info(const struct wrap_how *how, const struct wrap_info *info) {
        if (info->generation != how->generation)
                return fail(ESTALE, "the key was wrapped under generation %u of the wrapping key, not %u", info->generation,
                            how->generation);
        if (info->mechanism != how->mechanism && !(wrap_is_aes(info->mechanism) && wrap_is_aes(how->mechanism)))
                return fail(EKEYREJECTED, "the key was wrapped by %s, not by %s", wrap_mechanism_to_string(info->mechanism),
                            wrap_mechanism_to_string(how->mechanism));
        if (info->mac != how->mac && !(info->mechanism == WRAP_GCM && info->mac == WRAP_MAC_NONE))
                return fail(EKEYREJECTED, "the key was wrapped with the MAC %s, not %s", wrap_mac_to_string(info->mac),
                            wrap_mac_to_string(how->mac));
        return 0;
}

static int open_raw(struct wrap_task *task, struct secret **ret) {
        switch (task->blob.info.mechanism) {
        case WRAP_RSA_OAEP:
                return wrap_rsa_open(task, ret);
        case WRAP_ECDH:
                return wrap_ecdh_open(task, ret);
        default:
                return wrap_aes_open(task, ret);
        }
}

static int open_blob(struct wrap_task *task, const void *blob, size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        int r;

        r = wrap_check_how(task->how);
        if (r < 0)
                return r;
        r = wrap_parse(blob, size, &task->blob);
        if (r < 0)
                return fail(r, "not a wrapped key: cut off, changed, or not made by this software");
        r = wrap_check_info(task->how, &task->blob.info);
        if (r < 0)
                return r;
        r = wrap_mac_check(task);
        if (r < 0)
                return r;
        r = open_raw(task, &key);
        if (r < 0)
                return r;
        r = wrap_confirm_check(task, key);
        if (r < 0)
                return r;
        if (key->size < WRAP_KEY_MIN || key->size > WRAP_KEY_MAX)
                return fail(EKEYREJECTED, "the wrapped key has %zu bytes", key->size);
        *ret = TAKE_PTR(key);
        return 0;
}

int wrap_make(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const struct secret *key,
              struct blob *ret, struct secret **ret_key) {
        struct wrap_task task = { .pkcs11 = pkcs11, .how = how, .binding = binding, .n = n };

        if (pkcs11->apart)
                return apart_make(pkcs11, how, binding, n, key, ret, ret_key);
        return WITH_SESSION(pkcs11, make_blob(&task, key, ret, ret_key));
}

int wrap_open(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const void *blob,
              size_t size, struct secret **ret) {
        struct wrap_task task = { .pkcs11 = pkcs11, .how = how, .binding = binding, .n = n };

        if (pkcs11->apart)
                return apart_unwrap(pkcs11, how, binding, n, &(struct blob){ (uint8_t *) blob, size }, ret);
        return WITH_SESSION(pkcs11, open_blob(&task, blob, size, ret));
}
