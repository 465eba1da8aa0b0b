/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/verbs.h"

#include <string.h>

#include "base/log.h"

int verb_load_config(struct config **ret) {
        char error[512] = "";
        int r = config_load(verb_config_path(), ret, error, sizeof error);

        if (r >= 0)
                return EXIT_OK;
        log_error("%s.", error[0] ? error : strerror(-r));
        return EXIT_CONFIG;
}

int verb_load_config_to_go_on(struct config **ret) {
        int r = verb_load_config(ret);

        if (r != EXIT_CONFIG || access("/etc/initrd-release", F_OK) < 0)
                return r;
        log_error("With this configuration no halves are asked for: the gate is closed, and this boot needs a passphrase.");
        return config_unusable(verb_config_path(), ret) < 0 ? EXIT_FAILED : EXIT_OK;
}

int exit_code_of(int r) {
        switch (-r) {
        case 0:
                return EXIT_OK;
        case EACCES:
        case EEXIST:
                return EXIT_REFUSED;
        case ENOLINK:
        case ETIMEDOUT:
        case EAGAIN:
        case ESTALE:
        case EKEYREJECTED:
                return EXIT_UNREACHABLE;
        case ENODEV:
        case EIO:
        case EPERM:
        case EOPNOTSUPP:
                return EXIT_TPM; /* or token */
        case EMEDIUMTYPE:
        case EUCLEAN:
        case ENOKEY:
        case EBUSY:
        case ENOENT:
                return EXIT_VOLUME;
        case ECANCELED:
                return EXIT_INTERRUPTED;
        default:
                return EXIT_FAILED;
        }
}
