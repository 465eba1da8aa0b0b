/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/ini.h"
#include "ctl/ctl.h"
#include "ctl/node.h"

static const json_t *find_node(const json_t *list, const char *id) {
        size_t i;
        json_t *node;

        json_array_foreach (json_object_get(list, "nodes"), i, node)
                if (strcmp(ctl_string(node, "id"), id) == 0)
                        return node;
        return NULL;
}

static void list_row(struct table *table, const char *id, struct ctl_call calls[static SERVERS]) {
        const json_t *tenant = find_node(calls[SERVER_TENANT].answer, id),
                     *verifier = find_node(calls[SERVER_VERIFIER].answer, id);
        const json_t *node = tenant ? tenant : verifier ? verifier : find_node(calls[SERVER_REGISTRAR].answer, id);
        const json_t *held_t = json_object_get(tenant, "held"), *held_v = json_object_get(verifier, "held");
        char seen[21], held[64] = "", kind[32] = "TPM", begin[13];

        ctl_time_text(MAX(ctl_integer(tenant, "seen"), ctl_integer(verifier, "seen")), seen);
        if (json_is_object(held_t) || json_is_object(held_v))
                snprintf(held, sizeof held, "%s", ctl_string(json_is_object(held_t) ? held_t : held_v, "reason"));
        if (*ctl_string(node, "token"))
                snprintf(kind, sizeof kind, "token %s", ctl_string(node, "token"));
        snprintf(begin, sizeof begin, "%.12s", id); /* names it, too, and the line fits a terminal */
        const char *cells[] = { begin,
                                kind,
                                ctl_string(node, "code"),
                                ctl_string(node, "group"),
                                calls[SERVER_TENANT].result < 0 ? "?"
                                : tenant                        ? ctl_string(tenant, "state")
                                                                : "-",
                                calls[SERVER_VERIFIER].result < 0 ? "?"
                                : verifier                        ? ctl_string(verifier, "state")
                                                                  : "-",
                                seen,
                                held };
        table_row(table, cells);
}

/* Each id once: those of the registrar, then what only the tenant has, then what only the verifier has. */
static void list_rows(struct table *table, struct ctl_call calls[static SERVERS]) {
        for (size_t s = 0; s < SERVERS; s++) {
                size_t i;
                json_t *node;

                json_array_foreach (json_object_get(calls[s].answer, "nodes"), i, node) {
                        const char *id = ctl_string(node, "id");
                        bool listed = false;

                        for (size_t before = 0; before < s; before++)
                                listed |= find_node(calls[before].answer, id) != NULL;
                        if (!listed)
                                list_row(table, id, calls);
                }
        }
}

static int list_parse(int argc, char *argv[], char *query, size_t size) {
        static const struct option options[] = { { "state", required_argument, NULL, 's' },
                                                 { "group", required_argument, NULL, 'g' },
                                                 {} };
        const char *state = "", *group = "";
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 's')
                        state = optarg;
                else if (c == 'g')
                        group = optarg;
                else
                        return CTL_USAGE;
        if (optind != argc || strpbrk(state, "?&%/ ") || strpbrk(group, "?&%/ "))
                return CTL_USAGE;
        if (*state || *group)
                snprintf(query, size, "?%s%s%s%s%s", *state ? "state=" : "", state, *state && *group ? "&" : "",
                         *group ? "group=" : "", group);
        return CTL_OK;
}

static int node_list(struct ctl *ctl, int argc, char *argv[]) {
        static const char *const headings[] = { "NODE", "KIND", "CODE", "GROUP", "TENANT", "VERIFIER", "SEEN", "HELD" };
        char query[160] = "";
        int r;

        r = list_parse(argc, argv, query, sizeof query);
        if (r != CTL_OK)
                return r;

        /* The registrar knows neither states nor groups. */
        size_t first = *query ? SERVER_TENANT : SERVER_REGISTRAR;
        struct ctl_call calls[SERVERS] = {};
        for (size_t s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "GET", "/v1/nodes%s", query);

        if (ctl_perform(ctl, calls + first, SERVERS - first) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_answers(calls + first, SERVERS - first);
        else {
                _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));

                if (table) {
                        list_rows(table, calls);
                        table_print(table);
                }
        }
        r = ctl_followed(calls + first, SERVERS - first);
        for (size_t s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}

