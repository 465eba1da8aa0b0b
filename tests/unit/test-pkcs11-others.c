/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "pkcs11/wrap.h"
#include "swtpm.h"
#include "test.h"

/* Other implementations of PKCS#11 than SoftHSM: opencryptoki's software token, with its daemon, in namespaces of our own, for it
 * has its files in the system's folders; and tpm2-pkcs11 with a software TPM. Where one is not there, or namespaces are not
 * allowed, its tests are skipped by name. */

#define OPENCRYPTOKI "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so"
#define TPM2_PKCS11 "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so"
#define BINDING FIELDS(field_text("node"), field_number(7))

static pid_t daemon_pid;
static struct swtpm *swtpm;

static bool shell(const char *command) {
        return system(command) == 0;
}

static int skipped(const char *why) {
        print_message("skipped: %s\n", why);
        return 0;
}

/* Apart: they leak. */
static struct pkcs11 *open_token(const char *uri, const char *module) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        if (pkcs11_open(&(struct pkcs11_where){ uri, module, true }, &pkcs11, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        if (pkcs11_login(pkcs11, pin) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return pkcs11;
}

static void sign(struct pkcs11 *pkcs11, const char *uri, size_t size) {
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11_key key = {};

        if (pkcs11_find(pkcs11, uri, PKCS11_PRIVATE, &key) < 0 || pkcs11_sign(pkcs11, &key, "message", 7, &signature) < 0)
                fail_msg("%s: %s", uri, pkcs11_error(pkcs11));
        assert_int_equal(signature.size, size);
        assert_true(signature_is_good(pkcs11, &key, "message", &signature));
        assert_false(signature_is_good(pkcs11, &key, "massage", &signature));
}

static void wrap(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        _cleanup_(secret_freep) struct secret *made = NULL, *opened = NULL, *given = NULL, *again = NULL;
        _cleanup_(blob_done) struct blob first = {}, second = {};

        assert_int_equal(secret_random(48, &given), 0);
        if (wrap_check(pkcs11, how) < 0 || wrap_make(pkcs11, how, BINDING, NULL, &first, &made) < 0 ||
            wrap_make(pkcs11, how, BINDING, given, &second, NULL) < 0 ||
            wrap_open(pkcs11, how, BINDING, first.data, first.size, &opened) < 0 ||
            wrap_open(pkcs11, how, BINDING, second.data, second.size, &again) < 0)
                fail_msg("%s: %s", wrap_mechanism_to_string(how->mechanism), pkcs11_error(pkcs11));
        assert_true(secret_equal(made, opened));
        assert_true(secret_equal(given, again));
        opened = secret_free(opened);
        assert_int_equal(wrap_open(pkcs11, how, FIELDS(field_text("node")), first.data, first.size, &opened), -EKEYREJECTED);
        for (size_t i = 0; i < first.size; i++) {
                int r;

                first.data[i] ^= 0x10;
                r = wrap_open(pkcs11, how, BINDING, first.data, first.size, &opened);
                if (r != -EKEYREJECTED && r != -EBADMSG && r != -ESTALE)
                        fail_msg("byte %zu of %s: %d: %s", i, wrap_mechanism_to_string(how->mechanism), r, pkcs11_error(pkcs11));
                first.data[i] ^= 0x10;
        }
}

/* opencryptoki */

static bool mount_private(const char *where) {
        return mount("tmpfs", where, "tmpfs", 0, "mode=755") == 0;
}

static bool start_daemon(void) {
        daemon_pid = fork();
        if (daemon_pid == 0) {
                int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) dup2(fd, 1);
                (void) dup2(fd, 2);
                (void) execl("/usr/sbin/pkcsslotd", "pkcsslotd", "-f", NULL);
                _exit(127);
        }
        for (unsigned i = 0; i < 6000; i++) {
                int status;

                if (access("/run/pkcsslotd.socket", F_OK) == 0)
                        return true;
                if (waitpid(daemon_pid, &status, WNOHANG) == daemon_pid) {
                        daemon_pid = 0;
                        return false;
                }
                (void) usleep(10000);
        }
        return false;
}

/* Once, for the whole program: namespaces are not left again. NULL, or what there is not. */
static const char *opencryptoki_start(void) {
        static const char tool[] = "pkcs11-tool --module " OPENCRYPTOKI;
        char command[512];

        if (access(OPENCRYPTOKI, F_OK) < 0 || access("/usr/sbin/pkcsslotd", X_OK) < 0)
                return "opencryptoki is not installed";
        if (unshare(CLONE_NEWNS | CLONE_NEWIPC) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return "opencryptoki: no mount namespace";
        if (!mount_private("/run") || !mount_private("/var/lib/opencryptoki") || !mount_private("/dev/shm") ||
            !mount_private("/etc/opencryptoki"))
                return "opencryptoki: nothing can be mounted";
        if (!shell("printf 'version opencryptoki-3.1\\nslot 0\\n{\\nstdll = libpkcs11_sw.so\\n}\\n' >/etc/opencryptoki/opencryptoki.conf && "
                   "mkdir -p /run/lock/opencryptoki/swtok /var/lib/opencryptoki/swtok/TOK_OBJ && "
                   "chgrp -R pkcs11 /run/lock/opencryptoki /var/lib/opencryptoki && "
                   "chmod -R 770 /run/lock/opencryptoki /var/lib/opencryptoki"))
                return "opencryptoki: its folders cannot be made";
        if (!start_daemon())
                return "opencryptoki: pkcsslotd does not start";
        (void) snprintf(
                command, sizeof(command),
                "(%s --init-token --slot 0 --label soft --so-pin 87654321 && %s --login --login-type so --so-pin 87654321 "
                "--init-pin --new-pin " SOFTHSM_PIN ") >/dev/null 2>&1",
                tool, tool);
        return shell(command) ? NULL : "opencryptoki: its token cannot be initialized";
}

static void test_opencryptoki(void **state) {
        struct wrap_how cbc = {
                .mechanism = WRAP_CBC_PAD,
                .mac = WRAP_MAC_SHA256_HMAC,
                .key = "pkcs11:object=master",
                .mac_key = "pkcs11:object=hmac",
                .generation = 1,
                .always_sensitive = true,
        };
        struct wrap_how oaep = { .mechanism = WRAP_RSA_OAEP, .key = "pkcs11:object=unwrap", .generation = 1 };
        struct wrap_how gcm = { .mechanism = WRAP_GCM, .key = "pkcs11:object=master", .generation = 1 };
        const char *why = opencryptoki_start();
        struct pkcs11 *pkcs11;

        if (why) {
                (void) skipped(why);
                skip();
        }
        pkcs11 = open_token("pkcs11:token=soft", OPENCRYPTOKI);
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "master");
        (void) softhsm_key(pkcs11, PKCS11_GENERIC, PKCS11_USE_MAC, "hmac");
        (void) softhsm_key(pkcs11, PKCS11_RSA, PKCS11_USE_WRAP, "unwrap");
        (void) softhsm_key(pkcs11, PKCS11_RSA, PKCS11_USE_SIGN, "sign");
        sign(pkcs11, "pkcs11:object=sign", 256);
        wrap(pkcs11, &cbc);
        wrap(pkcs11, &oaep);
        assert_int_equal(wrap_check(pkcs11, &gcm), -EOPNOTSUPP);
        assert_non_null(strstr(pkcs11_error(pkcs11), "lacks CKM_AES_GCM"));
        pkcs11 = pkcs11_close(pkcs11);
}

/* tpm2-pkcs11 */

static void test_tpm2(void **state) {
        struct pkcs11 *pkcs11;

        if (access(TPM2_PKCS11, F_OK) < 0) {
                (void) skipped("tpm2-pkcs11 is not installed");
                skip();
        }
        swtpm = swtpm_new();
        assert_int_equal(setenv("TPM2_PKCS11_STORE", swtpm->dir, 1), 0);
        assert_int_equal(setenv("TPM2_PKCS11_TCTI", swtpm->tcti, 1), 0);
        free(swtpm_shell(
                swtpm,
                "pkcs11-tool --module " TPM2_PKCS11 " --init-token --slot 1 --label tpm --so-pin 87654321 2>&1 && "
                "pkcs11-tool --module " TPM2_PKCS11
                " --token-label tpm --login --login-type so --so-pin 87654321 --init-pin --new-pin " SOFTHSM_PIN " 2>&1 && "
                "tpm2_flushcontext -t && pkcs11-tool --module " TPM2_PKCS11 " --token-label tpm --login --pin " SOFTHSM_PIN
                " --keypairgen --key-type EC:prime256v1 --usage-sign --label ec --id 01 2>&1 && tpm2_flushcontext -t"));
        pkcs11 = open_token("pkcs11:token=tpm", TPM2_PKCS11);
        sign(pkcs11, "pkcs11:object=ec", 64);
        pkcs11 = pkcs11_close(pkcs11);
}

static int teardown(void **state) {
        swtpm = swtpm_free(swtpm);
        if (daemon_pid > 0) {
                (void) kill(daemon_pid, SIGKILL);
                (void) waitpid(daemon_pid, NULL, 0);
        }
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tpm2),
                cmocka_unit_test(test_opencryptoki),
        };

        return cmocka_run_group_tests_name("pkcs11-others", tests, NULL, teardown);
}
