/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/verify.h"
#include "base/clock.h"
#include "ctl/ctl.h"

enum { PAGE = 500 };

static int server_from_name(const char *name, enum server *ret) {
        for (int s = 0; s < SERVERS; s++)
                if (strcmp(server_names[s], name) == 0)
                        return *ret = (enum server) s, 0;
        log_error("\"%s\" is none of registrar, tenant, verifier.", name);
        return -EINVAL;
}

static int write_line(FILE *file, json_t *take) {
        char *text = take ? json_dumps(take, JSON_COMPACT) : NULL;
        bool ok = text && fprintf(file, "%s\n", text) > 0;

        json_decref(take);
        free(text);
        return ok ? 0 : -EIO;
}

static int cannot_write(void) {
        log_error("The export cannot be written: %m");
        return CTL_FAILURE;
}

/* One page; ret_last: the last record of it. */
static int write_page(struct ctl *ctl, enum server server, FILE *file, int64_t last, int64_t *ret_last) {
        json_t *answer = NULL, *record;
        char path[96];
        size_t i;
        int r;

        snprintf(path, sizeof path, "/v1/audit/records?after=%lld&limit=%lld", (long long) *ret_last,
                 (long long) MIN((int64_t) PAGE, last - *ret_last));
        r = ctl_get(ctl, server, path, &answer);
        if (r != CTL_OK)
                return r;
        if (json_array_size(json_object_get(answer, "records")) == 0) {
                log_error("The %s has no record behind %lld, though its head says %lld.", server_names[server],
                          (long long) *ret_last, (long long) last);
                r = CTL_FAILURE;
        }
        json_array_foreach (json_object_get(answer, "records"), i, record) {
                *ret_last = MAX(ctl_integer(record, "seq"), *ret_last + 1);
                if (r == CTL_OK && write_line(file, json_incref(record)) < 0)
                        r = cannot_write();
        }
        json_decref(answer);
        return r;
}

static int write_export(struct ctl *ctl, enum server server, FILE *file, int64_t *ret_records) {
        json_t *answer = NULL;
        int64_t last, at = 0;
        int r;

        r = ctl_get(ctl, server, "/v1/audit", &answer);
        if (r != CTL_OK)
                return r;
        last = ctl_integer(json_object_get(answer, "head"), "seq");
        r = write_line(file, json_pack("{s:i, s:I, s:O}", "tallyboot-audit", 1, "exported", (json_int_t) clock_realtime_ms(),
                                       "head", json_object_get(answer, "head")));
        json_decref(answer);
        if (r < 0)
                return cannot_write();
        while (at < last) {
                r = write_page(ctl, server, file, last, &at);
                if (r != CTL_OK)
                        return r;
        }
        *ret_records = last;
        return CTL_OK;
}

/* Whole or not at all. */
static int export_one(struct ctl *ctl, enum server server, const char *dir, json_t *json) {
        _cleanup_(freep) char *final = format("%s/%s-audit.jsonl", dir, server_names[server]);
        _cleanup_(freep) char *temporary = format("%s/.%s-audit-XXXXXX", dir, server_names[server]);
        int64_t records = 0;
        FILE *file;
        int fd, r;

        fd = final && temporary ? mkostemp(temporary, O_CLOEXEC) : -1;
        file = fd >= 0 ? fdopen(fd, "w") : NULL;
        if (!file)
                return log_error("%s: an export cannot be written there: %m", dir), CTL_FAILURE;
        r = write_export(ctl, server, file, &records);
        if (fflush(file) != 0 || fsync(fd) < 0)
                r = r ?: (log_error("%s: %m", final), CTL_FAILURE);
        (void) fclose(file);
        if (r == CTL_OK && rename(temporary, final) < 0)
                r = (log_error("%s: %m", final), CTL_FAILURE);
        if (r != CTL_OK)
                (void) unlink(temporary);
        else if (ctl->json)
                (void) json_object_set_new(json, server_names[server],
                                           json_pack("{s:s, s:I}", "file", final, "records", (json_int_t) records));
        else
                ctl_print_line("%s: %lld records", final, (long long) records);
        return r;
}

static int audit_export_verb(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "dir", required_argument, NULL, 'd' }, {} };
        const char *dir = NULL;
        int c, r, worst = CTL_OK;
        json_t *json;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'd')
                        dir = optarg;
                else
                        return CTL_USAGE;
        if (!dir)
                return CTL_USAGE;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return log_error("%s: %m", dir), CTL_FAILURE;
        json = json_object();
        for (int s = 0; s < SERVERS && optind == argc; s++) {
                r = export_one(ctl, (enum server) s, dir, json);
                worst = r != CTL_OK ? r : worst;
        }
        for (; optind < argc; optind++) {
                enum server server;

                r = server_from_name(argv[optind], &server) < 0 ? CTL_USAGE : export_one(ctl, server, dir, json);
                worst = r != CTL_OK ? r : worst;
        }
        if (ctl->json)
                ctl_print_json(json);
        json_decref(json);
        return worst;
}

struct findings {
        size_t wrong;
        json_t *json; /* NULL: as text */
};

static void on_finding(bool wrong, const char *text, void *userdata) {
        struct findings *findings = userdata;

        findings->wrong += wrong;
        if (findings->json)
                (void) json_array_append_new(findings->json, json_pack("{s:b, s:s}", "wrong", wrong, "text", text));
        else
                ctl_print_line("%s %s", wrong ? "WRONG" : "     ", text);
}

