/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "ctl/ctl.h"

#ifndef TALLYBOOT_VERSION
#define TALLYBOOT_VERSION "0"
#endif

static const struct ctl_verb verbs[] = {
        { "init", "--dir DIR [--lab]", "make a fleet: CA, certificates, configurations, units", ctl_init },
        { "health", "", "ask the three services whether they answer", ctl_health },
        { "node", "VERB [NODE]", "list, show, approve, suspend, resume, revoke, rotate, ...", ctl_node },
        { "group", "VERB [GROUP]", "list, show and set groups of nodes", ctl_group },
        { "join-token", "VERB", "approve one enrollment ahead of time; list and cancel such approvals", ctl_join_token },
        { "policy", "VERB ...", "set, show, try, predict and capture what a group's nodes may boot", ctl_policy },
        { "payload", "set NODE|--group GROUP PATH", "give a node, or all of a group, their files", ctl_payload },
        { "log", "[--node NODE] [--incident ID]", "read the audit logs of all three services", ctl_log },
        { "audit", "VERB", "export and verify the audit logs", ctl_audit },
        { "keystore", "VERB", "a service's master key and what it wraps: on the service's own machine", ctl_keystore },
        { "cert", "VERB --dir DIR", "show and renew certificates", ctl_cert },
};

/* Verbs that work on files alone. */
static bool needs_config(int argc, char *argv[]) {
        if (strcmp(argv[0], "init") == 0 || strcmp(argv[0], "cert") == 0 || strcmp(argv[0], "keystore") == 0)
                return false;
        if (strcmp(argv[0], "audit") == 0)
                return argc < 2 || strcmp(argv[1], "verify") != 0;
        if (strcmp(argv[0], "policy") != 0 || argc < 2 || (strcmp(argv[1], "check") != 0 && strcmp(argv[1], "predict") != 0))
                return true;
        for (int i = 2; i < argc; i++)
                if (strncmp(argv[i], "--node", strlen("--node")) == 0)
                        return true;
        return false;
}

static void print_help(void) {
        printf("tallyctl [--config FILE] [--json] VERB ...\n"
               "The operator's command of tallyboot. It talks to every server that a verb concerns, and says when one has not followed.\n\n");
        ctl_print_verbs("", verbs, ELEMENTSOF(verbs));
        printf("\nOptions, before the verb:\n"
               "  --config FILE   the operator's configuration (default: $TALLYCTL_CONFIG, ~/.config/tallyboot/tallyctl.conf,\n"
               "                  /etc/tallyboot/operator/tallyctl.conf)\n"
               "  --json          JSON instead of tables; also behind the verb\n"
               "  --verbose       say more, on standard error\n"
               "  --version\n\n"
               "A NODE is a node id, its code (abcd-efgh, as the node prints it), or the first 6 or more characters of its id.\n"
               "\"tallyctl VERB --help\" says more of a verb.\n\n"
               "Exit status: 0 done, 1 failed on this machine, 2 usage, 3 refused, 4 not reached, 5 one server has not followed\n"
               "(run the same command again), 6 keystore verify: something does not open, 130 interrupted.\n");
}

static const struct ctl_verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return verbs + i;
        return NULL;
}

static bool asks_for_help(int argc, char *argv[]) {
        for (int i = 1; i < argc; i++)
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        return true;
        return argc == 1;
}

static int run_verb(struct ctl *ctl, const char *config, int argc, char *argv[]) {
        const struct ctl_verb *verb = find_verb(argv[0]);

        if (!verb) {
                log_error("No such verb: %s. \"tallyctl --help\" lists them.", argv[0]);
                return CTL_USAGE;
        }
        /* Help works on a machine without a configuration; "health" and "log" need no further word. */
        if (needs_config(argc, argv) &&
            !(asks_for_help(argc, argv) && (argc > 1 || (verb->run != ctl_health && verb->run != ctl_log))))
                if (ctl_load_config(ctl, config) < 0)
                        return CTL_FAILURE;
        optind = 0;
        return verb->run(ctl, argc, argv);
}

/* Where people look for it, too: behind the verb. */
static bool take_json(int *argc, char *argv[]) {
        for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++)
                if (strcmp(argv[i], "--json") == 0) {
                        memmove(argv + i, argv + i + 1, (size_t) (*argc - i) * sizeof *argv);
                        (*argc)--;
                        return true;
                }
        return false;
}

static int run(struct ctl *ctl, const char *config, int argc, char *argv[]) {
        int r;

        ctl->json = take_json(&argc, argv) || ctl->json;
        if (ctl->json && !(argc > 1 && asks_for_help(argc, argv)) && ctl_json_begin() < 0)
                return CTL_FAILURE;
        r = run_verb(ctl, config, argc, argv);
        ctl_json_end(r);
        return r;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' },
                { "verbose", no_argument, NULL, 'v' },      { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },      {},
        };
        _cleanup_(ctl_done) struct ctl ctl = {};
        const char *config = NULL;
        int c, r;

        log_set_program("tallyctl");
        r = process_harden();
        if (r < 0)
                return log_error_errno(r, "This process could not be hardened: %m"), CTL_FAILURE;

        while ((c = getopt_long(argc, argv, "+c:jhv", options, NULL)) >= 0)
                switch (c) {
                case 'c':
                        config = ctl.config = optarg;
                        break;
                case 'j':
                        ctl.json = true;
                        break;
                case 'v':
                        log_set_level(LOG_LEVEL_DEBUG);
                        break;
                case 'h':
                        return print_help(), CTL_OK;
                case 'V':
                        return puts("tallyctl " TALLYBOOT_VERSION), CTL_OK;
                default:
                        return CTL_USAGE;
                }

        if (optind >= argc)
                return print_help(), CTL_USAGE;
        return run(&ctl, config, argc - optind, argv + optind);
}
