/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/converse.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/logs.h"
#include "boot/prove.h"

enum { ANSWER_MAX = 512 * 1024, STALE_MAX = 3, LOGS_MAX = 2 };

int conversation_new(enum purpose purpose, const void *body, size_t body_size, struct conversation **ret) {
        _cleanup_(conversation_freep) struct conversation *conversation = calloc(1, sizeof *conversation);
        int r;

        if (!conversation)
                return -ENOMEM;
        conversation->purpose = purpose;
        conversation->outcomes[0].result = conversation->outcomes[1].result = -EINPROGRESS;
        if (body_size > 0) {
                r = blob_copy(body, body_size, &conversation->body);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(conversation);
        return 0;
}

static void nonce_forget(struct conversation_nonce *nonce) {
        wire_challenge_done(&nonce->challenge);
        secret_free(nonce->credential);
        *nonce = (struct conversation_nonce){};
}

struct conversation *conversation_free(struct conversation *conversation) {
        if (!conversation)
                return NULL;
        for (size_t i = 0; i < 2; i++) {
                nonce_forget(conversation->nonces + i);
                halves_free(conversation->outcomes[i].halves);
                wire_details_done(&conversation->outcomes[i].details);
        }
        blob_done(&conversation->body);
        free(conversation);
        return NULL;
}

struct http_exchange party_post(struct config *config, enum party party, const char *path, const char *body, size_t max_answer) {
        return (struct http_exchange){ .servers = config->parties + party,
                                       .method = "POST",
                                       .path = path,
                                       .body = body,
                                       .body_size = strlen(body),
                                       .body_fd = -1,
                                       .max_answer = max_answer };
}

static void exchange_failed(enum party party, const struct http_exchange *exchange, struct outcome *outcome) {
        outcome->result = exchange->result;
        outcome->problem[0] = '\0';
        outcome->retry_after = 0;
        snprintf(outcome->error, sizeof outcome->error, "%s: %s", party_to_string(party),
                 exchange->error[0] ? exchange->error : strerror(-exchange->result));
}

/* A new outcome replaces the words of the old one. */
static void exchange_outcome(struct node *node, enum party party, const struct http_exchange *exchange, struct outcome *outcome) {
        if (exchange->result < 0)
                exchange_failed(party, exchange, outcome);
        else
                outcome_from_answer(party, exchange->status, &exchange->answer, exchange->retry_after, node->incident, outcome);
        if (node->kind == NODE_TOKEN &&
            (strcmp(outcome->problem, "policy-refused") == 0 || strcmp(outcome->problem, "pending-policy") == 0))
                snprintf(
                        outcome->error, sizeof outcome->error,
                        "%s: its policy does not release to this token now (%s: has [release] token-evidence = yes? tallyctl log says why), "
                        "incident %s",
                        party_to_string(party), outcome->problem, node->incident);
}

static void outcome_malformed(enum party party, int r, const char *what, struct outcome *outcome) {
        outcome->result = r;
        outcome->problem[0] = '\0';
        snprintf(outcome->error, sizeof outcome->error, "%s: %s: %s", party_to_string(party), what,
                 r == -EBADMSG ? "not as the protocol says; compare the versions of node and server" : strerror(-r));
}

static void take_challenge(struct node *node, enum party party, const struct http_exchange *exchange, struct outcome *outcome,
                           struct conversation_nonce *nonce) {
        struct wire_challenge challenge = {};
        int r;

        if (exchange->result < 0 || exchange->status != 200) {
                exchange_outcome(node, party, exchange, outcome);
                return;
        }
        r = wire_challenge_parse((char *) exchange->answer.data, exchange->answer.size, &challenge);
        if (r < 0) {
                outcome_malformed(party, r, "its challenge", outcome);
                return;
        }
        if (node->kind == NODE_TPM && challenge.gate != node->config->gate_pcr) {
                outcome->result = -EBADMSG;
                snprintf(outcome->error, sizeof outcome->error,
                         "%s: this node's group has gate PCR %u, tallyboot.conf says %u; "
                         "make them the same",
                         party_to_string(party), challenge.gate, node->config->gate_pcr);
                wire_challenge_done(&challenge);
                return;
        }
        nonce_forget(nonce);
        nonce->challenge = challenge;
        nonce->has = nonce->fresh = true;
        nonce->got_ms = clock_monotonic_ms();
        outcome->result = -EINPROGRESS;
}

/* Asks every party that has not answered yet, and whose nonce is not fresh, for a new one; all at once. */
static int ask_challenges(struct node *node, struct conversation *conversation, const char *id) {
        _cleanup_(freep) char *body = wire_challenge_request_encode(conversation->purpose);
        _cleanup_(freep) char *path = format("/v1/nodes/%s/challenge", id);
        struct http_exchange exchanges[2] = {};
        enum party parties[2];
        size_t n = 0;
        int r;

        if (!body || !path)
                return -ENOMEM;
        for (enum party party = PARTY_TENANT; party <= PARTY_VERIFIER; party++) {
                if (conversation->outcomes[party].result == 0 ||
                    conversation_nonce_is_fresh(conversation->nonces + party, clock_monotonic_ms()))
                        continue;
                conversation->nonces[party].fresh = false;
                exchanges[n] = party_post(node->config, party, path, body, WIRE_REQUEST_MAX);
                parties[n++] = party;
        }
        if (n == 0)
                return 0;
        r = http_client_perform(node->http, exchanges, n, node->cancel_fd);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        take_challenge(node, parties[i], exchanges + i, conversation->outcomes + parties[i],
                                       conversation->nonces + parties[i]);
                http_exchange_done(exchanges + i);
        }
        return r;
}

