/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "pkcs11/apart.h"
#include "pkcs11/wrap-internal.h"

static int check_how(const struct wrap_how *how) {
        int r = wrap_check_how(how);

        if (r < 0)
                return r;
        if (!wrap_is_aes(how->mechanism) || how->mac == WRAP_MAC_NONE)
                return fail(EINVAL, "a key that stays in the token needs a MAC key: nothing else binds it to what it is for");
        return 0;
}

static int make(struct wrap_task *task, struct blob *ret) {
        _cleanup_(blob_done) struct blob blob = {};
        int r;

        r = check_how(task->how);
        if (r < 0)
                return r;
        task->blob = (struct wrap_blob){ .info = { task->how->mechanism, task->how->mac, task->how->generation } };
        r = wrap_aes_make_inside(task);
        if (r >= 0)
                r = wrap_check_make(task, NULL);
        if (r < 0)
                return r;
        r = wrap_format(&task->blob, true, &blob);
        if (r < 0)
                return fail(r, "out of memory");
        *ret = blob;
        blob = (struct blob){};
        return 0;
}

static int use_object(struct wrap_task *task, CK_OBJECT_HANDLE object, const struct wrap_use *use, struct secret **ret) {
        CK_GCM_PARAMS gcm = { (CK_BYTE *) use->iv, GCM_IV_SIZE, 8 * GCM_IV_SIZE, (CK_BYTE *) use->aad, use->aad_size, 128 };
        CK_MECHANISM mechanism = { CKM_AES_GCM, &gcm, sizeof(gcm) };
        _cleanup_(secret_freep) struct secret *out = NULL;
        struct pkcs11 *pkcs11 = task->pkcs11;
        CK_ULONG size = 2 * WRAP_KEY_MAX;
        CK_RV rv;
        int r;

        r = secret_new(size, &out);
        if (r < 0)
                return fail(r, "no locked memory for a key");
        rv = use->seal ? pkcs11->f->C_EncryptInit(pkcs11->session, &mechanism, object)
                       : pkcs11->f->C_DecryptInit(pkcs11->session, &mechanism, object);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "a key in the token, with CKM_AES_GCM");
        rv = use->seal ? pkcs11->f->C_Encrypt(pkcs11->session, (CK_BYTE *) use->data, use->size, out->data, &size)
                       : pkcs11->f->C_Decrypt(pkcs11->session, (CK_BYTE *) use->data, use->size, out->data, &size);
        if (rv != CKR_OK)
                return use->seal ? fail_rv(pkcs11, rv, "a key in the token, with CKM_AES_GCM")
                                 : wrap_refused(pkcs11, rv, "what a key in the token has wrapped");
        if (size != (use->seal ? use->size + AEAD_TAG_SIZE : use->size - AEAD_TAG_SIZE))
                return fail(EIO, "the token gave %lu bytes for %zu", size, use->size);
        out->size = size;
        *ret = TAKE_PTR(out);
        return 0;
}

static int use_blob(struct wrap_task *task, const struct blob *blob, const struct wrap_use *use, struct secret **ret) {
        CK_OBJECT_HANDLE object = 0;
        int r;

        r = check_how(task->how);
        if (r < 0)
                return r;
        if (use->size < WRAP_KEY_MIN + (use->seal ? 0 : AEAD_TAG_SIZE) ||
            use->size > WRAP_KEY_MAX - (use->seal ? AEAD_TAG_SIZE : 0))
                return fail(EKEYREJECTED, "what a key in the token has wrapped has not %zu bytes", use->size);
        r = wrap_parse(blob->data, blob->size, &task->blob);
        if (r < 0)
                return fail(r, "not a wrapped key: cut off, changed, or not made by this software");
        r = wrap_check_info(task->how, &task->blob.info);
        if (r >= 0 && task->blob.info.mac == WRAP_MAC_NONE)
                r = fail(EKEYREJECTED, "the key was wrapped without a MAC");
        if (r >= 0)
                r = wrap_mac_check(task);
        if (r >= 0)
                r = wrap_aes_open_inside(task, &object);
        if (r < 0)
                return r;
        r = use_object(task, object, use, ret);
        (void) task->pkcs11->f->C_DestroyObject(task->pkcs11->session, object);
        return r;
}

int wrap_make_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, struct blob *ret) {
        struct wrap_task task = { .pkcs11 = pkcs11, .how = how, .binding = binding, .n = n };

        if (pkcs11->apart)
                return apart_make_inside(pkcs11, how, binding, n, ret);
        return WITH_SESSION(pkcs11, make(&task, ret));
}

int wrap_use_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                    const struct blob *blob, const struct wrap_use *use, struct secret **ret) {
        struct wrap_task task = { .pkcs11 = pkcs11, .how = how, .binding = binding, .n = n };

        if (pkcs11->apart)
                return apart_use_inside(pkcs11, how, binding, n, blob, use, ret);
        return WITH_SESSION(pkcs11, use_blob(&task, blob, use, ret));
}

int wrap_check_inside(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        static const uint8_t iv[GCM_IV_SIZE] = { 1 }, data[32] = { 2 };
        _cleanup_(secret_freep) struct secret *sealed = NULL, *opened = NULL;
        _cleanup_(blob_done) struct blob blob = {};
        struct wrap_use use = { .seal = true, .iv = iv, .aad = "check", .aad_size = 5, .data = data, .size = sizeof(data) };
        int r;

        r = wrap_make_inside(pkcs11, how, FIELDS(field_text("check")), &blob);
        if (r >= 0)
                r = wrap_use_inside(pkcs11, how, FIELDS(field_text("check")), &blob, &use, &sealed);
        if (r < 0)
                return r;
        use.seal = false;
        use.data = sealed->data;
        use.size = sealed->size;
        r = wrap_use_inside(pkcs11, how, FIELDS(field_text("check")), &blob, &use, &opened);
        if (r < 0)
                return r;
        return opened->size == sizeof(data) && bytes_equal_ct(opened->data, data, sizeof(data))
                       ? 0
                       : fail(EIO, "the token \"%s\" opens something else than it wrapped", pkcs11_label(pkcs11));
}
