/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/buffer.h"
#include "base/encode.h"
#include "base/log.h"
#include "evidence/evidence-internal.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

/* TPMT_PUBLIC (TPM 2.0 Library, Part 2, 12.2.4), TPMA_OBJECT (8.3). */
enum {
        ALG_RSA = 0x0001,
        ALG_ECC = 0x0023,
        OBJECT_FIXED_TPM = 1 << 1,
        OBJECT_FIXED_PARENT = 1 << 4,
        OBJECT_SENSITIVE_DATA_ORIGIN = 1 << 5,
        OBJECT_RESTRICTED = 1 << 16,
        OBJECT_DECRYPT = 1 << 17,
        OBJECT_SIGN = 1 << 18,
        CANDIDATES_MAX = 64,
        EK_MUST_HAVE = OBJECT_FIXED_TPM | OBJECT_FIXED_PARENT | OBJECT_SENSITIVE_DATA_ORIGIN | OBJECT_RESTRICTED | OBJECT_DECRYPT,
};

/* The foreign names in it are made safe for a terminal. */
_printf_(3, 4) static int reject(char *error, size_t size, const char *text, ...) {
        char line[512];
        va_list args;

        va_start(args, text);
        (void) vsnprintf(line, sizeof(line), text, args);
        va_end(args);

        if (error && size > 0)
                text_sanitize(line, error, size);
        ERR_clear_error();
        return -EKEYREJECTED;
}

/* Only a key that decrypts nothing but credentials and the like proves that the AK is in the same TPM. */
static bool is_restricted_decryption_key(const struct blob *public) {
        struct reader reader = { .data = public->data, .left = public->size };
        uint16_t type, name_alg;
        uint32_t attributes;

        if (reader_be16(&reader, &type) < 0 || reader_be16(&reader, &name_alg) < 0 || reader_be32(&reader, &attributes) < 0)
                return false;
        return (type == ALG_RSA || type == ALG_ECC) && (attributes & EK_MUST_HAVE) == EK_MUST_HAVE && !(attributes & OBJECT_SIGN);
}

static X509 *certificate_from_blob(const struct blob *blob) {
        const unsigned char *p = blob->data;
        X509 *certificate;

        if (blob->size == 0 || blob->size > INT32_MAX)
                return NULL;

        certificate = d2i_X509(NULL, &p, (long) blob->size);
        if (certificate && p != blob->data + blob->size) {
                X509_free(certificate);
                return NULL;
        }
        return certificate;
}

/* Some makers write the key's algorithm as RSA-OAEP (1.2.840.113549.1.1.7; RFC 4055, 1.2): the same key by another name, which
 * OpenSSL does not read, and without the key it verifies no path. NULL: not such a certificate. */
static EVP_PKEY *oaep_key(X509 *certificate) {
        const unsigned char *bits;
        ASN1_OBJECT *algorithm;
        int size;

        if (X509_PUBKEY_get0_param(&algorithm, &bits, &size, NULL, X509_get_X509_PUBKEY(certificate)) != 1 ||
            OBJ_obj2nid(algorithm) != NID_rsaesOaep)
                return NULL;
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &bits, size);
}

/* The certificate itself, or, for one of an RSA-OAEP key, a copy that differs in the key's name, and whose signature therefore is
 * wrong. */
static X509 *readable_certificate(X509 *certificate) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = X509_get0_pubkey(certificate) ? NULL : oaep_key(certificate);
        X509 *copy;

        if (!key)
                return X509_up_ref(certificate) == 1 ? certificate : NULL;

        copy = X509_dup(certificate);
        if (copy && X509_set_pubkey(copy, key) != 1) {
                X509_free(copy);
                return NULL;
        }
        return copy;
}

static bool has_ek_usage(X509 *certificate) {
        EXTENDED_KEY_USAGE *usages;
        bool found = false;
        int critical;

        usages = X509_get_ext_d2i(certificate, NID_ext_key_usage, &critical, NULL);
        if (!usages)
                return critical == -1; /* not there at all: allowed; broken or doubled: not */

        for (int i = 0; i < sk_ASN1_OBJECT_num(usages) && !found; i++) {
                char oid[32];

                found = OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usages, i), 1) > 0 && strcmp(oid, "2.23.133.8.1") == 0;
        }
        EXTENDED_KEY_USAGE_free(usages);
        return found;
}

