/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "base/file.h"
#include "test.h"

static struct softhsm *softhsm;
static bool apart; /* everything is done twice: here, and with the module in a process of its own */

static int setup(void **state) {
        softhsm = softhsm_new();
        softhsm_token(softhsm, "one");
        return 0;
}

static int teardown(void **state) {
        softhsm = softhsm_free(softhsm);
        return 0;
}

static int open_with(const char *uri, const char *module, struct pkcs11 **ret, char error[static 512]) {
        error[0] = '\0';
        return pkcs11_open(&(struct pkcs11_where){ uri, module, apart }, ret, error, 512);
}

/* where */

static void assert_refused(const char *uri, const char *module, int expected, const char *words) {
        struct pkcs11 *pkcs11 = NULL;
        char error[512];
        int r;

        r = open_with(uri, module, &pkcs11, error);
        if (r != expected)
                fail_msg("%s with %s: %d instead of %d: %s", uri, module ?: "no module", r, expected, error);
        assert_null(pkcs11);
        if (!strstr(error, words))
                fail_msg("%s: \"%s\" is not in \"%s\"", uri, words, error);
}

static void test_uri(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        assert_int_equal(open_with("pkcs11:token=one", SOFTHSM_MODULE, &pkcs11, error), 0);
        assert_string_equal(pkcs11_label(pkcs11), "one");
        assert_int_equal(strlen(pkcs11_serial(pkcs11)), 16);
        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(open_with("pkcs11:", SOFTHSM_MODULE, &pkcs11, error), 0);
        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(open_with("pkcs11:token=one?module-path=" SOFTHSM_MODULE, NULL, &pkcs11, error), 0);
        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(open_with("pkcs11:token=one?module-path=/usr/lib/softhsm&module-name=softhsm2", NULL, &pkcs11, error),
                         0);
        pkcs11 = pkcs11_close(pkcs11);

        assert_refused("pkcs11:token=another", SOFTHSM_MODULE, -ENODEV, "no token matches");
        assert_refused("pkcs11:token=one;serial=0", SOFTHSM_MODULE, -ENODEV, "no token matches");
        assert_refused("pkcs11:slot-id=77777", SOFTHSM_MODULE, -ENODEV, "no token matches");
        assert_refused("pkcs11:library-manufacturer=Nobody", SOFTHSM_MODULE, -ENODEV, "no token matches");
        assert_refused("pkcs11:slot-description=Nothing", SOFTHSM_MODULE, -ENODEV, "no token matches");
        assert_refused("pkcs11:token=", SOFTHSM_MODULE, -ENODEV, "not initialized");
        assert_refused("http://token=one", SOFTHSM_MODULE, -EINVAL, "not a PKCS#11 URI");
        assert_refused("pkcs11:token=%zz", SOFTHSM_MODULE, -EINVAL, "not a PKCS#11 URI");
        assert_refused("pkcs11:token=one?pin-value=1234", SOFTHSM_MODULE, -EINVAL, "pin-value");
        assert_refused("pkcs11:token=one;tokn=two", SOFTHSM_MODULE, -EINVAL, "not in RFC 7512");
        assert_refused("pkcs11:token=one;type=cert", SOFTHSM_MODULE, -EINVAL, "something else than a key");
}

/* No module is named: p11-kit's configuration, where Debian's package of SoftHSM puts it. What else is there must not look for a
 * TPM, or write into the home. */
