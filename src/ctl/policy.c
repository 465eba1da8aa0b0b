/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "ctl/group.h"
#include "ctl/policy-verbs.h"
#include "policy/policy.h"

void policy_warn_uncovered(const struct policy *policy) {
        _cleanup_(freep) char *uncovered = policy_uncovered(policy);

        if (policy_allows_nothing(policy) && policy->release.token_evidence)
                log_warning(
                        "No set and no [firmware] rule of this policy says what may boot: it allows nodes with a token, and no boot of a TPM.");
        else if (policy_allows_nothing(policy))
                log_warning("No set and no [firmware] rule of this policy says what may boot: it allows no boot at all.");
        if (uncovered && *uncovered)
                log_warning("Whoever can change what a policy leaves uncovered can have a half: %s.", uncovered);
}

/* What a party says of a policy in its answers, once where they say the same. */
static void policy_warn_group(const struct ctl_call *calls, size_t n) {
        const char *last = "";

        for (size_t i = 0; i < n; i++) {
                const char *warning = ctl_string(calls[i].answer, "warning");

                if (*warning && strcmp(warning, last) != 0)
                        log_warning("At the %s: %s.", server_names[calls[i].server], warning);
                if (*warning)
                        last = warning;
        }
}

int policy_read_file(const char *path, struct blob *ret) {
        _cleanup_(policy_done) struct policy policy = {};
        char error[256];
        int r;

        r = file_read(path, POLICY_TEXT_MAX, ret);
        if (r < 0)
                return log_error_errno(r, "%s: %m", path);
        r = policy_parse((char *) ret->data, ret->size, &policy, error, sizeof error);
        if (r < 0) {
                log_error("%s:%s", path, error);
                return r;
        }
        policy_warn_uncovered(&policy);
        return 0;
}

/* A write names the version that it replaces, so that of two operators one is told. Each party counts by itself. */
int policy_put(struct ctl *ctl, const char *group, const char *text, const int64_t versions[static 2]) {
        struct ctl_call writes[2] = { ctl_call(SERVER_VERIFIER, "PUT", "/v1/groups/%s/policy", group),
                                      ctl_call(SERVER_TENANT, "PUT", "/v1/groups/%s/policy", group) };
        json_t *bodies[2] = {};
        int r;

        for (int i = 0; i < 2; i++) {
                bodies[i] = json_pack("{s:s, s:I}", "text", text, "version", (json_int_t) versions[i]);
                writes[i].body = bodies[i];
        }
        r = ctl_perform(ctl, writes, 2) < 0 ? CTL_FAILURE : ctl_followed(writes, 2);
        if (ctl->json)
                ctl_print_answers(writes, 2);
        else if (r == CTL_OK)
                ctl_print_line("Group %s: policy version %lld at the tenant, %lld at the verifier.", group,
                               (long long) ctl_integer(writes[1].answer, "version"),
                               (long long) ctl_integer(writes[0].answer, "version"));
        policy_warn_group(writes, 2);
        for (int i = 0; i < 2; i++) {
                ctl_call_done(writes + i);
                json_decref(bodies[i]);
        }
        return r;
}

