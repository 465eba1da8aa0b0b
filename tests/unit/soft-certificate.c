/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soft-certificate.h"

#include <stdio.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "test.h"

static const char *attributes;

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        char section[256];
        BIO *bio;
        CONF *conf = NCONF_new(NULL);
        X509_EXTENSION *extension;
        X509V3_CTX context;
        long line;

        (void) snprintf(section, sizeof(section), "[tpm]\n%s",
                        attributes ?: "0.2.23.133.2.1=id:00001014\n1.2.23.133.2.2=swtpm\n");
        bio = BIO_new_mem_buf(section, -1);
        assert_int_equal(NCONF_load_bio(conf, bio, &line), 1);
        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        X509V3_set_nconf(&context, conf);
        extension = X509V3_EXT_nconf_nid(conf, &context, nid, value);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
        NCONF_free(conf);
        BIO_free(bio);
}

static void add_extensions(X509 *certificate, X509 *issuer, const struct certificate_spec *spec) {
        char text[64];

        attributes = spec->tpm;
        if (spec->ca && spec->path_length > 0)
                (void) snprintf(text, sizeof(text), "critical,CA:TRUE,pathlen:%d", spec->path_length - 1);
        else
                (void) snprintf(text, sizeof(text), "critical,CA:%s", spec->ca ? "TRUE" : "FALSE");
        if (spec->ca || spec->not_ca)
                add_extension(certificate, issuer, NID_basic_constraints, text);
        if (spec->key_usage)
                add_extension(certificate, issuer, NID_key_usage, spec->key_usage);
        if (spec->extended_key_usage)
                add_extension(certificate, issuer, NID_ext_key_usage, spec->extended_key_usage);
        if (spec->san)
                add_extension(certificate, issuer, NID_subject_alt_name, spec->san);
        if (spec->unknown)
                add_extension(certificate, issuer, NID_netscape_comment, spec->unknown);
}

/* The same key, its algorithm written as RSA-OAEP. */
static void name_key_oaep(X509 *certificate, EVP_PKEY *key) {
        unsigned char *der = NULL;
        int size = i2d_PublicKey(key, &der);

        assert_true(size > 0);
        assert_int_equal(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate), OBJ_nid2obj(NID_rsaesOaep), V_ASN1_NULL, NULL,
                                                der, size),
                         1);
}

X509 *certificate_new(const struct certificate_spec *spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key) {
        static long serial;
        X509 *certificate = X509_new();

        assert_non_null(certificate);
        assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial), 1);
        assert_non_null(ASN1_TIME_set(X509_getm_notBefore(certificate), spec->from ? spec->from : NOW - DAY));
        assert_non_null(ASN1_TIME_set(X509_getm_notAfter(certificate), spec->until ? spec->until : NOW + DAY));
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                                    (const unsigned char *) spec->subject, -1, -1, 0),
                         1);
        assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer : certificate)), 1);
        assert_int_equal(X509_set_pubkey(certificate, key), 1);
        if (spec->oaep)
                name_key_oaep(certificate, key);
        add_extensions(certificate, issuer ? issuer : certificate, spec);
        assert_true(X509_sign(certificate, issuer_key, spec->digest ?: EVP_sha256()) > 0);
        return certificate;
}

void certificate_to_blob(X509 *certificate, struct blob *ret) {
        unsigned char *der = NULL;
        int size = i2d_X509(certificate, &der);

        assert_true(size > 0);
        blob_done(ret);
        assert_int_equal(blob_copy(der, (size_t) size, ret), 0);
        OPENSSL_free(der);
}

void ek_public_of(EVP_PKEY *key, struct blob *ret) {
        static const uint8_t head[] = { 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20, 0x83, 0x71, 0x97, 0x67,
                                        0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
                                        0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b,
                                        0x33, 0x14, 0x69, 0xaa, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10 };
        bool rsa = EVP_PKEY_is_a(key, "RSA");
        struct buffer buffer = {};
        uint8_t bytes[256];
        size_t size = 0;

        buffer_be16(&buffer, rsa ? 0x0001 : 0x0023);
        buffer_append(&buffer, head, sizeof(head));
        if (rsa) {
                BIGNUM *n = NULL;

                assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n), 1);
                assert_int_equal(BN_bn2binpad(n, bytes, 256), 256);
                BN_free(n);
                buffer_be16(&buffer, 2048);
                buffer_be32(&buffer, 0);
                buffer_be16(&buffer, 256);
                buffer_append(&buffer, bytes, 256);
        } else {
                assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", bytes, sizeof(bytes), &size), 1);
                size /= 2;
                buffer_be16(&buffer, size == 28 ? 0x0002 : size == 32 ? 0x0003 : 0x0004);
                buffer_be16(&buffer, 0x0010);
                buffer_be16(&buffer, (uint16_t) size);
                buffer_append(&buffer, bytes + 1, size);
                buffer_be16(&buffer, (uint16_t) size);
                buffer_append(&buffer, bytes + 1 + size, size);
        }
        assert_int_equal(buffer_ok(&buffer), 0);
        blob_done(ret);
        *ret = (struct blob){ .data = buffer.data, .size = buffer.size };
}

struct ek_trust *trust_of(const struct blob *files, size_t n, size_t *ret_loaded) {
        struct ek_trust *trust = ek_trust_new(&(struct ek_trust_options){ .certificate_required = true });
        char why[128];

        assert_non_null(trust);
        *ret_loaded = 0;
        for (size_t i = 0; i < n; i++) {
                int r = ek_trust_add_roots(trust, files + i, why, sizeof(why));

                assert_true(r >= 0);
                *ret_loaded += (size_t) r;
        }
        return trust;
}

void crl_to_blob(X509 *issuer, EVP_PKEY *key, const X509 *revoked, int64_t from, int64_t until, struct blob *ret) {
        X509_CRL *crl = X509_CRL_new();
        ASN1_TIME *time = ASN1_TIME_new();
        unsigned char *der = NULL;
        int size;

        assert_int_equal(X509_CRL_set_version(crl, X509_CRL_VERSION_2), 1);
        assert_int_equal(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)), 1);
        assert_non_null(ASN1_TIME_set(time, from));
        assert_int_equal(X509_CRL_set1_lastUpdate(crl, time), 1);
        if (revoked) {
                X509_REVOKED *entry = X509_REVOKED_new();

                assert_int_equal(X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *) X509_get0_serialNumber(revoked)), 1);
                assert_int_equal(X509_REVOKED_set_revocationDate(entry, time), 1);
                assert_int_equal(X509_CRL_add0_revoked(crl, entry), 1);
        }
        assert_non_null(ASN1_TIME_set(time, until));
        assert_int_equal(X509_CRL_set1_nextUpdate(crl, time), 1);
        assert_true(X509_CRL_sign(crl, key, EVP_sha256()) > 0);
        size = i2d_X509_CRL(crl, &der);
        assert_true(size > 0);
        blob_done(ret);
        assert_int_equal(blob_copy(der, (size_t) size, ret), 0);
        OPENSSL_free(der);
        ASN1_TIME_free(time);
        X509_CRL_free(crl);
}
