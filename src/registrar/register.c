/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "registrar/registrar.h"
#include "service/limiter.h"

enum { FULL_RETRY_SECONDS = 60 };

static void pkey_freep(EVP_PKEY **key) {
        EVP_PKEY_free(*key);
}

/* What follows from id and digest. */
static int identity_complete(struct identity *identity, struct identity *ret) {
        int r = node_code(identity->ek.digest, identity->id, identity->code);

        if (r < 0)
                return r;
        hex_write(identity->ek.digest, sizeof(identity->ek.digest), identity->ek_sha256);
        *ret = *identity;
        return 0;
}

/* Nobody vouches for a token: what it shows is that it has this key. Who approves it decides whether that is enough. */
static int token_identity(const struct blob *public, struct identity *ret, char *error, size_t error_size) {
        struct identity identity = { .token = true };
        struct token_key key;
        int r;

        r = token_key_parse(public->data, public->size, &key);
        if (r < 0) {
                (void) snprintf(error, error_size,
                                "the token's key is no P-256, P-384 or RSA key of 2048 to 4096 bits as DER has it");
                return r;
        }
        token_key_name(&key, identity.type);
        r = token_node_id(public->data, public->size, identity.ek.digest, identity.id);
        return r < 0 ? r : identity_complete(&identity, ret);
}

static int tpm_identity(struct service *service, const struct wire_registration *registration, struct identity *ret, char *error,
                        size_t error_size) {
        _cleanup_(pkey_freep) EVP_PKEY *key = NULL;
        const struct blob *ak = &registration->ak_public;
        struct identity identity = { .name = { 0x00, 0x0b } };
        int r;

        r = service_ek_check(service, registration, &identity.ek, error, error_size);
        if (r < 0)
                return r;

        r = ak_check_template(ak->data, ak->size);
        if (r >= 0)
                r = pubkey_from_tpmt(ak->data, ak->size, &key); /* a point of the curve */
        if (r < 0) {
                (void) snprintf(error, error_size, "the AK is not made from the template");
                return r;
        }

        r = ak_node_id(ak->data, ak->size, identity.id);
        if (r >= 0)
                r = tpmt_name_digest(ak->data, ak->size, identity.name + 2);
        return r < 0 ? r : identity_complete(&identity, ret);
}

/* EK (certificate, restricted decryption key) and AK (template) of a registration, or a token's key. On -EKEYREJECTED and
 * -EBADMSG error says why, for the log; -EOPNOTSUPP where the EK is of a type that no credential can be made for. */
static int identity_check(struct service *service, const struct wire_registration *registration, struct identity *ret,
                          char *error, size_t error_size) {
        *error = 0;
        if (registration->token_public.size > 0 && service->config.token_nodes == 0) {
                (void) snprintf(error, error_size, "nodes without a TPM are not taken here (token-nodes = 0)");
                return -EKEYREJECTED;
        }
        if (registration->token_public.size > 0)
                return token_identity(&registration->token_public, ret, error, error_size);
        return tpm_identity(service, registration, ret, error, error_size);
}

static bool registration_read(const struct service_call *call, struct http_response *response, struct wire_registration *ret) {
        int r;

        r = wire_registration_parse((const char *) call->request->body, call->request->body_size, ret);
        if (r == -EBADMSG)
                service_problem(call, response, "malformed", "This is not a registration");
        else if (r < 0)
                service_failure(call, response, r);
        return r >= 0;
}

static bool identity_read(const struct service_call *call, struct http_response *response,
                          const struct wire_registration *registration, struct identity *ret) {
        char error[256];
        int r;

        r = identity_check(call->service, registration, ret, error, sizeof(error));
        if (r >= 0)
                return true;

        if (r != -EKEYREJECTED && r != -EBADMSG && r != -EOPNOTSUPP) {
                service_failure(call, response, r);
                return false;
        }

        /* not in the audit log: nobody has proven anything yet */
        if (service_may_log(call, "registration"))
                log_info("Registration refused (incident %s): %s", *call->request->incident ? call->request->incident : "-",
                         *error ? error : "the keys are malformed");
        service_problem(call, response, "bad-evidence",
                        registration->token_public.size > 0 ? "The token's key is not accepted here"
                                                            : "The endorsement or attestation key is not accepted here");
        return false;
}

/* The challenge in registered, and for a TPM its credential. -EBADMSG, -EOPNOTSUPP: none can be made for this EK. */
static int challenge_tpm(struct service *service, const struct wire_registration *registration, const struct identity *identity,
                         struct wire_registered *registered) {
        _cleanup_(wipe_32) uint8_t secret[32];
        uint8_t challenge[REGISTER_CHALLENGE_SIZE];
        int r;

        r = challenge_make(service->keystore, registration, clock_realtime_ms(), challenge, secret);
        if (r >= 0)
                r = credential_make(registration->ek_public.data, registration->ek_public.size, identity->name, secret,
                                    sizeof(secret), &registered->credential.id_object, &registered->credential.secret);
        if (r >= 0)
                r = blob_copy(challenge, sizeof(challenge), &registered->challenge);
        registered->has_credential = true;
        return r;
}

static int challenge_token(struct service *service, const struct wire_registration *registration,
                           struct wire_registered *registered) {
        uint8_t challenge[REGISTER_TOKEN_CHALLENGE_SIZE];
        int r;

        r = challenge_make_token(service->keystore, registration, clock_realtime_ms(), challenge);
        return r < 0 ? r : blob_copy(challenge, sizeof(challenge), &registered->challenge);
}

