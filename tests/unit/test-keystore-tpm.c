/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "keystore/bootkey.h"
#include "keystore/master-tpm.h"
#include "swtpm.h"

/* A master key in a software TPM. The kernel's keyring of this machine outlives the TPM's power cycles here, so a restart of a
 * whole machine is both: the TPM's, and master_tpm_forget(). */

static struct swtpm *swtpm;
static struct keystore_options options;
static bool isolated;

static void write_map(pid_t pid, const char *name) {
        static const char map[] = "0 0 1\n65534 65534 1\n";
        char path[64];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, map, strlen(map)) != (ssize_t) strlen(map))
                _exit(1);
        (void) close(fd);
}

/* A user namespace has keyrings of its own, which end with it. Its map is written from outside. */
static void isolate(void) {
        int fds[2], status;
        pid_t pid;

        if (getuid() != 0)
                return;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                char c;

                (void) close(fds[1]);
                if (read(fds[0], &c, 1) == 1) {
                        write_map(getppid(), "uid_map");
                        write_map(getppid(), "gid_map");
                }
                _exit(0);
        }
        isolated = unshare(CLONE_NEWUSER) == 0;
        assert_int_equal(write(fds[1], "", isolated), isolated);
        (void) close(fds[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        (void) close(fds[0]);
}

static int start(_unused_ void **state) {
        struct secret *probe;

        isolate();
        swtpm = swtpm_new();
        assert_int_equal(secret_random(8, &probe), 0);
        if (bootkey_put("tallyboot-test-probe", probe) == -EOPNOTSUPP) {
                (void) fprintf(stderr, "the kernel's keyring cannot be used here\n");
                exit(77);
        }
        (void) bootkey_drop("tallyboot-test-probe");
        (void) secret_free(probe);
        return 0;
}

static int finish(_unused_ void **state) {
        swtpm_free(swtpm);
        return 0;
}

static void option(const char *name, const char *value) {
        char error[256] = "";

        if (keystore_option(&options, "/", name, value, error, sizeof(error)) < 0)
                fail_msg("%s = %s: %s", name, value, error);
}

static void check(void) {
        char error[256] = "";

        if (keystore_options_check(&options, error, sizeof(error)) < 0)
                fail_msg("%s", error);
}

static void forget_gate(unsigned gate) {
        char name[200];

        (void) snprintf(name, sizeof(name), "tallyboot-keystore-gate:%u:%s", gate, swtpm->tcti);
        assert_int_equal(bootkey_drop(name), 0);
}

static void power_cycle(void) {
        swtpm_stop(swtpm);
        swtpm_start(swtpm);
        for (unsigned gate = 8; gate < 16; gate++)
                forget_gate(gate);
}

static int setup(_unused_ void **state) {
        power_cycle();
        option("master", "tpm");
        option("tpm", swtpm->tcti);
        check();
        assert_int_equal(options.pcrs, 1U << 7);
        assert_int_equal(options.gate_pcr, 14);
        return 0;
}

static int teardown(_unused_ void **state) {
        for (unsigned gate = 8; gate < 16; gate++)
                forget_gate(gate);
        keystore_options_done(&options);
        return 0;
}

static struct blob create(void) {
        struct blob parameters = {};
        char error[512] = "";

        if (master_tpm.create(&options, "tenant", &parameters, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        return parameters;
}

static int open_master(const struct blob *parameters, const char *party, struct master **ret, char error[static 512]) {
        error[0] = '\0';
        return master_open(&options, &options.master, party, parameters, ret, error, 512);
}

static struct secret *opened(const struct blob *parameters) {
        _cleanup_(master_closep) struct master *master = NULL;
        char error[512];

        if (open_master(parameters, "tenant", &master, error) < 0)
                fail_msg("%s", error);
        return TAKE_PTR(master->secret);
}

static void expect_refused(const struct blob *parameters, int expected, const char *words) {
        struct master *master = NULL;
        char error[512];

        assert_int_equal(open_master(parameters, "tenant", &master, error), expected);
        assert_null(master);
        if (!strstr(error, words))
                fail_msg("\"%s\" does not say \"%s\"", error, words);
}

/* What root can do with the TPM itself. */
static int tpm_gives(const struct blob *parameters) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        struct master_tpm found;

        assert_int_equal(master_tpm_parse(parameters, &found), 0);
        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        return tpm_unseal(tpm, found.sealed, found.sealed_size, &secret);
}

static void extend(unsigned pcr) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;

        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        assert_int_equal(tpm_pcr_event(tpm, pcr, "changed", 7), 0);
}

static void test_once_a_boot(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();
        _cleanup_(secret_freep) struct secret *first = opened(&parameters), *second = NULL, *third = NULL;

        assert_int_equal(tpm_gives(&parameters), -EALREADY); /* from the ceremony on */

        power_cycle();
        master_tpm_forget(&parameters);
        assert_int_equal(tpm_gives(&parameters), 0);
        second = opened(&parameters);
        assert_true(secret_equal(first, second));
        assert_int_equal(tpm_gives(&parameters), -EALREADY);

        /* again in the same boot, without the TPM */
        swtpm_stop(swtpm);
        third = opened(&parameters);
        assert_true(secret_equal(first, third));
        swtpm_start(swtpm);
        master_tpm_forget(&parameters);
}

/* The keyring was lost while the gate is closed. */
static void test_lost(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();

        master_tpm_forget(&parameters);
        expect_refused(&parameters, -EALREADY, "switch the machine off and on");
        power_cycle();
        secret_free(opened(&parameters));
        master_tpm_forget(&parameters);
}

/* Killed after the keyring had it, before the gate was closed. */
static void test_killed_between(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();

        power_cycle();
        assert_int_equal(tpm_gives(&parameters), 0);
        secret_free(opened(&parameters));
        assert_int_equal(tpm_gives(&parameters), -EALREADY);
        master_tpm_forget(&parameters);
}

/* A service of systemd: a session keyring of its own (KeyringMode=private), nobody's child that we know. And somebody else. */
static void test_other_processes(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();
        struct master_tpm found;
        int status;

        assert_int_equal(master_tpm_parse(&parameters, &found), 0);
        for (unsigned i = 0; i < 2; i++) {
                pid_t pid = fork();

                if (pid == 0) {
                        _cleanup_(secret_freep) struct secret *secret = NULL;
                        int r;

                        if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
                                _exit(2);
                        if (i == 1 && syscall(SYS_setresuid, 65534, 65534, 65534) < 0)
                                _exit(3);
                        r = master_tpm_secret(&parameters, &secret);
                        if (i == 0 ? r != 0 : r != -ENOENT)
                                (void) fprintf(stderr, "user %u: %d\n", getuid(), r);
                        _exit(i == 0 ? r != 0 : r != -ENOENT);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
        }
        master_tpm_forget(&parameters);
}

static bool in_its_own_session(int (*action)(void)) {
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ? 2 : action() != 0);
        return waitpid(pid, &status, 0) == pid && status == 0;
}

static int put_one(void) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        int r = secret_copy("kept", 4, &secret);

        return r < 0 ? r : bootkey_put("tallyboot-test-session", secret);
}

