/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/register.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "boot/answers.h"
#include "boot/token.h"

enum { ANSWER_MAX = 64 * 1024 };

static int refused(struct node *node, const struct http_exchange *exchange) {
        struct wire_problem problem = {};
        char title[128];

        if (exchange->result < 0) {
                snprintf(node->error, sizeof node->error, "registrar: %s", exchange->error);
                return exchange->result;
        }
        if (wire_problem_parse((char *) exchange->answer.data, exchange->answer.size, &problem) < 0) {
                snprintf(node->error, sizeof node->error,
                         "registrar: HTTP status %d without an explanation; is its address right?", exchange->status);
                return -EBADMSG;
        }
        text_sanitize(problem.title, title, sizeof title);
        snprintf(node->error, sizeof node->error, "registrar: %s (%s), incident %s", title, problem.name, node->incident);
        return problem_error(problem.name);
}

/* POST of a registration to path; ret: the answer, if its status is the one wanted. */
static int post(struct node *node, const char *path, const struct wire_registration *registration, int status, struct blob *ret) {
        _cleanup_(freep) char *body = wire_registration_encode(registration);
        struct http_exchange exchange = { .servers = &node->config->registrar,
                                          .method = "POST",
                                          .path = path,
                                          .body = body,
                                          .body_size = body ? strlen(body) : 0,
                                          .body_fd = -1,
                                          .max_answer = ANSWER_MAX };
        int r;

        if (!body)
                return -ENOMEM;
        r = http_client_perform(node->http, &exchange, 1, node->cancel_fd);
        if (r >= 0 && (exchange.result < 0 || exchange.status != status))
                r = refused(node, &exchange);
        if (r >= 0) {
                *ret = exchange.answer;
                exchange.answer = (struct blob){};
        }
        http_exchange_done(&exchange);
        return r;
}

static int read_token(struct node *node, struct wire_registration *registration) {
        char warning[256];
        int r = token_check_key(node, warning, sizeof warning);

        if (r < 0)
                return r;
        if (warning[0])
                node_say(node, "%s", warning);
        return blob_copy(node->token->public.data, node->token->public.size, &registration->token_public);
}

static int read_identity(struct node *node, struct wire_registration *registration) {
        int r;

        if (node->kind == NODE_TOKEN)
                return read_token(node, registration);
        r = tpm_read_ek(node->tpm, &registration->ek_public, &registration->ek_certificate, registration->ek_chain,
                        &registration->n_ek_chain);
        if (r < 0) {
                snprintf(node->error, sizeof node->error, "TPM: the endorsement key cannot be read: %s",
                         tpm_last_error(node->tpm));
                return r;
        }
        return blob_copy(node->ak_public.data, node->ak_public.size, &registration->ak_public);
}

/* Only the TPM that holds both EK and AK can open the credential. */
static int prove_tpm(struct node *node, const struct wire_registered *registered, struct blob *ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        uint8_t proof[32];
        int r;

        r = tpm_activate(node->tpm, &registered->credential, &secret);
        if (r < 0) {
                snprintf(node->error, sizeof node->error, "TPM: the registrar's credential does not open: %s",
                         tpm_last_error(node->tpm));
                return r;
        }
        r = fields_hmac(secret->data, secret->size,
                        FIELDS(field_text("tallyboot activate v1"), field_text(node->id),
                               field_bytes(registered->challenge.data, registered->challenge.size)),
                        proof);
        return r < 0 ? r : blob_copy(proof, sizeof proof, ret);
}

static int prove_token(struct node *node, const struct wire_registered *registered, struct blob *ret) {
        _cleanup_(blob_done) struct blob message = {};
        int r = wire_token_register_message(node->id, &registered->challenge, &message);

        return r < 0 ? r : token_sign(node, &message, ret);
}

/* The answer to the registrar's challenge. */
static int prove(struct node *node, const struct wire_registered *registered, struct wire_registration *registration) {
        int r;

        if (strcmp(registered->id, node->id) != 0 || registered->has_credential != (node->kind == NODE_TPM)) {
                snprintf(node->error, sizeof node->error, "registrar: it answered for another node");
                return -EBADMSG;
        }
        r = node->kind == NODE_TOKEN ? prove_token(node, registered, &registration->proof)
                                     : prove_tpm(node, registered, &registration->proof);
        return r < 0 ? r : blob_copy(registered->challenge.data, registered->challenge.size, &registration->challenge);
}

int register_node(struct node *node, char ret_code[static CODE_LENGTH + 1]) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(wire_registered_done) struct wire_registered registered = {};
        _cleanup_(blob_done) struct blob answer = {}, activated = {};
        _cleanup_(freep) char *path = NULL;
        uint8_t digest[32];
        int r;

        node->error[0] = '\0';
        if (node->config->registrar.n == 0) {
                snprintf(node->error, sizeof node->error, "tallyboot.conf names no registrar =");
                return -EINVAL;
        }
        r = node_digest(node, digest, ret_code);
        if (r >= 0)
                r = read_identity(node, &registration);
        if (r < 0)
                return r;
        r = post(node, "/v1/nodes", &registration, 200, &answer);
        if (r < 0)
                return r;
        r = wire_registered_parse((char *) answer.data, answer.size, &registered);
        if (r < 0) {
                snprintf(node->error, sizeof node->error, "registrar: its answer is not as the protocol says");
                return r;
        }
        r = prove(node, &registered, &registration);
        if (r < 0)
                return r;
        path = format("/v1/nodes/%s/activate", node->id);
        return path ? post(node, path, &registration, 201, &activated) : -ENOMEM;
}