struct attach {
        struct node *node;
        struct node_waiting waiting; /* the node's own, meanwhile */
        int result;
};

static void *attach_thread(void *userdata) {
        struct attach *attach = userdata;

        attach->result = node_attach(attach->node);
        return NULL;
}

/* In a thread nobody is asked or waited for: a token that is not just there, or wants a person, fails, and is attached by who can
 * wait. */
static int attach_in_thread(struct node *node, pthread_t *ret_thread, struct attach *attach) {
        attach->waiting = node->waiting;
        node->waiting = (struct node_waiting){ .run_dir = attach->waiting.run_dir };
        return -pthread_create(ret_thread, NULL, attach_thread, attach);
}

/* The challenges go out while the TPM makes the AK, or the token is opened, under the id that the token on the disk gives. A
 * wrong hint costs one round trip and nothing else: a nonce is bound to the id that it was asked for. */
static int attach_and_ask(struct node *node, struct conversation *conversation) {
        struct attach attach = { .node = node };
        pthread_t thread;
        int r, k;

        if (!conversation->id_hint) {
                r = node_attach(node);
                return r < 0 ? r : ask_challenges(node, conversation, node->id);
        }
        r = attach_in_thread(node, &thread, &attach);
        k = r < 0 ? r : ask_challenges(node, conversation, conversation->id_hint);
        if (r >= 0)
                (void) pthread_join(thread, NULL);
        node->waiting = attach.waiting;
        if (r >= 0 && attach.result >= 0 && k >= 0 && strcmp(conversation->id_hint, node->id) == 0)
                return 0;
        for (size_t i = 0; i < 2; i++) { /* they are the hint's */
                nonce_forget(conversation->nonces + i);
                conversation->outcomes[i].result = -EINPROGRESS;
        }
        if (r < 0 || attach.result < 0 || k < 0)
                return r < 0 ? r : attach.result < 0 ? attach.result : k;
        log_debug("The token is another node's: asking again as %s.", node->id);
        return ask_challenges(node, conversation, node->id);
}

/* For purpose enroll: each party's own credential, released by the TPM, proves that AK and EK are in one TPM. */
static int activate_credentials(struct node *node, struct conversation *conversation) {
        for (enum party party = PARTY_TENANT; party <= PARTY_VERIFIER; party++) {
                struct conversation_nonce *nonce = conversation->nonces + party;
                int r;

                if (conversation->outcomes[party].result == 0 || nonce->credential)
                        continue;
                if (!nonce->challenge.has_credential) {
                        outcome_malformed(party, -EBADMSG, "its challenge has no credential", conversation->outcomes + party);
                        return -EAGAIN;
                }
                r = tpm_activate(node->tpm, &nonce->challenge.credential, &nonce->credential);
                if (r < 0) {
                        snprintf(node->error, sizeof node->error, "the %s's credential does not open in this TPM: %s",
                                 party_to_string(party), tpm_last_error(node->tpm));
                        return r;
                }
        }
        return 0;
}

