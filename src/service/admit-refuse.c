/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/admit.h"
#include "service/limiter.h"

enum { CLOCK_SKEW_MS = 5 * 60 * 1000 }; /* more and a nonce of one process is stale at another */

json_t *admit_detail(const struct admission *a) {
        if (node_has_token(&a->node)) /* which counts no boots */
                return json_pack("{s:s, s:s}", "purpose", purpose_to_string(a->evidence.purpose), "evidence", "token");
        return json_pack("{s:s, s:{s:I, s:I}}", "purpose", purpose_to_string(a->evidence.purpose), "boot", "reset",
                         (json_int_t) a->verdict.boot.reset, "restart", (json_int_t) a->verdict.boot.restart);
}

int admit_refuse(struct admission *a, const char *problem, const char *title) {
        json_decref(a->refusal.detail);
        a->refusal.problem = problem;
        a->refusal.title = title;
        a->refusal.detail = admit_detail(a);
        if (!a->refusal.detail)
                return -ENOMEM;

        return json_object_set_new(a->refusal.detail, "problem", json_string(problem)) < 0 ? -ENOMEM : 0;
}

/* Only values of the pinned bank inside the verified selection. */
void admit_hold(struct admission *a, json_t *differences, json_t *findings) {
        struct held *held = &a->refusal.held;
        const struct pcr_bank *bank = pcr_values_bank(&a->evidence.pcrs, a->node.bank);

        held_done(held);
        held->bank = a->node.bank;
        held->differences = differences;
        held->findings = findings;
        if (bank && a->verdict.fault == EVIDENCE_OK) {
                held->pcrs.banks[0] = *bank;
                held->pcrs.n = 1;
        }
        a->refusal.hold = true;
}

int admit_use_nonce(struct admission *a, struct store_txn *txn) {
        int r;

        r = nonce_use(txn, a->evidence.nonce[a->scope.party], a->ttl_ms, a->now);
        return r == -EEXIST ? -ESTALE : r;
}

/* Also takes over what a release changes without a new revision (the boot row), so that saving the node puts back nothing old. */
int admit_recheck(struct admission *a, struct store_txn *txn) {
        struct node node;
        int64_t revision;
        int r;

        r = node_load(txn, a->id, &node);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == -ENOENT && a->known)
                return -EAGAIN;
        if (r == 0) {
                revision = a->node.revision;
                node_done(&a->node);
                a->node = node;
                if (!a->known || revision != node.revision)
                        return -EAGAIN;
        }

        r = query_int(txn, "SELECT revision FROM groups WHERE name = $1", STORE_ARGS(store_text(a->group.name)), &revision);
        if (r < 0)
                return r;
        return revision == a->group.revision ? 0 : -EAGAIN;
}

int admit_keep_held(struct admission *a, struct store_txn *txn, const char *reason) {
        struct held *held = &a->refusal.held;

        (void) snprintf(held->reason, sizeof(held->reason), "%s", reason);
        (void) snprintf(held->incident, sizeof(held->incident), "%s", a->call->request->incident);
        held->time = (int64_t) (a->now / 1000);
        held->boot = a->verdict.boot;
        if (held->bank == 0)
                held->bank = a->node.bank;
        return held_store(txn, a->id, held);
}

static int remember_boot(struct admission *a, struct store_txn *txn) {
        return store_exec(txn, "UPDATE nodes SET refused_reset = $1, refused_restart = $2 WHERE id = $3",
                          STORE_ARGS(store_int(a->verdict.boot.reset), store_int(a->verdict.boot.restart), store_text(a->id)),
                          NULL);
}

/* The node may have been seen elsewhere, or an operator may have spoken, since that was decided: then the next try decides
 * anew. */
static int suspend_absent(struct admission *a, struct store_txn *txn) {
        int64_t changes;
        int r;

        r = store_exec(txn, "UPDATE nodes SET state = $1, revision = revision + 1 WHERE id = $2 AND revision = $3 AND seen = $4",
                       STORE_ARGS(store_text(node_state_to_string(NODE_SUSPENDED)), store_text(a->id),
                                  store_int(a->node.revision), store_int(a->node.seen)),
                       &changes);
        if (r < 0)
                return r;
        if (changes == 0)
                return -EAGAIN;

        log_notice("Node %s: not seen for longer than the policy allows, suspended.", a->id);
        return party_audit(txn, a->call, "suspend", a->id,
                           json_pack("{s:s, s:I, s:I}", "reason", "max-absence", "seen", (json_int_t) a->node.seen, "allowed",
                                     (json_int_t) a->policy.release.max_absence));
}

int admit_record_refusal(struct admission *a, struct store_txn *txn) {
        int64_t one;
        int r;

        if (a->refusal.absent) {
                r = suspend_absent(a, txn);
                if (r < 0)
                        return r;
        }

        r = query_int(txn, "SELECT 1 FROM nodes WHERE id = $1", STORE_ARGS(store_text(a->id)), &one);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == 0 && (a->refusal.hold || a->refusal.rolled_back)) {
                r = admit_keep_held(a, txn, a->refusal.problem);
                if (r >= 0 && a->refusal.rolled_back)
                        r = remember_boot(a, txn);
                if (r < 0)
                        return r;
        }

        return party_audit(txn, a->call, "refusal", a->id, json_incref(a->refusal.detail));
}

static int refuse_txn(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        r = admit_use_nonce(a, txn);
        if (r < 0)
                return r;
        return admit_record_refusal(a, txn);
}

