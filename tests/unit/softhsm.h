/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/secret.h"
#include "pkcs11/pkcs11.h"

/* SoftHSM for a test program: a configuration and a folder of tokens of its own, which SOFTHSM2_CONF names from then on. Fails
 * the test where it cannot be had. */
#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_PIN "1234"
#define SOFTHSM_SO_PIN "12345678"

struct softhsm {
        char dir[64];
};

struct softhsm *softhsm_new(void);
struct softhsm *softhsm_free(struct softhsm *softhsm);
/* A new token with this label. */
void softhsm_token(const struct softhsm *softhsm, const char *label);
/* A shell command in the folder; fails the test where it does. */
void softhsm_shell(const struct softhsm *softhsm, const char *format, ...) _printf_(2, 3);

/* Opened, logged in; fails the test where that fails. */
struct pkcs11 *softhsm_open(const char *uri, bool apart);
/* The same with another module and the same PIN. */
struct pkcs11 *token_open(const char *uri, const char *module, bool apart);
struct secret *secret_of(const char *text);
/* Made, and described. */
struct pkcs11_key softhsm_key(struct pkcs11 *pkcs11, enum pkcs11_type type, enum pkcs11_use use, const char *label);

/* Of a message, by the private key, as pkcs11_sign() says that it signs; held against what pkcs11_public() says. */
bool signature_is_good(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const char *message, const struct blob *signature);
