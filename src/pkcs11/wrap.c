/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap.h"

const char *wrap_mechanism_to_string(enum wrap_mechanism mechanism) {
        static const char *const names[] = {
                [WRAP_KWP] = "kwp",         [WRAP_KEY_WRAP_PAD] = "key-wrap-pad", [WRAP_GCM] = "gcm",
                [WRAP_CBC_PAD] = "cbc-pad", [WRAP_RSA_OAEP] = "rsa-oaep",         [WRAP_ECDH] = "ecdh",
        };

        return mechanism >= WRAP_KWP && mechanism <= WRAP_ECDH ? names[mechanism] : "unknown";
}

int wrap_mechanism_from_string(const char *text, enum wrap_mechanism *ret) {
        (void) text;
        (void) ret;
        return -EOPNOTSUPP;
}

const char *wrap_mac_to_string(enum wrap_mac mac) {
        static const char *const names[] = { "none", "sha256-hmac", "aes-cmac", "aes-mac-64" };

        return (size_t) mac < ELEMENTSOF(names) ? names[mac] : "unknown";
}

int wrap_mac_from_string(const char *text, enum wrap_mac *ret) {
        (void) text;
        (void) ret;
        return -EOPNOTSUPP;
}

int wrap_check(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        (void) pkcs11;
        (void) how;
        return -EOPNOTSUPP;
}

int wrap_make(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const struct secret *key,
              struct blob *ret, struct secret **ret_key) {
        (void) pkcs11;
        (void) how;
        (void) binding;
        (void) n;
        (void) key;
        (void) ret;
        (void) ret_key;
        return -EOPNOTSUPP;
}

int wrap_open(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const void *blob,
              size_t size, struct secret **ret) {
        (void) pkcs11;
        (void) how;
        (void) binding;
        (void) n;
        (void) blob;
        (void) size;
        (void) ret;
        return -EOPNOTSUPP;
}

int wrap_describe(const void *blob, size_t size, struct wrap_info *ret) {
        (void) blob;
        (void) size;
        (void) ret;
        return -EOPNOTSUPP;
}