int admit_rate(struct admission *a, struct http_response *response) {
        response->retry_after = limiter_count(a->party->limiter, "proven", a->id);
        if (response->retry_after == 0)
                return 0;

        if (service_may_log(a->call, "proven"))
                log_info("Node %s, incident %s: asks too often, it has to wait %u s.", a->id, a->call->request->incident,
                         response->retry_after);
        service_problem(a->call, response, "rate-limited", "This node asks too often.");
        return -ECANCELED;
}

int admit_written(struct admission *a, int r, struct http_response *response) {
        if (r == -ESTALE) {
                if (service_may_log(a->call, "nonce"))
                        log_info("Node %s, incident %s: a nonce that was used before.", a->id, a->call->request->incident);
                service_problem(a->call, response, "stale-nonce", "The nonce was used before.");
                return -ECANCELED;
        }
        if (r < 0 || !a->refusal.problem)
                return r;

        service_recorded(a->call);
        response->retry_after = a->refusal.retry_after;
        log_info("Node %s, incident %s: refused, %s.", a->id, a->call->request->incident, a->refusal.problem);
        service_problem(a->call, response, a->refusal.problem, "%s", a->refusal.title);
        return -ECANCELED;
}

int admit_write(struct admission *a, store_fn txn, void *userdata, struct http_response *response) {
        int r;

        r = admit_rate(a, response);
        return r < 0 ? r : admit_written(a, store_write(a->party->service->store, txn, userdata), response);
}

int admit_answer_refusal(struct admission *a, struct http_response *response) {
        int r;

        r = admit_write(a, refuse_txn, a, response);
        return r == -ECANCELED ? 0 : r;
}

int admit_require_state(struct admission *a) {
        switch (a->node.state) {
        case NODE_APPROVED:
                return 0;
        case NODE_PENDING:
                return admit_refuse(a, "pending-approval", "This node waits for an operator's approval.");
        case NODE_SUSPENDED:
                return admit_refuse(a, "suspended", "This node was suspended by an operator.");
        default:
                return admit_refuse(a, "revoked", "This node was revoked.");
        }
}

/* The window is the policy's: from the first release of the boot on. */
static bool in_window(const struct admission *a) {
        uint64_t window = a->policy.release.another_nk_window, began = (uint64_t) a->node.boot_time;

        return window > 0 && a->now >= began && (a->now - began) / 1000 < window;
}

/* Seconds until another NK of a node with a token is answered. Where this clock is behind the one that wrote the row, that was
 * just now: two processes on one store may differ. Further behind, it was set back, and keeps nobody out. */
static unsigned token_wait(const struct admission *a) {
        uint64_t began = (uint64_t) a->node.boot_time, interval = a->policy.release.token_interval * 1000;
        uint64_t passed = a->now >= began ? a->now - began : began - a->now <= CLOCK_SKEW_MS ? 0 : interval;

        return a->node.has_nk && passed < interval ? (unsigned) ((interval - passed + 999) / 1000) : 0;
}

/* A token counts no boots, so nothing says that an NK is of another boot. What it cannot be used for is answers one after the
 * other: whoever holds it for a moment gets one, and the log shows it. */
static int token_row(struct admission *a) {
        struct node *node = &a->node;
        bool same_nk = node->has_nk && bytes_equal_ct(node->nk, a->nk_digest, sizeof(node->nk));
        unsigned wait = same_nk ? 0 : token_wait(a);
        int r;

        a->row = (struct boot_row){ .first = !same_nk, .repeat = same_nk };
        if (wait > 0) {
                r = admit_refuse(a, "rate-limited", "Another key of this node was answered a moment ago.");
                a->refusal.retry_after = wait;
                return r < 0 ? r : json_object_set_new(a->refusal.detail, "why", json_string("token-interval"));
        }
        if (!same_nk) {
                node->boots++;
                node->boot_time = (int64_t) a->now;
                memcpy(node->nk, a->nk_digest, sizeof(node->nk));
                node->has_nk = true;
        }
        return 0;
}

static int tpm_row(struct admission *a) {
        struct node *node = &a->node;
        int order = node->has_boot ? boot_counters_compare(a->verdict.boot, node->boot) : 1;
        bool same_nk = node->has_nk && bytes_equal_ct(node->nk, a->nk_digest, sizeof(node->nk));

        a->row = (struct boot_row){};
        if (order < 0) {
                a->refusal.rolled_back = true;
                return admit_refuse(a, "rolled-back",
                                    "The boot counters are lower than seen before; an operator can accept that.");
        }
        if (order == 0 && node->has_nk && !same_nk && !in_window(a))
                return admit_refuse(a, "another-nk", "This boot has had its answer under another key.");

        a->row.first = order > 0 || !node->has_nk;
        a->row.repeat = !a->row.first && same_nk;
        a->row.another_nk = !a->row.first && !same_nk;
        if (order > 0)
                node->boots++;
        if (a->row.first)
                node->boot_time = (int64_t) a->now;
        if (!a->row.repeat)
                node->pardoned = false;
        node->boot = a->verdict.boot;
        memcpy(node->nk, a->nk_digest, sizeof(node->nk));
        node->has_boot = node->has_nk = true;
        return 0;
}

int admit_boot_row(struct admission *a) {
        return node_has_token(&a->node) ? token_row(a) : tpm_row(a);
}
