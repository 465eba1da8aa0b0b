/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/register.h"

#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* The digest is what a group's list of endorsement keys takes (tallyctl group set --ek). */
static int show(struct node *node) {
        char code[CODE_LENGTH + 1], hex[65], tpm[128] = "";
        uint8_t ek_sha256[32];
        int r;

        r = identity_code(node, ek_sha256, code);
        if (r < 0) {
                log_error("%s.", node->error[0] ? node->error : strerror(-r));
                return exit_code_of(r);
        }
        hex_write(ek_sha256, sizeof(ek_sha256), hex);
        (void) tpm_describe(node->tpm, tpm, sizeof(tpm));
        say("Registered: node %s, code %s", node->id, code);
        say("Endorsement key (SHA-256): %s%s%s", hex, tpm[0] ? ", TPM " : "", tpm);
        return EXIT_OK;
}

int register_run(int argc, char *argv[]) {
        _cleanup_(config_freep) struct config *config = NULL;
        _cleanup_(node_freep) struct node *node = NULL;
        _cleanup_(closep) int cancel_fd = -1;
        char code[CODE_LENGTH + 1];
        int r;

        if (argc > 1) {
                log_error("tallyboot %s takes no arguments.", argv[0]);
                return EXIT_USAGE;
        }
        r = verb_load_config(&config);
        if (r != EXIT_OK)
                return r;
        r = cancel_new(&cancel_fd);
        if (r >= 0)
                r = node_new(config, NULL, &node);
        if (r < 0) {
                log_error_errno(r, "Cannot start: %m.");
                return EXIT_FAILED;
        }
        node->cancel_fd = cancel_fd;
        r = register_node(node, code);
        if (r < 0) {
                if (r == -ECANCELED)
                        log_notice("Interrupted; nothing has been changed.");
                else
                        log_error("%s.", node->error[0] ? node->error : strerror(-r));
                return r == -EINVAL ? EXIT_CONFIG : exit_code_of(r);
        }
        return show(node);
}