static void test_configured_modules(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        if (!apart)
                return; /* they leak */
        assert_int_equal(setenv("TPM2_PKCS11_STORE", softhsm->dir, 1), 0);
        assert_int_equal(setenv("TPM2_PKCS11_TCTI", "device:/nonexistent", 1), 0);
        assert_int_equal(setenv("TPM2_PKCS11_LOG_LEVEL", "0", 1), 0);
        assert_int_equal(setenv("TSS2_LOG", "all+NONE", 1), 0);

        if (access("/usr/share/p11-kit/modules/softhsm2.module", F_OK) < 0) {
                print_message("skipped: SoftHSM is not in p11-kit's configuration\n");
                skip();
        }
        assert_int_equal(open_with("pkcs11:token=one;manufacturer=SoftHSM%20project", NULL, &pkcs11, error), 0);
        assert_string_equal(pkcs11_label(pkcs11), "one");
        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(open_with("pkcs11:token=one?module-name=softhsm2", NULL, &pkcs11, error), 0);
        pkcs11 = pkcs11_close(pkcs11);
        assert_refused("pkcs11:token=one?module-name=p11-kit-trust", NULL, -ENODEV, "no token matches");
        assert_refused("pkcs11:token=one?module-name=none", NULL, -ELIBBAD, "no module of the name");
        assert_refused("pkcs11:token=one?module-path=/nonexistent.so", NULL, -ELIBBAD, "No such file");
        assert_refused("pkcs11:token=one?module-path=/usr/lib/softhsm&module-name=none", NULL, -ELIBBAD,
                       "neither none.so nor libnone.so");
        assert_refused("pkcs11:token=one?module-path=/usr/lib/softhsm&module-name=..%2Fnone", NULL, -EINVAL, "is not a name");
}

static void test_two_tokens(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        char error[512];

        softhsm_token(softhsm, "two");
        assert_refused("pkcs11:manufacturer=SoftHSM%20project", SOFTHSM_MODULE, -ENOTUNIQ, "\"one\"");
        assert_refused("pkcs11:", SOFTHSM_MODULE, -ENOTUNIQ, "\"two\"");
        assert_int_equal(open_with("pkcs11:token=two", SOFTHSM_MODULE, &pkcs11, error), 0);
        assert_string_equal(pkcs11_label(pkcs11), "two");
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_uri_check(void **state) {
        char error[512] = "";
        char *source = NULL;

        assert_int_equal(pkcs11_uri_check("pkcs11:token=one;object=a?pin-source=file:/run/pin", &source, error, sizeof(error)),
                         0);
        assert_string_equal(source, "file:/run/pin");
        free(source);
        assert_int_equal(pkcs11_uri_check("pkcs11:token=one", &source, error, sizeof(error)), 0);
        assert_null(source);
        assert_int_equal(pkcs11_uri_check("pkcs11:token=one?pin-value=", NULL, error, sizeof(error)), -EINVAL);
        assert_non_null(strstr(error, "pin-value"));
        assert_int_equal(pkcs11_uri_check("token=one", NULL, error, sizeof(error)), -EINVAL);
}

/* PIN */

static void test_pin(void **state) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN), *wrong = secret_of("4321");
        struct pkcs11 *pkcs11 = NULL;
        struct pkcs11_pin info;
        char error[512];

        assert_int_equal(open_with("pkcs11:token=one", SOFTHSM_MODULE, &pkcs11, error), 0);
        assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
        assert_true(info.needed && !info.keypad && !info.low && !info.last && !info.locked);
        assert_int_equal(pkcs11_login(pkcs11, NULL), -EINVAL);
        assert_int_equal(pkcs11_login(pkcs11, wrong), -EKEYREJECTED);
        assert_non_null(strstr(pkcs11_error(pkcs11), "wrong PIN (CKR_PIN_INCORRECT)"));
        assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
        assert_true(info.needed && info.low);
        assert_int_equal(pkcs11_login(pkcs11, wrong), -EKEYREJECTED);
        assert_non_null(strstr(pkcs11_error(pkcs11), "not tried again"));
        assert_int_equal(pkcs11_login(pkcs11, pin), 0);
        assert_int_equal(pkcs11_pin(pkcs11, &info), 0);
        assert_true(!info.needed && !info.low);
        assert_int_equal(pkcs11_login(pkcs11, wrong), 0);
        pkcs11 = pkcs11_close(pkcs11);
}

/* keys */

