/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/identity.h"
#include "boot/logs.h"
#include "boot/token.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* What a party would be sent: the PCRs that it asks for, quoted. Where no party answers, those that every group starts with. Of a
 * node without a TPM: a signature of its token's key. */

enum {
        DEFAULT_BANK = 0xb,
        DEFAULT_MASK = 0x7bff, /* 0 to 9, 11 to 14 */
        LOGS_MASK = 0x7fff,    /* what logs are about: 0 to 14 */
};

struct shown {
        uint16_t bank;
        uint32_t mask;
        bool asked; /* a party said so */
        struct blob attest, signature;
        struct pcr_values pcrs;
        uint32_t reset, restart;
        bool with_logs;
        struct blob firmware, ima;
};

static void shown_done(struct shown *shown) {
        blob_done(&shown->attest);
        blob_done(&shown->signature);
        blob_done(&shown->firmware);
        blob_done(&shown->ima);
}

/* TPM 2.0 Library, Part 2, 10.12.8: what comes before the counters has lengths of its own. */
static int read_counters(const struct blob *attest, uint32_t *ret_reset, uint32_t *ret_restart) {
        struct reader reader = { attest->data, attest->size };
        const uint8_t *skipped;
        uint16_t size;
        int r = reader_bytes(&reader, 6, &skipped); /* magic, type */

        for (unsigned i = 0; r >= 0 && i < 2; i++) { /* qualifiedSigner, extraData */
                r = reader_be16(&reader, &size);
                if (r >= 0)
                        r = reader_bytes(&reader, size, &skipped);
        }
        if (r >= 0)
                r = reader_bytes(&reader, 8, &skipped); /* clock */
        if (r >= 0)
                r = reader_be32(&reader, ret_reset);
        return r < 0 ? r : reader_be32(&reader, ret_restart);
}

/* The parties' wishes for purpose boot. Asking costs them nothing, and a nonce that is not used dies by itself. */
static void ask_parties(struct node *node, struct shown *shown) {
        _cleanup_(freep) char *body = wire_challenge_request_encode(PURPOSE_BOOT);
        char path[128];
        struct http_exchange exchanges[2] = {};

        snprintf(path, sizeof path, "/v1/nodes/%s/challenge", node->id);
        for (size_t i = 0; body && i < 2; i++)
                exchanges[i] = party_post(node->config, (enum party) i, path, body, WIRE_REQUEST_MAX);
        if (!body || http_client_perform(node->http, exchanges, 2, -1) < 0)
                return;
        for (size_t i = 0; i < 2; i++) {
                struct wire_challenge challenge = {};

                if (exchanges[i].result >= 0 && exchanges[i].status == 200 &&
                    wire_challenge_parse((char *) exchanges[i].answer.data, exchanges[i].answer.size, &challenge) >= 0) {
                        shown->mask = shown->asked ? shown->mask | challenge.pcrs : challenge.pcrs;
                        shown->bank = challenge.bank;
                        shown->asked = true;
                        wire_challenge_done(&challenge);
                }
                http_exchange_done(exchanges + i);
        }
}

static int collect(struct node *node, struct shown *shown) {
        uint8_t nonce[32];
        int r;

        ask_parties(node, shown);
        shown->mask |= 1U << node->config->gate_pcr | (shown->with_logs ? LOGS_MASK : 0);
        r = random_bytes(nonce, sizeof nonce);
        if (r < 0)
                return r;
        r = tpm_quote(node->tpm, shown->bank, shown->mask, nonce, &shown->attest, &shown->signature, &shown->pcrs);
        if (r < 0) {
                snprintf(node->error, sizeof node->error, "TPM: the quote failed: %s", tpm_last_error(node->tpm));
                return r;
        }
        r = read_counters(&shown->attest, &shown->reset, &shown->restart);
        if (r >= 0 && shown->with_logs)
                r = logs_read_firmware(node->config, &shown->firmware);
        return r >= 0 && shown->with_logs ? logs_read_ima(node->config, 0, &shown->ima) : r;
}

/* A log that the kernel has not is left out. */
static int add_logs(json_t *object, const struct shown *shown) {
        int r = 0;

        if (shown->firmware.size > 0)
                r = wire_set_bin(object, "firmware_log", shown->firmware.data, shown->firmware.size);
        if (r >= 0 && shown->ima.size > 0)
                r = wire_set_bin(object, "ima", shown->ima.data, shown->ima.size);
        return r;
}

