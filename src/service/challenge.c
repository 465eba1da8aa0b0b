/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "service/admit.h"
#include "service/limiter.h"
#include "service/space.h"

struct challenge {
        const char *id;
        struct node node;
        struct group group;
        struct party_service *party;
        struct policy_ref *policy;
        bool known;
};

static void challenge_done(struct challenge *challenge) {
        node_done(&challenge->node);
        policy_unref(challenge->policy);
}

static int challenge_read(struct store_txn *txn, void *userdata) {
        struct challenge *challenge = userdata;
        int r;

        r = node_load(txn, challenge->id, &challenge->node);
        if (r < 0 && r != -ENOENT)
                return r;
        challenge->known = r == 0;

        r = group_load(txn, challenge->known ? challenge->node.group : "default", &challenge->group);
        if (r < 0)
                return r;
        return policy_cache_load(challenge->party->policies, txn, &challenge->group, &challenge->policy);
}

/* The credential of an enrollment: only the TPM that has this EK and this AK can give its secret back. */
static int make_credential(struct party_service *party, const struct nonce_scope *scope, const struct node *node,
                           struct wire_challenge *answer) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        uint8_t name[34] = { 0x00, 0x0b };
        int r;

        r = credential_secret_of_nonce(party->service->keystore, scope, answer->nonce, &secret);
        if (r < 0)
                return r;
        r = tpmt_name_digest(node->ak_public.data, node->ak_public.size, name + 2);
        if (r < 0)
                return r;

        answer->has_credential = true;
        return credential_make(node->ek_public.data, node->ek_public.size, name, secret->data, secret->size,
                               &answer->credential.id_object, &answer->credential.secret);
}

static int make_challenge(struct party_service *party, const struct nonce_scope *scope, const struct challenge *challenge,
                          struct wire_challenge *answer) {
        static const struct policy none = {};
        int r;

        answer->ttl = party->service->config.nonce_ttl;
        answer->bank = challenge->known ? challenge->node.bank : challenge->group.bank;
        answer->pcrs = group_pcrs(&challenge->group, policy_ref_get(challenge->policy) ?: &none, answer->bank, scope->purpose);
        answer->gate = (uint8_t) challenge->group.gate;

        r = nonce_new(party->service->keystore, scope, clock_realtime_ms(), answer->nonce);
        if (r < 0 || scope->purpose != PURPOSE_ENROLL || node_has_token(&challenge->node))
                return r;
        return make_credential(party, scope, &challenge->node, answer);
}

/* A node that is not known here: the registrar is asked, and what it says is checked. Nothing is stored. */
static int find_new(const struct service_call *call, struct challenge *challenge, struct http_response *response) {
        struct party_service *party = call_party(call);
        int r;

        response->retry_after = limiter_count(party->limiter, call->request->peer.address, challenge->id);
        if (response->retry_after > 0) {
                service_problem(call, response, "rate-limited", "Too many requests for this node.");
                return -ECANCELED;
        }

        r = registrar_read(party, challenge->id, call->request->incident, &challenge->node);
        if (r >= 0)
                return 0;

        registrar_problem(call, response, r);
        return -ECANCELED;
}

void challenge_post(const struct service_call *call, struct http_response *response) {
        struct party_service *party = call_party(call);
        _cleanup_(challenge_done) struct challenge challenge = { .id = service_parameter(call, "id"), .party = party };
        _cleanup_(wire_challenge_done) struct wire_challenge answer = {};
        struct nonce_scope scope = { .party = party->definition->party, .node_id = challenge.id };
        int r;

        r = wire_challenge_request_parse((const char *) call->request->body, call->request->body_size, &scope.purpose);
        if (r < 0) {
                service_problem(call, response, "malformed", "The body is not a request for a challenge.");
                return;
        }

        if (scope.purpose == PURPOSE_ENROLL && service_refuses_new_work(call, response))
                return;

        r = store_read(call->service->store, challenge_read, &challenge);
        if (r < 0) {
                service_failure(call, response, r);
                return;
        }

        if (!challenge.known && scope.purpose != PURPOSE_ENROLL) {
                service_problem(call, response, "unknown-node", "This node is not enrolled here.");
                return;
        }
        if (!challenge.known && find_new(call, &challenge, response) < 0)
                return;

        r = make_challenge(party, &scope, &challenge, &answer);
        if (r < 0)
                service_failure(call, response, r);
        else
                service_text(response, 200, wire_challenge_encode(&answer));
}
