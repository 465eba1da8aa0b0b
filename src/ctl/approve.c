/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "crypto/crypto.h"
#include "ctl/node.h"

int held_state(const json_t *held, char ret[static STATE_LENGTH + 1]) {
        const json_t *pcrs = json_object_get(held, "pcrs");
        _cleanup_(freep) char *text = NULL, *name = NULL;
        uint8_t digest[32];

        ret[0] = '\0';
        if (json_object_size(pcrs) == 0)
                return -ENOENT;
        text = json_dumps(pcrs, JSON_COMPACT | JSON_SORT_KEYS);
        if (!text || sha256(text, strlen(text), digest) < 0)
                return -ENOMEM;
        name = base32_encode(digest, sizeof digest);
        if (!name)
                return -ENOMEM;
        snprintf(ret, STATE_LENGTH + 1, "%.*s", STATE_LENGTH, name);
        return 0;
}

/* Whether what is held is what the operator saw; seen NULL: it is said now what it is. The incident id is the node's own word and
 * cannot tell one state from another. */
static bool is_seen(const json_t *held, const char *seen) {
        char state[STATE_LENGTH + 1];

        if (held_state(held, state) < 0)
                return false;
        if (!seen) {
                log_notice("Capturing state %s, of incident %s; \"--capture --state %s\" captures that one and no other.", state,
                           ctl_string(held, "incident"), state);
                return true;
        }
        if (strcmp(seen, state) == 0)
                return true;
        log_error("What is held of this node by now is state %s, not %s: look at \"tallyctl node show\" again.", state, seen);
        return false;
}

/* A set says which values are allowed; it lets nothing through that a rule refuses, and would shut out the others of the
 * group. */
static bool rules_allow(const json_t *held) {
        const json_t *rule = json_array_get(json_object_get(held, "rules"), 0);

        if (!rule)
                return true;
        log_error(
                "What is held of this node was refused by a rule that no set of values changes: %s (line %lld): %s. Change the policy and "
                "wait for the node's next try, or let one boot through with \"tallyctl node approve --next-boot\".",
                ctl_string(rule, "rule"), (long long) ctl_integer(rule, "line"), ctl_string(rule, "why"));
        return false;
}

/* Both parties hold what they saw by themselves. Where they saw different boots, capturing would make two policies of two states.
 * What is captured is what is read here: its values go with the request. */
static int check_held(struct ctl *ctl, const char *id, const char *seen, json_t *body) {
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
                } else if (!rules_allow(json_object_get(calls[0].answer, "held")) ||
                           !rules_allow(json_object_get(calls[1].answer, "held")) ||
                           !is_seen(json_object_get(calls[t ? 0 : 1].answer, "held"), seen))
                        r = CTL_REFUSED;
                else
                        json_object_set(body, "pcrs", (json_t *) (t ? t : v));
        }
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

/* A code stands for EK and AK, as a party that checked both worked it out. Whom the registrar gives it to decides nothing. */
static int check_code(struct ctl *ctl, const char *id, const char *text) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes/%s", id),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes/%s", id) };
        int r;

        if (strncmp(id, text, strlen(text)) == 0)
                return CTL_OK;
        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(calls, 2);
        for (size_t i = 0; i < 2; i++) {
                if (r == CTL_OK && strcmp(ctl_string(calls[i].answer, "code"), text) != 0) {
                        log_error("The %s knows node %s by another code: the registrar gave %s to it, and may be lying.",
                                  server_names[calls[i].server], id, text);
                        r = CTL_REFUSED;
                }
                ctl_call_done(calls + i);
        }
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

struct approve_options {
        const char *node, *group, *state, *name;
        bool capture, next_boot;
};

static int approve(struct ctl *ctl, const struct approve_options *options) {
        const struct node_action action = {
                .method = "POST",
                .path = "approve",
                .done = options->capture     ? "approved, and what it booted is allowed from now on,"
                        : options->next_boot ? "approved, and its next boot is let through once, whatever its PCR values,"
                                             : "approved",
        };
        json_t *body = json_object();
        char id[NODE_ID_LENGTH + 1];
        int r;

        r = ctl_resolve_node(ctl, options->node, id);
        if (r == CTL_OK)
                r = check_code(ctl, id, options->node);
        if (r == CTL_OK && options->capture) {
                r = check_held(ctl, id, options->state, body);
                json_object_set_new(body, "capture", json_true());
                set_name(body, options->name, id);
        }
        if (options->group)
                json_object_set_new(body, "group", json_string(options->group));
        if (options->next_boot)
                json_object_set_new(body, "next_boot", json_true());
        if (r == CTL_OK)
                r = node_action(ctl, &action, id, body);
        json_decref(body);
        return r;
}

int ctl_node_approve(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = {
                { "group", required_argument, NULL, 'g' }, { "capture", no_argument, NULL, 'c' },
                { "state", required_argument, NULL, 's' }, { "name", required_argument, NULL, 'n' },
                { "next-boot", no_argument, NULL, 'b' },   {}
        };
        struct approve_options o = {};
        bool wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'g':
                        o.group = optarg;
                        break;
                case 'c':
                        o.capture = true;
                        break;
                case 's':
                        o.state = optarg;
                        break;
                case 'n':
                        o.name = optarg;
                        break;
                case 'b':
                        o.next_boot = true;
                        break;
                default:
                        wrong = true;
                }
        if (wrong || optind + 1 != argc || ((o.name || o.state) && !o.capture) || (o.next_boot && o.capture))
                return CTL_USAGE;
        o.node = argv[optind];
        return approve(ctl, &o);
}
