/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "policy/policy.h"
#include "policy/replace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decide(const struct policy *policy, const struct policy_input *input) {
        struct policy_decision decision;

        if (policy_decide(policy, input, &decision) < 0)
                abort();
        if (decision.allowed && (!decision.rules_hold || (!input->token && policy_allows_nothing(policy))))
                abort();
        policy_decision_done(&decision);
}

/* A boot that never changes, so that paths and command lines are tried on whatever patterns there are. */
static void decide_all(const struct policy *policy) {
        static struct fact_digest digests[] = { { .name = "x509", .size = 32 }, { .name = ".cmdline", .size = 32 } };
        static struct fact_text line = { 12, (char *) "root=/dev/sda ro quiet" };
        static struct ima_entry entries[] = { { .path = "boot_aggregate", .size = 32, .alg = 0x0b },
                                              { .path = "/usr/lib/x/a.so", .size = 32, .alg = 0x0b } };
        static const struct ima_facts ima = { .entries = entries, .n = 2, .has_aggregate = true };
        static const struct boot_facts facts = { .bank = 0x0b,
                                                 .proven = 0xffffff,
                                                 .secure_boot = 1,
                                                 .applications = { digests, 2 },
                                                 .db = { digests, 2 },
                                                 .sections = { digests, 2 },
                                                 .command_lines = &line,
                                                 .n_command_lines = 1 };
        static const struct pcr_values pcrs = { .n = 1, .banks[0] = { .alg = 0x0b, .mask = 0xffffff } };

        decide(policy, &(struct policy_input){ .pcrs = &pcrs, .bank = 0x0b });
        decide(policy, &(struct policy_input){ .token = true, .address = "192.0.2.1" });
        decide(policy, &(struct policy_input){ .pcrs = &pcrs, .bank = 0x0b, .facts = &facts, .ima = &ima, .address = "::1" });
}

/* What is kept of one beside another is a policy, and so is what is left when it is dropped: the other one. */
static void replace(const struct policy *old, const struct policy *next) {
        struct policy both, left;
        char error[256] = "", *text, *rest;
        size_t kept;

        if (policy_apply(old, next, &text, &kept, error, sizeof(error)) < 0)
                return;
        if (strlen(text) <= POLICY_TEXT_MAX && old->n + next->n <= 256) {
                if (policy_parse(text, strlen(text), &both, error, sizeof(error)) < 0 || both.n < next->n ||
                    (kept > 0 && !policy_has_replaced(&both)) || policy_retire(&both, &rest) < 0)
                        abort();
                if (!policy_has_replaced(next)) {
                        if (policy_parse(rest, strlen(rest), &left, error, sizeof(error)) < 0 || left.n != next->n ||
                            policy_log_pcrs(&left) != policy_log_pcrs(next))
                                abort();
                        policy_done(&left);
                }
                free(rest);
                policy_done(&both);
        }
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct policy policy, again = {};
        char error[256] = "", *text;

        if (policy_parse((const char *) data, size, &policy, error, sizeof(error)) < 0) {
                if (!error[0])
                        abort();
                return 0;
        }

        text = policy_format(&policy);
        if (!text || policy_parse(text, strlen(text), &again, error, sizeof(error)) < 0 || again.n != policy.n ||
            (policy.n > 0 && memcmp(again.sets, policy.sets, policy.n * sizeof(*policy.sets)) != 0))
                abort();
        free(policy_uncovered(&policy));
        decide_all(&policy);
        policy_done(&again);
        again = (struct policy){};
        replace(&policy, &again);
        /* the first half beside the whole */
        if (policy_parse(text, strlen(text) / 2, &again, error, sizeof(error)) >= 0) {
                replace(&again, &policy);
                replace(&policy, &again);
                policy_done(&again);
        }
        free(text);
        policy_done(&policy);
        return 0;
}
