/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/group.h"
#include "ctl/policy-verbs.h"
#include "ctl/recorded.h"

/* A policy tried on a boot that was recorded: rule by rule, without a server. */

struct options {
        const char *policy, *evidence, *node, *log, *ima, *address;
        bool token;
};

static int parse_options(int argc, char *argv[], struct options *ret) {
        static const struct option long_options[] = {
                { "node", required_argument, NULL, 'n' }, { "log", required_argument, NULL, 'l' },
                { "ima", required_argument, NULL, 'i' },  { "address", required_argument, NULL, 'a' },
                { "token", no_argument, NULL, 't' },      {}
        };
        struct options options = {};
        bool wrong = false;
        int c, files;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
                switch (c) {
                case 'n':
                        options.node = optarg;
                        break;
                case 'l':
                        options.log = optarg;
                        break;
                case 'i':
                        options.ima = optarg;
                        break;
                case 'a':
                        options.address = optarg;
                        break;
                case 't':
                        options.token = true;
                        break;
                default:
                        wrong = true;
                }
        files = argc - optind;
        if (wrong || files != (options.node || options.token ? 1 : 2))
                return CTL_USAGE;
        options.policy = argv[optind];
        options.evidence = files == 2 ? argv[optind + 1] : NULL;
        *ret = options;
        return CTL_OK;
}

/* A file, or with --node the policy that a group has. */
static int load_policy(struct ctl *ctl, const struct options *options, struct policy *ret) {
        _cleanup_(blob_done) struct blob file = {};
        _cleanup_(freep) char *text = NULL;
        int64_t versions[2];
        char error[256];
        int r;

        if (options->node && !strchr(options->policy, '/') && access(options->policy, F_OK) < 0) {
                if (!group_name_is_valid(options->policy))
                        return log_error("%s: neither a file nor the name of a group.", options->policy), CTL_USAGE;
                r = policy_of_group(ctl, options->policy, &text, versions);
                if (r != CTL_OK)
                        return r;
                r = policy_parse(text, strlen(text), ret, error, sizeof error);
        } else {
                r = file_read(options->policy, POLICY_TEXT_MAX, &file);
                if (r < 0)
                        return log_error_errno(r, "%s: %m", options->policy), CTL_FAILURE;
                r = policy_parse((char *) file.data, file.size, ret, error, sizeof error);
        }
        if (r < 0)
                return log_error("%s:%s", options->policy, error), CTL_FAILURE;
        return CTL_OK;
}

static int load_boot(struct ctl *ctl, const struct options *options, struct recorded *boot) {
        int r = CTL_OK;

        if (options->node)
                r = recorded_of_node(ctl, options->node, BOOT_HELD, boot);
        else if (options->evidence)
                r = recorded_read(options->evidence, boot) < 0 ? CTL_FAILURE : CTL_OK;
        if (r != CTL_OK)
                return r;

        const struct {
                const char *path;
                size_t max;
                struct blob *blob;
        } files[] = { { options->log, FIRMWARE_LOG_MAX, &boot->log }, { options->ima, IMA_LIST_MAX, &boot->ima } };
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                struct blob blob;

                if (!files[i].path)
                        continue;
                r = file_read(files[i].path, files[i].max, &blob);
                if (r < 0)
                        return log_error_errno(r, "%s: %m", files[i].path), CTL_FAILURE;
                blob_done(files[i].blob);
                *files[i].blob = blob;
        }
        return CTL_OK;
}

/* The logs, as far as the values back them; what cannot be read is said, and is then missing. */
struct facts {
        struct boot_facts boot;
        struct ima_facts ima;
};

static void facts_done(struct facts *facts) {
        boot_facts_done(&facts->boot);
        ima_facts_done(&facts->ima);
}

static void read_logs(const struct recorded *boot, struct facts *facts, struct policy_input *input) {
        struct ima_state state = {};
        char error[256] = "";
        int r;

        if (boot->log.size > 0) {
                r = boot_facts_read(boot->log.data, boot->log.size, &boot->pcrs, boot->bank, &facts->boot, error, sizeof error);
                if (r < 0)
                        log_warning("The event log cannot be used: %s.", error[0] ? error : strerror(-r));
                else
                        input->facts = &facts->boot;
        }
        if (boot->ima.size > 0) {
                r = ima_facts_read(boot->ima.data, boot->ima.size, &boot->pcrs, boot->bank, &state, &facts->ima, error,
                                   sizeof error);
                if (r < 0)
                        log_warning("The IMA list cannot be used: %s.", r == -EKEYREJECTED
                                                                                ? "it does not give the value of PCR 10"
                                                                        : error[0] ? error
                                                                                   : strerror(-r));
                else
                        input->ima = &facts->ima;
        }
        if (input->ima)
                input->ima_aggregate_right = ima_aggregate_check(input->ima, &boot->pcrs, boot->bank) >= 0;
}