static int read_export(struct audit_file *file, struct findings *findings) {
        _cleanup_(freep) char *line = malloc(AUDIT_LINE_MAX + 2);
        FILE *stream = fopen(file->name, "re");
        int r = 0;

        if (!stream || !line) {
                r = stream ? -ENOMEM : -errno;
                log_error_errno(r, "%s: %m", file->name);
        }
        while (r >= 0 && fgets(line, AUDIT_LINE_MAX + 2, stream)) {
                size_t size = strlen(line);

                if (size > 0 && line[size - 1] == '\n')
                        size--;
                r = audit_file_line(file, line, size, on_finding, findings);
        }
        if (stream)
                (void) fclose(stream);
        if (r >= 0)
                audit_file_end(file, on_finding, findings);
        return r;
}

static int audit_verify_verb(struct ctl *ctl, int argc, char *argv[]) {
        struct findings findings = { .json = ctl->json ? json_array() : NULL };
        size_t n = argc > 1 ? (size_t) argc - 1 : 0, compared = 0;
        struct audit_file *files;
        int r = 0;

        if (n == 0 || argv[1][0] == '-')
                return CTL_USAGE;
        files = calloc(n, sizeof *files);
        if (!files)
                return log_oom(), CTL_FAILURE;

        for (size_t i = 0; i < n && r >= 0; i++) {
                files[i].name = argv[i + 1];
                r = read_export(files + i, &findings);
                if (r >= 0 && !findings.json && files[i].has_header)
                        ctl_print_line("      %s: %lld records in %s", files[i].head.role, (long long) files[i].n, files[i].name);
        }
        if (r >= 0)
                audit_files_compare(files, n, on_finding, &findings, &compared);
        if (r >= 0 && findings.json)
                ctl_print_json(findings.json);
        else if (r >= 0)
                ctl_print_line("%s",
                               findings.wrong > 0 ? "These logs are NOT what they were."
                               : compared > 0
                                       ? "Nothing was deleted, changed, reordered or cut off before the newest recorded heads."
                                       : "Each log is whole in itself. Nothing was there to hold it against: whoever can write "
                                         "a log and sign for it can write all of it anew.");
        for (size_t i = 0; i < n; i++)
                audit_file_done(files + i);
        free(files);
        json_decref(findings.json);
        return r < 0 ? CTL_FAILURE : findings.wrong > 0 ? CTL_REFUSED : CTL_OK;
}

static void status_rows(struct table *table, const struct ctl_call *call) {
        const json_t *peer;
        size_t i;

        json_array_foreach (json_object_get(call->answer, "peers"), i, peer) {
                char at[21], seq[24];

                clock_format((uint64_t) ctl_integer(peer, "recorded") * 1000, at);
                snprintf(seq, sizeof seq, "%lld", (long long) ctl_integer(peer, "seq"));
                const char *cells[] = { server_names[call->server], ctl_string(peer, "role"), seq, at,
                                        *ctl_string(peer, "alarm") ? ctl_string(peer, "alarm") : "-" };
                table_row(table, cells);
        }
}

static int audit_status_verb(struct ctl *ctl, int argc, char *argv[] _unused_) {
        static const char *const headings[] = { "SERVER", "KNOWS OF", "RECORDS", "SINCE", "ALARM" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));
        struct ctl_call calls[SERVERS];
        int r;

        if (argc > 1)
                return CTL_USAGE;
        for (int s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "GET", "/v1/audit");
        if (ctl_perform(ctl, calls, SERVERS) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_answers(calls, SERVERS);
        for (int s = 0; s < SERVERS && !ctl->json && table; s++)
                if (calls[s].result == 0)
                        status_rows(table, calls + s);
        if (!ctl->json && table)
                table_print(table);
        r = ctl_followed(calls, SERVERS);
        for (int s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}

static int audit_accept_verb(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "of", required_argument, NULL, 'o' }, {} };
        struct ctl_call calls[SERVERS];
        enum server of = SERVERS;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c != 'o' || server_from_name(optarg, &of) < 0)
                        return CTL_USAGE;
        if (of == SERVERS || optind != argc)
                return CTL_USAGE;

        for (int s = 0; s < SERVERS; s++)
                calls[s] = ctl_call(s, "POST", "/v1/audit/peers/%s/accept", server_names[of]);
        if (ctl_perform(ctl, calls, SERVERS) < 0)
                return CTL_FAILURE;
        for (int s = 0; s < SERVERS; s++)
                if (calls[s].result == -ENOENT)
                        calls[s].result = 0; /* it knew none, or its own database is no older one */
        r = ctl_followed(calls, SERVERS);
        if (ctl->json)
                ctl_print_answers(calls, SERVERS);
        else if (r == CTL_OK)
                ctl_print_line("The log of the %s is taken by all as it is now.", server_names[of]);
        for (int s = 0; s < SERVERS; s++)
                ctl_call_done(calls + s);
        return r;
}

int ctl_audit(struct ctl *ctl, int argc, char *argv[]) {
        static const struct ctl_verb verbs[] = {
                { "export", "--dir DIR [registrar] [tenant] [verifier]",
                  "write the servers' audit logs to files, with signed heads", audit_export_verb },
                { "verify", "FILE [FILE ...]", "hold exports against themselves and each other; needs no server",
                  audit_verify_verb },
                { "status", "", "what each server knows of the others' logs", audit_status_verb },
                { "accept", "--of registrar|tenant|verifier", "after a restore: its log is taken as it is now",
                  audit_accept_verb },
        };

        return ctl_dispatch(ctl, "audit", verbs, ELEMENTSOF(verbs), argc, argv);
}