static void show_keys(const json_t *node) {
        size_t i, g;
        json_t *key, *generation;

        json_array_foreach (json_object_get(node, "keys"), i, key) {
                char text[512] = "";

                json_array_foreach (json_object_get(key, "generations"), g, generation) {
                        size_t used = strlen(text);

                        snprintf(text + used, sizeof text - used, " %lld:%s", (long long) ctl_integer(generation, "generation"),
                                 ctl_string(generation, "state"));
                }
                ctl_print_line("    key %s  %s, %s,%s%s", ctl_string(key, "id"), ctl_string(key, "kind"),
                               ctl_string(key, "origin"), text,
                               json_is_true(json_object_get(key, "rotate")) ? "  (to be rotated)" : "");
        }
}

/* A rule that the policy does not have, but that is asked of it, has no line. */
static void show_rule(const json_t *rule) {
        long long line = ctl_integer(rule, "line");

        if (line > 0)
                ctl_print_line("      %s (line %lld): %s", ctl_string(rule, "rule"), line, ctl_string(rule, "why"));
        else
                ctl_print_line("      %s: %s", ctl_string(rule, "rule"), ctl_string(rule, "why"));
}

static void show_held(const json_t *held, bool token) {
        char at[21], counters[48] = "", state[STATE_LENGTH + 1];
        const json_t *boot = json_object_get(held, "boot");
        json_t *difference, *rule, *value;
        const char *pcr;
        size_t i;

        ctl_time_text(ctl_integer(held, "time"), at);
        if (!token)
                snprintf(counters, sizeof counters, ", boot %lld.%lld", (long long) ctl_integer(boot, "reset"),
                         (long long) ctl_integer(boot, "restart"));
        ctl_print_line("    held: %s, incident %s, %s%s", ctl_string(held, "reason"), ctl_string(held, "incident"), at, counters);
        if (held_state(held, state) >= 0)
                ctl_print_line("      state %s", state);
        json_object_foreach (json_object_get(held, "pcrs"), pcr, value)
                ctl_print_line("      PCR %-2s %s  %s", pcr, ctl_string(held, "bank"), json_string_value(value));
        json_array_foreach (json_object_get(held, "differences"), i, difference)
                ctl_print_line("      set %s: PCR %lld is %s, not %s", ctl_string(difference, "set"),
                               (long long) ctl_integer(difference, "pcr"), ctl_string(difference, "got"),
                               ctl_string(difference, "expected"));
        json_array_foreach (json_object_get(held, "rules"), i, rule)
                show_rule(rule);
}

static void show_tpm(const json_t *tpm) {
        const char *proof = ctl_string(tpm, "proof");

        if (strcmp(proof, "certificate") == 0)
                ctl_print_line("    TPM %s %s %s, certified by its maker", ctl_string(tpm, "manufacturer"),
                               ctl_string(tpm, "model"), ctl_string(tpm, "version"));
        if (json_is_true(json_object_get(tpm, "revoked")))
                ctl_print_line("    ITS MAKER HAS REVOKED that certificate: find out why, then \"tallyctl node revoke\"");
        else if (strcmp(proof, "listed") == 0)
                ctl_print_line("    TPM without a certificate that was asked for: its EK is on the list ek-allow");
        else if (strcmp(proof, "none") == 0)
                ctl_print_line(
                        "    TPM NOT PROVEN: no certificate shows that this is a TPM and not a program that claims any PCR "
                        "values (ek-certificates = optional)");
}

static void show_party(const struct ctl_call *call) {
        const json_t *node = call->answer, *boot = json_object_get(node, "boot"), *payload = json_object_get(node, "payload");
        const json_t *held = json_object_get(node, "held");
        bool token = *ctl_string(node, "token");
        char seen[21], until[21];

        printf("  %s:\n", server_names[call->server]);
        if (call->result < 0) {
                ctl_print_line("    %s", call->error);
                return;
        }
        ctl_time_text(ctl_integer(node, "seen"), seen);
        ctl_print_line("    state %s, group %s, last seen %s", ctl_string(node, "state"), ctl_string(node, "group"), seen);
        if (json_is_object(boot))
                ctl_print_line("    highest boot: reset %lld, restart %lld", (long long) ctl_integer(boot, "reset"),
                               (long long) ctl_integer(boot, "restart"));
        if (json_is_string(json_object_get(node, "set")))
                ctl_print_line("    last matched set %s", ctl_string(node, "set"));
        if (json_is_integer(json_object_get(node, "next_boot"))) {
                ctl_time_text(ctl_integer(node, "next_boot"), until);
                ctl_print_line("    its NEXT BOOT passes whatever its PCR values, until %s", until);
        }
        if (token)
                ctl_print_line("    token with a %s key and no TPM: it shows who asks, not what was booted",
                               ctl_string(node, "token"));
        else
                show_tpm(json_object_get(node, "tpm"));
        show_keys(node);
        if (json_is_object(payload))
                ctl_print_line("    payload version %lld, sha256 %s", (long long) ctl_integer(payload, "version"),
                               ctl_string(payload, "sha256"));
        if (json_is_object(held))
                show_held(held, token);
}

