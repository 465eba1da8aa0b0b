/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ca.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"

static int openssl_error(const char *what) {
        char text[256];

        ERR_error_string_n(ERR_get_error(), text, sizeof text);
        log_error("%s: %s", what, text);
        return -EIO;
}

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX context;
        X509_EXTENSION *extension;
        int ok;

        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        if (!extension)
                return openssl_error(value);
        ok = X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
        return ok == 1 ? 0 : -ENOMEM;
}

static int set_name(X509 *certificate, const char *common_name) {
        X509_NAME *name = X509_get_subject_name(certificate);

        if (X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *) "tallyboot", -1, -1, 0) != 1 ||
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *) common_name, -1, -1, 0) != 1)
                return openssl_error(common_name);
        return 0;
}

/* 16 random bytes, positive. An hour back, for clocks that differ. */
static X509 *new_certificate(const char *common_name, EVP_PKEY *key, long days) {
        X509 *certificate = X509_new();
        BIGNUM *serial = BN_new();
        int ok;

        ok = certificate && serial && BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
             BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate)) &&
             X509_set_version(certificate, X509_VERSION_3) == 1 && X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
             X509_time_adj_ex(X509_getm_notAfter(certificate), (int) days, 0, NULL) && X509_set_pubkey(certificate, key) == 1 &&
             set_name(certificate, common_name) == 0;
        BN_free(serial);
        if (!ok) {
                X509_free(certificate);
                return NULL;
        }
        return certificate;
}

