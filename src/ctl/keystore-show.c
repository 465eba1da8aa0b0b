/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/keystore.h"

struct hierarchy {
        struct keystore_master *masters;
        struct keystore_kek *keks;
        size_t n_masters, n_keks;
};

static void hierarchy_done(struct hierarchy *h) {
        free(h->masters);
        free(h->keks);
}

static int hierarchy_load(struct ctl_keystore *ks, struct hierarchy *ret) {
        int r;

        r = keystore_masters(ks->keystore, ks->store, &ret->masters, &ret->n_masters);
        if (r >= 0)
                r = keystore_keks(ks->store, &ret->keks, &ret->n_keks);
        return r < 0 ? log_error_errno(r, "%s: the keys cannot be listed: %m", ks->database) : 0;
}

static int64_t newest_master(const struct hierarchy *h) {
        int64_t newest = 0;

        for (size_t i = 0; i < h->n_masters; i++)
                newest = MAX(newest, h->masters[i].id);
        return newest;
}

static const char *configured(const struct ctl_keystore *ks, const struct keystore_master *master) {
        if (ks->options.master.text && strcmp(ks->options.master.text, master->name) == 0)
                return "master";
        if (ks->options.old.text && strcmp(ks->options.old.text, master->name) == 0)
                return "old-master";
        return "";
}

static const char *group_name(const struct keystore_kek *kek) {
        return kek->group[0] ? kek->group : "(the service)";
}

/* What a person should know, one line each. */
static void warn(json_t *list, const char *format, ...) _printf_(2, 3);
static void warn(json_t *list, const char *format, ...) {
        char line[512];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        (void) json_array_append_new(list, json_string(line));
}

static json_t *warnings_of(const struct ctl_keystore *ks, const struct hierarchy *h) {
        int64_t newest = newest_master(h), behind = 0;
        json_t *list = json_array();

        for (size_t i = 0; i < h->n_masters; i++) {
                const struct keystore_master *master = h->masters + i;

                if (strcmp(master->kind, "file") == 0 && (master->keks > 0 || master->id == newest))
                        warn(list, "master %lld is a file: whoever reads it and the database has everything; fine for a lab",
                             (long long) master->id);
                if (master->keks > 0 && !configured(ks, master)[0])
                        warn(list, "master %lld (%s) has %lld keys under it and is neither master nor old-master in %s",
                             (long long) master->id, master->name, (long long) master->keks, ks->file);
        }
        for (size_t i = 0; i < h->n_keks; i++) {
                const struct keystore_kek *kek = h->keks + i;

                behind += kek->master != newest;
                if (strstr(kek->mac, "64"))
                        warn(list, "%s, generation %lld: its MAC has 64 bits only", group_name(kek), (long long) kek->generation);
                if (!kek->is_newest)
                        warn(list, "%s: %lld rows are under generation %lld still: rotate-group goes on", group_name(kek),
                             (long long) kek->rows, (long long) kek->generation);
        }
        if (ks->options.old.kind != KEYSTORE_NONE && h->n_masters == 1)
                warn(list, "nothing is under another master any more: take old-master out of %s", ks->file);
        if (behind > 0)
                warn(list, "%lld keys are under an older master still: rewrap goes on", (long long) behind);
        return list;
}

static json_t *masters_json(const struct ctl_keystore *ks, const struct hierarchy *h) {
        json_t *list = json_array();

        for (size_t i = 0; i < h->n_masters; i++) {
                const struct keystore_master *m = h->masters + i;

                (void) json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s}", "id", (json_int_t) m->id,
                                                             "kind", m->kind, "name", m->name, "serial", m->serial, "created",
                                                             (json_int_t) m->created, "keys", (json_int_t) m->keks, "configured",
                                                             configured(ks, m)));
        }
        return list;
}

static json_t *keks_json(const struct hierarchy *h) {
        json_t *list = json_array();

        for (size_t i = 0; i < h->n_keks; i++) {
                const struct keystore_kek *k = h->keks + i;

                (void) json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:b}", "group", k->group,
                                                             "generation", (json_int_t) k->generation, "master",
                                                             (json_int_t) k->master, "mechanism", k->mechanism, "mac", k->mac,
                                                             "created", (json_int_t) k->created, "rows", (json_int_t) k->rows,
                                                             "newest", (int) k->is_newest));
        }
        return list;
}

static void number(char ret[static 24], int64_t value) {
        (void) snprintf(ret, 24, "%lld", (long long) value);
}

static void print_masters(const struct ctl_keystore *ks, const struct hierarchy *h) {
        static const char *const headings[] = { "MASTER", "KIND", "KEYS", "CREATED", "IN THE CONFIGURATION", "NAME", "SERIAL" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));

        for (size_t i = 0; table && i < h->n_masters; i++) {
                const struct keystore_master *m = h->masters + i;
                char id[24], keks[24], created[21];

                number(id, m->id);
                number(keks, m->keks);
                clock_format((uint64_t) m->created * 1000, created);
                (void) table_row(table,
                                 (const char *const[]){ id, m->kind, keks, created, configured(ks, m), m->name, m->serial });
        }
        if (table)
                table_print(table);
}

static void print_keks(const struct hierarchy *h) {
        static const char *const headings[] = { "GROUP", "GENERATION", "MASTER", "MECHANISM", "MAC", "CREATED", "ROWS" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));

        for (size_t i = 0; table && i < h->n_keks; i++) {
                const struct keystore_kek *k = h->keks + i;
                char generation[24], master[24], rows[24], created[21];

                number(generation, k->generation);
                number(master, k->master);
                number(rows, k->rows);
                clock_format((uint64_t) k->created * 1000, created);
                (void) table_row(table,
                                 (const char *const[]){ group_name(k), generation, master, k->mechanism, k->mac, created, rows });
        }
        if (table)
                table_print(table);
}

