/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/node.h"

/* Both parties hold what they saw by themselves. Where they saw different boots, capturing would make two policies of two states. */
static int check_held(struct ctl *ctl, const char *id) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes/%s", id),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes/%s", id) };
        int r;

        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(calls, 2);
        if (r == CTL_OK) {
                const json_t *t = json_object_get(json_object_get(calls[0].answer, "held"), "pcrs");
                const json_t *v = json_object_get(json_object_get(calls[1].answer, "held"), "pcrs");

                if (t && v && !json_equal(t, v)) {
                        log_error(
                                "Tenant and verifier hold different PCR values of this node: two boots. Wait for its next try, then "
                                "look at \"tallyctl node show\" and capture again.");
                        r = CTL_REFUSED;
                } else if (!t && !v) {
                        log_error(
                                "Neither party holds a boot of this node: it must have booted, and been refused for its state, before "
                                "that state can be captured.");
                        r = CTL_REFUSED;
                }
        }
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

static void set_name(json_t *body, const char *name, const char *id) {
        char made[64], now[21];

        if (!name) {
                clock_format(clock_realtime_ms(), now);
                snprintf(made, sizeof made, "captured-%.10s-%.8s", now, id);
                name = made;
        }
        json_object_set_new(body, "name", json_string(name));
}

static int approve(struct ctl *ctl, const char *node, const char *group, bool capture, const char *name) {
        const struct node_action action = {
                .method = "POST",
                .path = "approve",
                .done = capture ? "approved, and what it booted is allowed from now on," : "approved",
        };
        json_t *body = json_object();
        char id[NODE_ID_LENGTH + 1];
        int r;

        r = ctl_resolve_node(ctl, node, id);
        if (r == CTL_OK && capture) {
                r = check_held(ctl, id);
                json_object_set_new(body, "capture", json_true());
                set_name(body, name, id);
        }
        if (group)
                json_object_set_new(body, "group", json_string(group));
        if (r == CTL_OK)
                r = node_action(ctl, &action, id, body);
        json_decref(body);
        return r;
}

int ctl_node_approve(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "group", required_argument, NULL, 'g' },
                                                 { "capture", no_argument, NULL, 'c' },
                                                 { "name", required_argument, NULL, 'n' },
                                                 {} };
        const char *group = NULL, *name = NULL;
        bool capture = false, wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'g':
                        group = optarg;
                        break;
                case 'c':
                        capture = true;
                        break;
                case 'n':
                        name = optarg;
                        break;
                default:
                        wrong = true;
                }
        if (wrong || optind + 1 != argc || (name && !capture))
                return log_error("Usage: tallyctl node approve NODE [--group GROUP] [--capture [--name NAME]]"), CTL_USAGE;
        return approve(ctl, argv[optind], group, capture, name);
}
