/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "pkcs11/apart.h"
#include "pkcs11/wrap-internal.h"

static int check_aes(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        CK_MECHANISM_TYPE type = wrap_aes_mechanism(how->mechanism);
        struct pkcs11_key key;
        char number[32];
        CK_FLAGS can;
        int r;

        r = mechanism_require(pkcs11, type, 0);
        if (r < 0)
                return r;
        r = key_find_cached(pkcs11, how->key, PKCS11_SECRET, &key);
        if (r < 0)
                return r;
        if (key.type != PKCS11_AES)
                return fail(EINVAL, "the wrapping key \"%s\" is not an AES key", key.label);
        can = wrap_abilities(pkcs11, &key, type);
        if (!(can & (CKF_WRAP | CKF_ENCRYPT)) || !(can & (CKF_UNWRAP | CKF_DECRYPT)))
                return fail(EOPNOTSUPP, "the token \"%s\" does not let the key \"%s\" wrap and unwrap by %s", pkcs11->label,
                            key.label, mechanism_name(type, number));
        return 0;
}

static int check_mac(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        enum pkcs11_type wanted = how->mac == WRAP_MAC_SHA256_HMAC ? PKCS11_GENERIC : PKCS11_AES;
        struct pkcs11_key key;
        int r;

        if (how->mac == WRAP_MAC_NONE)
                return 0;
        r = mechanism_require(pkcs11, wrap_mac_mechanism(how->mac), CKF_SIGN);
        if (r < 0)
                return r;
        r = key_find_cached(pkcs11, how->mac_key, PKCS11_SECRET, &key);
        if (r < 0)
                return r;
        if (key.type != wanted)
                return fail(EINVAL, "the MAC key \"%s\" is not %s key", key.label,
                            wanted == PKCS11_AES ? "an AES" : "a generic secret");
        if (!key.signs)
                return fail(EOPNOTSUPP, "the token \"%s\" does not let the key \"%s\" make MACs", pkcs11->label, key.label);
        return 0;
}

static int check_private(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        bool rsa = how->mechanism == WRAP_RSA_OAEP;
        CK_MECHANISM_TYPE type = rsa ? CKM_RSA_PKCS_OAEP : CKM_ECDH1_DERIVE;
        struct pkcs11_key key;
        int r;

        r = mechanism_require(pkcs11, type, rsa ? 0 : CKF_DERIVE);
        if (r < 0)
                return r;
        r = key_find_cached(pkcs11, how->key, PKCS11_PRIVATE, &key);
        if (r < 0)
                return r;
        if (rsa ? key.type != PKCS11_RSA : key.type != PKCS11_EC_P256 && key.type != PKCS11_EC_P384)
                return fail(EINVAL, "the key \"%s\" is not %s", key.label, rsa ? "an RSA key" : "an EC key (P-256, P-384)");
        if (!key.decrypts)
                return fail(EOPNOTSUPP, "the token \"%s\" does not let the key \"%s\" %s", pkcs11->label, key.label,
                            rsa ? "decrypt" : "derive");
        return 0;
}

static int check_parts(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        int r;

        r = wrap_check_how(how);
        if (r < 0)
                return r;
        r = wrap_is_aes(how->mechanism) ? check_aes(pkcs11, how) : check_private(pkcs11, how);
        return r < 0 ? r : check_mac(pkcs11, how);
}

/* And, after all that the token says of itself: it does it, once. */
int wrap_check(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        _cleanup_(secret_freep) struct secret *made = NULL, *opened = NULL;
        _cleanup_(blob_done) struct blob blob = {};
        int r;

        if (pkcs11->apart)
                return apart_check(pkcs11, how);
        r = WITH_SESSION(pkcs11, check_parts(pkcs11, how));
        if (r < 0)
                return r;
        r = wrap_make(pkcs11, how, FIELDS(field_text("check")), NULL, &blob, &made);
        if (r < 0)
                return r;
        r = wrap_open(pkcs11, how, FIELDS(field_text("check")), blob.data, blob.size, &opened);
        if (r < 0)
                return r;
        return secret_equal(made, opened)
                       ? 0
                       : fail(EIO, "the token \"%s\" unwraps another key than it wrapped", pkcs11_label(pkcs11));
}

static bool is_of_use(const char *name) {
        static const char *const all[] = { "CKM_AES_KEY_WRAP_KWP", "CKM_AES_KEY_WRAP_PAD", "CKM_AES_GCM",
                                           "CKM_AES_CBC_PAD",      "CKM_SHA256_HMAC",      "CKM_AES_CMAC",
                                           "CKM_AES_MAC",          "CKM_RSA_PKCS_OAEP",    "CKM_ECDH1_DERIVE" };

        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (strcmp(name, all[i]) == 0)
                        return true;
        return false;
}

void wrap_offered(struct pkcs11 *pkcs11, char *ret, size_t size) {
        _cleanup_(freep) char *names = NULL;
        const char *between = "; it has ";
        size_t n = 0;

        ret[0] = '\0';
        if (pkcs11_mechanisms(pkcs11, &names) < 0)
                return;
        for (char *at = names, *name; (name = strsep(&at, " "));) {
                if (!is_of_use(name))
                        continue;
                n += (size_t) snprintf(ret + n, size - n, "%s%s", between, name);
                if (n >= size)
                        return;
                between = " ";
        }
}
