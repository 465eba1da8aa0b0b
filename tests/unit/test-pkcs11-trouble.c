/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "pkcs11/wrap.h"
#include "test.h"

/* Tokens and modules that misbehave (tests/modules/troubled-token.c), in this process and in one of their own. */

#define MODULES "build/tests/modules/"

static struct softhsm *softhsm;
static char module[PATH_MAX];
static struct pkcs11_key ec;

static void trouble(const char *name) {
        softhsm_shell(softhsm, "touch trouble/%s", name);
}

static void no_trouble(const char *name) {
        softhsm_shell(softhsm, "rm -f trouble/%s", name);
}

static size_t logins(void) {
        _cleanup_(blob_done) struct blob bytes = {};
        char path[128];

        (void) snprintf(path, sizeof(path), "%s/trouble/logins", softhsm->dir);
        return file_read(path, 4096, &bytes) < 0 ? 0 : bytes.size;
}

static int setup(void **state) {
        char path[128];
        struct pkcs11 *pkcs11;

        if (!realpath(MODULES "troubled-token.so", module))
                fail_msg("%s is not built", MODULES "troubled-token.so");
        softhsm = softhsm_new();
        softhsm_token(softhsm, "one");
        (void) snprintf(path, sizeof(path), "%s/trouble", softhsm->dir);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(setenv("TROUBLED_TOKEN", path, 1), 0);
        pkcs11 = softhsm_open("pkcs11:token=one", false);
        ec = softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "master");
        pkcs11 = pkcs11_close(pkcs11);
        return 0;
}

static int teardown(void **state) {
        softhsm = softhsm_free(softhsm);
        return 0;
}

static int try_open(const char *path, bool apart, struct pkcs11 **ret, char error[static 512]) {
        error[0] = '\0';
        return pkcs11_open(&(struct pkcs11_where){ "pkcs11:token=one", path, apart }, ret, error, 512);
}

static struct pkcs11 *open_troubled(bool apart, bool login) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        if (try_open(module, apart, &pkcs11, error) < 0)
                fail_msg("%s", error);
        if (login && pkcs11_login(pkcs11, pin) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return pkcs11;
}

static int sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key) {
        _cleanup_(blob_done) struct blob signature = {};
        int r = pkcs11_sign(pkcs11, key, "message", 7, &signature);

        if (r >= 0)
                assert_string_equal(pkcs11_error(pkcs11), "");
        assert_int_equal(signature.size, r < 0 ? 0 : 64);
        return r;
}

static bool sign_works(struct pkcs11 *pkcs11) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11_key key;

        return pkcs11_login(pkcs11, pin) == 0 && pkcs11_find(pkcs11, "pkcs11:object=ec", PKCS11_PRIVATE, &key) == 0 &&
               pkcs11_sign(pkcs11, &key, "message", 7, &signature) == 0;
}

static struct pkcs11_key find(struct pkcs11 *pkcs11) {
        struct pkcs11_key key = {};

