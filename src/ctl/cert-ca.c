/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "ctl/cert.h"

/* Another CA, in two steps. Each of them can be cut off anywhere and run again. */

static const char *const trusting[] = { "registrar", "tenant", "verifier", "operator", "node" };

static int read_certificate(const char *dir, const char *sub, const char *name, struct blob *ret) {
        _cleanup_(freep) char *path = cert_file(dir, sub, name, ".pem");
        int r = path ? file_read(path, 1024 * 1024, ret) : -ENOMEM;

        return r < 0 ? log_error_errno(r, "%s: %m", path ? path : name) : 0;
}

static int write_trusted(const char *dir, const struct buffer *bundle) {
        int r = buffer_ok(bundle);

        for (size_t i = 0; i < ELEMENTSOF(trusting) && r == 0; i++) {
                _cleanup_(freep) char *path = cert_file(dir, trusting[i], "ca", ".pem");

                r = path ? file_write(path, bundle->data, bundle->size, 0644) : -ENOMEM;
                if (r < 0)
                        log_error_errno(r, "%s: %m", path ? path : trusting[i]);
        }
        return r;
}

/* The next CA; one that was made before is taken again. */
static int make_next(const char *dir, const char *pem) {
        _cleanup_(freep) char *key = cert_file(dir, "ca", "next", ".key");
        _cleanup_(ca_done) struct ca ca = {};
        int r;

        if (!key)
                return log_oom();
        if (access(pem, F_OK) == 0)
                return ca_load(pem, key, &ca);
        r = ca_new("tallyboot fleet CA", &ca);
        return r < 0 ? r : ca_save(&ca, pem, key);
}

int cert_ca_begin(const char *dir) {
        _cleanup_(freep) char *pem = cert_file(dir, "ca", "next", ".pem");
        _cleanup_(buffer_done) struct buffer bundle = {};
        _cleanup_(blob_done) struct blob now = {}, next = {};
        int r;

        if (!pem)
                return log_oom();
        if ((r = make_next(dir, pem)) < 0 || (r = read_certificate(dir, "ca", "ca", &now)) < 0 ||
            (r = read_certificate(dir, "ca", "next", &next)) < 0)
                return r;
        if (now.size == next.size && memcmp(now.data, next.data, now.size) == 0)
                return log_error("%s: the new CA signs already; \"tallyctl cert renew --ca finish\" ends it.", pem), -EEXIST;
        buffer_append(&bundle, now.data, now.size);
        buffer_append(&bundle, next.data, next.size);
        return write_trusted(dir, &bundle);
}

/* Nobody may meet a certificate of a CA that he was never told of. What lies in the fleet's directory is what was handed out. */
static int check_trusted(const char *dir, const struct blob *next) {
        for (size_t i = 0; i < ELEMENTSOF(trusting); i++) {
                _cleanup_(blob_done) struct blob bundle = {};
                int r = read_certificate(dir, trusting[i], "ca", &bundle);

                if (r < 0)
                        return r;
                if (!memmem(bundle.data, bundle.size, next->data, next->size))
                        return log_error(
                                       "%s/%s/ca.pem does not have the new CA: run \"tallyctl cert renew --ca begin\" again, and hand "
                                       "out what it writes.",
                                       dir, trusting[i]),
                               -ENOENT;
        }
        return 0;
}

/* -ENOENT, without a word: there is no such file. */
static int copy_key(const char *dir, const char *from, const char *to) {
        _cleanup_(freep) char *source = cert_file(dir, "ca", from, ".key"), *target = cert_file(dir, "ca", to, ".key");
        _cleanup_(secret_freep) struct secret *key = NULL;
        int r;

        if (!source || !target)
                return log_oom();
        r = file_read_secret(source, 65536, false, &key);
        if (r >= 0)
                r = file_write(target, key->data, key->size, 0600);
        return r < 0 && r != -ENOENT ? log_error_errno(r, "%s to %s: %m", source, target) : r;
}

static int copy_certificate(const char *dir, const struct blob *certificate, const char *to) {
        _cleanup_(freep) char *path = cert_file(dir, "ca", to, ".pem");
        int r = path ? file_write(path, certificate->data, certificate->size, 0644) : -ENOMEM;

        return r < 0 ? log_error_errno(r, "%s: %m", path ? path : to) : 0;
}

/* ca.pem is what says which of the two signs: once it is the new one, ca.key may be the old one still, and never the other way
 * round. */
static int swap(const char *dir, const struct blob *next) {
        _cleanup_(blob_done) struct blob now = {};
        int r = read_certificate(dir, "ca", "ca", &now);

        if (r < 0)
                return r;
        if (now.size != next->size || memcmp(now.data, next->data, now.size) != 0) {
                r = copy_key(dir, "ca", "old"); /* where it is lost, that is what the new CA is for */
                if (r < 0 && r != -ENOENT)
                        return r;
                if ((r = copy_certificate(dir, &now, "old")) < 0 || (r = copy_certificate(dir, next, "ca")) < 0)
                        return r;
        }
        r = copy_key(dir, "next", "ca");
        return r == -ENOENT ? 0 : r;
}

int cert_ca_swap(const char *dir) {
        _cleanup_(freep) char *pem = cert_file(dir, "ca", "next", ".pem");
        _cleanup_(blob_done) struct blob next = {};
        int r;

        if (!pem)
                return log_oom();
        if (access(pem, F_OK) < 0)
                return log_error("%s: no renewal is under way; begin with \"tallyctl cert renew --ca begin\".", pem), -ENOENT;
        if ((r = read_certificate(dir, "ca", "next", &next)) < 0 || (r = check_trusted(dir, &next)) < 0)
                return r;
        return swap(dir, &next);
}

int cert_ca_drop(const char *dir) {
        _cleanup_(freep) char *next = cert_file(dir, "ca", "next", ".pem");
        _cleanup_(buffer_done) struct buffer bundle = {};
        _cleanup_(blob_done) struct blob now = {};
        int r;

        if (!next)
                return log_oom();
        if (access(next, F_OK) == 0)
                return log_error("%s: a renewal is under way: first \"tallyctl cert renew --ca finish\".", next), -EEXIST;
        r = read_certificate(dir, "ca", "ca", &now);
        if (r < 0)
                return r;
        buffer_append(&bundle, now.data, now.size);
        return write_trusted(dir, &bundle);
}

int cert_ca_finished(const char *dir) {
        static const char *const suffixes[] = { ".key", ".pem" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_(freep) char *path = cert_file(dir, "ca", "next", suffixes[i]);

                if (!path)
                        return log_oom();
                if (unlink(path) < 0 && errno != ENOENT)
                        return log_error_errno(errno, "%s: %m", path);
        }
        return 0;
}
