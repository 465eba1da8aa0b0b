/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/ini.h"
#include "ctl/group.h"
#include "wire/wire.h"

/* Each party gets the digest of its own share of the token: none can use it at the other. */
static json_t *token_body(const char *token, enum party party, const char *group, uint64_t expires) {
        uint8_t join[32], digest[32];
        json_t *body;

        if (join_token_for_party(token, party, join) < 0 || sha256(join, sizeof join, digest) < 0)
                return NULL;
        body = json_pack("{s:s, s:I}", "group", group, "expires", (json_int_t) expires);
        if (body)
                wire_set_hex(body, "sha256", digest, sizeof digest);
        return body;
}

static int create(struct ctl *ctl, const char *group, uint64_t seconds) {
        struct ctl_call calls[2] = { ctl_call(SERVER_VERIFIER, "POST", "/v1/join-tokens"),
                                     ctl_call(SERVER_TENANT, "POST", "/v1/join-tokens") };
        uint64_t expires = clock_realtime_ms() / 1000 + seconds;
        char token[37], until[21];
        int r;

        if (join_token_new(token) < 0)
                return log_error("No random bytes."), CTL_FAILURE;
        json_t *bodies[2] = { token_body(token, PARTY_VERIFIER, group, expires),
                              token_body(token, PARTY_TENANT, group, expires) };
        calls[0].body = bodies[0];
        calls[1].body = bodies[1];
        r = bodies[0] && bodies[1] && ctl_perform(ctl, calls, 2) == 0 ? ctl_followed(calls, 2) : CTL_FAILURE;
        if (r == CTL_OK) {
                clock_format(expires * 1000, until);
                if (ctl->json)
                        ctl_print_taken(
                                json_pack("{s:s, s:s, s:I}", "token", token, "group", group, "expires", (json_int_t) expires));
                else {
                        puts(token);
                        log_notice("One enrollment into group %s, until %s. It is shown this once: give it to the node in a file "
                                   "(tallyboot enroll --join-token-file).",
                                   group, until);
                }
        } else if (r == CTL_NOT_FOLLOWED)
                log_error("The token was not given out; a new one is made when you run the command again.");
        for (int i = 0; i < 2; i++) {
                ctl_call_done(calls + i);
                json_decref(bodies[i]);
        }
        memory_wipe(token, sizeof token);
        return r;
}

static int join_create(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "group", required_argument, NULL, 'g' },
                                                 { "expires", required_argument, NULL, 'e' },
                                                 {} };
        const char *group = "default";
        uint64_t seconds = 24 * 3600;
        bool wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'g')
                        group = optarg;
                else if (c != 'e' || parse_seconds(optarg, 90 * 24 * 3600, &seconds) < 0)
                        wrong = true;
        if (wrong || optind != argc || !group_name_is_valid(group) || seconds == 0)
                return CTL_USAGE;
        return create(ctl, group, seconds);
}

static const struct ctl_verb verbs[] = {
        { "create", "[--group GROUP] [--expires 24h]", "print a token that lets one node enroll without a further approval",
          join_create,
          .more = "  --group GROUP   that the node will be of (default: default)\n"
                  "  --expires TIME  after which it is worthless (default 24h, at most 90d)\n\n"
                  "On the node: tallyboot enroll --join-token-file FILE, with what is printed in FILE.\n" },
};

int ctl_join_token(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "join-token", verbs, ELEMENTSOF(verbs), argc, argv);
}