static bool wants_logs(const struct outcome *outcome) {
        return strcmp(outcome->problem, "logs-wanted") == 0;
}

static void take_release(struct node *node, struct conversation *conversation, enum party party, const struct evidence *evidence,
                         const struct http_exchange *exchange) {
        struct outcome *outcome = conversation->outcomes + party;
        _cleanup_(wire_sealed_done) struct wire_sealed sealed = {};
        int r;

        conversation->nonces[party].fresh = false;
        if (exchange->result < 0 || exchange->status != 200) {
                exchange_outcome(node, party, exchange, outcome);
                r = wants_logs(outcome)
                            ? wire_logs_wanted_parse((char *) exchange->answer.data, exchange->answer.size, &outcome->logs)
                            : 0;
                if (r < 0)
                        outcome_malformed(party, r, "its wish for logs", outcome);
                return;
        }
        if (conversation->purpose == PURPOSE_CONFIRM)
                r = wire_confirmed_parse((char *) exchange->answer.data, exchange->answer.size, &outcome->confirmed);
        else {
                r = wire_sealed_parse((char *) exchange->answer.data, exchange->answer.size, &sealed);
                if (r >= 0)
                        r = conversation_open(node, conversation->purpose, party, &sealed, &evidence->proven,
                                              conversation->nonces[party].credential, &outcome->halves, &outcome->details);
        }
        if (r < 0) {
                outcome_malformed(party, r, "its answer", outcome);
                return;
        }
        outcome->result = 0;
        outcome->error[0] = outcome->problem[0] = '\0';
}

/* Releases of the parties in mask that have not answered yet, all at once. */
static int ask_releases(struct node *node, struct conversation *conversation, const struct evidence *evidence, unsigned mask) {
        _cleanup_(freep) char *path = format("/v1/nodes/%s/release", node->id), *body_tenant = NULL, *body_verifier = NULL;
        char **bodies[2] = { &body_tenant, &body_verifier };
        struct http_exchange exchanges[2] = {};
        enum party parties[2];
        size_t n = 0;
        int r;

        if (!path)
                return -ENOMEM;
        for (enum party party = PARTY_TENANT; party <= PARTY_VERIFIER; party++) {
                if (!(mask & 1U << party) || conversation->outcomes[party].result == 0)
                        continue;
                r = evidence_encode(node, conversation, party, evidence, bodies[party]);
                if (r < 0)
                        return r;
                exchanges[n] = party_post(node->config, party, path, *bodies[party], ANSWER_MAX);
                parties[n++] = party;
        }
        r = http_client_perform(node->http, exchanges, n, node->cancel_fd);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        take_release(node, conversation, parties[i], evidence, exchanges + i);
                http_exchange_done(exchanges + i);
        }
        return r;
}

/* The same evidence once more, with the logs that this party asked for. */
static int logs_exchange(struct node *node, const struct conversation *conversation, enum party party,
                         const struct evidence *evidence, const char *path, struct http_exchange *ret) {
        const struct wire_logs_wanted *wanted = &conversation->outcomes[party].logs;
        _cleanup_(freep) char *body = NULL, *ticket = base64url_encode(wanted->ticket, sizeof wanted->ticket), *header = NULL;
        int r = evidence_encode(node, conversation, party, evidence, &body);

        header = ticket ? format("Tallyboot %s", ticket) : NULL;
        if (r < 0 || !header)
                return r < 0 ? r : -ENOMEM;
        *ret = (struct http_exchange){ .servers = node->config->parties + party,
                                       .method = "POST",
                                       .path = path,
                                       .content_type = "application/octet-stream",
                                       .body_fd = -1,
                                       .max_answer = ANSWER_MAX };
        r = logs_body(node->config, wanted, body, &ret->body_fd, &ret->body_size);
        ret->authorization = r < 0 ? NULL : TAKE_PTR(header);
        return r;
}

static void logs_exchange_done(struct http_exchange *exchange) {
        free((char *) exchange->authorization);
        closep(&exchange->body_fd);
        http_exchange_done(exchange);
}

