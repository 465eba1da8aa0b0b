/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/ini.h"
#include "ctl/ctl.h"

struct line {
        const char *server;
        const json_t *record;
};

static int compare_lines(const void *a, const void *b) {
        const struct line *x = a, *y = b;
        int64_t tx = ctl_integer(x->record, "time"), ty = ctl_integer(y->record, "time");

        if (tx != ty)
                return tx < ty ? -1 : 1;
        return ctl_integer(x->record, "seq") < ctl_integer(y->record, "seq") ? -1 : 1;
}

static void words_of(struct buffer *text, const json_t *value);

/* {"reset": 4, "restart": 0} is boot 4.0, as everywhere. */
static void words_of_object(struct buffer *text, const json_t *object) {
        const char *key, *between = "";
        json_t *value;

        if (json_object_size(object) == 2 && json_is_integer(json_object_get(object, "reset"))) {
                buffer_printf(text, "%lld.%lld", (long long) ctl_integer(object, "reset"),
                              (long long) ctl_integer(object, "restart"));
                return;
        }
        json_object_foreach ((json_t *) object, key, value) {
                buffer_printf(text, "%s%s ", between, key);
                words_of(text, value);
                between = ", ";
        }
}

static void words_of(struct buffer *text, const json_t *value) {
        size_t i;
        json_t *one;

        if (json_is_object(value)) {
                buffer_printf(text, "(");
                words_of_object(text, value);
                buffer_printf(text, ")");
        } else if (json_is_array(value)) {
                buffer_printf(text, "%s", json_array_size(value) == 0 ? "none" : "");
                json_array_foreach (value, i, one) {
                        buffer_printf(text, "%s", i > 0 ? " " : "");
                        words_of(text, one);
                }
        } else if (json_is_string(value))
                buffer_printf(text, "%s", json_string_value(value));
        else if (json_is_integer(value))
                buffer_printf(text, "%lld", (long long) json_integer_value(value));
        else
                buffer_printf(text, "%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
}

/* A record's detail for people: as JSON it is what --json prints. */
static void detail_words(const char *detail, struct buffer *text) {
        json_t *json = json_loads(detail, 0, NULL);

        if (json_is_object(json))
                words_of_object(text, json);
        else
                buffer_printf(text, "%s", detail);
        buffer_u8(text, 0);
        json_decref(json);
}

static void print_lines(struct line *lines, size_t n) {
        static const char *const headings[] = { "TIME", "SERVER", "EVENT", "NODE", "INCIDENT", "WHO", "DETAIL" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));

        if (n > 0)
                qsort(lines, n, sizeof *lines, compare_lines);
        for (size_t i = 0; table && i < n; i++) {
                const json_t *record = lines[i].record;
                _cleanup_(buffer_done) struct buffer detail = {};
                char at[21], node[13];

                clock_format((uint64_t) ctl_integer(record, "time") * 1000, at);
                snprintf(node, sizeof node, "%.12s", ctl_string(record, "node"));
                detail_words(ctl_string(record, "detail"), &detail);
                const char *cells[] = { at,
                                        lines[i].server,
                                        ctl_string(record, "event"),
                                        node,
                                        ctl_string(record, "incident"),
                                        ctl_string(record, "who"),
                                        buffer_ok(&detail) == 0 ? (const char *) detail.data : "" };
                table_row(table, cells);
        }
        if (table)
                table_print(table);
}

static size_t print_records(const struct ctl_call calls[static SERVERS]) {
        struct line *lines = NULL;
        size_t n = 0;

        for (int s = 0; s < SERVERS; s++) {
                size_t i;
                json_t *record;

                json_array_foreach (json_object_get(calls[s].answer, "records"), i, record) {
                        struct line *grown = reallocarray(lines, n + 1, sizeof *lines);

                        if (!grown)
                                break;
                        lines = grown;
                        lines[n++] = (struct line){ server_names[s], record };
                }
        }
        print_lines(lines, n);
        free(lines);
        return n;
}

static int read_logs(struct ctl *ctl, const char *node, const char *incident, uint64_t limit) {
        struct ctl_call calls[SERVERS];
        int r;

        for (int s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "GET", "/v1/log?limit=%llu%s%s%s%s", (unsigned long long) limit, *node ? "&node=" : "",
                                    node, *incident ? "&incident=" : "", incident);
        if (ctl_perform(ctl, calls, SERVERS) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_answers(calls, SERVERS);
        else if (print_records(calls) == 0 && *incident)
                log_info(
                        "No server has a record of this incident. A request that was refused before the node had proven itself is only "
                        "counted: \"tallyctl log\" has the numbers and some of them as \"unproven\", a minute later; the journal "
                        "of that server says why.");
        r = ctl_followed(calls, SERVERS);
        for (int s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}

int ctl_log(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "node", required_argument, NULL, 'n' },
                                                 { "incident", required_argument, NULL, 'i' },
                                                 { "limit", required_argument, NULL, 'l' },
                                                 { "help", no_argument, NULL, 'h' },
                                                 {} };
        static const char usage[] =
                "Usage: tallyctl log [--node NODE] [--incident ID] [--limit N]\n\n"
                "The audit records of all three servers, by time: what each released, refused and why, and what operators did.\n"
                "  --node NODE      those of one node\n"
                "  --incident ID    those of one boot: the 16 digits that the console of a node shows\n"
                "  --limit N        the newest N of each server (default 200, 1000 at most)";
        const char *node = NULL, *incident = "";
        char id[NODE_ID_LENGTH + 1] = "";
        uint64_t limit = 200;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'n')
                        node = optarg;
                else if (c == 'i')
                        incident = optarg;
                else if (c == 'h')
                        return puts(usage), CTL_OK;
                else if (c != 'l' || parse_u64(optarg, 1, 1000, &limit) < 0)
                        return log_error("%s (N from 1 to 1000)", usage), CTL_USAGE;
        if (optind != argc)
                return log_error("%s", usage), CTL_USAGE;
        if (*incident && !incident_is_valid(incident))
                return log_error("\"%s\" is not an incident id: 16 hexadecimal digits, as on the node's console.", incident),
                       CTL_USAGE;
        if (node) {
                r = ctl_resolve_node(ctl, node, id);
                if (r != CTL_OK)
                        return r;
        }
        return read_logs(ctl, id, incident, limit);
}

int ctl_health(struct ctl *ctl, int argc, char *argv[]) {
        struct ctl_call calls[SERVERS];
        int r;

        if (argc > 1)
                return printf("Usage: tallyctl health\n\n"
                              "Asks each server whether it answers. ok; low-space: nothing new is taken; full: nothing is released;\n"
                              "old-database: an older one was put back, nothing is released before \"audit accept\".\n"),
                       strcmp(argv[1], "--help") == 0 ? CTL_OK : CTL_USAGE;
        for (int s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "GET", "/v1/health");
        if (ctl_perform(ctl, calls, SERVERS) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_answers(calls, SERVERS);
        for (int s = 0; s < SERVERS && !ctl->json; s++)
                ctl_print_line("%-9s %s", server_names[s],
                               calls[s].result < 0 ? "not reached" : ctl_string(calls[s].answer, "status"));
        r = ctl_followed(calls, SERVERS);
        for (int s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}
