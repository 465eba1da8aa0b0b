/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "base/log.h"

static const uint8_t p256_params[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };
static const uint8_t p384_params[] = { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 };

static const CK_OBJECT_CLASS classes[] = {
        [PKCS11_PRIVATE] = CKO_PRIVATE_KEY,
        [PKCS11_PUBLIC] = CKO_PUBLIC_KEY,
        [PKCS11_SECRET] = CKO_SECRET_KEY,
};

static const char *const class_names[] = {
        [PKCS11_PRIVATE] = "private key",
        [PKCS11_PUBLIC] = "public key",
        [PKCS11_SECRET] = "secret key",
};

const uint8_t *curve_params(enum pkcs11_type type, size_t *ret_size) {
        *ret_size = type == PKCS11_EC_P256 ? sizeof(p256_params) : sizeof(p384_params);
        return type == PKCS11_EC_P256 ? p256_params : p384_params;
}

int objects_find(struct pkcs11 *pkcs11, CK_ATTRIBUTE *attributes, size_t n, CK_OBJECT_HANDLE *ret, size_t max, size_t *ret_n) {
        CK_ULONG found = 0;
        CK_RV rv;

        rv = pkcs11->f->C_FindObjectsInit(pkcs11->session, attributes, n);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "looking for a key");
        rv = pkcs11->f->C_FindObjects(pkcs11->session, ret, max, &found);
        (void) pkcs11->f->C_FindObjectsFinal(pkcs11->session);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "looking for a key");
        if (found > max)
                return fail(EIO, "the module found more keys than it was asked for");
        *ret_n = found;
        return 0;
}

int attribute_get(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *ret, size_t max,
                  size_t *ret_size) {
        CK_ATTRIBUTE attribute = { type, NULL, 0 };
        CK_RV rv;

        rv = pkcs11->f->C_GetAttributeValue(pkcs11->session, object, &attribute, 1);
        if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE)
                return -ENODATA;
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "reading a key's attributes");
        if (attribute.ulValueLen == (CK_ULONG) -1)
                return -ENODATA;
        if (attribute.ulValueLen > max)
                return fail(EIO, "the attribute 0x%lx of a key has %lu bytes", type, attribute.ulValueLen);
        attribute.pValue = ret;
        if (attribute.ulValueLen > 0)
                rv = pkcs11->f->C_GetAttributeValue(pkcs11->session, object, &attribute, 1);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "reading a key's attributes");
        if (attribute.ulValueLen > max)
                return -ENODATA;
        *ret_size = attribute.ulValueLen;
        return 0;
}

bool attribute_true(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
        CK_BBOOL value = CK_FALSE;
        size_t size = 0;

        return attribute_get(pkcs11, object, type, &value, sizeof(value), &size) == 0 && size == sizeof(value) &&
               value != CK_FALSE;
}

static CK_ULONG attribute_number(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type) {
        CK_ULONG value = 0;
        size_t size = 0;

        return attribute_get(pkcs11, object, type, &value, sizeof(value), &size) == 0 && size == sizeof(value) ? value : 0;
}

int key_curve(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, struct pkcs11_key *key) {
        uint8_t params[256];
        size_t size = 0;
        int r = attribute_get(pkcs11, handle, CKA_EC_PARAMS, params, sizeof(params), &size);

        if (r < 0 || size == 0)
                return r < 0 ? r : -ENODATA;
        for (enum pkcs11_type type = PKCS11_EC_P256; type <= PKCS11_EC_P384; type++) {
                size_t wanted_size;
                const uint8_t *wanted = curve_params(type, &wanted_size);

                if (size == wanted_size && memcmp(params, wanted, size) == 0) {
                        key->type = type;
                        key->bits = type == PKCS11_EC_P256 ? 256 : 384;
                }
        }
        return 0;
}

/* Private keys show their modulus in nearly all tokens; its size in none. */
static void describe_rsa(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, struct pkcs11_key *key) {
        uint8_t modulus[2048];
        size_t size = 0;

        key->type = PKCS11_RSA;
        if (attribute_get(pkcs11, handle, CKA_MODULUS, modulus, sizeof(modulus), &size) < 0)
                return;
        for (size_t i = 0; i < size; i++)
                if (modulus[i] != 0) {
                        key->bits = (unsigned) (size - i) * 8;
                        return;
                }
}

static void describe_secret(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, CK_KEY_TYPE type, struct pkcs11_key *key) {
        if (type == CKK_AES)
                key->type = PKCS11_AES;
        else if (type == CKK_GENERIC_SECRET || type == CKK_SHA256_HMAC)
                key->type = PKCS11_GENERIC;
        key->bits = (unsigned) attribute_number(pkcs11, handle, CKA_VALUE_LEN) * 8;
}

static bool lets_decrypt(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle) {
        static const CK_ATTRIBUTE_TYPE ways[] = { CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE };

        for (size_t i = 0; i < ELEMENTSOF(ways); i++)
                if (attribute_true(pkcs11, handle, ways[i]))
                        return true;
        return false;
}

