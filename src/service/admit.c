/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/admit.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/ek-nodes.h"
#include "service/hold.h"
#include "service/limiter.h"
#include "service/space.h"

void admit_again(struct admission *a) {
        node_done(&a->node);
        policy_done(&a->policy_taken);
        a->policy_taken = a->policy = (struct policy){};
        a->policy_ref = policy_unref(a->policy_ref);
        json_decref(a->refusal.detail);
        held_done(&a->refusal.held);
        a->refusal = (struct refusal){};
        generations_done(&a->generations);
        if (a->halves)
                halves_free(a->halves);
        a->halves = NULL;
        wire_details_done(&a->details);
        boot_logs_done(&a->logs);
        decision_done(&a->decision);
        a->row = (struct boot_row){};
        a->known = false;
}

void admission_done(struct admission *a) {
        admit_again(a);
        wire_evidence_done(&a->evidence);
        wire_confirm_body_done(&a->confirm);
        a->credential = secret_free(a->credential);
}

static int parse_body(struct admission *a) {
        const struct blob *body = &a->evidence.body;

        switch (a->evidence.purpose) {
        case PURPOSE_ENROLL:
                return wire_enroll_body_parse(body->data, body->size, &a->enroll);
        case PURPOSE_ROTATE:
                return wire_rotate_body_parse(body->data, body->size, &a->rotate);
        case PURPOSE_CONFIRM:
                return wire_confirm_body_parse(body->data, body->size, &a->confirm);
        default:
                return 0;
        }
}

static int parse_request(struct admission *a, const struct wire_span *text) {
        int r;

        if (text->size > WIRE_REQUEST_MAX)
                return -EBADMSG;
        r = wire_evidence_parse((const char *) text->data, text->size, &a->evidence);
        if (r < 0)
                return r;
        return parse_body(a);
}

/* Of the TPMS_ATTEST, or of what a token signed: what is sealed is bound to it. */
static int evidence_digest(struct admission *a) {
        const uint8_t *nk = a->evidence.has_nk ? a->evidence.nk : NULL;
        _cleanup_(blob_done) struct blob message = {};
        int r;

        if (a->evidence.token_signature.size == 0)
                return sha256(a->evidence.attest.data, a->evidence.attest.size, a->attest_digest);
        r = wire_token_evidence_message(a->id, a->evidence.purpose, nk, a->evidence.nonce, &a->evidence.body, &message);
        return r < 0 ? r : sha256(message.data, message.size, a->attest_digest);
}

static int digests(struct admission *a) {
        int r;

        r = evidence_digest(a);
        if (r < 0 || !a->evidence.has_nk)
                return r;
        return sha256(a->evidence.nk, sizeof(a->evidence.nk), a->nk_digest);
}

int admit_begin(struct admission *a, const struct service_call *call, const struct wire_span *text, uint64_t late_ms,
                struct http_response *response) {
        struct party_service *party = call_party(call);
        int r;

        a->call = call;
        a->party = party;
        a->id = service_parameter(call, "id");
        a->now = clock_realtime_ms();
        a->ttl_ms = (uint64_t) party->service->config.nonce_ttl * 1000;

        r = parse_request(a, text);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                service_problem(call, response, "malformed", "The body is not evidence.");
                return -ECANCELED;
        }

        a->scope = (struct nonce_scope){ party->definition->party, a->id, a->evidence.purpose };
        r = nonce_check(party->service->keystore, a->evidence.nonce[a->scope.party], &a->scope, a->now, a->ttl_ms + late_ms);
        if (r == -EKEYREJECTED || r == -ESTALE) {
                service_problem(call, response, "stale-nonce", "The nonce is too old, or not one for this node and purpose.");
                return -ECANCELED;
        }
        if (r < 0)
                return r;
        if (hold_refuses(call, response))
                return -ECANCELED;

        if (a->evidence.purpose == PURPOSE_ENROLL) {
                if (service_refuses_new_work(call, response))
                        return -ECANCELED;
                r = credential_secret_of_nonce(party->service->keystore, &a->scope, a->evidence.nonce[a->scope.party],
                                               &a->credential);
                if (r < 0)
                        return r;
        }
        return digests(a);
}

