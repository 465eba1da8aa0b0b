/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <spawn.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "base/file.h"
#include "boot/doctor.h"

enum { CA_SIZE_MAX = 1 << 20, CA_MAX = 16, LISTING_MAX = 64 << 20, SOON = 30 * 24 * 3600 };

extern char **environ;

/* In a ca.pem of several one is enough, as after a renewal. */
static void check_dates(struct doctor *doctor, X509 *certificate, bool another_is_good) {
        time_t soon = time(NULL) + SOON;
        char name[128];

        X509_NAME_oneline(X509_get_subject_name(certificate), name, sizeof name);
        if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
                found(doctor, another_is_good ? FOUND_OK : FOUND_PROBLEM, "ca", "%s has expired%s", name,
                      another_is_good ? "; another is good" : ": tallyctl cert renew, and bring the new file to every node");
        else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
                found(doctor, another_is_good ? FOUND_WARNING : FOUND_PROBLEM, "ca", "%s is not valid yet: is the clock right?",
                      name);
        else if (X509_cmp_time(X509_get0_notAfter(certificate), &soon) <= 0 && !another_is_good)
                found(doctor, FOUND_WARNING, "ca", "%s expires within 30 days", name);
        else
                found(doctor, FOUND_OK, "ca", "%s", name);
}

static bool is_good(const X509 *certificate) {
        return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0 &&
               X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

void doctor_check_ca(struct doctor *doctor) {
        _cleanup_(blob_done) struct blob text = {};
        X509 *certificates[CA_MAX] = {};
        size_t n = 0, good = 0;
        BIO *bio;
        int r = file_read(doctor->config->ca, CA_SIZE_MAX, &text);

        if (r < 0) {
                found(doctor, FOUND_PROBLEM, "ca", "%s cannot be read: %s", doctor->config->ca, strerror(-r));
                return;
        }
        bio = BIO_new_mem_buf(text.data, (int) text.size);
        while (bio && n < CA_MAX && (certificates[n] = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
                good += is_good(certificates[n++]);
        BIO_free(bio);
        for (size_t i = 0; i < n; i++) {
                check_dates(doctor, certificates[i], good > is_good(certificates[i]));
                X509_free(certificates[i]);
        }
        if (n == 0)
                found(doctor, FOUND_PROBLEM, "ca", "no certificate is in %s", doctor->config->ca);
}

/* What a program prints, at most LISTING_MAX; -ENOENT where it is not installed. */
static int run_program(char *const argv[], struct blob *ret) {
        posix_spawn_file_actions_t actions;
        struct blob output = {};
        int fds[2], status = 0, r;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        r = -posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        (void) close(fds[1]);
        if (r >= 0) {
                r = file_read_fd(fds[0], LISTING_MAX, &output);
                while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
        }
        (void) close(fds[0]);
        if (r >= 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
                r = -EIO;
        if (r < 0) {
                blob_done(&output);
                return r;
        }
        *ret = output;
        return 0;
}

static char *find_image(void) {
        static const char *const places[][2] = {
                { "/boot/initrd.img-", "" }, { "/boot/initramfs-", ".img" }, { "/boot/initrd-", "" }, { "/boot/initramfs-", "" }
        };
        struct utsname name;

        if (uname(&name) < 0)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                char *path = format("%s%s%s", places[i][0], name.release, places[i][1]);

                if (path && access(path, R_OK) == 0)
                        return path;
                free(path);
        }
        return NULL;
}

/* Whether the image has this file as this system has it. */
static bool is_in_image(struct doctor *doctor, char *image, char *path) {
        char *const argv[] = { (char[]){ "lsinitrd" }, (char[]){ "-f" }, path + 1, image, NULL };
        _cleanup_(blob_done) struct blob inside = {}, outside = {};

        if (run_program(argv, &inside) < 0 || inside.size == 0)
                found(doctor, FOUND_PROBLEM, "initramfs", "%s has no %s: dracut --force", image, path);
        else if (file_read(path, CA_SIZE_MAX, &outside) >= 0 &&
                 (inside.size != outside.size || memcmp(inside.data, outside.data, inside.size) != 0))
                found(doctor, FOUND_PROBLEM, "initramfs", "%s has another %s than this system: dracut --force", image, path);
        else
                return true;
        return false;
}

void doctor_check_initramfs(struct doctor *doctor) {
        _cleanup_(freep) char *image = find_image();
        char *const argv[] = { (char[]){ "lsinitrd" }, image, NULL };
        _cleanup_(blob_done) struct blob listing = {};
        int r;

        if (!image) {
                found(doctor, FOUND_WARNING, "initramfs",
                      "no image for the running kernel was found in /boot; of a UKI: objcopy -O binary --only-section=.initrd UKI /tmp/initrd, "
                      "then lsinitrd /tmp/initrd");
                return;
        }
        r = run_program(argv, &listing);
        if (r == -ENOENT)
                found(doctor, FOUND_WARNING, "initramfs", "lsinitrd is not installed: %s cannot be looked into", image);
        else if (r < 0)
                found(doctor, FOUND_WARNING, "initramfs", "lsinitrd cannot read %s: %s", image, strerror(-r));
        else if (!memmem(listing.data, listing.size, "bin/tallyboot", strlen("bin/tallyboot")))
                found(doctor, FOUND_PROBLEM, "initramfs", "%s is without tallyboot: dracut --force (and not initramfs-tools)",
                      image);
        else if (!memmem(listing.data, listing.size, "/libcurl.so.4", strlen("/libcurl.so.4")))
                found(doctor, FOUND_PROBLEM, "initramfs", "%s is without libcurl.so.4, so it can ask no server: dracut --force",
                      image);
        else if (is_in_image(doctor, image, doctor->config->path) && is_in_image(doctor, image, doctor->config->ca))
                found(doctor, FOUND_OK, "initramfs", "%s has tallyboot, this configuration and this CA", image);
}
