/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "service/admit.h"

/* 10 of docs/protocol.md, 5: the node's state, then the group's policy. */

void decision_done(struct decision *decision) {
        json_decref(decision->differences);
        json_decref(decision->findings);
        *decision = (struct decision){};
}

/* Not seen for so long that nobody knows where it was. An operator's word counts as seen. */
static bool is_absent(const struct admission *a) {
        const struct node *node = &a->node;
        int64_t last = MAX(MAX(node->seen, node->registered), node->welcomed), now = (int64_t) (a->now / 1000);

        return a->policy.release.max_absence > 0 && now > last && (uint64_t) (now - last) > a->policy.release.max_absence;
}

static int refuse_absent(struct admission *a) {
        int r;

        r = admit_refuse(a, "suspended", "This node was not seen for too long; an operator can resume it.");
        if (r < 0)
                return r;
        a->refusal.absent = true;
        return json_object_set_new(a->refusal.detail, "why", json_string("max-absence")) < 0 ? -ENOMEM : 0;
}

bool decide_is_pardoned(const struct admission *a) {
        const struct node *node = &a->node;
        int order = node->has_boot ? boot_counters_compare(a->verdict.boot, node->boot) : 1;

        if (order == 0 && node->has_nk)
                return node->pardoned && bytes_equal_ct(node->nk, a->nk_digest, sizeof(node->nk));
        return a->evidence.purpose == PURPOSE_BOOT && node->next_boot > (int64_t) (a->now / 1000);
}

static bool rule_failed(const struct policy_decision *decision, const char *section) {
        for (size_t i = 0; i < decision->n_findings; i++)
                if (!decision->findings[i].passed && strncmp(decision->findings[i].rule, section, strlen(section)) == 0)
                        return true;

        return false;
}

/* Rules on the release are of where and when, not of what was booted: no word of an operator on the next boot's values changes
 * them. */
static bool release_rule_failed(const struct policy_decision *decision) {
        return rule_failed(decision, "[release]");
}

/* Those that no change of the policy's words on evidence would have helped. */
static bool place_failed(const struct policy_decision *decision) {
        return rule_failed(decision, "[release] networks");
}

static int words(const struct policy_decision *decision, struct decision *ret) {
        ret->differences = differences_object(decision);
        ret->findings = findings_object(decision);
        return ret->differences && ret->findings ? 0 : -ENOMEM;
}

/* Nobody has said yet what this node may boot. Sets and rules on firmware are not for tokens, so for these their lack says
 * nothing. */
static bool waits_for_policy(const struct admission *a) {
        bool none = node_has_token(&a->node) ? a->group.policy_version == 0 : policy_allows_nothing(&a->policy);

        return none || a->node.boots == 0;
}

/* Not allowed: held for an operator, who sees what differs and which rules failed. */
static int refuse(struct admission *a, const struct policy_decision *decision) {
        json_t *detail;
        int r;

        if (waits_for_policy(a) && !place_failed(decision))
                r = admit_refuse(a, "pending-policy", "No policy allows this boot yet; an operator can look at it.");
        else
                r = admit_refuse(a, "policy-refused", "The policy does not allow this boot.");
        if (r >= 0)
                r = words(decision, &a->decision);
        if (r < 0)
                return r;

        admit_hold(a, json_incref(a->decision.differences), json_incref(a->decision.findings));
        detail = a->refusal.detail;
        if (json_object_set(detail, "differences", a->decision.differences) < 0 ||
            json_object_set(detail, "rules", a->decision.findings) < 0 ||
            (a->logs.why[0] && json_object_set_new(detail, "log", json_string(a->logs.why)) < 0))
                return -ENOMEM;
        return 0;
}

/* A node's first boot, in a group that accepts it unseen: a set of its values joins the policy. Values that no policy can have,
 * or one set too many, are refused like any boot that does not match. */
static int capture_unseen(struct admission *a) {
        _cleanup_(policy_done) struct policy policy = {};
        char *name = a->decision.captured, error[256];
        size_t size = sizeof(a->decision.captured);
        int r;

        if (a->policy.text) {
                r = policy_parse(a->policy.text, strlen(a->policy.text), &policy, error, sizeof(error));
                if (r < 0)
                        return r;
        }

        (void) snprintf(name, size, "first-boot-%.12s", a->id);
        r = policy_capture(&policy, name, &a->evidence.pcrs, a->node.bank, a->group.gate);
        if (r == -EEXIST) { /* the same machine, enrolled again */
                (void) snprintf(name, size, "first-boot-%.12s-%llu", a->id, (unsigned long long) a->now);
                r = policy_capture(&policy, name, &a->evidence.pcrs, a->node.bank, a->group.gate);
        }
        if (r < 0)
                return r;

        a->policy = a->policy_taken = policy;
        policy = (struct policy){};
        return 0;
}

