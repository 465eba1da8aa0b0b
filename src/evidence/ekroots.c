/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/encode.h"
#include "evidence/evidence-internal.h"

struct ek_trust *ek_trust_free(struct ek_trust *trust) {
        if (!trust)
                return NULL;

        X509_STORE_free(trust->anchors);
        sk_X509_pop_free(trust->roots, X509_free);
        sk_X509_pop_free(trust->intermediates, X509_free);
        sk_X509_CRL_pop_free(trust->crls, X509_CRL_free);
        free(trust->listed);
        ek_rules_done(trust);
        free(trust);
        return NULL;
}

struct ek_trust *ek_trust_new(const struct ek_trust_options *options) {
        struct ek_trust *trust = calloc(1, sizeof(*trust));

        if (!trust)
                return NULL;

        trust->options = *options;
        trust->anchors = X509_STORE_new();
        trust->roots = sk_X509_new_null();
        trust->intermediates = sk_X509_new_null();
        trust->crls = sk_X509_CRL_new_null();
        if (!trust->anchors || !trust->roots || !trust->intermediates || !trust->crls)
                return ek_trust_free(trust);
        return trust;
}

size_t ek_trust_anchors(const struct ek_trust *trust) {
        return (size_t) sk_X509_num(trust->roots);
}

bool ek_trust_has_crls(const struct ek_trust *trust) {
        return sk_X509_CRL_num(trust->crls) > 0;
}

/* What the loaders below do with each thing in a file: takes a reference of its own. */
struct kind {
        const char *name;
        void *(*from_der)(const unsigned char **p, long size);
        void *(*from_pem)(BIO *bio);
        int (*add)(struct ek_trust *trust, void *item);
        void (*free)(void *item);
};

static bool has_certificate(STACK_OF(X509) * stack, const X509 *certificate) {
        for (int i = 0; i < sk_X509_num(stack); i++)
                if (X509_cmp(sk_X509_value(stack, i), certificate) == 0)
                        return true;
        return false;
}

/* Only what signed itself is trusted by itself: an intermediate's root can still be missing, and then the operator is told which.
 * The same certificate twice is one. */
static int add_certificate(struct ek_trust *trust, void *item) {
        X509 *certificate = item;
        bool anchor = X509_self_signed(certificate, 1) == 1;
        STACK_OF(X509) *stack = anchor ? trust->roots : trust->intermediates;

        if (has_certificate(stack, certificate))
                return 0;
        if (anchor && X509_STORE_add_cert(trust->anchors, certificate) != 1)
                return -ENOMEM;
        return X509_add_cert(stack, certificate, X509_ADD_FLAG_UP_REF) == 1 ? 0 : -ENOMEM;
}

static int add_crl(struct ek_trust *trust, void *item) {
        X509_CRL *crl = item;

        if (X509_STORE_add_crl(trust->anchors, crl) != 1 || X509_CRL_up_ref(crl) != 1)
                return -ENOMEM;
        if (sk_X509_CRL_push(trust->crls, crl) <= 0) {
                X509_CRL_free(crl);
                return -ENOMEM;
        }
        return 0;
}

static void *certificate_from_der(const unsigned char **p, long size) {
        return d2i_X509(NULL, p, size);
}

static void *certificate_from_pem(BIO *bio) {
        return PEM_read_bio_X509(bio, NULL, NULL, (void *) "");
}

static void certificate_free(void *item) {
        X509_free(item);
}

static void *crl_from_der(const unsigned char **p, long size) {
        return d2i_X509_CRL(NULL, p, size);
}

static void *crl_from_pem(BIO *bio) {
        return PEM_read_bio_X509_CRL(bio, NULL, NULL, (void *) "");
}

static void crl_free(void *item) {
        X509_CRL_free(item);
}

static const struct kind certificates = { "certificate", certificate_from_der, certificate_from_pem, add_certificate,
                                          certificate_free };
static const struct kind crls = { "CRL", crl_from_der, crl_from_pem, add_crl, crl_free };

