/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/ssl.h>

#include "base/macro.h"

/* PEM files of either side. -ENOENT and the like: not readable; -EBADMSG: not PEM; -EPERM: the key is readable by group or
 * others; -EKEYREJECTED: the key is not the certificate's. */
enum {
        TLS_FILE_MAX = 1024 * 1024, /* certificates */
        TLS_KEY_MAX = 64 * 1024,    /* a private key, in locked memory */
};

struct tls_identity {
        X509 *certificate;
        STACK_OF(X509) * chain;
        EVP_PKEY *key;
};
int tls_identity_load(const char *certificate_file, const char *key_file, struct tls_identity *ret);
void tls_identity_done(struct tls_identity *identity);
int tls_identity_use(const struct tls_identity *identity, SSL_CTX *ctx);

/* ret_names: subjects of the CA certificates, for a server that asks for client certificates; NULL where not wanted. */
int tls_store_load(const char *ca_file, X509_STORE **ret_store, STACK_OF(X509_NAME) * *ret_names);

/* Versions, options, no tickets, no session cache: the same on both sides. */
#define TLS_URI_PREFIX "urn:tallyboot:"
/* The one subjectAltName URI that begins with urn:tallyboot:. -ENOENT: there is none; -ENOTUNIQ: there are several, and no
 * telling who this is; -EBADMSG: not of printable ASCII characters, or too long. */
int tls_certificate_uri(X509 *certificate, char *ret, size_t size);
/* Whether that is urn:tallyboot:ROLE. */
bool tls_certificate_has_role(X509 *certificate, const char *role);
int tls_ctx_harden(SSL_CTX *ctx);

/* Logs OpenSSL's queue at debug and clears it; returns r. */
int tls_error(int r, const char *what);