static int read_state(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        r = node_load(txn, a->id, &a->node);
        if (r < 0 && r != -ENOENT)
                return r;
        a->known = r == 0;
        r = a->known ? node_tpm_load(txn, a->id, &a->node.tpm) : 0;
        if (r < 0)
                return r;

        r = group_load(txn, a->known ? a->node.group : "default", &a->group);
        if (r < 0)
                return r;
        r = policy_cache_load(a->party->policies, txn, &a->group, &a->policy_ref);
        if (r >= 0 && a->policy_ref)
                a->policy = *policy_ref_get(a->policy_ref);
        return r;
}

/* 3: known here, or at the registrar and acceptable. */
static int find_node(struct admission *a, struct http_response *response) {
        int r;

        r = store_read(a->party->service->store, read_state, a);
        if (r < 0 || a->known)
                return r;

        if (a->evidence.purpose != PURPOSE_ENROLL) {
                service_problem(a->call, response, "unknown-node", "This node is not enrolled here.");
                return -ECANCELED;
        }

        r = registrar_read(a->party, a->id, a->call->request->incident, &a->node);
        if (r < 0) {
                registrar_problem(a->call, response, r);
                return -ECANCELED;
        }
        a->node.bank = a->group.bank;
        return 0;
}

/* Not proven: whoever sent this need not be the node. Counted by address, so that nobody shuts a node out in its name. */
static int answer_unproven(struct admission *a, struct http_response *response) {
        char from[160];

        (void) snprintf(from, sizeof(from), "%s %s", a->call->request->peer.address, a->id);
        response->retry_after = limiter_count(a->party->limiter, "unproven", from);
        if (service_may_log(a->call, "unproven"))
                log_info("Node %s, incident %s, from %s: evidence refused, %s.", a->id, a->call->request->incident,
                         a->call->request->peer.address,
                         a->verdict.fault == EVIDENCE_OK ? "credential" : evidence_fault_to_string(a->verdict.fault));

        if (response->retry_after > 0)
                service_problem(a->call, response, "rate-limited", "Too many requests for this node.");
        else if (a->known && a->node.state == NODE_REVOKED)
                service_problem(a->call, response, "revoked", "This node was revoked.");
        else
                service_problem(a->call, response, "bad-evidence", "The evidence is not accepted.");
        return -ECANCELED;
}

/* A policy that was changed between challenge and answer asks for other PCRs: the node's evidence is not bad, only late. */
static bool asked_for_less(const struct admission *a) {
        struct nonce nonce;

        nonce_decode(a->evidence.nonce[a->scope.party], &nonce);
        return a->verdict.fault == EVIDENCE_SELECTION && a->group.changed > 0 && (uint64_t) a->group.changed >= nonce.time;
}

static int refuse_fault(struct admission *a) {
        int r;

        if (a->verdict.fault == EVIDENCE_COUNTERS) {
                r = admit_refuse(a, "rolled-back", "The boot counters are lower than seen before; an operator can accept that.");
                a->refusal.rolled_back = true;
        } else if (a->verdict.fault == EVIDENCE_GATE)
                r = admit_refuse(a, "gate-closed", "The gate of this boot is closed.");
        else if (asked_for_less(a))
                r = admit_refuse(a, "stale-nonce", "What is asked for has changed.");
        else
                r = admit_refuse(a, "bad-evidence", "The evidence is not accepted.");
        if (r < 0)
                return r;

        return json_object_set_new(a->refusal.detail, "why", json_string(evidence_fault_to_string(a->verdict.fault)));
}

/* Purpose enroll: the answer to this party's own credential, which only the TPM with that EK could open. */
static int credential_is_right(const struct admission *a, bool *ret) {
        uint8_t proof[32];
        int r;

        r = credential_proof(a->credential, &a->scope, a->evidence.nonce[a->scope.party], a->attest_digest, proof);
        *ret = r >= 0 && bytes_equal_ct(proof, a->evidence.proof, sizeof(proof));
        return r;
}