        if (pkcs11_find(pkcs11, "pkcs11:object=ec", PKCS11_PRIVATE, &key) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return key;
}

static void assert_words(const char *text, const char *words) {
        if (!strstr(text, words))
                fail_msg("\"%s\" is not in \"%s\"", words, text);
}

/* modules */

static void assert_no_module(const char *path, int expected, const char *words) {
        for (unsigned apart = 0; apart < 2; apart++) {
                struct pkcs11 *pkcs11 = NULL;
                char error[512];
                int r = try_open(path, apart, &pkcs11, error);

                if (r != expected)
                        fail_msg("%s: %d: %s", path, r, error);
                assert_words(error, words);
                assert_null(pkcs11);
        }
}

static void test_bad_modules(void **state) {
        char path[128], text[512], whole[PATH_MAX];

        softhsm_shell(softhsm,
                      "echo text > text.so && "
                      "head -c 40000 %s > cut.so && head -c 40 %s > short.so && "
                      "cp %s arm.so && printf '\\267\\000' | dd of=arm.so bs=1 seek=18 conv=notrunc 2>log && "
                      "cp %s small.so && printf '\\001' | dd of=small.so bs=1 seek=4 conv=notrunc 2>log && "
                      "cp %s program && printf '\\002' | dd of=program bs=1 seek=16 conv=notrunc 2>log",
                      SOFTHSM_MODULE, SOFTHSM_MODULE, SOFTHSM_MODULE, SOFTHSM_MODULE, SOFTHSM_MODULE);
        assert_no_module("/nonexistent/module.so", -ELIBBAD, "No such file");
        assert_no_module("module.so", -EINVAL, "whole path");
        assert_no_module(softhsm->dir, -ELIBBAD, "is not a file");
        (void) snprintf(text, sizeof(text), "%s/text.so", softhsm->dir);
        assert_no_module(text, -ELIBBAD, "not a shared object");
        (void) snprintf(path, sizeof(path), "%s/cut.so", softhsm->dir);
        assert_no_module(path, -ELIBBAD, "cut off");
        (void) snprintf(path, sizeof(path), "%s/short.so", softhsm->dir);
        assert_no_module(path, -ELIBBAD, "cut off");
        (void) snprintf(path, sizeof(path), "%s/arm.so", softhsm->dir);
        assert_no_module(path, -ELIBBAD, "another architecture");
        (void) snprintf(path, sizeof(path), "%s/small.so", softhsm->dir);
        assert_no_module(path, -ELIBBAD, "another architecture");
        (void) snprintf(path, sizeof(path), "%s/program", softhsm->dir);
        assert_no_module(path, -ELIBBAD, "not a shared object");
        assert_non_null(realpath(MODULES "not-a-module.so", whole));
        assert_no_module(whole, -ELIBBAD, "cannot be loaded");
        trouble("fail-start");
        assert_no_module(module, -ELIBBAD, "C_Initialize says CKR_DEVICE_ERROR");
}

/* Only apart can that be survived. */
static void test_exit_in_initialize(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        trouble("exit-start");
        assert_int_equal(try_open(module, true, &pkcs11, error), -ELIBBAD);
        assert_words(error, "exit status 3");
        no_trouble("exit-start");
        pkcs11 = open_troubled(true, true);
        assert_int_equal(sign(pkcs11, &ec), 0);
        pkcs11 = pkcs11_close(pkcs11);
}

/* A program without standard input and output, and one that has something else at the channel's place. */
static void test_any_descriptors(void **state) {
        for (unsigned closed = 0; closed < 4; closed++) {
                pid_t pid = fork();
                int status;

                if (pid == 0) {
                        struct pkcs11 *pkcs11 = NULL;
                        char error[512];

                        for (unsigned fd = 0; fd < closed; fd++)
                                (void) close((int) fd);
                        if (closed == 3)
                                (void) dup2(open("/dev/null", O_RDONLY), 3);
                        _exit(try_open(module, true, &pkcs11, error) < 0 || !sign_works(pkcs11));
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_int_equal(status, 0);
        }
}

/* Started by that name by anybody else, a program does nothing: it would start itself again, and again. */
static void test_name_alone(void **state) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                (void) close(3);
                (void) execl("/proc/self/exe", "tallyboot-pkcs11", "--help", NULL);
                _exit(99);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void test_crash(void **state) {
        struct wrap_how how = { .mechanism = WRAP_GCM, .key = "pkcs11:object=master", .generation = 1 };
        struct pkcs11 *pkcs11 = open_troubled(true, true);
        struct pkcs11_key key = find(pkcs11);
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_(blob_done) struct blob blob = {};

        assert_int_equal(sign(pkcs11, &key), 0);
        trouble("crash");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        assert_words(pkcs11_error(pkcs11), "ended (signal 11");
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(logins(), 2);

        assert_int_equal(wrap_make(pkcs11, &how, FIELDS(field_number(1)), NULL, &blob, NULL), 0);
        trouble("crash");
        assert_int_equal(wrap_open(pkcs11, &how, FIELDS(field_number(1)), blob.data, blob.size, &opened), -ENODEV);
        pkcs11 = pkcs11_close(pkcs11);
        pkcs11 = open_troubled(true, true);
        assert_int_equal(wrap_open(pkcs11, &how, FIELDS(field_number(1)), blob.data, blob.size, &opened), 0);
        pkcs11 = pkcs11_close(pkcs11);
}

/* After a crash, too, the PIN is given once, and not where it would be the last try; and to no other token. */
static void test_crash_and_pin(void **state) {
        struct pkcs11 *pkcs11 = open_troubled(true, true);
        struct pkcs11_key key = find(pkcs11);

        trouble("crash");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        trouble("last");
        assert_int_equal(sign(pkcs11, &key), -EPERM);
        assert_int_equal(logins(), 1);
        no_trouble("last");
        trouble("another");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        assert_words(pkcs11_error(pkcs11), "is there no more");
        assert_int_equal(logins(), 1);
        no_trouble("another");
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(logins(), 2);
        pkcs11 = pkcs11_close(pkcs11);
}

/* sessions */

static void lost_session(bool apart) {
        struct wrap_how how = { .mechanism = WRAP_GCM, .key = "pkcs11:object=master", .generation = 1 };
        struct pkcs11 *pkcs11 = open_troubled(apart, true);
        size_t before = logins();
        struct pkcs11_key key = find(pkcs11);
        _cleanup_(secret_freep) struct secret *opened = NULL;
        _cleanup_(blob_done) struct blob blob = {};

        assert_int_equal(wrap_make(pkcs11, &how, FIELDS(field_number(1)), NULL, &blob, NULL), 0);
        trouble("lose-session");
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(logins(), before + 1);
        assert_int_equal(sign(pkcs11, &key), 0);
        trouble("lose-session");
        assert_int_equal(wrap_open(pkcs11, &how, FIELDS(field_number(1)), blob.data, blob.size, &opened), 0);
        trouble("lose-session");
        key = find(pkcs11);
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(logins(), before + 3);
        trouble("active");
        assert_int_equal(sign(pkcs11, &key), 0);
        trouble("renumber");
        assert_int_equal(sign(pkcs11, &key), 0);
        no_trouble("renumber");
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_session_lost(void **state) {
        lost_session(false);
        lost_session(true);
}

static void removed(bool apart) {
        struct pkcs11 *pkcs11 = open_troubled(apart, true);
        struct pkcs11_key key = find(pkcs11);
        size_t before;

        before = logins();
        trouble("removed");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        assert_words(pkcs11_error(pkcs11), "is there no more");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        no_trouble("removed");
        trouble("another");
        assert_int_equal(sign(pkcs11, &key), -ENODEV);
        assert_int_equal(logins(), before);
        no_trouble("another");
        assert_int_equal(sign(pkcs11, &key), 0);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_removed(void **state) {
        removed(false);
        removed(true);
}

static void test_busy(void **state) {
        for (unsigned apart = 0; apart < 2; apart++) {
                struct pkcs11 *pkcs11 = NULL;
                char error[512];

                trouble("busy");
                assert_int_equal(try_open(module, apart, &pkcs11, error), -EBUSY);
                assert_words(error, "CKR_SESSION_COUNT");
                no_trouble("busy");
        }
}

/* PIN */

/* What was right before is wrong now: given once more, never twice, by nobody in this process. */
static void pin_changed(bool apart, const char *how, const char *words) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        struct pkcs11 *pkcs11 = open_troubled(apart, true);
        struct pkcs11_key key = find(pkcs11);

        trouble(how);
        if (strcmp(how, "crash") == 0)
                assert_int_equal(sign(pkcs11, &key), -ENODEV);
        trouble("pin-changed");
        assert_int_equal(sign(pkcs11, &key), -EACCES);
        assert_words(pkcs11_error(pkcs11), words);
        assert_int_equal(logins(), 2);
        if (apart && strcmp(how, "crash") != 0) {
                softhsm_shell(softhsm, "kill -9 $(pgrep -P %d -f ^tallyboot-pkcs11)", getpid());
                assert_int_equal(sign(pkcs11, &key), -ENODEV);
        }
        assert_int_equal(sign(pkcs11, &key), -EACCES);
        assert_int_equal(logins(), 2);
        pkcs11 = pkcs11_close(pkcs11);
        pkcs11 = open_troubled(apart, false);
        assert_int_equal(pkcs11_login_unattended(pkcs11, pin), -EKEYREJECTED);
        assert_words(pkcs11_error(pkcs11), "not tried again");
        assert_int_equal(logins(), 2);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_pin_changed(void **state) {
        pin_changed(false, "lose-session", "is wrong now");
}

static void test_pin_changed_apart(void **state) {
        pin_changed(true, "lose-session", "is wrong now");
}

static void test_pin_changed_after_crash(void **state) {
        pin_changed(true, "crash", "CKR_PIN_INCORRECT");
}

static void test_last_try(void **state) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN), *wrong = secret_of("9999"), *brief = secret_of("1");

        for (unsigned apart = 0; apart < 2; apart++) {
                struct pkcs11 *pkcs11 = open_troubled(apart, false);
                struct pkcs11_pin info;
                size_t before = logins();

                trouble("last");
                assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
                assert_true(info.last && info.needed);
                assert_int_equal(pkcs11_login_unattended(pkcs11, pin), -EPERM);
                assert_words(pkcs11_error(pkcs11), "only a person");
                assert_int_equal(logins(), before);
                assert_int_equal(pkcs11_login(pkcs11, brief), -EINVAL);
                assert_words(pkcs11_error(pkcs11), "CKR_PIN_LEN_RANGE");
                no_trouble("last");
                trouble("locked");
                assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
                assert_true(info.locked);
                before = logins();
                assert_int_equal(pkcs11_login(pkcs11, pin), -EPERM);
                assert_words(pkcs11_error(pkcs11), "PIN is locked");
                assert_int_equal(logins(), before);
                no_trouble("locked");
                trouble("low");
                assert_int_equal(pkcs11_login(pkcs11, wrong), -EKEYREJECTED);
                assert_int_equal(pkcs11_login(pkcs11, wrong), -EKEYREJECTED);
                assert_int_equal(logins(), before + 1);
                assert_int_equal(pkcs11_login_unattended(pkcs11, pin), 0);
                no_trouble("low");
                pkcs11 = pkcs11_close(pkcs11);
        }
}

/* A new session does not use up the last try, either. */
static void test_last_try_after_reset(void **state) {
        struct pkcs11 *pkcs11 = open_troubled(false, true);
        struct pkcs11_key key = find(pkcs11);

        trouble("last");
        trouble("lose-session");
        assert_int_equal(sign(pkcs11, &key), -EPERM);
        assert_words(pkcs11_error(pkcs11), "a person has to log in");
        assert_int_equal(logins(), 1);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_keypad(void **state) {
        for (unsigned apart = 0; apart < 2; apart++) {
                struct pkcs11 *pkcs11 = open_troubled(apart, false);
                struct pkcs11_pin info;
                struct pkcs11_key key;

                trouble("keypad");
                assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
                assert_true(info.keypad);
                assert_int_equal(pkcs11_login(pkcs11, NULL), -ECANCELED);
                softhsm_shell(softhsm, "printf 4321 >trouble/keypad");
                assert_int_equal(pkcs11_login(pkcs11, NULL), -EKEYREJECTED);
                softhsm_shell(softhsm, "printf " SOFTHSM_PIN " >trouble/keypad");
                assert_int_equal(pkcs11_login(pkcs11, NULL), 0);
                key = find(pkcs11);
                assert_int_equal(sign(pkcs11, &key), 0);
                trouble("lose-session");
                assert_int_equal(sign(pkcs11, &key), -EACCES);
                assert_words(pkcs11_error(pkcs11), "wants the PIN again");
                no_trouble("keypad");
                pkcs11 = pkcs11_close(pkcs11);
        }
}

static void test_always_pin(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        struct pkcs11_key key;

        trouble("always-pin");
        pkcs11 = open_troubled(false, true);
        key = find(pkcs11);
        assert_true(key.always_pin);
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(logins(), 3);
        pkcs11 = pkcs11_close(pkcs11);
}

/* A private key that does not say on which curve it is: its public key does, or its certificate. */
static void test_no_curve(void **state) {
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11 *pkcs11 = NULL;
        struct pkcs11_key key;

        softhsm_shell(softhsm, "openssl ecparam -name secp384r1 -genkey -noout -out key.pem && "
                               "openssl req -new -x509 -key key.pem -subj /CN=card -out cert.pem && "
                               "openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der && "
                               "openssl x509 -in cert.pem -outform DER -out cert.der && "
                               "for type in privkey:key.der cert:cert.der; do pkcs11-tool --module " SOFTHSM_MODULE
                               " --login --pin " SOFTHSM_PIN
                               " --write-object ${type#*:} --type ${type%%:*} --id 0102 --label card >log 2>&1 || exit 1; done");
        trouble("no-params");
        pkcs11 = open_troubled(false, true);
        key = find(pkcs11);
        assert_true(key.type == PKCS11_EC_P256 && key.bits == 256);
        assert_int_equal(sign(pkcs11, &key), 0);
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=card", PKCS11_PRIVATE, &key), 0);
        assert_true(key.type == PKCS11_EC_P384 && key.bits == 384);
        assert_int_equal(pkcs11_sign(pkcs11, &key, "m", 1, &signature), 0);
        assert_true(signature_is_good(pkcs11, &key, "m", &signature));
        softhsm_shell(softhsm, "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin " SOFTHSM_PIN
                               " --delete-object --type cert --id 0102 >log 2>&1");
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=card", PKCS11_PRIVATE, &key), 0);
        assert_int_equal(key.type, PKCS11_OTHER);
        assert_int_equal(sign(pkcs11, &key), -EINVAL);
        pkcs11 = pkcs11_close(pkcs11);
        no_trouble("no-params");
}

/* mechanisms that SoftHSM lacks */

static void round_trip(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        _cleanup_(secret_freep) struct secret *key = NULL, *opened = NULL;
        _cleanup_(blob_done) struct blob first = {}, second = {};

        if (wrap_check(pkcs11, how) < 0 || wrap_make(pkcs11, how, FIELDS(field_text("a")), NULL, &first, &key) < 0 ||
            wrap_make(pkcs11, how, FIELDS(field_text("a")), key, &second, NULL) < 0 ||
            wrap_open(pkcs11, how, FIELDS(field_text("a")), first.data, first.size, &opened) < 0)
                fail_msg("%s: %s", wrap_mechanism_to_string(how->mechanism), pkcs11_error(pkcs11));
        assert_true(secret_equal(key, opened));
        assert_int_equal(wrap_open(pkcs11, how, FIELDS(field_text("b")), first.data, first.size, &opened), -EKEYREJECTED);
        if (how->mechanism == WRAP_GCM)
                assert_memory_not_equal(first.data, second.data, 25);
}

static void test_other_mechanisms(void **state) {
        for (unsigned apart = 0; apart < 2; apart++) {
                struct wrap_how kwp = { .mechanism = WRAP_KWP, .key = "pkcs11:object=master" };
                struct wrap_how gcm = { .mechanism = WRAP_GCM, .key = "pkcs11:object=master", .iv_by_token = true };
                struct pkcs11 *pkcs11 = NULL;
                _cleanup_(freep) char *names = NULL;

                trouble("kwp");
                trouble("own-iv");
                pkcs11 = open_troubled(apart, true);
                assert_int_equal(pkcs11_mechanisms(pkcs11, &names), 0);
                assert_words(names, "CKM_AES_KEY_WRAP_KWP");
                round_trip(pkcs11, &kwp);
                round_trip(pkcs11, &gcm);
                pkcs11 = pkcs11_close(pkcs11);
        }
}

static void test_leaky_token(void **state) {
        struct pkcs11_new new = { .type = PKCS11_AES, .use = PKCS11_USE_WRAP, .label = "leaky" };
        struct pkcs11 *pkcs11 = NULL;
        struct pkcs11_key key;

        trouble("leaky");
        pkcs11 = open_troubled(false, true);
        assert_int_equal(pkcs11_generate(pkcs11, &new, &key), -EOPNOTSUPP);
        assert_words(pkcs11_error(pkcs11), "can be taken out");
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=leaky", PKCS11_SECRET, &key), -ENOKEY);
        pkcs11 = pkcs11_close(pkcs11);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_bad_modules, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exit_in_initialize, setup, teardown),
                cmocka_unit_test_setup_teardown(test_any_descriptors, setup, teardown),
                cmocka_unit_test(test_name_alone),
                cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_crash_and_pin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_session_lost, setup, teardown),
                cmocka_unit_test_setup_teardown(test_removed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin_changed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin_changed_apart, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pin_changed_after_crash, setup, teardown),
                cmocka_unit_test_setup_teardown(test_last_try, setup, teardown),
                cmocka_unit_test_setup_teardown(test_last_try_after_reset, setup, teardown),
                cmocka_unit_test_setup_teardown(test_keypad, setup, teardown),
                cmocka_unit_test_setup_teardown(test_always_pin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_curve, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_mechanisms, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leaky_token, setup, teardown),
        };

        return cmocka_run_group_tests_name("pkcs11-trouble", tests, NULL, NULL);
}
