/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "service/service.h"

/* What endorsement keys are held against: read at start and after a SIGHUP, as a whole; while it cannot be read the old one
 * stays. */

enum { FILES_MAX = 4096, CERTIFICATES_SIZE_MAX = 1 << 20, CRL_SIZE_MAX = 16 << 20, LIST_SIZE_MAX = 4 << 20 };

static void say(const char *line, void *userdata) {
        (void) userdata;
        log_warning("EK certificates: %s.", line);
}

struct folder {
        const char *key, *path;
        size_t size_max;
        int (*add)(struct ek_trust *trust, const struct blob *file, char *why, size_t size);
};

static int read_one(struct ek_trust *trust, const struct folder *folder, const char *name, size_t *n) {
        _cleanup_(freep) char *path = path_join(folder->path, name);
        _cleanup_(blob_done) struct blob file = {};
        char why[160] = "";
        int r;

        if (!path)
                return -ENOMEM;
        r = file_read(path, folder->size_max, &file);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                log_warning_errno(r, "%s is not used: %m", path);
                return 0;
        }

        r = folder->add(trust, &file, why, sizeof(why));
        if (r < 0)
                return r;
        if (why[0])
                log_warning("%s: %s.", path, why);
        *n += (size_t) r;
        return 0;
}

static int read_folder(struct ek_trust *trust, const struct folder *folder, size_t *ret_n) {
        size_t n = 0, files = 0;
        DIR *dir;
        int r = 0;

        *ret_n = 0;
        if (!folder->path)
                return 0;
        dir = opendir(folder->path);
        if (!dir)
                return log_error_errno(errno, "%s %s: %m", folder->key, folder->path);

        for (struct dirent *entry; r >= 0 && (entry = readdir(dir));)
                if (entry->d_name[0] == '.')
                        continue;
                else if (files++ < FILES_MAX)
                        r = read_one(trust, folder, entry->d_name, &n);
        (void) closedir(dir);
        if (files > FILES_MAX)
                log_warning("%s %s: more than %d files, the others are not read.", folder->key, folder->path, FILES_MAX);
        *ret_n = n;
        return r;
}

static int read_list(struct ek_trust *trust, const char *path) {
        _cleanup_(blob_done) struct blob file = {};
        char error[160] = "";
        int r;

        if (!path)
                return 0;
        r = file_read(path, LIST_SIZE_MAX, &file);
        if (r < 0)
                return log_error_errno(r, "ek-allow %s: %m", path);
        r = ek_trust_add_listed(trust, &file, error, sizeof(error));
        if (r < 0)
                return log_error_errno(r, "ek-allow %s: %s.", path, error[0] ? error : strerror(-r));
        if (r > 0)
                log_info("%d endorsement keys in %s need no certificate.", r, path);
        return 0;
}

static int read_rules(struct ek_trust *trust, const char *rules) {
        char error[320] = "";
        int r;

        r = rules ? ek_trust_refuse(trust, rules, error, sizeof(error)) : 0;
        return r < 0 ? log_error_errno(r, "ek-refuse: %s.", error[0] ? error : strerror(-r)) : 0;
}

/* What is given up is said where it is given up. */
static void say_all(const struct service_config *config, const struct ek_trust *trust, size_t certificates, size_t crls) {
        if (config->ek_roots)
                log_info("%zu certificates of TPM makers in %s, %zu of them roots.", certificates, config->ek_roots,
                         ek_trust_anchors(trust));
        if (config->ek_crls)
                log_info("%zu lists of revoked certificates in %s.", crls, config->ek_crls);
        if (config->ek_required && ek_trust_anchors(trust) == 0)
                log_warning("No TPM can prove where it comes from: put its maker's root certificates into %s and reload.",
                            config->ek_roots);
        if (!config->ek_required)
                log_notice(
                        "ek-certificates = optional: an endorsement key without a certificate is taken. Nothing then shows that "
                        "it is a TPM's: a program on any machine can pretend to be one, can copy its keys, and can claim any "
                        "PCR values. Nor do CRLs and ek-refuse hold for who leaves the certificate out. Only an operator who "
                        "compares codes stands in between.");
        ek_trust_review(trust, (int64_t) (clock_realtime_ms() / 1000), say, NULL);
}

static int load(const struct service_config *config, struct ek_trust **ret) {
        const struct ek_trust_options options = { .certificate_required = config->ek_required,
                                                  .crls_required = config->ek_crls_required };
        const struct folder roots = { "ek-roots", config->ek_roots, CERTIFICATES_SIZE_MAX, ek_trust_add_roots },
                            crls = { "ek-crls", config->ek_crls, CRL_SIZE_MAX, ek_trust_add_crls };
        _cleanup_(ek_trust_freep) struct ek_trust *trust = ek_trust_new(&options);
        size_t n_roots, n_crls;
        int r;

        if (!trust)
                return log_oom();
        if ((r = read_folder(trust, &roots, &n_roots)) < 0 || (r = read_folder(trust, &crls, &n_crls)) < 0 ||
            (r = read_list(trust, config->ek_allow)) < 0 || (r = read_rules(trust, config->ek_refuse)) < 0)
                return r;

        say_all(config, trust, n_roots, n_crls);
        *ret = TAKE_PTR(trust);
        return 0;
}

int service_ek_load(struct service *service) {
        struct ek_trust *trust = NULL, *old;
        int r;

        r = load(&service->config, &trust);
        if (r < 0)
                return r;

        (void) pthread_rwlock_wrlock(&service->ek_lock);
        old = service->ek_trust;
        service->ek_trust = trust;
        (void) pthread_rwlock_unlock(&service->ek_lock);
        ek_trust_free(old);
        service->ek_loads++;
        return 0;
}

bool service_ek_revoked(struct service *service, const uint8_t digest[static 32], const struct blob *certificates, char *ret_why,
                        size_t size) {
        bool revoked;

        (void) pthread_rwlock_rdlock(&service->ek_lock);
        revoked = ek_certificates_revoked(service->ek_trust, digest, certificates, (int64_t) (clock_realtime_ms() / 1000),
                                          ret_why, size);
        (void) pthread_rwlock_unlock(&service->ek_lock);
        return revoked;
}

int service_ek_check(struct service *service, const struct wire_registration *registration, struct ek_verdict *ret, char *error,
                     size_t error_size) {
        int r;

        (void) pthread_rwlock_rdlock(&service->ek_lock);
        r = ek_check(service->ek_trust, registration, (int64_t) (clock_realtime_ms() / 1000), ret, error, error_size);
        (void) pthread_rwlock_unlock(&service->ek_lock);
        return r;
}

bool service_firmware_refused(struct service *service, const struct ek_identity *tpm, uint64_t firmware, char *ret_why,
                              size_t size) {
        bool refused;

        (void) pthread_rwlock_rdlock(&service->ek_lock);
        refused = ek_firmware_refused(service->ek_trust, tpm, firmware, ret_why, size);
        (void) pthread_rwlock_unlock(&service->ek_lock);
        return refused;
}