static void test_sign(void **state) {
        static const struct {
                enum pkcs11_type type;
                const char *uri, *label;
                size_t size;
                unsigned bits;
        } kinds[] = {
                { PKCS11_EC_P256, "pkcs11:object=p256", "p256", 64, 256 },
                { PKCS11_EC_P384, "pkcs11:object=p384;type=private", "p384", 96, 384 },
                { PKCS11_RSA, "pkcs11:token=one;object=rsa", "rsa", 256, 2048 },
        };
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(blob_done) struct blob signature = {};
                struct pkcs11_key key;

                (void) softhsm_key(pkcs11, kinds[i].type, PKCS11_USE_SIGN, kinds[i].label);
                assert_int_equal(pkcs11_find(pkcs11, kinds[i].uri, PKCS11_PRIVATE, &key), 0);
                assert_int_equal(key.type, kinds[i].type);
                assert_int_equal(key.bits, kinds[i].bits);
                assert_int_equal(key.id_size, 8);
                assert_string_equal(key.label, kinds[i].label);
                assert_true(key.signs && !key.decrypts && !key.always_pin);
                assert_int_equal(pkcs11_sign(pkcs11, &key, "message", 7, &signature), 0);
                assert_int_equal(signature.size, kinds[i].size);
                assert_true(signature_is_good(pkcs11, &key, "message", &signature));
                assert_false(signature_is_good(pkcs11, &key, "massage", &signature));
        }
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_find(void **state) {
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);
        struct pkcs11_new again = { .type = PKCS11_EC_P256, .use = PKCS11_USE_SIGN, .label = "ec" };
        struct pkcs11_key key, found;
        char *uri = NULL;

        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=ec", PKCS11_PRIVATE, &key), -ENOKEY);
        assert_non_null(strstr(pkcs11_error(pkcs11), "no private key"));
        key = softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        assert_int_equal(pkcs11_generate(pkcs11, &again, &found), -EEXIST);
        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "master");
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:", PKCS11_SECRET, &found), 0);
        assert_int_equal(found.type, PKCS11_AES);
        assert_int_equal(found.bits, 256);
        (void) softhsm_key(pkcs11, PKCS11_GENERIC, PKCS11_USE_MAC, "mac");
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:", PKCS11_SECRET, &found), -ENOTUNIQ);
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=ec", PKCS11_SECRET, &found), -ENOKEY);
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=ec?pin-value=1", PKCS11_PRIVATE, &found), -EINVAL);

        assert_int_equal(pkcs11_uri(pkcs11, &key, &uri), 0);
        assert_int_equal(pkcs11_find(pkcs11, uri, PKCS11_PRIVATE, &found), 0);
        assert_memory_equal(found.id, key.id, key.id_size);
        pkcs11 = pkcs11_close(pkcs11);
        pkcs11 = softhsm_open(uri, apart);
        free(uri);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_before_login(void **state) {
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);
        struct pkcs11_new new = { .type = PKCS11_AES, .use = PKCS11_USE_WRAP, .label = "new" };
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11_key key;
        char error[512];

        (void) softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        pkcs11 = pkcs11_close(pkcs11);
        assert_int_equal(open_with("pkcs11:token=one", SOFTHSM_MODULE, &pkcs11, error), 0);
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=ec", PKCS11_PRIVATE, &key), -ENOKEY);
        assert_non_null(strstr(pkcs11_error(pkcs11), "only after the PIN"));
        assert_int_equal(pkcs11_generate(pkcs11, &new, &key), -EACCES);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_new_keys_stay_inside(void **state) {
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);

        (void) softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "master");
        (void) softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        pkcs11 = pkcs11_close(pkcs11);
        softhsm_shell(softhsm,
                      "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin " SOFTHSM_PIN " --list-objects >list 2>log && "
                      "test $(grep -c 'Access: .*sensitive.*never extractable' list) = 2");
}

