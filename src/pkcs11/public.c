/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <string.h>

#include "crypto/internal.h"

enum { MODULUS_MAX = 1024 };

static inline void x509_freep(X509 **p) {
        X509_free(*p);
}

static int to_spki(EVP_PKEY *pkey, struct blob *ret) {
        _cleanup_(blob_done) struct blob spki = {};
        int size = i2d_PUBKEY(pkey, &spki.data);

        if (size <= 0)
                return fail(EIO, "the public key cannot be encoded");
        spki.size = (size_t) size;
        *ret = spki;
        spki = (struct blob){};
        return 0;
}

static int rsa_from_numbers(const uint8_t *n, size_t n_size, const uint8_t *e, size_t e_size, struct blob *ret) {
        _cleanup_(evp_pkey_ctx_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        BIGNUM *modulus = BN_bin2bn(n, (int) n_size, NULL), *exponent = BN_bin2bn(e, (int) e_size, NULL);
        OSSL_PARAM *params = NULL;
        int r = -EIO;

        if (ctx && build && modulus && exponent && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
            OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
                params = OSSL_PARAM_BLD_to_param(build);
        if (params && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1)
                r = to_spki(pkey, ret);
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(build);
        BN_free(modulus);
        BN_free(exponent);
        return r;
}

static int rsa_public(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, struct blob *ret) {
        uint8_t n[MODULUS_MAX], e[16];
        size_t n_size = 0, e_size = 0;
        int r;

        r = attribute_get(pkcs11, object, CKA_MODULUS, n, sizeof(n), &n_size);
        if (r < 0)
                return r;
        r = attribute_get(pkcs11, object, CKA_PUBLIC_EXPONENT, e, sizeof(e), &e_size);
        if (r < 0)
                return r;
        return n_size == 0 || e_size == 0 ? -ENODATA : rsa_from_numbers(n, n_size, e, e_size, ret);
}

/* CKA_EC_POINT is a DER OCTET STRING around the point; some modules give the point alone. */
static int ec_public(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, enum pkcs11_type type, struct blob *ret) {
        const char *group = type == PKCS11_EC_P256 ? "P-256" : "P-384";
        size_t wanted = type == PKCS11_EC_P256 ? 65 : 97, size = 0;
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        uint8_t buffer[256], *point = buffer;
        int r;

        r = attribute_get(pkcs11, object, CKA_EC_POINT, buffer, sizeof(buffer), &size);
        if (r < 0)
                return r;
        if (size == wanted + 2 && point[0] == 0x04 && point[1] == wanted)
                point += 2;
        else if (size != wanted)
                return -ENODATA;
        r = ec_public_key(group, point, wanted, &pkey);
        return r < 0 ? fail(EIO, "the token's public key is not a point of %s", group) : to_spki(pkey, ret);
}

static int certificate_public(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, struct blob *ret) {
        _cleanup_(freep) uint8_t *der = malloc(CERTIFICATE_MAX);
        _cleanup_(x509_freep) X509 *x509 = NULL;
        const uint8_t *p = der;
        size_t size = 0;
        int r;

        if (!der)
                return fail(ENOMEM, "out of memory");
        r = attribute_get(pkcs11, object, CKA_VALUE, der, CERTIFICATE_MAX, &size);
        if (r < 0)
                return r;
        x509 = d2i_X509(NULL, &p, (long) size);
        if (!x509 || !X509_get0_pubkey(x509))
                return fail(EIO, "the certificate in the token is malformed");
        return to_spki(X509_get0_pubkey(x509), ret);
}

/* The object of another class that belongs to the key: with its id; the one of them, for a card's other certificates have
 * others. */
static int companion(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret) {
        CK_ATTRIBUTE wanted[2] = { { CKA_CLASS, &class, sizeof(class) } };
        CK_OBJECT_HANDLE handle = 0;
        size_t found = 0;
        int r;

        if (key->id_size > 0)
                wanted[1] = (CK_ATTRIBUTE){ CKA_ID, (void *) key->id, key->id_size };
        else if (key->label[0] != '\0')
                wanted[1] = (CK_ATTRIBUTE){ CKA_LABEL, (void *) key->label, strlen(key->label) };
        else
                return -ENODATA;
        r = objects_find(pkcs11, wanted, ELEMENTSOF(wanted), &handle, 1, &found);
        if (r < 0)
                return r;
        if (found == 0)
                return -ENODATA;
        *ret = handle;
        return 0;
}

static int from_companion(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_OBJECT_CLASS class, struct blob *ret) {
        CK_OBJECT_HANDLE object;
        int r;

        r = companion(pkcs11, key, class, &object);
        if (r < 0)
                return r;
        if (class == CKO_CERTIFICATE)
                return certificate_public(pkcs11, object, ret);
        return key->type == PKCS11_RSA ? rsa_public(pkcs11, object, ret) : ec_public(pkcs11, object, key->type, ret);
}

static void curve_of_certificate(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, struct pkcs11_key *key) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        _cleanup_(blob_done) struct blob spki = {};
        char group[32] = "";
        const uint8_t *p;

        if (certificate_public(pkcs11, object, &spki) < 0)
                return;
        p = spki.data;
        pkey = d2i_PUBKEY(NULL, &p, (long) spki.size);
        if (!pkey || EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1)
                return;
        if (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0) {
                key->type = strcmp(group, "secp384r1") == 0 ? PKCS11_EC_P384 : PKCS11_EC_P256;
                key->bits = key->type == PKCS11_EC_P384 ? 384 : 256;
        }
}

void key_curve_elsewhere(struct pkcs11 *pkcs11, struct pkcs11_key *key) {
        CK_OBJECT_HANDLE object;

        if (companion(pkcs11, key, CKO_PUBLIC_KEY, &object) >= 0 && key_curve(pkcs11, object, key) >= 0)
                return;
        if (companion(pkcs11, key, CKO_CERTIFICATE, &object) >= 0)
                curve_of_certificate(pkcs11, object, key);
}

/* A public object or certificate is in the token by its id alone: whoever wrote it there could have written another. */
static int check_type(const struct pkcs11_key *key, struct blob *spki) {
        _cleanup_(evp_pkey_freep) EVP_PKEY *pkey = NULL;
        const uint8_t *p = spki->data;
        int bits, wanted = key->type == PKCS11_RSA ? EVP_PKEY_RSA : EVP_PKEY_EC;

        pkey = d2i_PUBKEY(NULL, &p, (long) spki->size);
        bits = pkey ? EVP_PKEY_get_bits(pkey) : 0;
        if (!pkey || EVP_PKEY_get_base_id(pkey) != wanted || (key->bits != 0 && (unsigned) ((bits + 7) / 8 * 8) != key->bits))
                return fail(EIO, "the public key in the token does not belong to its private key \"%s\"", key->label);
        return 0;
}

int key_public(struct pkcs11 *pkcs11, const struct pkcs11_key *key, struct blob *ret) {
        static const CK_OBJECT_CLASS others[] = { CKO_PUBLIC_KEY, CKO_CERTIFICATE };
        _cleanup_(blob_done) struct blob spki = {};
        CK_OBJECT_HANDLE own;
        int r;

        if (key->type != PKCS11_RSA && key->type != PKCS11_EC_P256 && key->type != PKCS11_EC_P384)
                return fail(EINVAL, "the key \"%s\" is not an EC (P-256, P-384) or RSA key", key->label);
        r = key_handle(pkcs11, key, &own);
        if (r < 0)
                return r;
        r = key->type == PKCS11_RSA ? rsa_public(pkcs11, own, &spki) : ec_public(pkcs11, own, key->type, &spki);
        for (size_t i = 0; r == -ENODATA && i < ELEMENTSOF(others); i++)
                r = from_companion(pkcs11, key, others[i], &spki);
        if (r == -ENODATA)
                return fail(ENOKEY, "the token \"%s\" has neither a public key nor a certificate for its private key \"%s\"",
                            pkcs11->label, key->label);
        if (r < 0)
                return r;
        r = check_type(key, &spki);
        if (r < 0)
                return r;
        *ret = spki;
        spki = (struct blob){};
        return 0;
}

int key_public_by_uri(struct pkcs11 *pkcs11, const char *uri, struct blob *ret) {
        CK_OBJECT_HANDLE handles[2] = {};
        struct pkcs11_key key;
        size_t n = 0;
        int r;

        r = key_find(pkcs11, uri, PKCS11_PUBLIC, &key);
        if (r >= 0)
                return key_public(pkcs11, &key, ret);
        if (r != -ENOKEY)
                return r;
        r = objects_named(pkcs11, uri, CKO_CERTIFICATE, handles, &n);
        if (r < 0)
                return r;
        if (n == 1)
                return certificate_public(pkcs11, handles[0], ret);
        if (n > 1)
                return fail(ENOTUNIQ, "the token \"%s\" has more than one certificate that \"%s\" names", pkcs11->label, uri);
        r = key_find(pkcs11, uri, PKCS11_PRIVATE, &key);
        return r < 0 ? r : key_public(pkcs11, &key, ret);
}