static int check_credential(struct admission *a) {
        bool right;
        int r;

        r = credential_is_right(a, &right);
        if (r < 0 || right)
                return r;

        r = admit_refuse(a, "bad-evidence", "The evidence is not accepted.");
        return r < 0 ? r : json_object_set_new(a->refusal.detail, "why", json_string("credential"));
}

static int judge(struct admission *a) {
        struct evidence_expected expected = {
                .node_id = a->id,
                .ak_public = &a->node.ak_public,
                .token_public = &a->node.token_public,
                .bank = a->node.bank,
                .pcrs = group_pcrs(&a->group, &a->policy, a->node.bank, a->evidence.purpose),
                .gate = a->group.gate,
                .has_boot = a->node.has_boot,
                .boot = a->node.boot,
        };

        return evidence_verify(&a->evidence, &expected, &a->verdict);
}

/* ek-refuse: firmware that is known to be broken, once the TPM has said which one it runs. */
static int check_firmware(struct admission *a) {
        const struct node_tpm *tpm = &a->node.tpm;
        char why[224];
        int r;

        if (!service_firmware_refused(a->party->service, tpm->proof == EK_CERTIFIED ? &tpm->identity : NULL, a->verdict.firmware,
                                      why, sizeof(why)))
                return 0;
        r = admit_refuse(a, "policy-refused", "The firmware of this machine's TPM is refused here.");
        return r < 0 ? r : json_object_set_new(a->refusal.detail, "why", json_string(why));
}

/* ek-crl-recheck: its maker's word that came after the enrollment. */
static int check_certificates(struct admission *a) {
        char why[320];
        int r;

        if (!a->party->service->config.ek_recheck || !a->known)
                return 0;
        r = ek_node_revoked(a->party->service, a->id, a->node.ek_sha256, why, sizeof(why));
        if (r <= 0)
                return r;
        r = admit_refuse(a, "policy-refused", "The certificate of this machine's TPM was revoked by its maker.");
        return r < 0 ? r : json_object_set_new(a->refusal.detail, "why", json_string(why));
}

/* What a TPM alone shows of itself: that the EK's TPM has this AK, and which firmware it runs. */
static int check_tpm(struct admission *a) {
        int r = 0;

        if (a->evidence.purpose == PURPOSE_ENROLL)
                r = check_credential(a);
        if (r >= 0 && !a->refusal.problem)
                r = check_certificates(a);
        return r < 0 || a->refusal.problem ? r : check_firmware(a);
}

/* The AK of a node that is not known here is the registrar's word, and keys in software cost nothing: a quote by it proves
 * something once the TPM has opened the credential, and where nobody vouches for that TPM, once all is right. Else who lies there
 * fills the audit log. */
static int check_new(struct admission *a) {
        bool right;
        int r;

        if (a->known || node_has_token(&a->node))
                return 0;
        r = credential_is_right(a, &right);
        if (r >= 0 && (!right || (a->verdict.fault != EVIDENCE_OK && a->node.tpm.proof == EK_UNPROVEN)))
                a->verdict.proven = false;
        return r;
}

int admit_verify(struct admission *a, struct http_response *response) {
        int r;

        r = find_node(a, response);
        if (r < 0)
                return r;

        r = judge(a);
        if (r >= 0 && a->verdict.proven)
                r = check_new(a);
        if (r < 0)
                return r;
        if (!a->verdict.proven)
                return answer_unproven(a, response);

        /* Before anything else that is wrong with it: an operator looks for this word. */
        if (a->known && a->node.state == NODE_REVOKED)
                r = admit_refuse(a, "revoked", "This node was revoked.");
        else if (a->verdict.fault != EVIDENCE_OK)
                r = refuse_fault(a);
        else if (!node_has_token(&a->node))
                r = check_tpm(a);
        if (r < 0)
                return r;

        if (!a->refusal.problem)
                return 0;
        r = admit_answer_refusal(a, response);
        return r < 0 ? r : -ECANCELED;
}