static void test_bad_requests(void **state) {
        static const struct pkcs11_new bad[] = {
                { .type = PKCS11_AES, .use = PKCS11_USE_SIGN, .label = "x" },
                { .type = PKCS11_EC_P256, .use = PKCS11_USE_MAC, .label = "x" },
                { .type = PKCS11_GENERIC, .use = PKCS11_USE_WRAP, .label = "x" },
                { .type = PKCS11_OTHER, .use = PKCS11_USE_SIGN, .label = "x" },
                { .type = PKCS11_RSA, .bits = 1024, .use = PKCS11_USE_SIGN, .label = "x" },
                { .type = PKCS11_AES, .use = PKCS11_USE_WRAP, .label = "" },
        };
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);
        _cleanup_(blob_done) struct blob out = {};
        struct pkcs11_key key;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(pkcs11_generate(pkcs11, bad + i, &key), -EINVAL);
        key = softhsm_key(pkcs11, PKCS11_AES, PKCS11_USE_WRAP, "aes");
        assert_int_equal(pkcs11_sign(pkcs11, &key, "m", 1, &out), -EINVAL);
        assert_int_equal(pkcs11_public(pkcs11, &key, &out), -EINVAL);
        softhsm_shell(softhsm, "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin " SOFTHSM_PIN
                               " --keypairgen --key-type rsa:1024 --label small --id 01 >log 2>&1");
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:object=small", PKCS11_PRIVATE, &key), 0);
        assert_int_equal(pkcs11_sign(pkcs11, &key, "m", 1, &out), -EINVAL);
        pkcs11 = pkcs11_close(pkcs11);
}

/* A card often has a certificate and no public key. */
static void test_public_from_certificate(void **state) {
        struct pkcs11 *pkcs11 = NULL;
        _cleanup_(blob_done) struct blob spki = {}, expected = {};
        struct pkcs11_key key;
        char path[128];

        softhsm_shell(softhsm, "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && "
                               "openssl req -new -x509 -key key.pem -subj /CN=card -out cert.pem && "
                               "openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out key.der && "
                               "openssl x509 -in cert.pem -outform DER -out cert.der && "
                               "openssl ec -in key.pem -pubout -outform DER -out public.der 2>log && "
                               "for type in privkey:key.der cert:cert.der; do pkcs11-tool --module " SOFTHSM_MODULE
                               " --login --pin " SOFTHSM_PIN
                               " --write-object ${type#*:} --type ${type%%:*} --id 0102 --label card >log 2>&1 || exit 1; done");
        pkcs11 = softhsm_open("pkcs11:token=one", apart);
        assert_int_equal(pkcs11_find(pkcs11, "pkcs11:id=%01%02", PKCS11_PRIVATE, &key), 0);
        assert_int_equal(pkcs11_public(pkcs11, &key, &spki), 0);
        (void) snprintf(path, sizeof(path), "%s/public.der", softhsm->dir);
        assert_int_equal(file_read(path, 4096, &expected), 0);
        assert_int_equal(spki.size, expected.size);
        assert_memory_equal(spki.data, expected.data, spki.size);
        key.type = PKCS11_EC_P384;
        key.bits = 384;
        blob_done(&spki);
        assert_int_equal(pkcs11_public(pkcs11, &key, &spki), -EIO);
        key.id_size = 1;
        key.type = PKCS11_EC_P256;
        assert_int_equal(pkcs11_public(pkcs11, &key, &spki), -ENOKEY);
        pkcs11 = pkcs11_close(pkcs11);
}

static void test_mechanisms(void **state) {
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart);
        _cleanup_(freep) char *names = NULL;

        assert_int_equal(pkcs11_mechanisms(pkcs11, &names), 0);
        assert_non_null(strstr(names, " CKM_ECDSA "));
        assert_non_null(strstr(names, " CKM_AES_GCM "));
        assert_null(strstr(names, "CKM_AES_KEY_WRAP_KWP"));
        pkcs11 = pkcs11_close(pkcs11);
}

/* a process that was made ahead */

static pid_t only_child(void) {
        char path[64], text[64] = "";
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
        (void) close(fd);
        assert_null(strchr(strchr(text, ' ') + 1, ' ')); /* no second one */
        return (pid_t) strtol(text, NULL, 10);
}