static bool captures_unseen(struct admission *a) {
        if (!a->group.accept_first_boot || a->node.boots > 0 || a->evidence.purpose != PURPOSE_BOOT)
                return false;
        if (capture_unseen(a) >= 0)
                return true;

        a->decision.captured[0] = '\0';
        return false;
}

static int policy_says(struct admission *a, struct policy_decision *ret) {
        const struct policy_input input = {
                .pcrs = &a->evidence.pcrs,
                .bank = a->node.bank,
                .facts = a->logs.has_facts ? &a->logs.facts : NULL,
                .ima = a->logs.has_ima ? &a->logs.ima : NULL,
                .ima_aggregate_right = a->logs.aggregate_right,
                .address = a->call->request->peer.address,
                .token = node_has_token(&a->node),
        };

        return policy_decide(&a->policy, &input, ret);
}

/* What another node's log says of these values is no reason to refuse: this node's own is asked for. */
static bool known_log_refuses(const struct admission *a, const struct policy_decision *decision) {
        return a->logs.is_known && rule_failed(decision, "[firmware]");
}

/* Before a list is asked for: whether to ask for the other log in the same breath. */
static int doubt_known_log(struct admission *a) {
        struct policy_decision decision = {};
        int r;

        r = policy_says(a, &decision);
        if (r < 0)
                return r;
        a->logs.want_firmware = known_log_refuses(a, &decision);
        policy_decision_done(&decision);
        return 0;
}

static int judge(struct admission *a, struct http_response *response) {
        struct policy_decision decision = {};
        int r;

        r = policy_says(a, &decision);
        if (r < 0)
                return r;

        a->decision.allowed = decision.allowed;
        if (decision.set)
                (void) snprintf(a->decision.set, sizeof(a->decision.set), "%s", decision.set);
        if (!decision.allowed && decision.rules_hold && captures_unseen(a)) {
                (void) snprintf(a->decision.set, sizeof(a->decision.set), "%s", a->decision.captured);
                a->decision.allowed = true;
        } else if (!decision.allowed && decide_is_pardoned(a) && !release_rule_failed(&decision)) {
                a->decision.pardoned = true;
                r = words(&decision, &a->decision);
        } else if (!decision.allowed && known_log_refuses(a, &decision)) {
                a->logs.want_firmware = true;
                r = a->logs.given ? admit_refuse(a, "stale-nonce", "What is asked for has changed.") : logs_ask(a, response);
        } else if (!decision.allowed)
                r = refuse(a, &decision);
        policy_decision_done(&decision);
        return r;
}

/* The policy was changed since the node was asked for logs, or its other request has moved the list on. */
static bool asked_for_other_logs(const struct admission *a) {
        const struct boot_logs *logs = &a->logs;
        struct nonce nonce;

        if (!logs->given)
                return false;
        nonce_decode(a->evidence.nonce[a->scope.party], &nonce);
        if (policy_log_pcrs(&a->policy) != 0 && !logs->has_facts && logs->parts.firmware.size == 0)
                return a->group.changed > 0 && (uint64_t) a->group.changed >= nonce.time;
        return policy_wants_ima(&a->policy) && !logs->has_ima && logs->moved >= nonce.time;
}

int decide(struct admission *a, struct http_response *response) {
        int r;

        decision_done(&a->decision);
        r = admit_require_state(a);
        if (r < 0 || a->refusal.problem)
                return r;
        if (is_absent(a))
                return refuse_absent(a);

        if (node_has_token(&a->node)) /* nothing was measured, so no log says more */
                return judge(a, response);

        r = logs_collect(a);
        if (r >= 0 && a->logs.want_ima && a->logs.is_known)
                r = doubt_known_log(a);
        if (r < 0)
                return r;
        if ((a->logs.want_firmware || a->logs.want_ima) && !decide_is_pardoned(a))
                return logs_ask(a, response);
        if (asked_for_other_logs(a))
                return admit_refuse(a, "stale-nonce", "What is asked for has changed.");
        return judge(a, response);
}
