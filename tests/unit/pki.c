/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pki.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { DAY = 86400 };

static FILE *open_file(const char *dir, const char *name, const char *suffix, bool write) {
        char path[512];
        int fd;

        snprintf(path, sizeof path, "%s/%s.%s", dir, name, suffix);
        if (!write)
                return fopen(path, "re");
        (void) unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return fd < 0 ? NULL : fdopen(fd, "w");
}

static int load_issuer(const char *dir, const char *name, X509 **ret_certificate, EVP_PKEY **ret_key) {
        FILE *pem = open_file(dir, name, "pem", false), *key = open_file(dir, name, "key", false);

        if (pem)
                *ret_certificate = PEM_read_X509(pem, NULL, NULL, NULL);
        if (key)
                *ret_key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
        if (pem)
                fclose(pem);
        if (key)
                fclose(key);
        return *ret_certificate && *ret_key ? 0 : -1;
}

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX ctx;
        X509_EXTENSION *extension;
        int r;

        X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        r = extension && X509_add_ext(certificate, extension, -1) == 1 ? 0 : -1;
        X509_EXTENSION_free(extension);
        return r;
}

static int add_extensions(X509 *certificate, X509 *issuer, const struct pki_spec *spec) {
        if (!spec->issuer)
                return add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE") |
                       add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign") |
                       add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
        return add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") |
               add_extension(certificate, issuer, NID_ext_key_usage, spec->usage ? spec->usage : "serverAuth,clientAuth") |
               (spec->san ? add_extension(certificate, issuer, NID_subject_alt_name, spec->san) : 0);
}

static X509 *make_certificate(const struct pki_spec *spec, EVP_PKEY *key) {
        static long serial = 1;
        X509 *certificate = X509_new();
        X509_NAME *name = X509_get_subject_name(certificate);
        bool usual = spec->from == 0 && spec->to == 0;

        X509_set_version(certificate, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *) spec->name, -1, -1, 0);
        X509_gmtime_adj(X509_getm_notBefore(certificate), usual ? -DAY : spec->from);
        X509_gmtime_adj(X509_getm_notAfter(certificate), usual ? 365L * DAY : spec->to);
        X509_set_pubkey(certificate, key);
        return certificate;
}

static int write_files(const char *dir, const char *name, X509 *certificate, EVP_PKEY *key) {
        FILE *pem = open_file(dir, name, "pem", true), *secret = open_file(dir, name, "key", true);
        int r = -1;

        if (pem && secret)
                r = PEM_write_X509(pem, certificate) == 1 && PEM_write_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1
                            ? 0
                            : -1;
        if (pem)
                fclose(pem);
        if (secret)
                fclose(secret);
        return r;
}

int pki_make(const char *dir, const struct pki_spec *spec) {
        EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = NULL;
        X509 *certificate = make_certificate(spec, key), *issuer = NULL;
        int r = 0;

        if (spec->issuer)
                r = load_issuer(dir, spec->issuer, &issuer, &issuer_key);
        if (r == 0) {
                X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer : certificate));
                r = add_extensions(certificate, issuer ? issuer : certificate, spec);
        }
        if (r == 0 && X509_sign(certificate, issuer_key ? issuer_key : key, EVP_sha256()) <= 0)
                r = -1;
        if (r == 0)
                r = write_files(dir, spec->name, certificate, key);
        X509_free(certificate);
        X509_free(issuer);
        EVP_PKEY_free(key);
        EVP_PKEY_free(issuer_key);
        return r;
}
