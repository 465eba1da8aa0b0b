/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/register.h"

#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/identity.h"
#include "boot/token.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

int living_node_new(struct config *config, int cancel_fd, struct node **ret) {
        int r = node_new(config, NULL, ret);

        if (r < 0)
                return r;
        (*ret)->cancel_fd = cancel_fd;
        (*ret)->waiting = (struct node_waiting){ .run_dir = verb_run_dir(), .ask = ask_has_terminal() ? ask_pin : NULL };
        identity_look(*ret);
        return 0;
}

/* The digest is what a group's list takes (tallyctl group set --ek). */
static int show(struct node *node) {
        char code[CODE_LENGTH + 1], hex[65], what[128] = "";
        uint8_t sha256[32];
        int r;

        r = node_digest(node, sha256, code);
        if (r < 0) {
                log_error("%s.", node->error[0] ? node->error : strerror(-r));
                return exit_code_of(r);
        }
        hex_write(sha256, sizeof(sha256), hex);
        say("Registered: node %s, code %s", node->id, code);
        if (node->kind == NODE_TOKEN) {
                text_sanitize(pkcs11_label(node->token->pkcs11), what, sizeof(what));
                say("Token key (SHA-256): %s, token %s", hex, what);
                return EXIT_OK;
        }
        (void) tpm_describe(node->tpm, what, sizeof(what));
        say("Endorsement key (SHA-256): %s%s%s", hex, what[0] ? ", TPM " : "", what);
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
                r = living_node_new(config, cancel_fd, &node);
        if (r < 0) {
                log_error_errno(r, "Cannot start: %m.");
                return EXIT_FAILED;
        }
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
