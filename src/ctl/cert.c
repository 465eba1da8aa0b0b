/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/ca.h"
#include "ctl/ctl.h"
#include "ctl/group.h"

/* Where certificates stand in a fleet's directory (see init.c). */
static const struct place {
        const char *dir, *name;
        bool server;
} places[] = { { "registrar", "registrar", true },
               { "tenant", "tenant", true },
               { "verifier", "verifier", true },
               { "operator", "operator", false } };
static const char *const trusting[] = { "registrar", "tenant", "verifier", "operator", "node" };

static char *file_of(const char *dir, const char *sub, const char *name, const char *suffix) {
        return format("%s/%s/%s%s", dir, sub, name, suffix);
}

static int show_one(struct table *table, const char *dir, const char *sub, const char *name) {
        _cleanup_(freep) char *file = file_of(dir, sub, name, ".pem");
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
        return table_row(table, cells);
}

static int cert_show(const char *dir) {
        static const char *const headings[] = { "CERTIFICATE", "LEFT", "NAMES" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));
        int r = 0;

        if (!table)
                return log_oom();
        r = show_one(table, dir, "ca", "ca");
        for (size_t i = 0; i < ELEMENTSOF(places) && r == 0; i++)
                r = show_one(table, dir, places[i].dir, places[i].name);
        if (r == 0)
                table_print(table);
        return r;
}

/* The same names and role again, new key, new dates. */
static int renew_one(const struct ca *ca, const char *dir, const struct place *place) {
        _cleanup_(freep) char *pem = file_of(dir, place->dir, place->name, ".pem"),
                              *key = file_of(dir, place->dir, place->name, ".key");
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
        r = names ? ca_issue_names(ca, name, names, place->server, pem, key) : -EBADMSG;
        X509_free(old);
        if (r == 0)
                ctl_print_line("%s: renewed", pem);
        return r;
}

static int load_ca(const char *dir, const char *name, struct ca *ret) {
        _cleanup_(freep) char *pem = file_of(dir, "ca", name, ".pem"), *key = file_of(dir, "ca", name, ".key");

        return pem && key ? ca_load(pem, key, ret) : log_oom();
}

static int renew_leaves(const char *dir, const char *what_next) {
        _cleanup_(ca_done) struct ca ca = {};
        int r = load_ca(dir, "ca", &ca);

        for (size_t i = 0; i < ELEMENTSOF(places) && r == 0; i++)
                r = renew_one(&ca, dir, places + i);
        if (r == 0)
                puts(what_next);
        return r;
}

static int append_file(const char *dir, const char *sub, const char *name, struct buffer *buffer) {
        _cleanup_(freep) char *path = file_of(dir, sub, name, "");
        _cleanup_(blob_done) struct blob data = {};
        int r = path ? file_read(path, 1024 * 1024, &data) : -ENOMEM;

        if (r == 0)
                buffer_append(buffer, data.data, data.size);
        return r < 0 ? log_error_errno(r, "%s: %m", path) : 0;
}

static int write_trusted(const char *dir, const struct buffer *bundle) {
        int r = buffer_ok(bundle);

        for (size_t i = 0; i < ELEMENTSOF(trusting) && r == 0; i++) {
                _cleanup_(freep) char *path = file_of(dir, trusting[i], "ca.pem", "");

                r = path ? file_write(path, bundle->data, bundle->size, 0644) : -ENOMEM;
                if (r < 0)
                        log_error_errno(r, "%s: %m", path);
        }
        return r;
}

/* First step: a second CA that everybody trusts beside the first, which goes on signing. */
static int begin_ca(const char *dir) {
        _cleanup_(ca_done) struct ca ca = {};
        _cleanup_(buffer_done) struct buffer bundle = {};
        _cleanup_(freep) char *pem = file_of(dir, "ca", "next.pem", ""), *key = file_of(dir, "ca", "next.key", "");
        int r;

        if (!pem || !key)
                return log_oom();
        if (access(pem, F_OK) == 0)
                return log_error("%s: a renewal is under way; \"tallyctl cert renew --ca finish\" ends it.", pem), -EEXIST;
        r = ca_new("tallyboot fleet CA", &ca);
        if (r == 0)
                r = ca_save(&ca, pem, key);
        if (r == 0)
                r = append_file(dir, "ca", "ca.pem", &bundle);
        if (r == 0)
                r = append_file(dir, "ca", "next.pem", &bundle);
        if (r == 0)
                r = write_trusted(dir, &bundle);
        if (r == 0)
                puts("Every ca.pem now holds the old and the new CA. Copy them to servers (reload), operators and nodes, rebuild the nodes' "
                     "initramfs,\nand when all of them have booted with it: tallyctl cert renew --ca finish");
        return r;
}