/* TCG EK Credential Profile 2.5, 3.2: the TPM's names are in a critical SAN, as a directoryName and nothing else. */
static bool critical_san_is_directory_name(X509 *certificate) {
        GENERAL_NAMES *names;
        bool good = true;
        int critical;

        names = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
        if (!names)
                return critical == -1;

        for (int i = 0; critical && i < sk_GENERAL_NAME_num(names); i++)
                good &= sk_GENERAL_NAME_value(names, i)->type == GEN_DIRNAME;
        GENERAL_NAMES_free(names);
        return good;
}

/* What the certificate itself says that its key is for. */
static int check_leaf(X509 *certificate, char *error, size_t error_size) {
        uint32_t flags = X509_get_extension_flags(certificate);

        if (flags & EXFLAG_INVALID)
                return reject(error, error_size, "the EK certificate has a malformed extension");
        if (flags & EXFLAG_CA)
                return reject(error, error_size, "the EK certificate is one of a CA, not of a TPM");
        if (flags & EXFLAG_KUSAGE && !(X509_get_key_usage(certificate) & (KU_KEY_ENCIPHERMENT | KU_KEY_AGREEMENT)))
                return reject(error, error_size, "the EK certificate's key usage is neither key encipherment nor key agreement");
        if (!has_ek_usage(certificate))
                return reject(error, error_size, "the EK certificate's extended key usage is not that of an EK (2.23.133.8.1)");
        if (!critical_san_is_directory_name(certificate))
                return reject(error, error_size, "the EK certificate's critical subjectAltName is not just a directoryName");
        return 0;
}

void ek_name_to_text(const X509_NAME *name, char *ret, size_t size) {
        BIO *bio = BIO_new(BIO_s_mem());
        char *text, line[512] = "";
        long length;

        ret[0] = '\0';
        if (!bio)
                return;
        if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
                length = BIO_get_mem_data(bio, &text);
                if (length > 0)
                        (void) snprintf(line, sizeof(line), "%.*s", (int) MIN((size_t) length, sizeof(line) - 1), text);
        }
        BIO_free(bio);
        text_sanitize(line, ret, size);
}

static int explain_path(X509_STORE_CTX *context, X509 *leaf, char *error, size_t error_size) {
        X509 *at = X509_STORE_CTX_get_current_cert(context);
        int code = X509_STORE_CTX_get_error(context);
        char subject[128], issuer[128];

        if (!at)
                at = leaf;
        ek_name_to_text(X509_get_subject_name(at), subject, sizeof(subject));
        ek_name_to_text(X509_get_issuer_name(at), issuer, sizeof(issuer));

        switch (code) {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
                return reject(error, error_size, "the issuer '%s' of '%s' is not known: put its certificate among the EK roots",
                              issuer, subject);
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
                return reject(error, error_size, "the root '%s' is not among the EK roots: put it there if it is the TPM maker's",
                              subject);
        case X509_V_ERR_UNABLE_TO_GET_CRL:
                return reject(error, error_size, "there is no CRL of '%s': put a current one among the EK CRLs", issuer);
        case X509_V_ERR_CRL_HAS_EXPIRED:
                return reject(error, error_size, "the CRL of '%s' is out of date: put a current one among the EK CRLs", issuer);
        case X509_V_ERR_CERT_REVOKED:
                return reject(error, error_size, "the certificate '%s' was revoked by its issuer '%s'", subject, issuer);
        default:
                return reject(error, error_size, "the certificate '%s' by '%s': %s", subject, issuer,
                              X509_verify_cert_error_string(code));
        }
}

static int push_new_reference(STACK_OF(X509) * stack, X509 *certificate) {
        return X509_add_cert(stack, certificate, X509_ADD_FLAG_UP_REF) == 1 ? 0 : -ENOMEM;
}

/* What a path can be made of. */
struct candidates {
        STACK_OF(X509) * all;     /* intermediates: ours, then the TPM's */
        STACK_OF(X509) * between; /* those of them that may be in the path */
        STACK_OF(X509) * anchors; /* and of ours where it may end */
        int fault;                /* of the path: X509_V_ERR_ */
};