static int print_json(const struct node *node, const struct shown *shown) {
        json_t *object = json_pack("{s:s, s:s, s:i, s:b, s:{s:I, s:I}, s:o}", "node", node->id, "bank",
                                   pcr_alg_to_string(shown->bank), "gate", (int) node->config->gate_pcr, "as_asked", shown->asked,
                                   "boot", "reset", (json_int_t) shown->reset, "restart", (json_int_t) shown->restart, "pcrs",
                                   pcr_values_to_json(&shown->pcrs));
        int r = -ENOMEM;

        if (object && wire_set_bin(object, "attest", shown->attest.data, shown->attest.size) >= 0 &&
            wire_set_bin(object, "signature", shown->signature.data, shown->signature.size) >= 0 &&
            wire_set_bin(object, "ak_public", node->ak_public.data, node->ak_public.size) >= 0 &&
            (!shown->with_logs || add_logs(object, shown) >= 0) && json_dumpf(object, stdout, JSON_INDENT(2)) >= 0) {
                putchar('\n');
                r = 0;
        }
        json_decref(object);
        return r;
}

/* A signature of a message like the parties': with nonces of nobody, so that it is of no use to anyone. */
static int show_token(struct node *node, bool as_json) {
        uint8_t nonces[2][WIRE_NONCE_SIZE];
        _cleanup_(blob_done) struct blob message = {}, signature = {};
        char label[64], hex[65];
        json_t *object;
        int r = random_bytes(nonces, sizeof nonces);

        if (r >= 0)
                r = wire_token_evidence_message(node->id, PURPOSE_CONFIRM, NULL, (const uint8_t(*)[WIRE_NONCE_SIZE]) nonces, NULL,
                                                &message);
        if (r >= 0)
                r = token_sign(node, &message, &signature);
        if (r < 0)
                return r;
        text_sanitize(pkcs11_label(node->token->pkcs11), label, sizeof label);
        hex_write(node->token->sha256, sizeof node->token->sha256, hex);
        if (!as_json) {
                printf("Node   %s\nToken  %s\nKey    %s, SHA-256 %s\nThe key signs. Without a TPM nothing is said of what was booted.\n",
                       node->id, label, node->token->type, hex);
                return 0;
        }
        object = json_pack("{s:s, s:s, s:s}", "node", node->id, "token", label, "key_type", node->token->type);
        r = -ENOMEM;
        if (object && wire_set_bin(object, "token_public", node->token->public.data, node->token->public.size) >= 0 &&
            wire_set_bin(object, "message", message.data, message.size) >= 0 &&
            wire_set_bin(object, "token_signature", signature.data, signature.size) >= 0 &&
            json_dumpf(object, stdout, JSON_INDENT(2)) >= 0) {
                putchar('\n');
                r = 0;
        }
        json_decref(object);
        return r;
}

static void print_text(const struct node *node, const struct shown *shown) {
        const struct pcr_bank *bank = pcr_values_bank(&shown->pcrs, shown->bank);

        printf("Node   %s\nBoot   resetCount %u, restartCount %u\nPCRs   %s, %s\n", node->id, shown->reset, shown->restart,
               pcr_alg_to_string(shown->bank),
               shown->asked ? "as tenant and verifier ask for them" : "no party answered: the usual ones");
        for (unsigned i = 0; bank && i < WIRE_PCRS; i++) {
                if (!(bank->mask & 1U << i))
                        continue;
                printf("  %2u   ", i);
                for (size_t j = 0; j < pcr_alg_size(bank->alg); j++)
                        printf("%02x", bank->values[i][j]);
                printf("%s\n", i == node->config->gate_pcr ? "   the gate: must be zero for a release" : "");
        }
}

static int show_tpm(struct node *node, struct shown *shown, bool as_json) {
        int r = collect(node, shown);

        if (r >= 0 && as_json)
                return print_json(node, shown);
        if (r >= 0)
                print_text(node, shown);
        return r;
}

int evidence_run(int argc, char *argv[]) {
        bool with_logs = argc == 2 && strcmp(argv[1], "--logs") == 0;
        bool as_json = with_logs || (argc == 2 && strcmp(argv[1], "--json") == 0);
        _cleanup_(shown_done) struct shown shown = { .bank = DEFAULT_BANK, .mask = DEFAULT_MASK, .with_logs = with_logs };
        _cleanup_(config_freep) struct config *config = NULL;
        _cleanup_(node_freep) struct node *node = NULL;
        int r;

        if (argc > 2 || (argc == 2 && !as_json)) {
                log_error("Usage: tallyboot evidence [--json|--logs]");
                return EXIT_USAGE;
        }
        r = verb_load_config(&config);
        if (r != 0)
                return r;
        r = node_new(config, NULL, &node);
        if (r < 0) {
                log_error_errno(r, "The CA %s cannot be used: %m", config->ca);
                return EXIT_CONFIG;
        }
        identity_look(node);
        node->waiting = (struct node_waiting){ .run_dir = verb_run_dir(), .ask = ask_has_terminal() ? ask_pin : NULL };
        r = node_attach(node);
        if (r >= 0)
                r = node->kind == NODE_TOKEN ? show_token(node, as_json) : show_tpm(node, &shown, as_json);
        if (r < 0) {
                log_error("No evidence: %s.", node->error[0] ? node->error : strerror(-r));
                return EXIT_TPM;
        }
        return EXIT_OK;
}