static bool has_fd(pid_t pid, int fd) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
        return access(path, F_OK) == 0;
}

/* It has nothing of ours, is what the first token is opened with, and no other; where it ends, another one is started. */
static void test_prepared(void **state) {
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11 *pkcs11, *second;
        struct pkcs11_key key;
        pid_t child;

        if (!apart)
                skip();
        assert_int_equal(dup2(2, 60), 60);
        assert_int_equal(pkcs11_prepare(), 0);
        child = only_child();
        pkcs11 = softhsm_open("pkcs11:token=one", true);
        assert_int_equal(only_child(), child);
        assert_true(has_fd(child, 3) && !has_fd(child, 60) && !has_fd(child, 5));
        (void) close(60);
        key = softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        second = softhsm_open("pkcs11:token=one", true);
        second = pkcs11_close(second);
        assert_int_equal(only_child(), child);

        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(pkcs11_sign(pkcs11, &key, "m", 1, &signature), -ENODEV);
        assert_int_equal(pkcs11_sign(pkcs11, &key, "m", 1, &signature), 0);
        assert_true(only_child() != child);
        pkcs11 = pkcs11_close(pkcs11);
}

/* threads */

struct job {
        struct pkcs11 *pkcs11;
        struct pkcs11_key key;
        int r;
};

static void *sign_often(void *data) {
        struct job *job = data;

        for (unsigned i = 0; i < 50 && job->r == 0; i++) {
                _cleanup_(blob_done) struct blob signature = {};
                struct pkcs11_key key;

                job->r = pkcs11_sign(job->pkcs11, &job->key, &i, sizeof(i), &signature);
                if (job->r == 0)
                        job->r =
                                pkcs11_find(job->pkcs11, i % 2 ? "pkcs11:object=none" : "pkcs11:object=ec", PKCS11_PRIVATE, &key);
                if (i % 2 && job->r == -ENOKEY && strstr(pkcs11_error(job->pkcs11), "none"))
                        job->r = 0;
        }
        return NULL;
}

static void test_threads(void **state) {
        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=one", apart), *second = softhsm_open("pkcs11:token=one", apart);
        struct pkcs11_key key = softhsm_key(pkcs11, PKCS11_EC_P256, PKCS11_USE_SIGN, "ec");
        struct job jobs[4];
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++) {
                jobs[i] = (struct job){ i < 3 ? pkcs11 : second, key, 0 };
                if (i == 3)
                        assert_int_equal(pkcs11_find(second, "pkcs11:object=ec", PKCS11_PRIVATE, &jobs[i].key), 0);
                assert_int_equal(pthread_create(threads + i, NULL, sign_often, jobs + i), 0);
        }
        for (size_t i = 0; i < 4; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                assert_int_equal(jobs[i].r, 0);
        }
        pkcs11 = pkcs11_close(pkcs11);
        jobs[3].r = 0;
        assert_null(sign_often(jobs + 3));
        assert_int_equal(jobs[3].r, 0);
        second = pkcs11_close(second);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_uri, setup, teardown),
                cmocka_unit_test_setup_teardown(test_configured_modules, setup, teardown),
                cmocka_unit_test_setup_teardown(test_two_tokens, setup, teardown),
                cmocka_unit_test(test_uri_check),
                cmocka_unit_test_setup_teardown(test_pin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_sign, setup, teardown),
                cmocka_unit_test_setup_teardown(test_find, setup, teardown),
                cmocka_unit_test_setup_teardown(test_before_login, setup, teardown),
                cmocka_unit_test_setup_teardown(test_new_keys_stay_inside, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
                cmocka_unit_test_setup_teardown(test_public_from_certificate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mechanisms, setup, teardown),
                cmocka_unit_test_setup_teardown(test_prepared, setup, teardown),
                cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        };

        int failed = cmocka_run_group_tests_name("pkcs11", tests, NULL, NULL);

        apart = true;
        return failed + cmocka_run_group_tests_name("pkcs11, module apart", tests, NULL, NULL);
}
