/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include "crypto/internal.h"

enum { RSA_BITS_MIN = 2048, SIGNATURE_ROOM = 1024, SALT_SIZE = 32 };

struct way {
        CK_MECHANISM mechanism;
        enum tpm_hash hash;
        size_t signature; /* bytes */
};

/* How keys of this type sign (docs/protocol.md, "Token evidence"). */
static int choose(const struct pkcs11_key *key, CK_RSA_PKCS_PSS_PARAMS *pss, struct way *ret) {
        switch (key->type) {
        case PKCS11_EC_P256:
                *ret = (struct way){ { CKM_ECDSA, NULL, 0 }, HASH_SHA256, 64 };
                return 0;
        case PKCS11_EC_P384:
                *ret = (struct way){ { CKM_ECDSA, NULL, 0 }, HASH_SHA384, 96 };
                return 0;
        case PKCS11_RSA:
                if (key->bits < RSA_BITS_MIN)
                        return fail(EINVAL, "the RSA key \"%s\" has %u bits: 2048 are the least", key->label, key->bits);
                *pss = (CK_RSA_PKCS_PSS_PARAMS){ CKM_SHA256, CKG_MGF1_SHA256, SALT_SIZE };
                *ret = (struct way){ { CKM_RSA_PKCS_PSS, pss, sizeof(*pss) }, HASH_SHA256, key->bits / 8 };
                return 0;
        default:
                return fail(EINVAL, "the key \"%s\" is not an EC (P-256, P-384) or RSA key", key->label);
        }
}

int key_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret) {
        uint8_t digest[HASH_SIZE_MAX], signature[SIGNATURE_ROOM];
        CK_ULONG signature_size = sizeof(signature);
        CK_RSA_PKCS_PSS_PARAMS pss;
        CK_OBJECT_HANDLE handle;
        struct way way;
        CK_RV rv;
        int r;

        r = choose(key, &pss, &way);
        if (r < 0)
                return r;
        r = hash_parts(way.hash, PARTS({ message, size }), digest);
        if (r < 0)
                return fail(r, "the message cannot be hashed");
        r = mechanism_require(pkcs11, way.mechanism.mechanism, CKF_SIGN);
        if (r < 0)
                return r;
        r = key_handle(pkcs11, key, &handle);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_SignInit(pkcs11->session, &way.mechanism, handle);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "signing");
        r = login_for_key(pkcs11, key);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_Sign(pkcs11->session, digest, hash_size(way.hash), signature, &signature_size);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "signing");
        if (signature_size != way.signature)
                return fail(EIO, "signing: the token gave %lu bytes instead of %zu", signature_size, way.signature);
        return blob_copy(signature, signature_size, ret);
}