static void candidates_done(struct candidates *candidates) {
        sk_X509_pop_free(candidates->all, X509_free);
        sk_X509_pop_free(candidates->between, X509_free);
        sk_X509_pop_free(candidates->anchors, X509_free);
}

static bool signed_by(X509 *certificate, X509 *issuer) {
        EVP_PKEY *key = X509_get0_pubkey(issuer);

        return key && X509_verify(certificate, key) == 1;
}

static bool is_in(STACK_OF(X509) * stack, const X509 *certificate) {
        for (int i = 0; i < sk_X509_num(stack); i++)
                if (sk_X509_value(stack, i) == certificate)
                        return true;
        return false;
}

/* Makers renew keys under the same name, and OpenSSL takes the first certificate whose name fits and goes no other way. So of
 * those that could have issued it by name only the ones that signed it are taken; all of them where none did, for it to say what
 * is wrong. */
static int take_issuers(STACK_OF(X509) * from, X509 *certificate, STACK_OF(X509) * to) {
        bool signer = false;
        int r = 0;

        for (int pass = 0; pass < 2 && !signer; pass++)
                for (int i = 0; r >= 0 && i < sk_X509_num(from) && sk_X509_num(to) < CANDIDATES_MAX; i++) {
                        X509 *issuer = sk_X509_value(from, i);

                        if (X509_check_issued(issuer, certificate) != X509_V_OK || (pass == 0 && !signed_by(certificate, issuer)))
                                continue;
                        signer |= pass == 0;
                        if (!is_in(to, issuer))
                                r = push_new_reference(to, issuer);
                }
        return r;
}

/* A broken certificate of the TPM's is left out: it may not be needed. */
static int take_all(const struct ek_trust *trust, const struct wire_registration *registration, STACK_OF(X509) * to) {
        int r = 0;

        for (int i = 0; r >= 0 && i < sk_X509_num(trust->intermediates); i++)
                r = push_new_reference(to, sk_X509_value(trust->intermediates, i));

        for (size_t i = 0; r >= 0 && i < registration->n_ek_chain; i++) {
                _cleanup_(X509_freep) X509 *certificate = certificate_from_blob(registration->ek_chain + i);

                if (certificate)
                        r = push_new_reference(to, certificate);
        }
        return r;
}

/* From the leaf upwards; what was found is looked at in its turn, each once. */
static int candidates_find(const struct ek_trust *trust, const struct wire_registration *registration, X509 *leaf,
                           struct candidates *ret) {
        X509 *at = leaf;
        int r;

        ret->all = sk_X509_new_null();
        ret->between = sk_X509_new_null();
        ret->anchors = sk_X509_new_null();
        if (!ret->all || !ret->between || !ret->anchors)
                return -ENOMEM;

        r = take_all(trust, registration, ret->all);
        for (int i = 0; r >= 0 && at; i++) {
                r = take_issuers(trust->roots, at, ret->anchors);
                if (r >= 0)
                        r = take_issuers(ret->all, at, ret->between);
                at = i < sk_X509_num(ret->between) ? sk_X509_value(ret->between, i) : NULL;
        }
        return r;
}

struct path {
        const struct ek_trust *trust;
        bool copy; /* the leaf is a readable copy of the certificate: its signature is wrong */
};

/* Lets the changed copy's signature pass: check_path() looks at the certificate's own. And the lack of a current CRL, where it
 * may lack: the older one is still looked at. Nothing else. */
static int pass_what_may_be(int good, X509_STORE_CTX *context) {
        const struct path *path = X509_STORE_CTX_get_app_data(context);

        if (good)
                return good;

        switch (X509_STORE_CTX_get_error(context)) {
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
                return path->copy && X509_STORE_CTX_get_error_depth(context) == 0;
        case X509_V_ERR_UNABLE_TO_GET_CRL:
        case X509_V_ERR_CRL_HAS_EXPIRED:
                return !path->trust->options.crls_required;
        default:
                return 0;
        }
}

static bool signed_by_next(X509_STORE_CTX *context, X509 *leaf) {
        X509 *issuer = sk_X509_value(X509_STORE_CTX_get0_chain(context), 1);
        EVP_PKEY *key = issuer ? X509_get0_pubkey(issuer) : NULL;

        return key && X509_verify(leaf, key) == 1;
}

