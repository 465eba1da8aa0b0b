/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap-internal.h"

#include <string.h>

#include "crypto/crypto.h"

int wrap_context(const struct wrap_task *task, const char *label, const void *data, size_t size, struct blob *ret) {
        _cleanup_(freep) struct field *fields = calloc(task->n + 2, sizeof(*fields));

        if (!fields)
                return fail(ENOMEM, "out of memory");
        fields[0] = field_text(label);
        fields[1] = field_bytes(data, size);
        for (size_t i = 0; i < task->n; i++)
                fields[i + 2] = task->binding[i];
        return fields_encode(fields, task->n + 2, ret);
}

int wrap_aad(const struct wrap_task *task, struct blob *ret) {
        _cleanup_(blob_done) struct blob head = {};
        int r = wrap_format(&task->blob, false, &head);

        return r < 0 ? r : wrap_context(task, "tallyboot wrap v1", head.data, WRAP_HEADER_SIZE, ret);
}

static int covered(const struct wrap_task *task, const char *label, struct blob *ret) {
        _cleanup_(blob_done) struct blob bytes = {};
        int r = wrap_format(&task->blob, false, &bytes);

        return r < 0 ? r : wrap_context(task, label, bytes.data, bytes.size, ret);
}

CK_MECHANISM_TYPE wrap_mac_mechanism(enum wrap_mac mac) {
        switch (mac) {
        case WRAP_MAC_SHA256_HMAC:
                return CKM_SHA256_HMAC;
        case WRAP_MAC_AES_CMAC:
                return CKM_AES_CMAC;
        default:
                return CKM_AES_MAC;
        }
}

/* Over a hash: CKM_AES_MAC is a plain CBC-MAC, which holds for messages of one length only. */
static int mac(struct wrap_task *task, uint8_t ret[static WRAP_CHECK_MAX]) {
        CK_MECHANISM mechanism = { wrap_mac_mechanism(task->blob.info.mac), NULL, 0 };
        _cleanup_(blob_done) struct blob input = {};
        struct pkcs11 *pkcs11 = task->pkcs11;
        uint8_t digest[SHA256_SIZE], value[64];
        CK_ULONG size = sizeof(value);
        struct pkcs11_key key;
        CK_RV rv;
        int r;

        r = covered(task, "tallyboot wrap mac v1", &input);
        if (r < 0)
                return r;
        r = sha256(input.data, input.size, digest);
        if (r < 0)
                return fail(r, "the wrapped key cannot be hashed");
        r = key_find_cached(pkcs11, task->how->mac_key, PKCS11_SECRET, &key);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_SignInit(pkcs11->session, &mechanism, key.handle);
        if (rv == CKR_OK)
                rv = pkcs11->f->C_Sign(pkcs11->session, digest, sizeof(digest), value, &size);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "the MAC of a wrapped key");
        if (size != wrap_mac_size(task->blob.info.mac))
                return fail(EIO, "the token gave a MAC of %lu bytes instead of %zu", size, wrap_mac_size(task->blob.info.mac));
        memcpy(ret, value, size);
        return 0;
}

static int confirmation(struct wrap_task *task, const struct secret *key, uint8_t ret[static SHA256_SIZE]) {
        _cleanup_(blob_done) struct blob input = {};
        int r = covered(task, "tallyboot wrap confirm v1", &input);

        return r < 0 ? r : hmac_sha256(key->data, key->size, input.data, input.size, ret);
}

static bool has_confirmation(const struct wrap_blob *blob) {
        return blob->info.mac == WRAP_MAC_NONE && blob->info.mechanism != WRAP_GCM && blob->info.mechanism != WRAP_ECDH;
}

int wrap_check_make(struct wrap_task *task, const struct secret *key) {
        struct wrap_blob *blob = &task->blob;

        if (blob->info.mac != WRAP_MAC_NONE) {
                blob->check_size = wrap_mac_size(blob->info.mac);
                return mac(task, blob->check);
        }
        blob->check_size = has_confirmation(blob) ? SHA256_SIZE : 0;
        return has_confirmation(blob) ? confirmation(task, key, blob->check) : 0;
}

static int refuse(const char *what) {
        return fail(EKEYREJECTED, "the wrapped key was changed, belongs to something else, or was wrapped by another key: %s",
                    what);
}

int wrap_mac_check(struct wrap_task *task) {
        uint8_t expected[WRAP_CHECK_MAX];
        int r;

        if (task->blob.info.mac == WRAP_MAC_NONE)
                return 0;
        r = mac(task, expected);
        if (r < 0)
                return r;
        return bytes_equal_ct(expected, task->blob.check, task->blob.check_size) ? 0 : refuse("its MAC is wrong");
}

int wrap_confirm_check(struct wrap_task *task, const struct secret *key) {
        uint8_t expected[SHA256_SIZE];
        int r;

        if (!has_confirmation(&task->blob))
                return 0;
        r = confirmation(task, key, expected);
        if (r < 0)
                return r;
        return bytes_equal_ct(expected, task->blob.check, sizeof(expected)) ? 0 : refuse("its confirmation is wrong");
}

/* PKCS#11 has a dozen codes for this, and some tokens say no more than that it failed: then the token is asked whether it is
 * well. */
int wrap_refused(struct pkcs11 *pkcs11, CK_RV rv, const char *what) {
        static const CK_RV vague[] = {
                CKR_GENERAL_ERROR,  CKR_FUNCTION_FAILED,       CKR_DATA_INVALID,
                CKR_DATA_LEN_RANGE, CKR_TEMPLATE_INCONSISTENT, CKR_KEY_SIZE_RANGE,
        };
        CK_TOKEN_INFO token;
        char number[32];
        bool blame = rv_errno(rv) == -EKEYREJECTED;

        for (size_t i = 0; i < ELEMENTSOF(vague); i++)
                if (rv == vague[i])
                        blame = pkcs11->f->C_GetTokenInfo(pkcs11->slot, &token) == CKR_OK;
        return blame ? refuse(rv_name(rv, number)) : fail_rv(pkcs11, rv, what);
}