static int get_one(void) {
        _cleanup_(secret_freep) struct secret *secret = NULL;

        return bootkey_get("tallyboot-test-session", &secret);
}

static int drop_one(void) {
        return bootkey_drop("tallyboot-test-session");
}

/* A service of systemd that unseals, restarts, and is looked after by tallyctl: none of them possesses the user's keyring. */
static void test_services_of_systemd(_unused_ void **state) {
        for (size_t i = 0; i < 2; i++) { /* the second takes the first's place */
                assert_true(in_its_own_session(put_one));
                assert_true(in_its_own_session(get_one));
        }
        assert_true(in_its_own_session(drop_one));
        assert_int_equal(get_one(), -ENOENT);
}

/* Two processes on one database that start at once, after a power cycle: this TPM has room for the objects of one (three places,
 * two are needed), so that the other one is refused, and then finds the key. */
static void test_start_at_once(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();
        _cleanup_(secret_freep) struct secret *expected = opened(&parameters);
        pid_t pids[2];
        int fds[2];

        power_cycle();
        master_tpm_forget(&parameters);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        for (size_t i = 0; i < ELEMENTSOF(pids); i++) {
                pids[i] = fork();
                if (pids[i] == 0) {
                        _cleanup_(master_closep) struct master *master = NULL;
                        char error[512], c;

                        (void) close(fds[1]);
                        if (read(fds[0], &c, 1) != 0) /* until all are there */
                                _exit(2);
                        if (open_master(&parameters, "tenant", &master, error) < 0) {
                                (void) fprintf(stderr, "%s\n", error);
                                _exit(1);
                        }
                        _exit(0);
                }
        }
        (void) close(fds[0]);
        (void) close(fds[1]);
        for (size_t i = 0; i < ELEMENTSOF(pids); i++) {
                int status;

                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                assert_int_equal(status, 0);
        }
        assert_int_equal(tpm_gives(&parameters), -EALREADY);
        {
                _cleanup_(secret_freep) struct secret *found = opened(&parameters);

                assert_true(secret_equal(expected, found));
        }
        master_tpm_forget(&parameters);
}