/* The registrar's word, or a party's where it has none. */
static const json_t *who_knows(const struct ctl_call calls[static SERVERS]) {
        for (int s = 0; s < SERVERS; s++)
                if (calls[s].answer)
                        return calls[s].answer;
        return NULL;
}

/* What approve --state takes. */
static void name_states(const struct ctl_call calls[static SERVERS]) {
        char state[STATE_LENGTH + 1];

        for (int s = SERVER_TENANT; s < SERVERS; s++) {
                json_t *held = json_object_get(calls[s].answer, "held");

                if (json_is_object(held) && held_state(held, state) >= 0)
                        json_object_set_new(held, "state", json_string(state));
        }
}

static int node_show(struct ctl *ctl, int argc, char *argv[]) {
        char id[NODE_ID_LENGTH + 1], registered[21];
        int r;

        if (argc != 2)
                return CTL_USAGE;
        r = ctl_resolve_node(ctl, argv[1], id);
        if (r != CTL_OK)
                return r;

        struct ctl_call calls[SERVERS];
        for (int s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "GET", "/v1/nodes/%s", id);
        if (ctl_perform(ctl, calls, SERVERS) < 0)
                return CTL_FAILURE;
        if (ctl->json) {
                name_states(calls);
                ctl_print_answers(calls, SERVERS);
        } else {
                const json_t *known = who_knows(calls);

                ctl_time_text(ctl_integer(known, "registered"), registered);
                ctl_print_line("%s", id);
                if (known)
                        ctl_print_line("  code %s, %s %s, registered %s", ctl_string(known, "code"),
                                       *ctl_string(known, "token") ? "token's key" : "EK", ctl_string(known, "ek_sha256"),
                                       registered);
                show_party(calls + SERVER_TENANT);
                show_party(calls + SERVER_VERIFIER);
        }
        r = ctl_followed(calls, SERVERS);
        for (int s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}

/* A server whose database was lost never knew the node: to try again would end the same way for ever. */
static void pass_over_unknown(const struct node_action *action, struct ctl_call *calls, size_t n) {
        bool done = false;

        for (size_t i = 0; i < n; i++)
                done |= calls[i].result == 0;
        for (size_t i = 0; i < n; i++) {
                if (calls[i].result != -ENOENT || !(action->gone_is_done || (action->takes_away && done)))
                        continue;
                calls[i].result = 0;
                if (action->takes_away)
                        log_notice(
                                "The %s does not know this node and has nothing to give it. If it enrolls there again, say this again.",
                                server_names[calls[i].server]);
        }
}

int node_action(struct ctl *ctl, const struct node_action *action, const char *node, const json_t *body) {
        struct ctl_call calls[SERVERS];
        char id[NODE_ID_LENGTH + 1];
        size_t n = 0;
        int r;

        r = ctl_resolve_node(ctl, node, id);
        if (r != CTL_OK)
                return r;
        /* The verifier first: what takes a right away holds at once when either has it, what gives one only when both do. */
        for (int s = SERVER_VERIFIER; s >= (action->registrar ? SERVER_REGISTRAR : SERVER_TENANT); s--) {
                calls[n] = action->path ? ctl_call(s, action->method, "/v1/nodes/%s/%s", id, action->path)
                                        : ctl_call(s, action->method, "/v1/nodes/%s", id);
                calls[n++].body = body;
        }
        if (ctl_perform(ctl, calls, n) < 0)
                return CTL_FAILURE;
        pass_over_unknown(action, calls, n);
        r = ctl_followed(calls, n);
        if (ctl->json)
                ctl_print_answers(calls, n);
        else if (r == CTL_OK)
                ctl_print_line("%s: %s at %s.", id, action->done,
                               n == SERVERS ? "registrar, tenant and verifier" : "tenant and verifier");
        for (size_t i = 0; i < n; i++)
                ctl_call_done(calls + i);
        return r;
}

/* "RESET.RESTART", as node show prints it. */
static int set_boot(json_t *body, const char *text) {
        const char *dot = strchr(text, '.');
        _cleanup_(freep) char *first = dot ? strndup(text, (size_t) (dot - text)) : NULL;
        uint64_t reset, restart;

        if (!first || parse_u64(first, 0, UINT32_MAX, &reset) < 0 || parse_u64(dot + 1, 0, UINT32_MAX, &restart) < 0)
                return -EINVAL;
        return json_object_set_new(body, "boot",
                                   json_pack("{s:I, s:I}", "reset", (json_int_t) reset, "restart", (json_int_t) restart));
}

static int simple_action(struct ctl *ctl, const struct node_action *action, int argc, char *argv[]) {
        static const struct option options[] = { { "reason", required_argument, NULL, 'r' },
                                                 { "key", required_argument, NULL, 'k' },
                                                 { "boot", required_argument, NULL, 'b' },
                                                 {} };
        json_t *body = json_object();
        int c, r = CTL_OK;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'r' && strcmp(action->method, "POST") == 0)
                        json_object_set_new(body, "reason", json_string(optarg));
                else if (c == 'k' && action->path && strcmp(action->path, "rotate") == 0)
                        json_object_set_new(body, "key", json_string(optarg));
                else if (c == 'b' && action->path && strcmp(action->path, "accept-reset") == 0 && set_boot(body, optarg) >= 0)
                        continue;
                else
                        r = CTL_USAGE;
        if (r == CTL_OK && optind + 1 != argc)
                r = CTL_USAGE;
        if (r == CTL_OK)
                r = node_action(ctl, action, argv[optind], strcmp(action->method, "DELETE") == 0 ? NULL : body);
        json_decref(body);
        return r;
}