int key_describe(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, struct pkcs11_key *ret) {
        struct pkcs11_key key = { .type = PKCS11_OTHER, .handle = handle, .session = pkcs11->number };
        CK_OBJECT_CLASS class = attribute_number(pkcs11, handle, CKA_CLASS);
        CK_KEY_TYPE type = CK_UNAVAILABLE_INFORMATION;
        uint8_t label[sizeof(key.label)];
        size_t size = 0;
        int r;

        for (enum pkcs11_class c = PKCS11_PRIVATE; c <= PKCS11_SECRET; c++)
                if (classes[c] == class)
                        key.class = c;
        r = attribute_get(pkcs11, handle, CKA_KEY_TYPE, &type, sizeof(type), &size);
        if (r < 0)
                return r == -ENODATA ? fail(EIO, "the token does not say of which type a key is") : r;
        r = attribute_get(pkcs11, handle, CKA_ID, key.id, sizeof(key.id), &key.id_size);
        if (r < 0 && r != -ENODATA)
                return r;
        r = attribute_get(pkcs11, handle, CKA_LABEL, label, sizeof(label) - 1, &size);
        if (r == 0) {
                label[size] = '\0';
                text_sanitize((const char *) label, key.label, sizeof(key.label));
        }
        if (type == CKK_EC) {
                if (key_curve(pkcs11, handle, &key) == -ENODATA && key.class == PKCS11_PRIVATE)
                        key_curve_elsewhere(pkcs11, &key);
        } else if (type == CKK_RSA)
                describe_rsa(pkcs11, handle, &key);
        else
                describe_secret(pkcs11, handle, type, &key);
        key.signs = attribute_true(pkcs11, handle, CKA_SIGN);
        key.decrypts = lets_decrypt(pkcs11, handle);
        key.always_pin = attribute_true(pkcs11, handle, CKA_ALWAYS_AUTHENTICATE);
        if (key.class == PKCS11_PRIVATE)
                purpose_read(pkcs11, &key);
        *ret = key;
        return 0;
}

static int none_found(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class) {
        struct pkcs11_pin state = {};

        (void) login_state(pkcs11, &state);
        return fail(ENOKEY, "the token \"%s\" has no %s that \"%s\" names%s", pkcs11->label, class_names[class], uri,
                    state.needed ? ", or shows it only after the PIN" : "");
}

int objects_named(struct pkcs11 *pkcs11, const char *uri, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE ret[static 2], size_t *ret_n) {
        _cleanup_(p11_uri_freep) P11KitUri *parsed = NULL;
        CK_ATTRIBUTE wanted[8] = { { CKA_CLASS, &class, sizeof(class) } };
        CK_ATTRIBUTE *attributes;
        CK_ULONG n_attributes = 0;
        size_t n = 1;
        int r;

        r = uri_parse(uri, &parsed);
        if (r < 0)
                return r;
        attributes = p11_kit_uri_get_attributes(parsed, &n_attributes);
        for (size_t i = 0; i < n_attributes && n < ELEMENTSOF(wanted); i++)
                if (attributes[i].type != CKA_CLASS)
                        wanted[n++] = attributes[i];
        return objects_find(pkcs11, wanted, n, ret, 2, ret_n);
}

int key_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret) {
        CK_OBJECT_HANDLE handles[2] = {};
        size_t found = 0;
        int r;

        r = objects_named(pkcs11, uri, classes[class], handles, &found);
        if (r < 0)
                return r;
        if (found == 0)
                return none_found(pkcs11, uri, class);
        if (found > 1)
                return fail(ENOTUNIQ, "the token \"%s\" has more than one %s that \"%s\" names: give its id= too", pkcs11->label,
                            class_names[class], uri);
        return key_describe(pkcs11, handles[0], ret);
}

int key_find_cached(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret) {
        struct pkcs11_key key;
        int r;

        for (size_t i = 0; i < pkcs11->n_found; i++)
                if (pkcs11->found[i].key.class == class && strcmp(pkcs11->found[i].uri, uri) == 0) {
                        *ret = pkcs11->found[i].key;
                        return 0;
                }
        r = key_find(pkcs11, uri, class, &key);
        if (r < 0)
                return r;
        if (pkcs11->n_found == FOUND_CACHE)
                key_forget_found(pkcs11);
        pkcs11->found[pkcs11->n_found] = (struct found_key){ strdup(uri), key };
        if (pkcs11->found[pkcs11->n_found].uri)
                pkcs11->n_found++;
        *ret = key;
        return 0;
}

void key_forget_found(struct pkcs11 *pkcs11) {
        for (size_t i = 0; i < pkcs11->n_found; i++)
                free(pkcs11->found[i].uri);
        pkcs11->n_found = 0;
        pkcs11->n_abilities = 0;
}

/* Handles end with their session; the key is looked for again, by what it was known by. */
int key_handle(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_OBJECT_HANDLE *ret) {
        CK_ATTRIBUTE wanted[3] = { { CKA_CLASS, (void *) (classes + key->class), sizeof(*classes) } };
        CK_OBJECT_HANDLE handles[2] = {};
        size_t n = 1, found = 0;
        int r;

        if (key->session == pkcs11->number) {
                *ret = key->handle;
                return 0;
        }
        if (key->id_size > 0)
                wanted[n++] = (CK_ATTRIBUTE){ CKA_ID, (void *) key->id, key->id_size };
        if (key->label[0] != '\0')
                wanted[n++] = (CK_ATTRIBUTE){ CKA_LABEL, (void *) key->label, strlen(key->label) };
        r = objects_find(pkcs11, wanted, n, handles, ELEMENTSOF(handles), &found);
        if (r < 0)
                return r;
        if (found != 1)
                return fail(found == 0 ? ENOKEY : ENOTUNIQ, "the key \"%s\" is in the token \"%s\" %s", key->label, pkcs11->label,
                            found == 0 ? "no more" : "twice");
        *ret = handles[0];
        return 0;
}
