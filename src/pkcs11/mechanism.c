/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <stdio.h>
#include <string.h>

static const struct {
        CK_MECHANISM_TYPE type;
        const char *name;
} names[] = {
        { CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN" },
        { CKM_RSA_PKCS, "CKM_RSA_PKCS" },
        { CKM_RSA_X_509, "CKM_RSA_X_509" },
        { CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP" },
        { CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS" },
        { CKM_SHA256_RSA_PKCS, "CKM_SHA256_RSA_PKCS" },
        { CKM_SHA256_RSA_PKCS_PSS, "CKM_SHA256_RSA_PKCS_PSS" },
        { CKM_SHA_1, "CKM_SHA_1" },
        { CKM_SHA256, "CKM_SHA256" },
        { CKM_SHA256_HMAC, "CKM_SHA256_HMAC" },
        { CKM_SHA384, "CKM_SHA384" },
        { CKM_SHA512, "CKM_SHA512" },
        { CKM_GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN" },
        { CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN" },
        { CKM_ECDSA, "CKM_ECDSA" },
        { CKM_ECDSA_SHA256, "CKM_ECDSA_SHA256" },
        { CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE" },
        { CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN" },
        { CKM_AES_ECB, "CKM_AES_ECB" },
        { CKM_AES_CBC, "CKM_AES_CBC" },
        { CKM_AES_MAC, "CKM_AES_MAC" },
        { CKM_AES_MAC_GENERAL, "CKM_AES_MAC_GENERAL" },
        { CKM_AES_CBC_PAD, "CKM_AES_CBC_PAD" },
        { CKM_AES_CTR, "CKM_AES_CTR" },
        { CKM_AES_GCM, "CKM_AES_GCM" },
        { CKM_AES_CMAC, "CKM_AES_CMAC" },
        { CKM_AES_CMAC_GENERAL, "CKM_AES_CMAC_GENERAL" },
        { CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP" },
        { CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD" },
        { 0x210BUL, "CKM_AES_KEY_WRAP_KWP" },
};

const char *mechanism_name(CK_MECHANISM_TYPE type, char ret[static 32]) {
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].type == type)
                        return names[i].name;
        (void) snprintf(ret, 32, "0x%08lx", type);
        return ret;
}

CK_FLAGS mechanism_flags(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE type) {
        CK_MECHANISM_INFO info = {};

        return pkcs11->f->C_GetMechanismInfo(pkcs11->slot, type, &info) == CKR_OK ? info.flags : 0;
}

static const char *flag_verb(CK_FLAGS flag) {
        switch (flag) {
        case CKF_ENCRYPT:
                return "encrypt";
        case CKF_DECRYPT:
                return "decrypt";
        case CKF_SIGN:
                return "sign";
        case CKF_WRAP:
                return "wrap";
        case CKF_UNWRAP:
                return "unwrap";
        case CKF_DERIVE:
                return "derive";
        default:
                return "make keys";
        }
}

int mechanism_require(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE type, CK_FLAGS flags) {
        CK_MECHANISM_INFO info = {};
        char number[32];
        CK_RV rv;

        rv = pkcs11->f->C_GetMechanismInfo(pkcs11->slot, type, &info);
        if (rv == CKR_MECHANISM_INVALID || rv == CKR_ARGUMENTS_BAD)
                return fail(EOPNOTSUPP, "the token \"%s\" lacks %s", pkcs11->label, mechanism_name(type, number));
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "asking the token about a mechanism");
        for (CK_FLAGS bit = 1; bit <= flags && bit != 0; bit <<= 1)
                if ((flags & bit) && !(info.flags & bit))
                        return fail(EOPNOTSUPP, "the token \"%s\" cannot %s with %s", pkcs11->label, flag_verb(bit),
                                    mechanism_name(type, number));
        return 0;
}

static int compare(const void *a, const void *b) {
        const CK_MECHANISM_TYPE *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

int mechanism_list(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE **ret, size_t *ret_n) {
        enum { MECHANISMS_MAX = 4096 };
        CK_MECHANISM_TYPE *list;
        CK_ULONG n = MECHANISMS_MAX;
        CK_RV rv;

        list = calloc(n, sizeof(*list));
        if (!list)
                return fail(ENOMEM, "out of memory");
        rv = pkcs11->f->C_GetMechanismList(pkcs11->slot, list, &n);
        if (rv != CKR_OK || n > MECHANISMS_MAX) {
                free(list);
                return rv == CKR_OK ? fail(EIO, "the module lists too many mechanisms")
                                    : fail_rv(pkcs11, rv, "listing the token's mechanisms");
        }
        qsort(list, n, sizeof(*list), compare);
        *ret = list;
        *ret_n = n;
        return 0;
}