/* In the same boot, with the same quote: nothing was used up. All parties that asked, at once. */
static int send_logs(struct node *node, struct conversation *conversation, const struct evidence *evidence) {
        _cleanup_(freep) char *path = format("/v1/nodes/%s/release/logs", node->id);
        struct http_exchange exchanges[2] = { { .body_fd = -1 }, { .body_fd = -1 } };
        enum party parties[2];
        size_t n = 0;
        int r = path ? 0 : -ENOMEM;

        for (enum party party = PARTY_TENANT; r >= 0 && party <= PARTY_VERIFIER; party++)
                if (wants_logs(conversation->outcomes + party)) {
                        r = logs_exchange(node, conversation, party, evidence, path, exchanges + n);
                        parties[n++] = party;
                }
        if (r >= 0)
                r = http_client_perform(node->http, exchanges, n, node->cancel_fd);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        take_release(node, conversation, parties[i], evidence, exchanges + i);
                logs_exchange_done(exchanges + i);
        }
        return r;
}

static bool conversation_is_done(const struct conversation *conversation) {
        return conversation->outcomes[0].result == 0 && conversation->outcomes[1].result == 0;
}

static bool some_want_logs(const struct conversation *conversation) {
        return wants_logs(conversation->outcomes) || wants_logs(conversation->outcomes + 1);
}

/* The tenant's answer comes before the verifier's request where the purpose is confirm. */
static int ask_all_releases(struct node *node, struct conversation *conversation, const struct evidence *evidence) {
        int r;

        if (conversation->purpose != PURPOSE_CONFIRM) {
                r = ask_releases(node, conversation, evidence, 1U << PARTY_TENANT | 1U << PARTY_VERIFIER);
                for (unsigned i = 0; r >= 0 && i < LOGS_MAX && some_want_logs(conversation); i++)
                        r = send_logs(node, conversation, evidence);
                return r;
        }
        if (conversation->outcomes[PARTY_TENANT].result != 0) {
                r = ask_releases(node, conversation, evidence, 1U << PARTY_TENANT);
                if (r < 0 || conversation->outcomes[PARTY_TENANT].result != 0)
                        return r;
        }
        return ask_releases(node, conversation, evidence, 1U << PARTY_VERIFIER);
}

static int converse_once(struct node *node, struct conversation *conversation) {
        _cleanup_(evidence_done) struct evidence evidence = {};
        int r;

        r = node->kind == NODE_TOKEN && node->has_id ? node_attach(node) : 0; /* it may have been pulled out */
        if (r < 0)
                return r;
        r = node->has_id ? ask_challenges(node, conversation, node->id) : attach_and_ask(node, conversation);
        if (r < 0)
                return r;
        for (size_t i = 0; i < 2; i++)
                if (conversation->outcomes[i].result != 0 && !conversation->nonces[i].fresh)
                        return -EAGAIN;
        if (!conversation->nonces[0].has || !conversation->nonces[1].has)
                return -EAGAIN;
        if (conversation->purpose == PURPOSE_ENROLL && node->kind == NODE_TPM) {
                r = activate_credentials(node, conversation);
                if (r < 0)
                        return r;
        }
        r = evidence_make(node, conversation, &evidence);
        if (r < 0)
                return r;
        return ask_all_releases(node, conversation, &evidence);
}

int converse(struct node *node, struct conversation *conversation) {
        int r;

        node->error[0] = '\0';
        if (conversation->purpose != PURPOSE_CONFIRM) {
                r = node_make_nk(node);
                if (r < 0)
                        return r;
        }
        for (unsigned i = 0; i < STALE_MAX; i++) {
                r = converse_once(node, conversation);
                if (r < 0)
                        return r;
                if (conversation_is_done(conversation))
                        return 0;
                if (conversation->outcomes[0].result != -ESTALE && conversation->outcomes[1].result != -ESTALE)
                        break;
        }
        return -EAGAIN;
}

int converse_confirm(struct node *node, const struct wire_confirm_body *body, struct conversation **ret) {
        _cleanup_(conversation_freep) struct conversation *conversation = NULL;
        _cleanup_(freep) char *text = wire_confirm_body_encode(body);
        int r;

        if (!text)
                return -ENOMEM;
        r = conversation_new(PURPOSE_CONFIRM, text, strlen(text), &conversation);
        if (r < 0)
                return r;
        r = converse(node, conversation);
        if (r < 0 && r != -EAGAIN)
                return r;
        *ret = TAKE_PTR(conversation);
        return r;
}