static void test_changed_pcr(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create(), anew = {};
        _cleanup_(secret_freep) struct secret *escrow = NULL, *before = opened(&parameters), *after = NULL, *wrong = NULL;
        char error[512] = "";

        assert_int_equal(master_tpm_secret(&parameters, &escrow), 0);
        power_cycle();
        extend(7);
        master_tpm_forget(&parameters);
        expect_refused(&parameters, -EACCES, "changed is PCR 7");
        expect_refused(&parameters, -EACCES, "tallyctl keystore recover");

        /* the way back */
        assert_int_equal(secret_random(32, &wrong), 0);
        assert_int_equal(master_tpm_remember(&parameters, wrong, error, sizeof(error)), 0);
        after = opened(&parameters);
        assert_false(secret_equal(before, after));
        master_tpm_forget(&parameters);

        after = secret_free(after);
        assert_int_equal(master_tpm_remember(&parameters, escrow, error, sizeof(error)), 0);
        after = opened(&parameters);
        assert_true(secret_equal(before, after));
        assert_int_equal(master_tpm_reseal(&options, &parameters, &anew, error, sizeof(error)), 0);

        power_cycle();
        extend(7);
        master_tpm_forget(&parameters);
        after = secret_free(after);
        after = opened(&anew);
        assert_true(secret_equal(before, after));
        assert_int_equal(tpm_gives(&anew), -EALREADY);
        master_tpm_forget(&anew);
}

/* A kexec: the keyring is empty, the gate still closed. */
static void test_kexec(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create(), anew = {}, other = {};
        _cleanup_(secret_freep) struct secret *escrow = NULL, *before = opened(&parameters), *after = NULL;
        char error[512] = "";

        assert_int_equal(master_tpm_secret(&parameters, &escrow), 0);
        master_tpm_forget(&parameters);
        forget_gate(14);
        expect_refused(&parameters, -EALREADY, "kexec");
        assert_int_equal(master_tpm_remember(&parameters, escrow, error, sizeof(error)), 0);
        assert_int_equal(master_tpm_reseal(&options, &parameters, &anew, error, sizeof(error)), 0);
        extend(13);
        options.gate_pcr = 13; /* but another one that is in use is refused */
        assert_int_equal(master_tpm_reseal(&options, &parameters, &other, error, sizeof(error)), -EBUSY);
        options.gate_pcr = 14;

        power_cycle();
        master_tpm_forget(&parameters);
        after = opened(&anew);
        assert_true(secret_equal(before, after));
        master_tpm_forget(&anew);
}

static void test_another_tpm(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();
        char *out = swtpm_shell(swtpm, "tpm2_clear");

        assert_non_null(out);
        free(out);
        power_cycle();
        master_tpm_forget(&parameters);
        expect_refused(&parameters, -EKEYREJECTED, "another TPM");
        expect_refused(&parameters, -EKEYREJECTED, "recovery phrase");
}

/* How many keys there are; 0 where others have theirs among them. */
static long keys_in_keyring(void) {
        return isolated ? syscall(SYS_keyctl, KEYCTL_READ, KEY_SPEC_USER_KEYRING, NULL, 0) : 0;
}

static void expect_no_create(int expected, const char *words) {
        long before = keys_in_keyring();
        struct blob parameters = {};
        char error[512] = "";

        assert_int_equal(master_tpm.create(&options, "tenant", &parameters, error, sizeof(error)), expected);
        assert_null(parameters.data);
        assert_int_equal(keys_in_keyring(), before);
        if (!strstr(error, words))
                fail_msg("\"%s\" does not say \"%s\"", error, words);
}

