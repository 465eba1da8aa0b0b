/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/macro.h"

/* The fleet's own certificates: P-256, SHA-256. Errors are logged with words and returned as -errno. */

struct ca {
        X509 *certificate;
        EVP_PKEY *key;
};

enum { CA_YEARS = 10, LEAF_DAYS = 825 };

int ca_new(const char *name, struct ca *ret);
int ca_load(const char *certificate_file, const char *key_file, struct ca *ret);
void ca_done(struct ca *ca);
/* Writes the key file (0600) and the certificate file (0644). */
int ca_save(const struct ca *ca, const char *certificate_file, const char *key_file);

struct leaf {
        const char *common_name;
        const char *uri;          /* urn:tallyboot:..., the role */
        const char *const *hosts; /* names or addresses for subjectAltName; NULL-terminated, or NULL: a client only */
};
/* A new key and a certificate by ca: both files replaced atomically, key first. */
int ca_issue(const struct ca *ca, const struct leaf *leaf, const char *certificate_file, const char *key_file);
int certificate_load(const char *file, X509 **ret);
/* "DNS:a,IP:1.2.3.4,URI:..." of a certificate, for issuing it again. Frees with free(). NULL where it has none. */
char *certificate_alt_names(const X509 *certificate);
int ca_issue_names(const struct ca *ca, const char *common_name, const char *alt_names, bool server, const char *certificate_file,
                   const char *key_file);
/* Seconds until it ends; negative when it has ended. */
int64_t certificate_seconds_left(const X509 *certificate);
