/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/fields.h"
#include "pkcs11/internal.h"
#include "pkcs11/wrap.h"

/* The calls, made in a process of the module's own: this program, started again under the name that apart_serve() knows.
 * (p11-kit's remote does the same for whole modules, but version 0.24 passes on neither AES but ECB nor ECDH.) A process that
 * ended is -ENODEV, and the next call starts another, and logs in again as after a lost session. */
#define APART_NAME "tallyboot-pkcs11"

/* Between the two processes, for -EACCES: the PIN that was right before was given to the token once more, and is wrong now. */
enum { APART_PIN_REFUSED = -EKEYREVOKED };

int apart_prepare(void);
int apart_open(struct pkcs11 *pkcs11, const struct pkcs11_where *where);
void apart_close(struct pkcs11 *pkcs11);
bool apart_interrupt(struct pkcs11 *pkcs11);
int apart_pin(struct pkcs11 *pkcs11, struct pkcs11_pin *ret);
int apart_login(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended);
int apart_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret);
int apart_public(struct pkcs11 *pkcs11, const struct pkcs11_key *key, struct blob *ret);
int apart_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret);
int apart_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret);
int apart_mechanisms(struct pkcs11 *pkcs11, char **ret);
int apart_uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret);
int apart_make(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const struct secret *key,
               struct blob *ret, struct secret **ret_key);
int apart_unwrap(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                 const struct blob *blob, struct secret **ret);
int apart_make_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, struct blob *ret);
int apart_use_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                     const struct blob *blob, const struct wrap_use *use, struct secret **ret);
int apart_check(struct pkcs11 *pkcs11, const struct wrap_how *how);
/* serve.c: what runs in the process; returns when the other side ended. */
void apart_serve(int fd);