#define ACTION(function, ...)                                             \
        static int function(struct ctl *ctl, int argc, char *argv[]) {    \
                static const struct node_action action = { __VA_ARGS__ }; \
                return simple_action(ctl, &action, argc, argv);           \
        }

ACTION(node_suspend, .method = "POST", .path = "suspend", .done = "suspended", .takes_away = true)
ACTION(node_resume, .method = "POST", .path = "resume", .done = "resumed")
ACTION(node_revoke, .method = "POST", .path = "revoke", .done = "revoked, and its EK or token's key with it", .registrar = true,
       .takes_away = true)
ACTION(node_accept_reset, .method = "POST", .path = "accept-reset", .done = "the lower boot counters are accepted")
ACTION(node_rotate, .method = "POST", .path = "rotate", .done = "marked: its next boot makes a new generation")
ACTION(node_delete, .method = "DELETE", .done = "deleted", .registrar = true, .gone_is_done = true)

static const struct ctl_verb verbs[] = {
        { "list", "[--state STATE] [--group GROUP]", "all nodes, and what each party thinks of them", node_list,
          .more = "  --state STATE  only those that are pending, approved, suspended or revoked\n"
                  "  --group GROUP  only those of one group\n" },
        { "show", "NODE", "keys, boots, what is held and why", node_show },
        { "approve", "NODE [--group GROUP] [--capture [--state STATE] [--name NAME] | --next-boot]",
          "let a node enroll; with --capture, let what it booted pass from now on", ctl_node_approve,
          .more = "  --group GROUP  move it to this group\n"
                  "  --capture      the state of its last refused boot, as both parties hold it, becomes a set of the group's policy\n"
                  "  --state STATE  only if it is the one that \"node show\" calls so: the one that you looked at\n"
                  "  --name NAME    of the set (default: captured-DATE-NODE)\n"
                  "  --next-boot    its next boot passes whatever it shows: once, within a day\n" },
        { "suspend", "NODE [--reason TEXT]", "no release until resumed", node_suspend },
        { "resume", "NODE [--reason TEXT]", "end a suspension", node_resume },
        { "revoke", "NODE [--reason TEXT]", "for ever: no release under this EK, or token's key, whatever the node id",
          node_revoke },
        { "accept-reset", "NODE [--boot RESET.RESTART] [--reason TEXT]",
          "accept boot counters that went down (TPM cleared, board restored)", node_accept_reset,
          .more = "  --boot RESET.RESTART  only those of this boot, as \"node show\" names it\n" },
        { "rotate", "NODE [--key ID]", "new halves at the next boot", node_rotate,
          .more = "  --key ID  of one key (default: of all)\n" },
        { "delete", "NODE", "forget a node; its volumes then open by passphrase only", node_delete },
};

int ctl_node(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "node", verbs, ELEMENTSOF(verbs), argc, argv);
}
