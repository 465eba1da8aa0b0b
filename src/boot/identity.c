/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/identity.h"

#include <string.h>

#include "base/log.h"
#include "boot/gate.h"
#include "boot/notes.h"
#include "boot/token.h"

#define ACPI_TPM "/sys/firmware/acpi/tables/TPM2"

static int no_tpm(struct unlocker *unlocker) {
        unsigned long long seconds = unlocker->config->tpm_timeout;
        const char *tpm = unlocker->config->tpm;

        if (unlocker->config->evidence != EVIDENCE_AUTO || !unlocker->config->token_key) {
                unlocker_say(unlocker,
                             "no TPM appeared at %s within %llu s: this boot needs a passphrase; is the TPM switched on in the "
                             "firmware?",
                             tpm, seconds);
                return -ENODEV;
        }
        if (access(ACPI_TPM, F_OK) == 0)
                log_warning("The firmware names a TPM, and none appeared at %s within %llu s: going on with the token.", tpm,
                            seconds);
        else
                log_notice("No TPM appeared at %s within %llu s: going on with the token.", tpm, seconds);
        return 0;
}

int identity_choose(struct unlocker *unlocker) {
        struct node *node = unlocker->node;
        const char *note = "tpm\n";
        int r;

        if (unlocker->config->evidence == EVIDENCE_TOKEN) {
                node->kind = NODE_TOKEN;
                note = "token, as evidence = token says\n";
        } else {
                r = discover_tpm(unlocker);
                if (r == -ENODEV) {
                        r = no_tpm(unlocker);
                        node->kind = NODE_TOKEN;
                        note = "token, for no TPM appeared\n";
                }
                if (r < 0)
                        return r;
        }
        r = note_write(unlocker->run_dir, "evidence", note);
        if (r < 0) /* for people; a gate that does not find it is a TPM's */
                log_warning_errno(r, "%s/evidence cannot be written: %m", unlocker->run_dir);
        return 0;
}

/* Whether the parties can be asked for nonces meanwhile. */
static bool can_be_later(struct unlocker *unlocker) {
        discover_hint(unlocker);
        return unlocker->hint[0] && network_wait(unlocker->config, 0, -1, (char[256]){}, 256) >= 0;
}

static int begin_tpm(struct unlocker *unlocker) {
        int r = can_be_later(unlocker) ? 1 : node_attach(unlocker->node);

        if (r > 0)
                return 0;
        if (r < 0)
                unlocker_say(unlocker, "%s", unlocker->node->error);
        else
                (void) gate_mark_seen(unlocker->run_dir);
        return r;
}

static bool is_unattended(const struct unlocker *unlocker) {
        return unlocker->config->token_pin.kind == PIN_FILE || unlocker->config->token_pin.kind == PIN_CREDENTIAL;
}

int identity_begin(struct unlocker *unlocker) {
        if (unlocker->node->kind == NODE_TPM)
                return begin_tpm(unlocker);
        if (is_unattended(unlocker) && can_be_later(unlocker))
                return 0;
        return identity_attach_token(unlocker);
}

int identity_attach_token(struct unlocker *unlocker) {
        int r;

        unlocker->hint[0] = '\0';
        r = node_attach(unlocker->node);
        if (r < 0 && r != -ECANCELED)
                unlocker_say(unlocker, "%s: this boot needs a passphrase",
                             unlocker->node->error[0] ? unlocker->node->error : strerror(-r));
        return r;
}

enum node_kind identity_guess(const struct config *config) {
        const char *device = config_tpm_device(config);
        bool tpm = !device || access(device, F_OK) == 0;

        return config->evidence == EVIDENCE_TOKEN || (config->evidence == EVIDENCE_AUTO && config->token_key && !tpm) ? NODE_TOKEN
                                                                                                                      : NODE_TPM;
}

void identity_look(struct node *node) {
        node->kind = identity_guess(node->config);
}