static void handle_register(const struct service_call *call, struct http_response *response) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(wire_registered_done) struct wire_registered registered = {};
        struct identity identity;
        int r;

        if (!registration_read(call, response, &registration) || !identity_read(call, response, &registration, &identity))
                return;

        r = identity.token ? challenge_token(call->service, &registration, &registered)
                           : challenge_tpm(call->service, &registration, &identity, &registered);
        if (r == -EBADMSG || r == -EOPNOTSUPP) {
                service_problem(call, response, "bad-evidence", "No credential can be made for this endorsement key");
                return;
        }
        if (r < 0) {
                service_failure(call, response, r);
                return;
        }

        memcpy(registered.id, identity.id, sizeof(registered.id));
        service_text(response, 200, wire_registered_encode(&registered));
}

/* Proof first: what has not shown that EK and AK are in one TPM, or that it has the token's key, changes nothing and learns
 * nothing about what is registered. */
static bool proof_check(const struct service_call *call, struct http_response *response,
                        const struct wire_registration *registration) {
        const char *id = service_parameter(call, "id");
        struct keystore *keystore = call->service->keystore;
        int r;

        if (registration->token_public.size > 0)
                r = challenge_check_token(keystore, registration, id, clock_realtime_ms());
        else
                r = challenge_check(keystore, registration, id, clock_realtime_ms());
        if (r == -ESTALE)
                service_problem(call, response, "stale-nonce", "The challenge is too old: register again");
        else if (r == -EBADMSG)
                service_problem(call, response, "malformed", "challenge or proof is not of the right size");
        else if (r == -EKEYREJECTED)
                service_problem(call, response, "bad-evidence", "The proof is wrong");
        else if (r < 0)
                service_failure(call, response, r);
        return r >= 0;
}

/* A genuine TPM can prove a new conflict as often as it likes, and each is a record: counted by EK. */
static bool rate_check(const struct service_call *call, struct http_response *response, const struct identity *identity) {
        response->retry_after = limiter_count(call->service->data, "proven", identity->ek_sha256);
        if (response->retry_after == 0)
                return true;

        service_problem(call, response, "rate-limited", "This machine registers too often");
        return false;
}

static char *registration_document(struct wire_registration *registration) {
        _cleanup_(json_decrefp) json_t *json = NULL;

        blob_done(&registration->challenge);
        blob_done(&registration->proof);
        registration->challenge = registration->proof = (struct blob){};
        json = wire_registration_to_json(registration);
        return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

static void activate_answer(const struct service_call *call, struct http_response *response,
                            const struct node_addition *addition) {
        if (addition->result == NODE_CONFLICT)
                service_problem(
                        call, response, "conflict",
                        "Another attestation key is active for this endorsement key, or another endorsement key for this id");
        else if (addition->result == NODE_REVOKED)
                service_problem(call, response, "revoked", "This node, or its endorsement key, was revoked");
        else if (addition->result == NODE_FULL) {
                if (service_may_log(call, "full"))
                        log_notice("%u nodes with a token are registered, no more are taken: delete some, or raise token-nodes.",
                                   addition->token_nodes);
                response->retry_after = FULL_RETRY_SECONDS;
                service_problem(call, response, "unavailable", "Too many nodes without a TPM are registered.");
        } else if (addition->result == NODE_LIMITED) {
                if (service_may_log(call, "uncertified"))
                        log_notice("Node %s, from %s: not taken, too many new nodes without an EK certificate came from there"
                                   " (uncertified-per-hour).",
                                   addition->identity->id, call->request->peer.address);
                response->retry_after = addition->wait;
                service_problem(call, response, "rate-limited", "Too many new nodes from this network.");
        } else
                service_json(response, 201,
                             json_pack("{s:s, s:s}", "id", addition->identity->id, "code", addition->identity->code));
}

static void handle_activate(const struct service_call *call, struct http_response *response) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(freep) char *document = NULL;
        struct node_addition addition = {};
        struct identity identity;
        int r;

        if (!registration_read(call, response, &registration) || !proof_check(call, response, &registration) ||
            !identity_read(call, response, &registration, &identity))
                return;

        if (strcmp(identity.id, service_parameter(call, "id")) != 0) {
                service_problem(call, response, "malformed", "This is not the id of this key");
                return;
        }

        if (!rate_check(call, response, &identity))
                return;

        document = registration_document(&registration);
        if (!document) {
                service_failure(call, response, -ENOMEM);
                return;
        }

        addition.identity = &identity;
        addition.token_nodes = call->service->config.token_nodes;
        addition.document = document;
        addition.call = call;
        addition.record = (struct audit_record){ .node = identity.id, .incident = call->request->incident, .who = call->who };
        r = store_write(call->service->store, node_add, &addition);
        if (r < 0)
                service_failure(call, response, r);
        else
                activate_answer(call, response, &addition);
}

const struct service_route registrar_node_routes[] = {
        { .method = "POST", .pattern = "/v1/nodes", .roles = ROLE_ANYONE, .handler = handle_register, .is_new_work = true },
        { .method = "POST",
          .pattern = "/v1/nodes/{id}/activate",
          .roles = ROLE_ANYONE,
          .handler = handle_activate,
          .is_new_work = true },
        {},
};