int ctl_keystore_show(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore show [--config FILE]\n\n"
                "The hierarchy of a service's keys, from its database alone: no master key is opened, no token is asked. Each master,\n"
                "each group's key with its generation and how it is wrapped, the number of halves (ROWS) under it, and warnings.\n\n"
                "  --config FILE  the service's configuration\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        _cleanup_(hierarchy_done) struct hierarchy h = {};
        struct ctl_keystore_arguments arguments;
        json_t *warnings, *line;
        size_t i;
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "", usage, &arguments);
        if (r <= 0)
                return -r;
        r = ctl_keystore_load(&ks, arguments.config);
        if (r == CTL_OK)
                r = ctl_keystore_attach(&ks);
        if (r != CTL_OK)
                return r;
        if (hierarchy_load(&ks, &h) < 0)
                return CTL_FAILURE;

        warnings = warnings_of(&ks, &h);
        if (ctl->json) {
                json_t *all = json_pack("{s:s, s:s, s:o, s:o, s:O}", "role", ks.role, "database", ks.database, "masters",
                                        masters_json(&ks, &h), "keys", keks_json(&h), "warnings", warnings);

                ctl_print_json(all);
                json_decref(all);
        } else {
                print_masters(&ks, &h);
                puts("");
                print_keks(&h);
                if (json_array_size(warnings) > 0)
                        puts("");
                json_array_foreach (warnings, i, line)
                        ctl_print_line("Warning: %s.", json_string_value(line));
        }
        json_decref(warnings);
        return CTL_OK;
}

static const char *problem_name(enum keystore_problem problem) {
        static const char *const names[] = {
                [KEYSTORE_UNDER_OLD_MASTER] = "under-old-master",
                [KEYSTORE_UNDER_OLD_GENERATION] = "under-old-generation",
                [KEYSTORE_DOES_NOT_OPEN] = "does-not-open",
                [KEYSTORE_MASTER_NOT_OPEN] = "master-not-open",
                [KEYSTORE_ORPHAN] = "orphan",
                [KEYSTORE_MISSING] = "missing",
        };

        return (size_t) problem < ELEMENTSOF(names) && names[problem] ? names[problem] : "unknown";
}

struct verifying {
        bool json;
        json_t *findings;
};

static int on_finding(const struct keystore_finding *finding, void *userdata) {
        struct verifying *verifying = userdata;

        if (!verifying->json)
                return ctl_print_line("%s: %s", problem_name(finding->problem), finding->words), 0;
        (void) json_array_append_new(verifying->findings,
                                     json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "problem",
                                               problem_name(finding->problem), "what", finding->what ?: "", "group",
                                               finding->group ?: "", "node", finding->node ?: "", "key", finding->key ?: "",
                                               "generation", (json_int_t) finding->generation, "kek", (json_int_t) finding->kek,
                                               "master", (json_int_t) finding->master, "words", finding->words ?: ""));
        return 0;
}

static void print_verified(const struct verifying *verifying, const struct ctl_keystore *ks, const struct keystore_verified *v) {
        int64_t broken = v->findings - v->unfinished;

        if (verifying->json) {
                json_t *all = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "role", ks->role, "masters",
                                        (json_int_t) v->masters, "keys", (json_int_t) v->keks, "halves", (json_int_t) v->halves,
                                        "service_keys", (json_int_t) v->service_keys, "left", (json_int_t) v->unfinished,
                                        "broken", (json_int_t) broken, "findings", verifying->findings);

                ctl_print_json(all);
                json_decref(all);
                return;
        }
        ctl_print_line("%lld masters, %lld keys of groups, %lld halves and %lld keys of the service open.",
                       (long long) v->masters, (long long) v->keks, (long long) v->halves, (long long) v->service_keys);
        if (v->unfinished > 0)
                ctl_print_line("%lld are left to do: run rewrap or rotate-group again.", (long long) v->unfinished);
        if (broken > 0)
                ctl_print_line("%lld are broken, named above.", (long long) broken);
}

int ctl_keystore_verify(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore verify [--config FILE]\n\n"
                "Opens everything in a service's database, beside the running service: masters, keys of groups, halves, the service's own\n"
                "keys. Names what is not under the newest master or generation yet, and what does not open.\n\n"
                "  --config FILE  the service's configuration\n\n"
                "Exit status: 0 all is well, 5 a rewrap or rotation is not finished, 6 something is broken (also where both are so).\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        struct verifying verifying = { .json = ctl->json };
        struct ctl_keystore_arguments arguments;
        struct keystore_verified verified = {};
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "", usage, &arguments);
        if (r <= 0)
                return -r;
        r = ctl_keystore_open(&ks, arguments.config);
        if (r != CTL_OK)
                return r;

        verifying.findings = json_array();
        r = keystore_verify(ks.keystore, on_finding, &verifying, &verified);
        if (r >= 0)
                print_verified(&verifying, &ks, &verified);
        json_decref(verifying.findings);
        if (r < 0)
                return log_error_errno(r, "The keys could not all be looked at: %m"), ctl_keystore_exit(r);
        return verified.findings > verified.unfinished ? CTL_BROKEN : verified.unfinished > 0 ? CTL_NOT_FOLLOWED : CTL_OK;
}
