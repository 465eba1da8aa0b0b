/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/pkcs11.h"
#include "pkcs11/wrap.h"

#include <stdio.h>

int pkcs11_open(const struct pkcs11_where *where, struct pkcs11 **ret, char *error, size_t error_size) {
        (void) where;
        (void) ret;
        (void) snprintf(error, error_size, "not supported");
        return -EOPNOTSUPP;
}

struct pkcs11 *pkcs11_close(struct pkcs11 *pkcs11) {
        (void) pkcs11;
        return NULL;
}

const char *pkcs11_label(const struct pkcs11 *pkcs11) {
        (void) pkcs11;
        return "";
}

const char *pkcs11_serial(const struct pkcs11 *pkcs11) {
        (void) pkcs11;
        return "";
}

const char *pkcs11_error(const struct pkcs11 *pkcs11) {
        (void) pkcs11;
        return "";
}

int pkcs11_pin(struct pkcs11 *pkcs11, struct pkcs11_pin *ret) {
        (void) pkcs11;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_login(struct pkcs11 *pkcs11, const struct secret *pin) {
        (void) pkcs11;
        (void) pin;
        return -EOPNOTSUPP;
}

int pkcs11_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret) {
        (void) pkcs11;
        (void) uri;
        (void) class;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_public(struct pkcs11 *pkcs11, const struct pkcs11_key *private_key, struct blob *ret) {
        (void) pkcs11;
        (void) private_key;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret) {
        (void) pkcs11;
        (void) key;
        (void) message;
        (void) size;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret) {
        (void) pkcs11;
        (void) new;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_mechanisms(struct pkcs11 *pkcs11, char **ret) {
        (void) pkcs11;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret) {
        (void) pkcs11;
        (void) key;
        (void) ret;
        return -EOPNOTSUPP;
}

int pkcs11_uri_check(const char *uri, char **ret_pin_source, char *error, size_t error_size) {
        (void) uri;
        (void) ret_pin_source;
        (void) snprintf(error, error_size, "not supported");
        return -EOPNOTSUPP;
}

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