/* Second step: the new CA signs from now on. The old one stays in every ca.pem, so that a node that was forgotten is told, not cut off,
 * as long as the servers keep their old certificates; those are replaced here. */
static int finish_ca(const char *dir) {
        _cleanup_(freep) char *next_pem = file_of(dir, "ca", "next.pem", ""), *next_key = file_of(dir, "ca", "next.key", "");
        _cleanup_(freep) char *pem = file_of(dir, "ca", "ca.pem", ""), *key = file_of(dir, "ca", "ca.key", "");
        _cleanup_(freep) char *old_pem = file_of(dir, "ca", "old.pem", ""), *old_key = file_of(dir, "ca", "old.key", "");

        if (!next_pem || !next_key || !pem || !key || !old_pem || !old_key)
                return log_oom();
        if (access(next_pem, F_OK) < 0)
                return log_error("%s: no renewal is under way; begin with \"tallyctl cert renew --ca begin\".", next_pem),
                       -ENOENT;
        if (rename(key, old_key) < 0 || rename(pem, old_pem) < 0 || rename(next_key, key) < 0 || rename(next_pem, pem) < 0)
                return log_error_errno(errno, "%s/ca: %m", dir);
        return renew_leaves(
                dir,
                "Copy them to their machines and reload each service. A node whose initramfs knows only the old CA ends at its "
                "prompt from now on.");
}

static const char same_ca[] =
        "Copy them to their machines and reload each service (systemctl reload tallyboot-tenant ...). Nodes notice "
        "nothing: the CA is the same.";

static int cert_verb(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                                 { "ca", required_argument, NULL, 'c' },
                                                 {} };
        const char *dir = NULL, *step = NULL;
        bool renew = strcmp(argv[0], "renew") == 0, wrong = false;
        int c, r;

        (void) ctl;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'd')
                        dir = optarg;
                else if (c == 'c' && renew)
                        step = optarg;
                else
                        wrong = true;
        if (wrong || !dir || optind != argc || (step && strcmp(step, "begin") != 0 && strcmp(step, "finish") != 0))
                return log_error("Usage: tallyctl cert %s", renew ? "renew --dir DIR [--ca begin|finish]" : "show --dir DIR"),
                       CTL_USAGE;
        r = !renew                       ? cert_show(dir)
            : !step                      ? renew_leaves(dir, same_ca)
            : strcmp(step, "begin") == 0 ? begin_ca(dir)
                                         : finish_ca(dir);
        return r < 0 ? CTL_FAILURE : CTL_OK;
}

static bool is_name(const char *text) {
        return group_name_is_valid(text) && text[0] != '.'; /* the same letters; a file's name */
}

/* For one more person, or for what reads the metrics. Each has a key of his own, so the audit log tells them apart. */
static int issue(const char *dir, const char *role, const char *name, bool again) {
        _cleanup_(freep) char *folder = format("%s/people", dir), *uri = format("urn:tallyboot:%s:%s", role, name);
        _cleanup_(freep) char *pem = file_of(dir, "people", name, ".pem"), *key = file_of(dir, "people", name, ".key");
        _cleanup_(ca_done) struct ca ca = {};
        int r;

        if (!folder || !uri || !pem || !key)
                return log_oom();
        if (!again && access(pem, F_OK) == 0)
                return log_error("%s is there already; --again replaces it by a new one.", pem), -EEXIST;
        r = load_ca(dir, "ca", &ca);
        if (r < 0)
                return r;
        if (mkdir(folder, 0700) < 0 && errno != EEXIST)
                return log_error_errno(errno, "%s: %m", folder);
        r = ca_issue(&ca, &(struct leaf){ .common_name = name, .uri = uri }, pem, key);
        if (r == 0)
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

        (void) ctl;
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'd')
                        dir = optarg;
                else if (c == 'a')
                        again = true;
                else
                        wrong = true;
        if (wrong || !dir || argc - optind != 2 ||
            (strcmp(argv[optind], "operator") != 0 && strcmp(argv[optind], "monitor") != 0) || !is_name(argv[optind + 1]))
                return log_error("Usage: tallyctl cert issue operator|monitor NAME --dir DIR [--again]; NAME: letters, digits, "
                                 "dots, dashes."),
                       CTL_USAGE;
        return issue(dir, argv[optind], argv[optind + 1], again) < 0 ? CTL_FAILURE : CTL_OK;
}

static const struct ctl_verb verbs[] = {
        { "show", "--dir DIR", "the fleet's certificates and how long they are good", cert_verb },
        { "renew", "--dir DIR [--ca begin|finish]", "new certificates; with --ca a new CA, in two steps that cut no node off",
          cert_verb },
        { "issue", "operator|monitor NAME --dir DIR [--again]",
          "a certificate for one more operator, or for what reads the services' metrics", issue_verb },
};

int ctl_cert(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "cert", verbs, ELEMENTSOF(verbs), argc, argv);
}