/* A PCR that somebody else uses would never be zero again. One that we closed is after the next start. */
static void test_gate_in_use(_unused_ void **state) {
        _cleanup_(blob_done) struct blob first = {}, second = {};

        extend(14);
        extend(9);
        expect_no_create(-EBUSY, "gate-pcr = N in section [keystore]; zero are now: 8 11 12 13 15");
        power_cycle();
        first = create();
        second = create();
        master_tpm_forget(&first);
        master_tpm_forget(&second);
        expect_refused(&second, -EALREADY, "PCR 14 is not zero");
        power_cycle();
        secret_free(opened(&second));
        master_tpm_forget(&second);
}

static void test_no_tpm(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create(), none = {};

        expect_refused(&none, -ENOKEY, "keystore init");
        master_tpm_forget(&parameters);
        free(options.tpm);
        options.tpm = strdup("device:/dev/no-such-tpm");
        expect_refused(&parameters, -ENODEV, "there is no TPM");
        expect_no_create(-ENODEV, "there is no TPM");
}

/* The salt, the party, every byte of the row. */
static void test_row_changed(_unused_ void **state) {
        _cleanup_(blob_done) struct blob parameters = create();
        _cleanup_(secret_freep) struct secret *right = opened(&parameters);
        _cleanup_(master_closep) struct master *verifiers = NULL;
        char error[512];

        assert_int_equal(open_master(&parameters, "verifier", &verifiers, error), 0);
        assert_false(secret_equal(right, verifiers->secret));

        for (size_t i = 0; i < parameters.size; i += i < 48 ? 1 : 37) {
                _cleanup_(master_closep) struct master *master = NULL;
                struct master_tpm found;

                power_cycle();
                master_tpm_forget(&parameters);
                assert_int_equal(master_tpm_parse(&(struct blob){ .data = parameters.data, .size = i }, &found), -EBADMSG);
                parameters.data[i] ^= 0x80;
                if (open_master(&parameters, "tenant", &master, error) >= 0)
                        assert_false(secret_equal(right, master->secret));
                master_tpm_forget(&parameters);
                parameters.data[i] ^= 0x80;
        }
}

static void expect_option(const char *name, const char *value, const char *words) {
        struct keystore_options other = {};
        char error[256] = "";
        int r;

        r = keystore_option(&other, "/", "master", "tpm", error, sizeof(error));
        assert_int_equal(r, 0);
        r = keystore_option(&other, "/", name, value, error, sizeof(error));
        if (r >= 0)
                r = keystore_options_check(&other, error, sizeof(error));
        assert_true(r < 0);
        if (!strstr(error, words))
                fail_msg("%s = %s: \"%s\" does not say \"%s\"", name, value, error, words);
        keystore_options_done(&other);
}

static void test_options(_unused_ void **state) {
        struct keystore_options other = {};
        char error[256];

        expect_option("gate-pcr", "7", "8 to 15");
        expect_option("gate-pcr", "10", "IMA");
        expect_option("gate-pcr", "16", "8 to 15");
        expect_option("pcrs", "16", "not 16");
        expect_option("pcrs", "23", "0 to 22");
        expect_option("pcrs", "seven", "0 to 22");
        expect_option("pcrs", "7;4", "0 to 22");
        expect_option("pcrs", "-1", "0 to 22");
        expect_option("pcrs", ",", "0 to 22");
        expect_option("pcrs", "7,14", "must not be one of pcrs");
        expect_option("tpm", "", "empty");

        assert_int_equal(keystore_option(&other, "/", "pcrs", "0, 2 7,11", error, sizeof(error)), 0);
        assert_int_equal(other.pcrs, 1U << 0 | 1U << 2 | 1U << 7 | 1U << 11);
        assert_int_equal(keystore_option(&other, "/", "master", "file:/x", error, sizeof(error)), 0);
        assert_int_equal(keystore_options_check(&other, error, sizeof(error)), -EBADMSG);
        assert_non_null(strstr(error, "pcrs is for a master key in the TPM"));
        keystore_options_done(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_once_a_boot),
                TEST(test_lost),
                TEST(test_killed_between),
                TEST(test_other_processes),
                TEST(test_services_of_systemd),
                TEST(test_changed_pcr),
                TEST(test_another_tpm),
                TEST(test_gate_in_use),
                TEST(test_no_tpm),
                TEST(test_row_changed),
                TEST(test_options),
                TEST(test_start_at_once),
                TEST(test_kexec),
        };

        return cmocka_run_group_tests_name("keystore-tpm", tests, start, finish);
}
