/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/log.h"
#include "evidence/evidence-internal.h"

struct ek_roots *ek_roots_free(struct ek_roots *roots) {
        if (!roots)
                return NULL;

        X509_STORE_free(roots->anchors);
        sk_X509_pop_free(roots->intermediates, X509_free);
        free(roots);
        return NULL;
}

static struct ek_roots *roots_new(void) {
        struct ek_roots *roots = calloc(1, sizeof(*roots));

        if (!roots)
                return NULL;

        roots->anchors = X509_STORE_new();
        roots->intermediates = sk_X509_new_null();
        if (!roots->anchors || !roots->intermediates)
                return ek_roots_free(roots);
        return roots;
}

/* Takes a reference of its own. Only what signed itself is trusted by itself: an intermediate's root can still be missing, and
 * then the operator is told which. */
static int roots_add(struct ek_roots *roots, X509 *certificate) {
        if (X509_self_signed(certificate, 1) == 1) {
                if (X509_STORE_add_cert(roots->anchors, certificate) != 1)
                        return -ENOMEM;
                roots->n_anchors++;
                return 0;
        }

        if (X509_up_ref(certificate) != 1)
                return -ENOMEM;
        if (sk_X509_push(roots->intermediates, certificate) <= 0) {
                X509_free(certificate);
                return -ENOMEM;
        }
        return 0;
}

static int add_der(struct ek_roots *roots, const struct blob *file, size_t *loaded) {
        const unsigned char *p = file->data;
        X509 *certificate;
        int r;

        certificate = d2i_X509(NULL, &p, (long) file->size);
        if (!certificate)
                return 0;

        r = roots_add(roots, certificate);
        X509_free(certificate);
        if (r >= 0)
                (*loaded)++;
        return r;
}

/* Every certificate of the file; what else is in it is skipped. */
static int add_pem(struct ek_roots *roots, const struct blob *file, size_t *loaded) {
        BIO *bio;
        X509 *certificate;
        int r = 0;

        bio = BIO_new_mem_buf(file->data, (int) file->size);
        if (!bio)
                return -ENOMEM;

        while (r >= 0 && (certificate = PEM_read_bio_X509(bio, NULL, NULL, (void *) ""))) {
                r = roots_add(roots, certificate);
                X509_free(certificate);
                if (r >= 0)
                        (*loaded)++;
        }
        BIO_free(bio);
        return r;
}

int ek_roots_from_blobs(const struct blob *files, size_t n, struct ek_roots **ret, size_t *ret_loaded) {
        _cleanup_(ek_roots_freep) struct ek_roots *roots = roots_new();
        size_t loaded = 0;

        if (!roots)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                size_t before = loaded;
                int r;

                if (files[i].size == 0 || files[i].size > INT32_MAX)
                        continue;

                r = files[i].data[0] == 0x30 ? add_der(roots, files + i, &loaded) : add_pem(roots, files + i, &loaded);
                if (r < 0)
                        return r;
                if (loaded == before)
                        log_debug("EK roots: file %zu holds no certificate.", i);
        }
        ERR_clear_error();

        *ret = TAKE_PTR(roots);
        *ret_loaded = loaded;
        return 0;
}
