/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "ctl/group.h"
#include "ctl/policy-verbs.h"
#include "ctl/recorded.h"
#include "policy/replace.h"

/* Old and new side by side: an update reaches the nodes of a group one after the other. The text of the policy is all there is to
 * it. */

static int current_policy(struct ctl *ctl, const char *group, struct policy *ret, int64_t versions[static 2]) {
        _cleanup_(freep) char *text = NULL;
        char error[256];
        int r;

        r = policy_of_group(ctl, group, &text, versions);
        if (r != CTL_OK)
                return r;
        if (policy_parse(text, strlen(text), ret, error, sizeof error) < 0)
                return log_error("The parties sent a policy that does not parse: %s", error), CTL_FAILURE;
        return CTL_OK;
}

int policy_apply_verb(struct ctl *ctl, int argc, char *argv[]) {
        _cleanup_(policy_done) struct policy old = {}, next = {}, whole = {};
        _cleanup_(blob_done) struct blob file = {};
        _cleanup_(freep) char *text = NULL;
        int64_t versions[2];
        char error[256] = "";
        size_t kept;
        int r;

        if (argc != 3 || !group_name_is_valid(argv[1]))
                return CTL_USAGE;
        if (policy_read_file(argv[2], &file) < 0)
                return CTL_FAILURE;
        r = current_policy(ctl, argv[1], &old, versions);
        if (r != CTL_OK)
                return r;

        r = policy_parse((char *) file.data, file.size, &next, error, sizeof error);
        if (r >= 0)
                r = policy_apply(&old, &next, &text, &kept, error, sizeof error);
        if (r >= 0)
                r = policy_parse(text, strlen(text), &whole, error, sizeof error);
        if (r < 0)
                return log_error("%s: %s", argv[2], error[0] ? error : strerror(-r)), CTL_FAILURE;

        r = policy_put(ctl, argv[1], text, versions);
        if (r == CTL_OK && kept > 0)
                log_notice(
                        "%zu sets and lines of the old policy are allowed beside the new one. When all nodes have booted by it: "
                        "\"tallyctl policy retire %s\".",
                        kept, argv[1]);
        return r;
}

/* Nodes that may boot, at either party, and were last seen to match what is not replaced. */
struct moved {
        size_t nodes, missing;
        char first[NODE_ID_LENGTH + 1]; /* that has not */
};

static bool has_moved(const struct policy *policy, const json_t *node) {
        const char *name = ctl_string(node, "set");

        for (size_t i = 0; i < policy->n; i++)
                if (strcmp(policy->sets[i].name, name) == 0)
                        return !policy->sets[i].replaced;
        return false;
}

static void count_moved(const struct policy *policy, const json_t *answer, struct moved *moved) {
        size_t i;
        json_t *node;

        json_array_foreach (json_object_get(answer, "nodes"), i, node) {
                if (strcmp(ctl_string(node, "state"), "approved") != 0 || json_is_string(json_object_get(node, "token")))
                        continue; /* a node with a token matches no set */
                moved->nodes++;
                if (has_moved(policy, node))
                        continue;
                if (moved->missing++ == 0)
                        snprintf(moved->first, sizeof moved->first, "%s", ctl_string(node, "id"));
        }
}

static int look_at_nodes(struct ctl *ctl, const char *group, const struct policy *policy, struct moved *ret) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes?group=%s", group),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes?group=%s", group) };
        struct moved moved = {};
        int r;

        r = ctl_perform(ctl, calls, 2) < 0 ? CTL_FAILURE : ctl_followed(calls, 2);
        for (size_t i = 0; i < 2; i++) {
                struct moved seen = {};

                if (r == CTL_OK)
                        count_moved(policy, calls[i].answer, &seen);
                if (seen.missing > moved.missing || i == 0)
                        moved = seen;
                ctl_call_done(calls + i);
        }
        if (r == CTL_OK)
                *ret = moved;
        return r == CTL_NOT_FOLLOWED ? CTL_UNREACHED : r;
}

void policy_advise_retire(struct ctl *ctl, const char *group, const char *text) {
        _cleanup_(policy_done) struct policy policy = {};
        struct moved moved;
        char error[256];

        if (policy_parse(text, strlen(text), &policy, error, sizeof error) < 0 || !policy_has_replaced(&policy))
                return;
        if (look_at_nodes(ctl, group, &policy, &moved) != CTL_OK)
                return;
        if (moved.missing == 0)
                log_notice(
                        "All %zu nodes of %s boot by the new policy: \"tallyctl policy retire %s\" drops what is kept of the old one.",
                        moved.nodes, group, group);
        else
                log_notice("%zu of %zu nodes of %s were not yet seen to boot by the new policy, %.12s for one.", moved.missing,
                           moved.nodes, group, moved.first);
}

static int retire(struct ctl *ctl, const char *group, const struct policy *policy, const int64_t versions[static 2]) {
        _cleanup_(policy_done) struct policy left = {};
        _cleanup_(freep) char *text = NULL;
        char error[256] = "";
        int r;

        r = policy_retire(policy, &text);
        if (r >= 0)
                r = policy_parse(text, strlen(text), &left, error, sizeof error);
        if (r < 0)
                return log_error("Without what is kept: %s", error[0] ? error : strerror(-r)), CTL_FAILURE;
        if (policy_allows_nothing(&left) && !left.release.token_evidence)
                return log_error("Without what is kept the policy would allow no boot at all: set a new one."), CTL_REFUSED;
        policy_warn_uncovered(&left);
        return policy_put(ctl, group, text, versions);
}

int policy_retire_verb(struct ctl *ctl, int argc, char *argv[]) {
        bool now = argc == 3 && strcmp(argv[2], "--now") == 0;
        _cleanup_(policy_done) struct policy policy = {};
        int64_t versions[2];
        struct moved moved;
        int r;

        if ((argc != 2 && !now) || !group_name_is_valid(argv[1]))
                return CTL_USAGE;
        r = current_policy(ctl, argv[1], &policy, versions);
        if (r != CTL_OK)
                return r;
        if (!policy_has_replaced(&policy)) {
                log_notice("Nothing of an old policy is kept for %s.", argv[1]);
                if (ctl->json)
                        ctl_print_taken(json_object());
                return CTL_OK;
        }
        r = now ? CTL_OK : look_at_nodes(ctl, argv[1], &policy, &moved);
        if (r != CTL_OK)
                return r;
        if (!now && moved.missing > 0)
                return log_error(
                               "%zu of %zu nodes of %s were not yet seen to boot by the new policy, %.12s for one: wait for their next "
                               "boot, or add --now.",
                               moved.missing, moved.nodes, argv[1], moved.first),
                       CTL_REFUSED;
        return retire(ctl, argv[1], &policy, versions);
}
