/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "test.h"

void softhsm_shell(const struct softhsm *softhsm, const char *format, ...) {
        char command[2048];
        va_list args;
        int n;

        n = snprintf(command, sizeof(command), "cd %s && ", softhsm->dir);
        va_start(args, format);
        n = vsnprintf(command + n, sizeof(command) - (size_t) n, format, args);
        va_end(args);
        assert_true(n > 0 && n < 1900);
        if (system(command) != 0)
                fail_msg("failed: %s", command);
}

struct softhsm *softhsm_new(void) {
        struct softhsm *softhsm = calloc(1, sizeof(*softhsm));
        char path[128], text[256];

        assert_non_null(softhsm);
        strcpy(softhsm->dir, "/tmp/test-softhsm-XXXXXX");
        assert_non_null(mkdtemp(softhsm->dir));
        (void) snprintf(path, sizeof(path), "%s/tokens", softhsm->dir);
        assert_int_equal(mkdir(path, 0700), 0);
        (void) snprintf(
                text, sizeof(text),
                "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
                softhsm->dir);
        (void) snprintf(path, sizeof(path), "%s/softhsm2.conf", softhsm->dir);
        assert_int_equal(file_write(path, text, strlen(text), 0600), 0);
        assert_int_equal(setenv("SOFTHSM2_CONF", path, 1), 0);
        return softhsm;
}

struct softhsm *softhsm_free(struct softhsm *softhsm) {
        if (softhsm)
                softhsm_shell(softhsm, "rm -rf %s", softhsm->dir);
        free(softhsm);
        return NULL;
}

void softhsm_token(const struct softhsm *softhsm, const char *label) {
        softhsm_shell(softhsm, "softhsm2-util --init-token --free --label '%s' --so-pin %s --pin %s >log 2>&1", label,
                      SOFTHSM_SO_PIN, SOFTHSM_PIN);
}

struct secret *secret_of(const char *text) {
        struct secret *secret = NULL;

        assert_int_equal(secret_copy(text, strlen(text), &secret), 0);
        return secret;
}

struct pkcs11 *softhsm_open(const char *uri, bool apart) {
        _cleanup_(secret_freep) struct secret *pin = secret_of(SOFTHSM_PIN);
        struct pkcs11 *pkcs11 = NULL;
        char error[512] = "";

        if (pkcs11_open(&(struct pkcs11_where){ uri, SOFTHSM_MODULE, apart }, &pkcs11, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        if (pkcs11_login(pkcs11, pin) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return pkcs11;
}

struct pkcs11_key softhsm_key(struct pkcs11 *pkcs11, enum pkcs11_type type, enum pkcs11_use use, const char *label) {
        struct pkcs11_new new = { .type = type, .bits = 2048, .use = use, .label = label };
        struct pkcs11_key key = {};

        if (pkcs11_generate(pkcs11, &new, &key) < 0)
                fail_msg("%s", pkcs11_error(pkcs11));
        return key;
}
