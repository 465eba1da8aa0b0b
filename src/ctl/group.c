/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/ini.h"
#include "ctl/group.h"

bool group_name_is_valid(const char *name) {
        size_t length = strlen(name);

        return length > 0 && length < 64 &&
               strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

/* The same request to verifier and tenant; done is printed when both have followed. Exit code. */
static int both_parties(struct ctl *ctl, const char *method, const char *path, const json_t *body, const char *done) {
        struct ctl_call calls[2] = { ctl_call(SERVER_VERIFIER, method, "%s", path), ctl_call(SERVER_TENANT, method, "%s", path) };
        int r;

        calls[0].body = calls[1].body = body;
        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = ctl_followed(calls, 2);
        if (ctl->json)
                ctl_print_answers(calls, 2);
        else if (r == CTL_OK && done)
                ctl_print_line("%s", done);
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

static void show_group(const char *server, const json_t *group) {
        size_t i;
        json_t *digest;

        ctl_print_line("%-9s %s: bank %s, gate PCR %lld, first boot %s", server, ctl_string(group, "name"),
                       ctl_string(group, "bank"), (long long) ctl_integer(group, "gate"),
                       json_is_true(json_object_get(group, "accept_first_boot")) ? "accepted UNSEEN" : "held for an operator");
        if (ctl_integer(group, "tokens") > 0)
                ctl_print_line("          %lld of its %lld nodes have a token and no TPM",
                               (long long) ctl_integer(group, "tokens"), (long long) ctl_integer(group, "nodes"));
        if (*ctl_string(group, "warning"))
                ctl_print_line("          WARNING: %s", ctl_string(group, "warning"));
        json_array_foreach (json_object_get(group, "ek_sha256"), i, digest)
                ctl_print_line("          approved ahead: EK, or token's key, %s", json_string_value(digest));
}

static int group_read(struct ctl *ctl, const char *path) {
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "%s", path), ctl_call(SERVER_VERIFIER, "GET", "%s", path) };
        int r;

        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        if (ctl->json)
                ctl_print_answers(calls, 2);
        for (int i = 0; i < 2 && !ctl->json; i++) {
                const json_t *groups = json_object_get(calls[i].answer, "groups");
                size_t k;
                json_t *group;

                if (calls[i].answer && !groups)
                        show_group(server_names[calls[i].server], calls[i].answer);
                json_array_foreach (groups, k, group)
                        show_group(server_names[calls[i].server], group);
        }
        r = ctl_followed(calls, 2);
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

static int group_list(struct ctl *ctl, int argc, char *argv[]) {
        (void) argv;
        if (argc != 1)
                return CTL_USAGE;
        return group_read(ctl, "/v1/groups");
}

static int group_show(struct ctl *ctl, int argc, char *argv[]) {
        char path[128];

        if (argc != 2 || !group_name_is_valid(argv[1]))
                return CTL_USAGE;
        snprintf(path, sizeof path, "/v1/groups/%s", argv[1]);
        return group_read(ctl, path);
}

static int group_option(int c, json_t *body, json_t **digests) {
        uint8_t digest[32];
        uint64_t gate;
        bool yes;

        switch (c) {
        case 'b':
                if (strcmp(optarg, "sha256") != 0 && strcmp(optarg, "sha384") != 0)
                        return log_error("--bank is sha256 or sha384."), -EINVAL;
                return json_object_set_new(body, "bank", json_string(optarg));
        case 'g':
                if (parse_u64(optarg, 8, 15, &gate) < 0)
                        return log_error("--gate is a PCR from 8 to 15."), -EINVAL;
                return json_object_set_new(body, "gate", json_integer((json_int_t) gate));
        case 'a':
                if (parse_bool(optarg, &yes) < 0)
                        return log_error("--accept-first-boot is yes or no."), -EINVAL;
                return json_object_set_new(body, "accept_first_boot", json_boolean(yes));
        case 'e':
                if (!*digests)
                        *digests = json_array();
                if (strcmp(optarg, "none") == 0)
                        return 0;
                if (hex_decode(optarg, digest, sizeof digest) < 0)
                        return log_error(
                                       "--ek is the SHA-256 of an EK in hexadecimal (\"tallyboot register\" prints it), or none."),
                               -EINVAL;
                return json_array_append_new(*digests, json_string(optarg));
        default:
                return -EINVAL;
        }
}

static int group_set(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "bank", required_argument, NULL, 'b' },
                                                 { "gate", required_argument, NULL, 'g' },
                                                 { "accept-first-boot", required_argument, NULL, 'a' },
                                                 { "ek", required_argument, NULL, 'e' },
                                                 {} };
        json_t *body = json_object(), *digests = NULL;
        char path[128];
        int c, r = CTL_OK;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (group_option(c, body, &digests) < 0)
                        r = CTL_USAGE;
        if (digests)
                json_object_set_new(body, "ek_sha256", digests);
        if (r == CTL_OK && (optind + 1 != argc || !group_name_is_valid(argv[optind])))
                r = CTL_USAGE;
        if (r == CTL_OK) {
                snprintf(path, sizeof path, "/v1/groups/%s", argv[optind]);
                r = both_parties(ctl, "PUT", path, body, "The group is set at tenant and verifier.");
        }
        json_decref(body);
        return r;
}

static const struct ctl_verb verbs[] = {
        { "list", "", "all groups", group_list },
        { "show", "GROUP", "one group", group_show },
        { "set", "GROUP [--bank B] [--gate PCR] [--accept-first-boot yes|no] [--ek SHA256|none]...",
          "make or change a group; --ek names all EKs that are approved ahead", group_set,
          .more = "  --bank B                    PCR bank of its nodes, sha256 (default) or sha384\n"
                  "  --gate PCR                  8 to 15 but 10 (default 15); not while the group has nodes\n"
                  "  --accept-first-boot yes|no  whatever a node boots first becomes a set of the policy, unseen (default no)\n"
                  "  --ek SHA256|none            the digest of a TPM's EK or of a token's key (\"tallyboot register\" prints it) that\n"
                  "                              needs no approval; given once for each, they replace the list; none: empty\n" },
};

int ctl_group(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "group", verbs, ELEMENTSOF(verbs), argc, argv);
}