/* RSA below 2048 bits, MD5 and worse. SHA-1 passes: makers signed CAs of TPMs that are in use with it, and finding a second
 * preimage, which forging one of those takes, is out of reach. (An anchor's own signature proves nothing.) */
static bool is_weak(X509 *certificate, bool anchor) {
        EVP_PKEY *key = X509_get0_pubkey(certificate);
        int bits;

        return !key || EVP_PKEY_get_security_bits(key) < 112 ||
               (!anchor && (X509_get_signature_info(certificate, NULL, NULL, &bits, NULL) != 1 || bits < 60));
}

static int check_strength(X509_STORE_CTX *context, char *error, size_t error_size) {
        STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
        int n = sk_X509_num(chain);

        for (int i = 0; i < n; i++) {
                char subject[128];

                if (!is_weak(sk_X509_value(chain, i), i == n - 1))
                        continue;
                ek_name_to_text(X509_get_subject_name(sk_X509_value(chain, i)), subject, sizeof(subject));
                return reject(error, error_size, "the certificate '%s' has a weak key or signature", subject);
        }
        return 0;
}

static void set_parameters(X509_STORE_CTX *context, const struct ek_trust *trust, int64_t now) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);

        X509_VERIFY_PARAM_set_time(param, (time_t) now);
        X509_VERIFY_PARAM_set_depth(param, 8);
        if (trust->options.crls_required || sk_X509_CRL_num(trust->crls) > 0)
                X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

/* RFC 5280 path building, from the EK certificate over intermediates of ours and of the TPM to an anchor of ours. */
static int check_path(const struct ek_trust *trust, X509 *leaf, struct candidates *candidates, int64_t now, char *error,
                      size_t error_size) {
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *context = X509_STORE_CTX_new();
        _cleanup_(X509_freep) X509 *readable = readable_certificate(leaf);
        struct path path = { .trust = trust, .copy = readable != leaf };

        if (!context || !readable || X509_STORE_CTX_init(context, trust->anchors, readable, candidates->between) != 1)
                return -ENOMEM;

        X509_STORE_CTX_set0_trusted_stack(context, candidates->anchors);
        set_parameters(context, trust, now);
        X509_STORE_CTX_set_app_data(context, &path);
        X509_STORE_CTX_set_verify_cb(context, pass_what_may_be);

        if (X509_verify_cert(context) != 1) {
                candidates->fault = X509_STORE_CTX_get_error(context);
                return explain_path(context, leaf, error, error_size);
        }
        if (path.copy && !signed_by_next(context, leaf))
                return reject(error, error_size, "the EK certificate: certificate signature failure");
        return check_strength(context, error, error_size);
}

static int check_same_key(X509 *certificate, EVP_PKEY *ek, char *error, size_t error_size) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = X509_get_pubkey(certificate);

        if (!key)
                key = oaep_key(certificate);
        if (!key)
                return reject(error, error_size, "the key in the EK certificate cannot be read");
        if (EVP_PKEY_eq(key, ek) != 1)
                return reject(error, error_size, "the EK certificate is of another key than the EK");
        return 0;
}

/* What is in the certificate, and where it leads. */
static int check_certificate(const struct ek_trust *trust, const struct wire_registration *registration, EVP_PKEY *ek,
                             int64_t now, struct ek_identity *ret, char *error, size_t error_size) {
        _cleanup_(X509_freep) X509 *certificate = certificate_from_blob(&registration->ek_certificate);
        struct ek_identity tpm = {};
        _cleanup_(candidates_done) struct candidates candidates = {};
        char why[224];
        int r;

        if (!certificate)
                return reject(error, error_size, "the EK certificate is malformed");

        r = check_same_key(certificate, ek, error, error_size);
        if (r < 0)
                return r;
        r = check_leaf(certificate, error, error_size);
        if (r < 0)
                return r;

        r = candidates_find(trust, registration, certificate, &candidates);
        if (r < 0)
                return r;
        r = check_path(trust, certificate, &candidates, now, error, error_size);
        if (r < 0)
                return r;

        ek_identity_read(certificate, &tpm);
        if (ek_identity_refused(trust, &tpm, why, sizeof(why)))
                return reject(error, error_size, "%s", why);
        *ret = tpm;
        return 0;
}