static int add_der(struct ek_trust *trust, const struct kind *kind, const struct blob *file, char *why, size_t size) {
        const unsigned char *p = file->data;
        void *item;
        int r;

        item = kind->from_der(&p, (long) file->size);
        if (!item) {
                (void) snprintf(why, size, "not a %s in DER", kind->name);
                return 0;
        }

        if (p != (const unsigned char *) file->data + file->size)
                (void) snprintf(why, size, "what follows the %s is not read: one in DER a file", kind->name);
        r = kind->add(trust, item);
        kind->free(item);
        return r < 0 ? r : 1;
}

/* Every one of the file; what else is in it is skipped. A broken one ends the reading: it is not known where the next one
 * begins. */
static int add_pem(struct ek_trust *trust, const struct kind *kind, const struct blob *file, char *why, size_t size) {
        BIO *bio;
        void *item;
        int n = 0, r = 0;

        bio = BIO_new_mem_buf(file->data, (int) file->size);
        if (!bio)
                return -ENOMEM;

        while (r >= 0 && (item = kind->from_pem(bio))) {
                r = kind->add(trust, item);
                kind->free(item);
                n += r >= 0;
        }
        BIO_free(bio);

        if (r >= 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                (void) snprintf(why, size, "number %d in it is no %s in PEM, and what follows is not read", n + 1, kind->name);
        else if (r >= 0 && n == 0)
                (void) snprintf(why, size, "holds no %s", kind->name);
        return r < 0 ? r : n;
}

static int add_file(struct ek_trust *trust, const struct kind *kind, const struct blob *file, char *why, size_t size) {
        int r;

        why[0] = '\0';
        if (file->size == 0 || file->size > INT32_MAX) {
                (void) snprintf(why, size, "holds no %s", kind->name);
                return 0;
        }

        ERR_clear_error();
        r = file->data[0] == 0x30 ? add_der(trust, kind, file, why, size) : add_pem(trust, kind, file, why, size);
        ERR_clear_error();
        return r;
}

int ek_trust_add_roots(struct ek_trust *trust, const struct blob *file, char *why, size_t size) {
        return add_file(trust, &certificates, file, why, size);
}

int ek_trust_add_crls(struct ek_trust *trust, const struct blob *file, char *why, size_t size) {
        return add_file(trust, &crls, file, why, size);
}

static int compare_digests(const void *a, const void *b) {
        return memcmp(a, b, 32);
}

bool ek_is_listed(const struct ek_trust *trust, const uint8_t digest[static 32]) {
        return trust->n_listed > 0 && bsearch(digest, trust->listed, trust->n_listed, sizeof(*trust->listed), compare_digests);
}

/* 1: a digest; 0: a comment, or nothing. */
static int parse_listed(const char *line, size_t length, uint8_t ret[static 32]) {
        char digits[65];

        while (length > 0 && (*line == ' ' || *line == '\t')) {
                line++;
                length--;
        }
        if (length == 0 || *line == '#' || *line == '\r')
                return 0;
        if (length < 64 || (length > 64 && !memchr(" \t\r", line[64], 3)))
                return -EBADMSG;

        memcpy(digits, line, 64);
        digits[64] = '\0';
        return hex_decode(digits, ret, 32) < 0 ? -EBADMSG : 1;
}

int ek_trust_add_listed(struct ek_trust *trust, const struct blob *file, char *error, size_t size) {
        const char *at = file->size > 0 ? (const char *) file->data : "", *end = at + file->size;
        unsigned number = 0;
        int n = 0;

        for (const char *next; at < end; at = next) {
                const char *stop = memchr(at, '\n', (size_t) (end - at));
                uint8_t digest[32];
                void *listed;
                int r;

                next = stop ? stop + 1 : end;
                number++;
                r = parse_listed(at, (size_t) ((stop ?: end) - at), digest);
                if (r < 0) {
                        (void) snprintf(error, size, "line %u is no EK digest: 64 hexadecimal digits", number);
                        return r;
                }
                if (r == 0)
                        continue;

                listed = realloc(trust->listed, (trust->n_listed + 1) * sizeof(*trust->listed));
                if (!listed)
                        return -ENOMEM;
                trust->listed = listed;
                memcpy(trust->listed[trust->n_listed++], digest, sizeof(digest));
                n++;
        }
        if (trust->n_listed > 0)
                qsort(trust->listed, trust->n_listed, sizeof(*trust->listed), compare_digests);
        return n;
}
