/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/cert.h"
#include "ctl/group.h"

/* Where certificates stand in a fleet's directory (see init.c); those of "cert issue" are in people/. */
struct place {
        const char *dir, *name;
        bool server;
};
static const struct place places[] = { { "registrar", "registrar", true },
                                       { "tenant", "tenant", true },
                                       { "verifier", "verifier", true },
                                       { "operator", "operator", false } };

/* A run over a fleet's certificates: what it found or made, as JSON; table is NULL where nothing is shown as one. */
struct run {
        const struct ctl *ctl;
        const char *dir;
        struct table *table;
        struct ca ca;
        json_t *json;
};

char *cert_file(const char *dir, const char *sub, const char *name, const char *suffix) {
        return format("%s/%s/%s%s", dir, sub, name, suffix);
}

/* An error of an action ends it. */
static int each_of_people(struct run *run, int (*action)(struct run *run, const struct place *place)) {
        _cleanup_(freep) char *folder = format("%s/people", run->dir);
        struct dirent **entries = NULL;
        int n = folder ? scandir(folder, &entries, NULL, alphasort) : -1, r = 0;

        if (n < 0)
                return errno == ENOENT ? 0 : log_error_errno(errno, "%s/people: %m", run->dir);
        for (int i = 0; i < n; i++) {
                char *dot = strrchr(entries[i]->d_name, '.');

                if (r == 0 && dot && dot > entries[i]->d_name && strcmp(dot, ".pem") == 0) {
                        *dot = 0;
                        r = action(run, &(struct place){ "people", entries[i]->d_name, false });
                }
                free(entries[i]);
        }
        free(entries);
        return r;
}

static int each(struct run *run, int (*action)(struct run *run, const struct place *place)) {
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(places) && r == 0; i++)
                r = action(run, places + i);
        return r == 0 ? each_of_people(run, action) : r;
}

static int show_one(struct run *run, const struct place *place) {
        _cleanup_(freep) char *file = cert_file(run->dir, place->dir, place->name, ".pem");
        X509 *certificate = NULL;
        char days[64];
        int64_t left;

        if (!file || certificate_load(file, &certificate) < 0)
                return -EIO;
        _cleanup_(freep) char *names = certificate_alt_names(certificate);
        left = certificate_seconds_left(certificate);
        snprintf(days, sizeof days, left < 0 ? "EXPIRED" : "%lld days", (long long) (left / 86400));
        const char *cells[] = { file, days, names ? names : "" };
        X509_free(certificate);
        (void) json_array_append_new(run->json, json_pack("{s:s, s:I, s:s}", "file", file, "seconds_left", (json_int_t) left,
                                                          "names", names ? names : ""));
        return table_row(run->table, cells);
}

static int cert_show(struct run *run) {
        static const char *const headings[] = { "CERTIFICATE", "LEFT", "NAMES" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));
        _cleanup_(freep) char *next = cert_file(run->dir, "ca", "next", ".pem");
        int r;

        if (!table || !next)
                return log_oom();
        run->table = table;
        r = show_one(run, &(struct place){ "ca", "ca", false });
        if (r == 0 && access(next, F_OK) == 0)
                r = show_one(run, &(struct place){ "ca", "next", false });
        if (r == 0)
                r = each(run, show_one);
        if (r == 0 && !run->ctl->json)
                table_print(table);
        return r;
}

/* The same names and role again, new key, new dates. */
static int renew_one(struct run *run, const struct place *place) {
        _cleanup_(freep) char *pem = cert_file(run->dir, place->dir, place->name, ".pem"),
                              *key = cert_file(run->dir, place->dir, place->name, ".key");
        X509 *old = NULL;
        char name[256] = "";
        int r;

        if (!pem || !key)
                return log_oom();
        r = certificate_load(pem, &old);
        if (r < 0)
                return r;
        _cleanup_(freep) char *names = certificate_alt_names(old);
        X509_NAME_get_text_by_NID(X509_get_subject_name(old), NID_commonName, name, sizeof name);
        r = names ? ca_issue_names(&run->ca, name, names, place->server, pem, key) : -EBADMSG;
        X509_free(old);
        if (r < 0)
                return r;
        if (!run->ctl->json)
                ctl_print_line("%s: renewed", pem);
        (void) json_array_append_new(run->json, json_string(pem));
        return 0;
}

static int load_ca(const char *dir, struct ca *ret) {
        _cleanup_(freep) char *pem = cert_file(dir, "ca", "ca", ".pem"), *key = cert_file(dir, "ca", "ca", ".key");

        return pem && key ? ca_load(pem, key, ret) : log_oom();
}

static int renew_leaves(struct run *run) {
        int r = load_ca(run->dir, &run->ca);

        return r < 0 ? r : each(run, renew_one);
}