int ca_new(const char *name, struct ca *ret) {
        struct ca ca = { .key = EVP_EC_gen("P-256") };
        char full[128];
        uint32_t number;
        int r = -EIO;

        /* Two CAs that are trusted side by side must not share a name. */
        if (ca.key && RAND_bytes((unsigned char *) &number, sizeof number) == 1) {
                snprintf(full, sizeof full, "%s %08x", name, number);
                ca.certificate = new_certificate(full, ca.key, CA_YEARS * 366);
        }
        if (ca.certificate && X509_set_issuer_name(ca.certificate, X509_get_subject_name(ca.certificate)) == 1)
                r = 0;
        if (r == 0)
                r = add_extension(ca.certificate, ca.certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
        if (r == 0)
                r = add_extension(ca.certificate, ca.certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
        if (r == 0)
                r = add_extension(ca.certificate, ca.certificate, NID_subject_key_identifier, "hash");
        if (r == 0 && X509_sign(ca.certificate, ca.key, EVP_sha256()) == 0)
                r = openssl_error("The CA certificate could not be signed");
        if (r < 0) {
                ca_done(&ca);
                return r;
        }
        *ret = ca;
        return 0;
}

void ca_done(struct ca *ca) {
        X509_free(ca->certificate);
        EVP_PKEY_free(ca->key);
        *ca = (struct ca){};
}

static int save_bio(BIO *bio, const char *file, mode_t mode) {
        char *data;
        long size = BIO_get_mem_data(bio, &data);
        int r = file_write(file, data, (size_t) size, mode);

        memory_wipe(data, (size_t) size);
        return r < 0 ? log_error_errno(r, "%s: %m", file) : 0;
}

static int save_certificate(X509 *certificate, const char *file) {
        BIO *bio = BIO_new(BIO_s_mem());
        int r = bio && PEM_write_bio_X509(bio, certificate) == 1 ? save_bio(bio, file, 0644) : openssl_error(file);

        BIO_free(bio);
        return r;
}

static int save_key(EVP_PKEY *key, const char *file) {
        BIO *bio = BIO_new(BIO_s_secmem());
        int r = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 ? save_bio(bio, file, 0600)
                                                                                          : openssl_error(file);

        BIO_free(bio);
        return r;
}

int ca_save(const struct ca *ca, const char *certificate_file, const char *key_file) {
        int r = save_key(ca->key, key_file);

        return r < 0 ? r : save_certificate(ca->certificate, certificate_file);
}

int certificate_load(const char *file, X509 **ret) {
        FILE *stream = fopen(file, "re");

        if (!stream)
                return log_error_errno(errno, "%s: %m", file);
        *ret = PEM_read_X509(stream, NULL, NULL, NULL);
        fclose(stream);
        return *ret ? 0 : openssl_error(file);
}

int ca_load(const char *certificate_file, const char *key_file, struct ca *ret) {
        struct ca ca = {};
        FILE *stream;
        int r;

        r = certificate_load(certificate_file, &ca.certificate);
        if (r < 0)
                return r;
        stream = fopen(key_file, "re");
        if (!stream) {
                r = log_error_errno(
                        errno,
                        "%s: %m. The CA's key signs certificates; where it is lost, make a new CA: tallyctl cert renew --ca begin.",
                        key_file);
                ca_done(&ca);
                return r;
        }
        ca.key = PEM_read_PrivateKey(stream, NULL, NULL, NULL);
        fclose(stream);
        if (!ca.key || X509_check_private_key(ca.certificate, ca.key) != 1) {
                log_error("%s: not the key of %s.", key_file, certificate_file);
                ca_done(&ca);
                return -EKEYREJECTED;
        }
        *ret = ca;
        return 0;
}

int ca_issue_names(const struct ca *ca, const char *common_name, const char *alt_names, bool server, const char *certificate_file,
                   const char *key_file) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *certificate = key ? new_certificate(common_name, key, LEAF_DAYS) : NULL;
        X509 *issuer = ca->certificate;
        int r = -EIO;

        if (certificate && X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1)
                r = 0;
        if (r == 0)
                r = add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE");
        if (r == 0)
                r = add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature");
        if (r == 0)
                r = add_extension(certificate, issuer, NID_ext_key_usage, server ? "serverAuth,clientAuth" : "clientAuth");
        if (r == 0)
                r = add_extension(certificate, issuer, NID_subject_alt_name, alt_names);
        if (r == 0)
                r = add_extension(certificate, issuer, NID_authority_key_identifier, "keyid");
        if (r == 0 && X509_sign(certificate, ca->key, EVP_sha256()) == 0)
                r = openssl_error("The certificate could not be signed");
        if (r == 0)
                r = save_key(key, key_file);
        if (r == 0)
                r = save_certificate(certificate, certificate_file);
        X509_free(certificate);
        EVP_PKEY_free(key);
        return r;
}

static bool is_address(const char *host) {
        struct in6_addr address;

        return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

int ca_issue(const struct ca *ca, const struct leaf *leaf, const char *certificate_file, const char *key_file) {
        _cleanup_(buffer_done) struct buffer names = {};

        buffer_printf(&names, "URI:%s", leaf->uri);
        for (size_t i = 0; leaf->hosts && leaf->hosts[i]; i++)
                buffer_printf(&names, ",%s:%s", is_address(leaf->hosts[i]) ? "IP" : "DNS", leaf->hosts[i]);
        buffer_u8(&names, 0);
        if (buffer_ok(&names) < 0)
                return log_oom();
        return ca_issue_names(ca, leaf->common_name, (char *) names.data, leaf->hosts != NULL, certificate_file, key_file);
}

static void append_name(struct buffer *buffer, const GENERAL_NAME *name) {
        char text[INET6_ADDRSTRLEN];
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
        const unsigned char *data = ASN1_STRING_get0_data(value);
        int size = ASN1_STRING_length(value);
        const char *comma = buffer->size > 0 ? "," : "";

        if (type == GEN_URI || type == GEN_DNS)
                buffer_printf(buffer, "%s%s:%.*s", comma, type == GEN_URI ? "URI" : "DNS", size, (const char *) data);
        else if (type == GEN_IPADD && inet_ntop(size == 4 ? AF_INET : AF_INET6, data, text, sizeof text))
                buffer_printf(buffer, "%sIP:%s", comma, text);
}

char *certificate_alt_names(const X509 *certificate) {
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        _cleanup_(buffer_done) struct buffer buffer = {};

        for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++)
                append_name(&buffer, sk_GENERAL_NAME_value(names, i));
        GENERAL_NAMES_free(names);
        if (buffer.size == 0)
                return NULL;
        buffer_u8(&buffer, 0);
        return buffer_ok(&buffer) < 0 ? NULL : (char *) TAKE_PTR(buffer.data);
}

int64_t certificate_seconds_left(const X509 *certificate) {
        int days = 0, seconds = 0;

        if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1)
                return -1;
        return (int64_t) days * 86400 + seconds;
}
