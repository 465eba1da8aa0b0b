/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/tls-files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"

static void bio_freep(BIO **bio) {
        BIO_free(*bio);
}

static void chain_freep(STACK_OF(X509) * *chain) {
        sk_X509_pop_free(*chain, X509_free);
}

static void store_freep(X509_STORE **store) {
        X509_STORE_free(*store);
}

static void names_freep(STACK_OF(X509_NAME) * *names) {
        sk_X509_NAME_pop_free(*names, X509_NAME_free);
}

int tls_error(int r, const char *what) {
        unsigned long code;
        char text[256];

        while ((code = ERR_get_error()) != 0) {
                ERR_error_string_n(code, text, sizeof text);
                log_debug("%s: %s", what, text);
        }
        return r;
}

/* All certificates of a PEM file, one at least; anything that is not a certificate makes it malformed. */
static int load_certificates(const char *path, STACK_OF(X509) * *ret) {
        _cleanup_(blob_done) struct blob pem = {};
        _cleanup_(chain_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(bio_freep) BIO *bio = NULL;
        X509 *certificate;
        int r;

        r = file_read(path, TLS_FILE_MAX, &pem);
        if (r < 0)
                return r;
        bio = BIO_new_mem_buf(pem.data, (int) pem.size);
        certificates = sk_X509_new_null();
        if (!bio || !certificates)
                return tls_error(-ENOMEM, path);

        while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
                if (!sk_X509_push(certificates, certificate)) {
                        X509_free(certificate);
                        return tls_error(-ENOMEM, path);
                }
        if (sk_X509_num(certificates) == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                return tls_error(-EBADMSG, path);
        ERR_clear_error();

        *ret = TAKE_PTR(certificates);
        return 0;
}

static int no_passphrase(char *buffer _unused_, int size _unused_, int writing _unused_, void *userdata _unused_) {
        return -1; /* else OpenSSL would ask on the terminal */
}

static int load_key(const char *path, EVP_PKEY **ret) {
        _cleanup_(secret_freep) struct secret *pem = NULL;
        _cleanup_(bio_freep) BIO *bio = NULL;
        EVP_PKEY *key;
        int r;

        r = file_read_secret(path, TLS_KEY_MAX, true, &pem);
        if (r < 0)
                return r;
        bio = BIO_new_mem_buf(pem->data, (int) pem->size);
        if (!bio)
                return tls_error(-ENOMEM, path);
        key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        if (!key)
                return tls_error(-EBADMSG, path);

        *ret = key;
        return 0;
}

void tls_identity_done(struct tls_identity *identity) {
        X509_free(identity->certificate);
        sk_X509_pop_free(identity->chain, X509_free);
        EVP_PKEY_free(identity->key);
        *identity = (struct tls_identity){};
}

int tls_identity_load(const char *certificate_file, const char *key_file, struct tls_identity *ret) {
        _cleanup_(tls_identity_done) struct tls_identity identity = {};
        int r;

        r = load_certificates(certificate_file, &identity.chain);
        if (r < 0)
                return r;
        identity.certificate = sk_X509_shift(identity.chain);
        r = load_key(key_file, &identity.key);
        if (r < 0)
                return r;
        if (X509_check_private_key(identity.certificate, identity.key) != 1)
                return tls_error(-EKEYREJECTED, key_file);

        *ret = identity;
        identity = (struct tls_identity){};
        return 0;
}

int tls_identity_use(const struct tls_identity *identity, SSL_CTX *ctx) {
        if (SSL_CTX_use_cert_and_key(ctx, identity->certificate, identity->key, identity->chain, 1) != 1)
                return tls_error(-EKEYREJECTED, "SSL_CTX_use_cert_and_key");
        return 0;
}

static int add_certificate(X509_STORE *store, STACK_OF(X509_NAME) * names, X509 *certificate) {
        X509_NAME *name;

        if (X509_STORE_add_cert(store, certificate) != 1)
                return tls_error(-ENOMEM, "X509_STORE_add_cert");
        name = X509_NAME_dup(X509_get_subject_name(certificate));
        if (!name || !sk_X509_NAME_push(names, name)) {
                X509_NAME_free(name);
                return tls_error(-ENOMEM, "X509_NAME_dup");
        }
        return 0;
}

int tls_store_load(const char *ca_file, X509_STORE **ret_store, STACK_OF(X509_NAME) * *ret_names) {
        _cleanup_(chain_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(store_freep) X509_STORE *store = X509_STORE_new();
        _cleanup_(names_freep) STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
        int r;

        if (!store || !names)
                return tls_error(-ENOMEM, ca_file);
        r = load_certificates(ca_file, &certificates);
        if (r < 0)
                return r;
        for (int i = 0; i < sk_X509_num(certificates); i++) {
                r = add_certificate(store, names, sk_X509_value(certificates, i));
                if (r < 0)
                        return r;
        }

        *ret_store = TAKE_PTR(store);
        if (ret_names)
                *ret_names = TAKE_PTR(names);
        return 0;
}

/* One of ours, however it is written, so that nobody takes it for nothing. */
static bool is_uri_of_ours(const GENERAL_NAME *name) {
        const ASN1_STRING *uri = name->type == GEN_URI ? name->d.uniformResourceIdentifier : NULL;

        return uri && ASN1_STRING_length(uri) >= (int) strlen(TLS_URI_PREFIX) &&
               strncasecmp((const char *) ASN1_STRING_get0_data(uri), TLS_URI_PREFIX, strlen(TLS_URI_PREFIX)) == 0;
}

/* Printable ASCII; one with a NUL inside or too long is none. */
static int copy_uri(const ASN1_STRING *uri, char *ret, size_t size) {
        const unsigned char *text = ASN1_STRING_get0_data(uri);
        size_t length = (size_t) ASN1_STRING_length(uri);

        if (length >= size || memcmp(text, TLS_URI_PREFIX, strlen(TLS_URI_PREFIX)) != 0)
                return -EBADMSG;
        for (size_t i = 0; i < length; i++)
                if (text[i] <= 0x20 || text[i] > 0x7e)
                        return -EBADMSG;
        memcpy(ret, text, length);
        ret[length] = 0;
        return 0;
}

int tls_certificate_uri(X509 *certificate, char *ret, size_t size) {
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        const GENERAL_NAME *found = NULL;
        int r = -ENOENT;

        for (int i = 0; i < sk_GENERAL_NAME_num(names) && r != -ENOTUNIQ; i++)
                if (is_uri_of_ours(sk_GENERAL_NAME_value(names, i))) {
                        r = found ? -ENOTUNIQ : 0;
                        found = sk_GENERAL_NAME_value(names, i);
                }
        if (r >= 0)
                r = copy_uri(found->d.uniformResourceIdentifier, ret, size);
        GENERAL_NAMES_free(names);
        return r;
}

bool tls_certificate_has_role(X509 *certificate, const char *role) {
        char uri[256], wanted[64];

        (void) snprintf(wanted, sizeof wanted, TLS_URI_PREFIX "%s", role);
        return tls_certificate_uri(certificate, uri, sizeof uri) >= 0 && strcmp(uri, wanted) == 0;
}

int tls_ctx_harden(SSL_CTX *ctx) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 || SSL_CTX_set_max_proto_version(ctx, 0) != 1)
                return tls_error(-EOPNOTSUPP, "TLS versions");
        return 0;
}