static int renew(struct run *run, const char *step) {
        const char *next =
                "Copy them to their machines and reload each service (systemctl reload tallyboot-tenant ...), give those of people/ "
                "to whom they\nbelong. Nodes notice nothing: the CA is the same.";
        int r;

        if (!step)
                r = renew_leaves(run);
        else if (strcmp(step, "begin") == 0) {
                r = cert_ca_begin(run->dir);
                next = "Every ca.pem now holds the old and the new CA. Copy them to servers (reload), operators and nodes, rebuild the nodes' "
                       "initramfs,\nand when all of them have booted with it: tallyctl cert renew --ca finish";
        } else if (strcmp(step, "drop") == 0) {
                r = cert_ca_drop(run->dir);
                next = "Every ca.pem now holds the CA that signs and no other. Copy them to servers (reload), operators and nodes, and rebuild "
                       "the nodes' initramfs.";
        } else {
                r = cert_ca_swap(run->dir);
                if (r == 0)
                        r = renew_leaves(run);
                if (r == 0)
                        r = cert_ca_finished(run->dir);
                next = "Copy them to their machines and reload each service, give those of people/ to whom they belong. A node whose initramfs "
                       "knows only\nthe old CA ends at its prompt from now on.";
        }
        if (r == 0 && !run->ctl->json)
                puts(next);
        return r;
}

static int cert_verb(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                                 { "ca", required_argument, NULL, 'c' },
                                                 {} };
        struct run run = { .ctl = ctl };
        const char *step = NULL;
        bool renews = strcmp(argv[0], "renew") == 0, wrong = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'd')
                        run.dir = optarg;
                else if (c == 'c' && renews)
                        step = optarg;
                else
                        wrong = true;
        if (wrong || !run.dir || optind != argc ||
            (step && strcmp(step, "begin") != 0 && strcmp(step, "finish") != 0 && strcmp(step, "drop") != 0))
                return CTL_USAGE;
        run.json = json_array();
        r = renews ? renew(&run, step) : cert_show(&run);
        if (r >= 0 && ctl->json)
                ctl_print_json(run.json);
        ca_done(&run.ca);
        json_decref(run.json);
        return r < 0 ? CTL_FAILURE : CTL_OK;
}

/* Who has such a name in a certificate is refused by the services. */
bool cert_name_is_valid(const char *text) {
        static const char *const taken[] = { "node", "service", "registrar", "tenant", "verifier" };

        for (size_t i = 0; i < ELEMENTSOF(taken); i++)
                if (strcmp(text, taken[i]) == 0) {
                        log_error("%s is what the audit logs call somebody else: give another name.", text);
                        return false;
                }
        return group_name_is_valid(text) && text[0] != '.'; /* the same letters */
}

/* For one more person, or for what reads the metrics. Each has a key of his own, so the audit log tells them apart. */
static int issue(const struct ctl *ctl, const char *dir, const char *role, const char *name, bool again) {
        _cleanup_(freep) char *folder = format("%s/people", dir), *uri = format("urn:tallyboot:%s:%s", role, name);
        _cleanup_(freep) char *pem = cert_file(dir, "people", name, ".pem"), *key = cert_file(dir, "people", name, ".key");
        _cleanup_(ca_done) struct ca ca = {};
        int r;

        if (!folder || !uri || !pem || !key)
                return log_oom();
        if (!again && access(pem, F_OK) == 0)
                return log_error("%s is there already; --again replaces it by a new one.", pem), -EEXIST;
        r = load_ca(dir, &ca);
        if (r < 0)
                return r;
        if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                return log_error_errno(errno, "%s: %m", folder);
        r = ca_issue(&ca, &(struct leaf){ .common_name = name, .uri = uri }, pem, key);
        if (r == 0 && ctl->json) {
                json_t *json = json_pack("{s:s, s:s}", "certificate", pem, "key", key);

                ctl_print_json(json);
                json_decref(json);
        } else if (r == 0)
                ctl_print_line("%s, %s: %s \"%s\", %d days. The services know it at once.", pem, key, role, name, LEAF_DAYS);
        return r;
}

static int issue_verb(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                                 { "again", no_argument, NULL, 'a' },
                                                 {} };
        const char *dir = NULL;
        bool again = false, wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'd')
                        dir = optarg;
                else if (c == 'a')
                        again = true;
                else
                        wrong = true;
        if (wrong || !dir || argc - optind != 2 ||
            (strcmp(argv[optind], "operator") != 0 && strcmp(argv[optind], "monitor") != 0) ||
            !cert_name_is_valid(argv[optind + 1]))
                return CTL_USAGE;
        return issue(ctl, dir, argv[optind], argv[optind + 1], again) < 0 ? CTL_FAILURE : CTL_OK;
}

static const struct ctl_verb verbs[] = {
        { "show", "--dir DIR", "the fleet's certificates and how long they are good", cert_verb },
        { "renew", "--dir DIR [--ca begin|finish|drop]",
          "new certificates; with --ca a new CA, in two steps that cut no node off", cert_verb,
          .more = "  --ca begin   a second CA, into every ca.pem: copy them, rebuild the nodes' initramfs\n"
                  "  --ca finish  when all nodes have booted with it: it signs everything\n"
                  "  --ca drop    only if the old one's key was stolen: nobody trusts it any more\n" },
        { "issue", "operator|monitor NAME --dir DIR [--again]",
          "a certificate for one more operator, or for what reads the services' metrics", issue_verb,
          .more = "  NAME     letters, digits, dots, dashes\n"
                  "  --again  replace the one of that name\n\n"
                  "Key and certificate are in DIR/people; the audit logs name each operator.\n" },
};

int ctl_cert(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "cert", verbs, ELEMENTSOF(verbs), argc, argv);
}