int ek_certificates_pack(const struct wire_registration *registration, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        int r;

        buffer_append(&buffer, registration->ek_certificate.data, registration->ek_certificate.size);
        for (size_t i = 0; i < registration->n_ek_chain; i++) {
                const struct blob *one = registration->ek_chain + i;
                _cleanup_(X509_freep) X509 *certificate = certificate_from_blob(one);

                if (certificate)
                        buffer_append(&buffer, one->data, one->size);
        }
        ERR_clear_error();
        r = buffer_ok(&buffer);
        if (r < 0)
                return r;
        *ret = (struct blob){ buffer.data, buffer.size };
        buffer = (struct buffer){};
        return 0;
}

/* Views into what was packed. False: it is something else. */
static bool unpack(const struct blob *certificates, struct wire_registration *ret) {
        const unsigned char *at = certificates->data, *end = at + certificates->size;
        struct wire_registration views = {};

        for (size_t n = 0; at < end; n++) {
                const unsigned char *next = at;
                _cleanup_(X509_freep) X509 *certificate = d2i_X509(NULL, &next, end - at);

                if (!certificate || n > ELEMENTSOF(views.ek_chain))
                        return false;
                *(n == 0 ? &views.ek_certificate : views.ek_chain + n - 1) =
                        (struct blob){ (uint8_t *) at, (size_t) (next - at) };
                views.n_ek_chain = n;
                at = next;
        }
        *ret = views;
        return views.ek_certificate.size > 0;
}

bool ek_certificates_revoked(const struct ek_trust *trust, const uint8_t digest[static 32], const struct blob *certificates,
                             int64_t now, char *ret_why, size_t size) {
        _cleanup_(candidates_done) struct candidates candidates = {};
        _cleanup_(X509_freep) X509 *leaf = NULL;
        struct wire_registration views;

        if (!ek_trust_has_crls(trust) || certificates->size == 0 || ek_is_listed(trust, digest))
                return false;
        if (unpack(certificates, &views))
                leaf = certificate_from_blob(&views.ek_certificate);
        /* A certificate that was revoked is found before dates are looked at. */
        if (leaf && candidates_find(trust, &views, leaf, &candidates) >= 0)
                (void) check_path(trust, leaf, &candidates, now, ret_why, size);
        ERR_clear_error();
        return candidates.fault == X509_V_ERR_CERT_REVOKED;
}

static int reject_missing(const uint8_t digest[static 32], char *error, size_t error_size) {
        char hex[65];

        hex_write(digest, 32, hex);
        return reject(error, error_size,
                      "the TPM has no EK certificate: if you know this machine, put its EK digest %s on the list ek-allow", hex);
}

int ek_check(const struct ek_trust *trust, const struct wire_registration *registration, int64_t now, struct ek_verdict *ret,
             char *error, size_t error_size) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *ek = NULL;
        struct ek_verdict verdict = {};
        int r;

        if (pubkey_from_tpmt(registration->ek_public.data, registration->ek_public.size, &ek) < 0)
                return reject(error, error_size, "the EK's public area is malformed, or of a kind that is not supported");
        if (!is_restricted_decryption_key(&registration->ek_public))
                return reject(error, error_size, "the EK is not a restricted decryption key of a TPM");
        r = pubkey_digest(ek, verdict.digest);
        if (r < 0)
                return r;

        if (ek_is_listed(trust, verdict.digest))
                verdict.proof = EK_LISTED;
        else if (registration->ek_certificate.size == 0 && trust->options.certificate_required)
                return reject_missing(verdict.digest, error, error_size);
        else if (ek_trust_anchors(trust) == 0 && trust->options.certificate_required)
                return reject(error, error_size, "there are no EK roots: put the TPM makers' root certificates there");
        else if (registration->ek_certificate.size > 0 && ek_trust_anchors(trust) > 0) {
                r = check_certificate(trust, registration, ek, now, &verdict.tpm, error, error_size);
                if (r < 0)
                        return r;
                verdict.proof = EK_CERTIFIED;
        }

        ERR_clear_error();
        *ret = verdict;
        return 0;
}

const char *ek_proof_to_string(enum ek_proof proof) {
        static const char *const names[] = { [EK_UNPROVEN] = "none", [EK_LISTED] = "listed", [EK_CERTIFIED] = "certificate" };

        return names[proof];
}
