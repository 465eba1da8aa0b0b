/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* token-key MODULE TOKEN PIN aes|generic|rsa|p256 wrap|mac|sign LABEL: a key in a PKCS#11 token that pkcs11-tool cannot make as
 * it has to be (secrets that make MACs). "mechanisms" in place of the type: what the token has, and no key. */
#include <stdio.h>
#include <string.h>

#include "pkcs11/pkcs11.h"

static int find(const char *word, const char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(word, words[i]) == 0)
                        return (int) i;
        return -1;
}

static int make(struct pkcs11 *pkcs11, char *argv[]) {
        static const char *const types[] = { "aes", "generic", "rsa", "p256" }, *const uses[] = { "sign", "wrap", "mac" };
        static const enum pkcs11_type of[] = { PKCS11_AES, PKCS11_GENERIC, PKCS11_RSA, PKCS11_EC_P256 };
        int type = find(argv[4], types, ELEMENTSOF(types)), use = find(argv[5], uses, ELEMENTSOF(uses));
        struct pkcs11_new new = { .bits = 2048, .label = argv[6] };
        struct pkcs11_key key;

        if (type < 0 || use < 0)
                return -EINVAL;
        new.type = of[type];
        new.use = PKCS11_USE_SIGN + use;
        return pkcs11_generate(pkcs11, &new, &key);
}

int main(int argc, char *argv[]) {
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        _cleanup_(secret_freep) struct secret *pin = NULL;
        _cleanup_(freep) char *mechanisms = NULL;
        char uri[256], error[512] = "";
        int r;

        if (argc != 7 && !(argc == 5 && strcmp(argv[4], "mechanisms") == 0))
                return 2;
        snprintf(uri, sizeof uri, "pkcs11:token=%s", argv[2]);
        r = pkcs11_open(&(struct pkcs11_where){ .uri = uri, .module = argv[1] }, &pkcs11, error, sizeof error);
        if (r >= 0)
                r = secret_copy(argv[3], strlen(argv[3]), &pin);
        if (r >= 0)
                r = pkcs11_login(pkcs11, pin);
        if (r >= 0)
                r = argc == 5 ? pkcs11_mechanisms(pkcs11, &mechanisms) : make(pkcs11, argv);
        if (r < 0)
                fprintf(stderr, "%s %s %s\n", error, pkcs11 ? pkcs11_error(pkcs11) : "", strerror(-r));
        else if (mechanisms)
                puts(mechanisms);
        return r < 0;
}