static void print_sets(const struct policy *policy, const struct policy_decision *decision) {
        if (decision->set) {
                ctl_print_line("passed  [set %s]", decision->set);
                return;
        }
        for (size_t i = 0; i < policy->n; i++) {
                const struct policy_set *set = policy->sets + i;

                ctl_print_line("FAILED  [set %s]%s", set->name,
                               set->mask & ~set->zero ? "" : ": zeros alone say nothing of what boots");
                for (size_t d = 0; d < decision->n; d++) {
                        const struct policy_difference *difference = decision->differences + d;

                        if (difference->set == set->name)
                                ctl_print_line("        PCR %u: expected %s, got %s", difference->pcr, difference->expected,
                                               difference->got);
                }
        }
}

static void print_text(const struct options *options, const struct policy *policy, const struct policy_decision *decision) {
        if (!options->token) /* which has no values to match one */
                print_sets(policy, decision);
        for (size_t i = 0; i < decision->n_findings; i++) {
                const struct policy_finding *finding = decision->findings + i;

                if (finding->passed)
                        ctl_print_line("passed  %s (line %u)", finding->rule, finding->line);
                else if (finding->line > 0)
                        ctl_print_line("FAILED  %s (line %u): %s", finding->rule, finding->line, finding->why);
                else
                        ctl_print_line("FAILED  %s: %s", finding->rule, finding->why);
        }
        if (options->token && decision->allowed)
                ctl_print_line("A token is allowed, and answered under another key after %llu s.",
                               (unsigned long long) policy->release.token_interval);
        else if (options->token)
                ctl_print_line("A token is not allowed.");
        else
                ctl_print_line("%s", decision->allowed ? "This boot is allowed." : "This boot is not allowed.");
}

static int print_json(const struct policy_decision *decision) {
        json_t *rules = json_array(), *differences = json_array(), *object;

        for (size_t i = 0; i < decision->n_findings; i++) {
                const struct policy_finding *finding = decision->findings + i;

                json_array_append_new(rules, json_pack("{s:s, s:i, s:b, s:s}", "rule", finding->rule, "line", (int) finding->line,
                                                       "passed", (int) finding->passed, "why", finding->why));
        }
        for (size_t i = 0; i < decision->n; i++) {
                const struct policy_difference *difference = decision->differences + i;

                json_array_append_new(differences,
                                      json_pack("{s:s, s:i, s:s, s:s}", "set", difference->set, "pcr", (int) difference->pcr,
                                                "expected", difference->expected, "got", difference->got));
        }
        object = json_pack("{s:b, s:s?, s:o, s:o}", "allowed", (int) decision->allowed, "set", decision->set, "rules", rules,
                           "differences", differences);
        if (!object)
                return log_oom();
        ctl_print_json(object);
        json_decref(object);
        return 0;
}

static int decide(const struct ctl *ctl, const struct options *options, const struct policy *policy,
                  const struct recorded *boot) {
        _cleanup_(policy_decision_done) struct policy_decision decision = {};
        _cleanup_(facts_done) struct facts facts = {};
        struct policy_input input = {
                .pcrs = &boot->pcrs, .bank = boot->bank, .address = options->address, .token = options->token
        };
        int r;

        if (!options->token)
                read_logs(boot, &facts, &input);
        r = policy_decide(policy, &input, &decision);
        if (r < 0)
                return log_error_errno(r, "The policy could not be tried: %m"), CTL_FAILURE;
        if (ctl->json)
                r = print_json(&decision);
        else
                print_text(options, policy, &decision);
        return r < 0 ? CTL_FAILURE : decision.allowed ? CTL_OK : CTL_REFUSED;
}

int policy_check_verb(struct ctl *ctl, int argc, char *argv[]) {
        _cleanup_(recorded_done) struct recorded boot = {};
        _cleanup_(policy_done) struct policy policy = {};
        struct options options;
        int r;

        if ((r = parse_options(argc, argv, &options)) != CTL_OK || (r = load_policy(ctl, &options, &policy)) != CTL_OK ||
            (r = load_boot(ctl, &options, &boot)) != CTL_OK)
                return r;
        options.token |= boot.token;
        policy_warn_uncovered(&policy);
        return decide(ctl, &options, &policy, &boot);
}
