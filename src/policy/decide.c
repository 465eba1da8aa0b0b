/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "policy/judge.h"

/* More differences than anybody reads, and little enough memory for a node that makes us find them at each boot. */
enum { DIFFERENCES_MAX = 512 };

static bool pcr_matches(const struct policy_set *set, const struct pcr_bank *bank, unsigned pcr) {
        size_t size = pcr_alg_size(set->bank);

        if (!bank || !(bank->mask & (1U << pcr)))
                return false;
        if (set->zero & (1U << pcr))
                return pcr >= 8 && value_is(bank->values[pcr], size, 0);

        /* docs/protocol.md, 5.9: whatever a set says, a value that nobody measured is allowed by name alone. */
        return !value_is(bank->values[pcr], size, 0) && !value_is(bank->values[pcr], size, 0xff) &&
               memcmp(bank->values[pcr], set->values[pcr], size) == 0;
}

static unsigned count_differences(const struct policy_set *set, const struct pcr_bank *bank) {
        unsigned n = 0;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (set->mask & (1U << pcr) && !pcr_matches(set, bank, pcr))
                        n++;
        return n;
}

static void describe_difference(const struct policy_set *set, const struct pcr_bank *bank, unsigned pcr,
                                struct policy_difference *ret) {
        size_t size = pcr_alg_size(set->bank);

        *ret = (struct policy_difference){ .set = set->name, .pcr = pcr };

        if (set->zero & (1U << pcr))
                (void) snprintf(ret->expected, sizeof(ret->expected), "zero");
        else
                hex_write(set->values[pcr], size, ret->expected);

        if (!bank || !(bank->mask & (1U << pcr)))
                (void) snprintf(ret->got, sizeof(ret->got), "missing");
        else if (value_is(bank->values[pcr], size, 0))
                (void) snprintf(ret->got, sizeof(ret->got), "zero");
        else
                hex_write(bank->values[pcr], size, ret->got);
}

/* The values that a set is held against. The firmware may never have extended another bank than the node's: what is in one that
 * nobody measured into, whoever starts the machine puts there. */
static const struct pcr_bank *bank_for(const struct policy_set *set, const struct policy_input *input) {
        return set->bank == input->bank && input->pcrs ? pcr_values_bank(input->pcrs, set->bank) : NULL;
}

struct rank {
        unsigned differences;
        size_t index;
};

static int compare_ranks(const void *a, const void *b) {
        const struct rank *x = a, *y = b;

        if (x->differences != y->differences)
                return x->differences < y->differences ? -1 : 1;
        return x->index < y->index ? -1 : x->index > y->index;
}

/* Nearest set first, so that the operator sees what changed before what belongs to another machine. */
static int list_differences(const struct policy *policy, const struct policy_input *input, struct rank *ranks,
                            struct policy_decision *decision) {
        size_t total = 0, n = 0;

        for (size_t i = 0; i < policy->n; i++)
                total += ranks[i].differences;
        total = MIN(total, (size_t) DIFFERENCES_MAX);

        decision->differences = calloc(MAX(total, 1U), sizeof(*decision->differences));
        if (!decision->differences)
                return -ENOMEM;

        qsort(ranks, policy->n, sizeof(*ranks), compare_ranks);
        for (size_t i = 0; i < policy->n; i++) {
                const struct policy_set *set = policy->sets + ranks[i].index;
                const struct pcr_bank *bank = bank_for(set, input);

                for (unsigned pcr = 0; pcr < WIRE_PCRS && n < total; pcr++)
                        if (set->mask & (1U << pcr) && !pcr_matches(set, bank, pcr))
                                describe_difference(set, bank, pcr, decision->differences + n++);
        }
        decision->n = n;
        return 0;
}

/* The first set that matches whole; without one, what differs. */
static int decide_sets(const struct policy *policy, const struct policy_input *input, struct policy_decision *decision) {
        _cleanup_(freep) struct rank *ranks = calloc(MAX(policy->n, 1U), sizeof(*ranks));

        if (!ranks)
                return -ENOMEM;

        for (size_t i = 0; i < policy->n; i++) {
                const struct policy_set *set = policy->sets + i;

                ranks[i] = (struct rank){ count_differences(set, bank_for(set, input)), i };
                if (policy_set_counts(policy, set) && ranks[i].differences == 0) {
                        decision->set = set->name;
                        return 0;
                }
        }

        return list_differences(policy, input, ranks, decision);
}

/* A token has no PCRs and no logs: what it is judged by is that the policy takes tokens at all, and where it asks from. */
static int decide_rules(const struct policy *policy, const struct policy_input *input, struct policy_decision *decision) {
        struct judgement judgement = { .policy = policy, .input = input };

        if (policy->rules && !input->token) {
                judge_firmware(&judgement);
                judge_ima(&judgement);
        }
        judge_release(&judgement);

        decision->findings = judgement.findings;
        decision->n_findings = judgement.n;
        decision->rules_hold = !judgement.failed;
        return judgement.out_of_memory ? -ENOMEM : 0;
}

int policy_decide(const struct policy *policy, const struct policy_input *input, struct policy_decision *ret) {
        struct policy_decision decision = {};
        int r;

        r = decide_rules(policy, input, &decision);
        if (r >= 0 && !input->token)
                r = decide_sets(policy, input, &decision);
        if (r < 0) {
                policy_decision_done(&decision);
                return r;
        }

        decision.allowed = decision.rules_hold && (input->token || !policy_allows_nothing(policy)) &&
                           (input->token || policy->n == 0 || decision.set);
        *ret = decision;
        return 0;
}

void policy_decision_done(struct policy_decision *decision) {
        free(decision->differences);
        free(decision->findings);
        *decision = (struct policy_decision){};
}