/* Whatever is there is replaced, also where the parties have different ones. */
static int replace_policy(struct ctl *ctl, const char *group, const char *text) {
        struct ctl_call reads[2] = { ctl_call(SERVER_VERIFIER, "GET", "/v1/groups/%s/policy", group),
                                     ctl_call(SERVER_TENANT, "GET", "/v1/groups/%s/policy", group) };
        int64_t versions[2];
        int r;

        if (ctl_perform(ctl, reads, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(reads, 2);
        for (int i = 0; i < 2; i++) {
                versions[i] = MAX(ctl_integer(reads[i].answer, "version"), 0);
                ctl_call_done(reads + i);
        }
        if (r == CTL_OK)
                return policy_put(ctl, group, text, versions);
        return r == CTL_NOT_FOLLOWED ? CTL_UNREACHED : r; /* nothing was written anywhere */
}

static int policy_set_verb(struct ctl *ctl, int argc, char *argv[]) {
        _cleanup_(blob_done) struct blob text = {};

        if (argc != 3 || !group_name_is_valid(argv[1]))
                return CTL_USAGE;
        if (policy_read_file(argv[2], &text) < 0)
                return CTL_FAILURE;
        return replace_policy(ctl, argv[1], (char *) text.data);
}

static void show_one(const struct ctl_call *call) {
        _cleanup_(policy_done) struct policy policy = {};
        const char *text = ctl_string(call->answer, "text");
        char error[256];

        printf("# %s, version %lld\n", server_names[call->server], (long long) ctl_integer(call->answer, "version"));
        if (policy_parse(text, strlen(text), &policy, error, sizeof error) < 0) {
                log_error("The %s sent a policy that does not parse: %s", server_names[call->server], error);
                return;
        }
        policy_warn_uncovered(&policy);
        ctl_print_text(text);
}

static int policy_show(struct ctl *ctl, int argc, char *argv[]) {
        int r;

        if (argc != 2 || !group_name_is_valid(argv[1]))
                return CTL_USAGE;
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/groups/%s/policy", argv[1]),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/groups/%s/policy", argv[1]) };
        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        bool same = strcmp(ctl_string(calls[0].answer, "text"), ctl_string(calls[1].answer, "text")) == 0;
        if (ctl->json)
                ctl_print_answers(calls, 2);
        else
                for (int i = 0; i < (same ? 1 : 2); i++)
                        if (calls[i].answer)
                                show_one(calls + i);
        policy_warn_group(calls, 2);
        r = ctl_followed(calls, 2);
        if (r == CTL_OK && same && !ctl->json)
                policy_advise_retire(ctl, argv[1], ctl_string(calls[0].answer, "text"));
        if (r == CTL_OK && !same) {
                log_error("Tenant and verifier have different policies for %s: set it again.", argv[1]);
                r = CTL_NOT_FOLLOWED;
        }
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

/* The same as approving with --capture: a set is only ever made of a boot that both parties have seen and hold. */
static int policy_capture_verb(struct ctl *ctl, int argc, char *argv[]) {
        char *arguments[5] = { "approve", "--capture", NULL, NULL, NULL };

        if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--name") == 0))
                return CTL_USAGE;
        arguments[2] = argv[1];
        if (argc == 4) {
                arguments[3] = "--name";
                arguments[4] = argv[3];
        }
        return ctl_node_approve(ctl, argc == 4 ? 5 : 3, arguments);
}

static const struct ctl_verb verbs[] = {
        { "set", "GROUP FILE", "replace a group's policy at both parties", policy_set_verb },
        { "apply", "GROUP FILE", "the same, but keep what the old one allowed until the nodes have moved", policy_apply_verb },
        { "retire", "GROUP [--now]", "drop what apply kept", policy_retire_verb,
          .more = "  --now  also while nodes of the group still boot it: they end at their prompts\n" },
        { "show", "GROUP", "print it, and what it leaves uncovered", policy_show },
        { "capture", "NODE [--name NAME]", "allow what this node booted and is held for", policy_capture_verb },
        { "check", "POLICY-FILE EVIDENCE-FILE|--node NODE|--token [OPTION...]", "try a policy on a boot, rule by rule",
          policy_check_verb,
          .more = "  EVIDENCE-FILE      what \"tallyboot evidence --json\" (or --logs) printed on a node\n"
                  "  --node NODE        instead: the boot that the parties hold; then a GROUP may stand for POLICY-FILE\n"
                  "  --token            instead: a node without a TPM\n"
                  "  --log FILE         the firmware's event log (/sys/kernel/security/tpm0/binary_bios_measurements)\n"
                  "  --ima FILE         an IMA list (/sys/kernel/security/ima/binary_runtime_measurements)\n"
                  "  --address ADDRESS  from which the node asks, for the policy's networks\n\n"
                  "Exit status: 0 it is allowed, 3 it is not.\n" },
        { "predict", "--uki FILE --base EVIDENCE-FILE|--node NODE [OPTION...]",
          "print the set of values that a new kernel will give", policy_predict_verb,
          .more = "  --uki FILE               the new unified kernel image\n"
                  "  --base EVIDENCE-FILE     a boot of the old one: what \"tallyboot evidence --logs\" printed on such a node\n"
                  "  --node NODE              instead: the set that the node last matched\n"
                  "  --log FILE               the firmware's event log of that boot, where EVIDENCE-FILE has none\n"
                  "  --old-uki FILE           the image of that boot: its prediction has to give that boot's values\n"
                  "  --phase PHASE            enter-initrd or none: what systemd-pcrphase-initrd measures (default: as in the log)\n"
                  "  --gate PCR               the group's gate (default: as in EVIDENCE-FILE, else 15)\n"
                  "  --name NAME              of the set (default: predicted-DATE-DIGEST)\n\n"
                  "Look at what is printed, then \"tallyctl policy apply GROUP FILE\".\n" },
};

int ctl_policy(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "policy", verbs, ELEMENTSOF(verbs), argc, argv);
}
