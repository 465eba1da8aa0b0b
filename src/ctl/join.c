/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/ini.h"
#include "ctl/group.h"
#include "wire/wire.h"

static const enum server parties[2] = { SERVER_VERIFIER, SERVER_TENANT };

static enum party party_of(enum server server) {
        return server == SERVER_TENANT ? PARTY_TENANT : PARTY_VERIFIER;
}

/* Each party gets the digest of its own share of the token: none can use it at the other. */
static int token_digest(const char *token, enum server server, uint8_t ret[static 32]) {
        _cleanup_(wipe_32) uint8_t join[32] = {};
        int r;

        r = join_token_for_party(token, party_of(server), join);
        return r < 0 ? r : sha256(join, sizeof join, ret);
}

struct new_token {
        char token[37], id[2 * JOIN_TOKEN_ID_SIZE + 1];
        const char *group;
        uint64_t expires;
};

static json_t *token_body(const struct new_token *new, enum server server) {
        uint8_t digest[32];
        json_t *body;

        if (token_digest(new->token, server, digest) < 0)
                return NULL;
        body = json_pack("{s:s, s:s, s:I}", "id", new->id, "group", new->group, "expires", (json_int_t) new->expires);
        if (body)
                wire_set_hex(body, "sha256", digest, sizeof digest);
        return body;
}

/* What one party has and the other has not is shown to nobody, and listed as a fault until it ends: it ends now. */
static void take_back(struct ctl *ctl, const struct new_token *new, const struct ctl_call calls[static 2]) {
        for (size_t i = 0; i < 2; i++) {
                _cleanup_(ctl_call_done) struct ctl_call call =
                        ctl_call(calls[i].server, "DELETE", "/v1/join-tokens/%s", new->id);

                if (calls[i].result == 0 && (ctl_perform(ctl, &call, 1) < 0 || call.result < 0))
                        log_error("Its part is still at the %s: tallyctl join-token cancel %s", server_names[call.server],
                                  new->id);
        }
}

static void print_token(struct ctl *ctl, const struct new_token *new) {
        char until[21];

        if (ctl->json) {
                ctl_print_taken(json_pack("{s:s, s:s, s:s, s:I}", "token", new->token, "id", new->id, "group", new->group,
                                          "expires", (json_int_t) new->expires));
                return;
        }
        clock_format(new->expires * 1000, until);
        puts(new->token);
        log_notice("One enrollment into group %s, until %s. It is shown this once: give it to the node in a file "
                   "(tallyboot enroll --join-token-file). Its id is %s: tallyctl join-token list, join-token cancel.",
                   new->group, until, new->id);
}

static int create(struct ctl *ctl, const char *group, uint64_t seconds) {
        struct new_token new = { .group = group, .expires = clock_realtime_ms() / 1000 + seconds };
        struct ctl_call calls[2];
        json_t *bodies[2];
        int r;

        if (join_token_new(new.token) < 0 || join_token_id_new(new.id) < 0)
                return log_error("No random bytes."), CTL_FAILURE;
        for (size_t i = 0; i < 2; i++) {
                calls[i] = ctl_call(parties[i], "POST", "/v1/join-tokens");
                calls[i].body = bodies[i] = token_body(&new, parties[i]);
        }
        r = bodies[0] && bodies[1] && ctl_perform(ctl, calls, 2) == 0 ? ctl_followed(calls, 2) : CTL_FAILURE;
        if (r == CTL_OK)
                print_token(ctl, &new);
        else if (r == CTL_NOT_FOLLOWED) {
                log_error("The token was not given out; a new one is made when you run the command again.");
                take_back(ctl, &new, calls);
        }
        for (size_t i = 0; i < 2; i++) {
                ctl_call_done(calls + i);
                json_decref(bodies[i]);
        }
        memory_wipe(&new, sizeof new);
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

/* What a party has of one id: several tokens only where they were made before there were ids. */
struct share {
        bool reached;
        size_t n, open, ended; /* ended: cancelled or expired; the rest are used */
        const json_t *first;
        const char *node; /* that used it */
};

struct row {
        const char *id;
        struct share shares[2]; /* as parties[] */
};

struct listing {
        struct row *rows;
        size_t n;
        json_t *places; /* id -> place in rows */
};

static void listing_done(struct listing *listing) {
        free(listing->rows);
        json_decref(listing->places);
}

static struct row *find_or_add(struct listing *listing, const char *id, const struct ctl_call calls[static 2]) {
        const json_t *place = json_object_get(listing->places, id);
        struct row *grown;

        if (place)
                return listing->rows + json_integer_value(place);
        grown = reallocarray(listing->rows, listing->n + 1, sizeof *grown);
        if (!grown)
                return NULL;
        listing->rows = grown;
        if (json_object_set_new(listing->places, id, json_integer((json_int_t) listing->n)) < 0)
                return NULL;
        grown[listing->n] = (struct row){ .id = id };
        for (size_t i = 0; i < 2; i++)
                grown[listing->n].shares[i].reached = calls[i].result == 0;
        return grown + listing->n++;
}

static void share_add(struct share *share, const json_t *token) {
        const char *state = ctl_string(token, "state"), *node = ctl_string(json_object_get(token, "used"), "node");

        share->first = share->first ? share->first : token;
        share->n++;
        share->open += strcmp(state, "open") == 0;
        share->ended += strcmp(state, "cancelled") == 0 || strcmp(state, "expired") == 0;
        if (*node)
                share->node = node;
}

/* A party's ids end up in commands that an operator is told to type. */
static int listing_read(const struct ctl_call calls[static 2], struct listing *listing) {
        listing->places = json_object();
        for (size_t c = 0; c < 2; c++) {
                size_t i;
                json_t *token;

                json_array_foreach (json_object_get(calls[c].answer, "tokens"), i, token) {
                        const char *id = ctl_string(token, "id");
                        struct row *row;

                        if (!join_token_id_is_valid(id))
                                return log_error("The %s sent a join token with an id that is none: \"%s\".",
                                                 server_names[calls[c].server], id),
                                       -EBADMSG;
                        row = find_or_add(listing, id, calls);
                        if (!row)
                                return log_oom();
                        share_add(row->shares + c, token);
                }
        }
        return 0;
}

static void share_text(const struct share *share, char *ret, size_t size) {
        if (share->n > 1)
                snprintf(ret, size, "%zu of %zu open", share->open, share->n);
        else
                snprintf(ret, size, "%s", share->n == 1 ? ctl_string(share->first, "state") : share->reached ? "-" : "?");
}

static void print_row(struct table *table, const struct row *row) {
        const struct share *verifier = row->shares, *tenant = row->shares + 1;
        const json_t *any = tenant->first ? tenant->first : verifier->first;
        const char *who = ctl_string(any, "who"), *by = tenant->node ? tenant->node : verifier->node;
        char made[21], until[21], states[2][48], node[13];

        ctl_time_text(ctl_integer(any, "made"), made);
        ctl_time_text(ctl_integer(any, "expires"), until);
        share_text(tenant, states[0], sizeof states[0]);
        share_text(verifier, states[1], sizeof states[1]);
        snprintf(node, sizeof node, "%.12s", by ? by : "-"); /* "node show" takes it */
        const char *cells[] = { row->id, ctl_string(any, "group"), *who ? who : "-", made, until, states[0], states[1], node };
        table_row(table, cells);
}

static void print_rows(const struct listing *listing) {
        static const char *const headings[] = { "TOKEN", "GROUP", "BY", "MADE", "UNTIL", "TENANT", "VERIFIER", "NODE" };
        _cleanup_(table_freep) struct table *table = table_new(headings, ELEMENTSOF(headings));

        if (!table)
                return;
        for (size_t i = 0; i < listing->n; i++)
                print_row(table, listing->rows + i);
        table_print(table);
}

/* Open at one party, and at the other unknown or ended. Where one has let a node in by it, that node is on its way to the
 * other. */
static bool say_behind(const struct row *row) {
        for (size_t i = 0; i < 2; i++) {
                const struct share *here = row->shares + i, *there = row->shares + !i;

                if (!here->reached || !there->reached || here->open == 0 || there->ended < there->n)
                        continue;
                log_error("Join token %s is open at the %s and %s the %s: it enrolls nobody. \"tallyctl join-token cancel %s\" "
                          "ends it at both.",
                          row->id, server_names[parties[i]], there->n == 0 ? "not known to" : "ended at",
                          server_names[parties[!i]], row->id);
                return true;
        }
        return false;
}

static int join_list(struct ctl *ctl, int argc, char *argv[]) {
        struct ctl_call calls[2] = { ctl_call(parties[0], "GET", "/v1/join-tokens"),
                                     ctl_call(parties[1], "GET", "/v1/join-tokens") };
        _cleanup_(listing_done) struct listing listing = {};
        int r;

        (void) argv;
        if (argc != 1)
                return CTL_USAGE;
        if (ctl_perform(ctl, calls, 2) < 0)
                return CTL_FAILURE;
        r = listing_read(calls, &listing) < 0 ? CTL_FAILURE : CTL_OK;
        if (ctl->json)
                ctl_print_answers(calls, 2);
        else if (r == CTL_OK)
                print_rows(&listing);
        r = r == CTL_OK ? ctl_followed(calls, 2) : r;
        for (size_t i = 0; i < listing.n; i++)
                if (say_behind(listing.rows + i) && r == CTL_OK)
                        r = CTL_NOT_FOLLOWED;
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

/* A token is a secret, also when it is about to be none: not on the command line. */
static int read_token(const char *path, char ret[static 37]) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        uint8_t join[32];
        int r;

        if (strcmp(path, "-") == 0) {
                r = secret_new(64, &text);
                if (r >= 0)
                        r = (int) read_upto(STDIN_FILENO, text->data, text->size);
                if (r >= 0)
                        text->size = (size_t) r;
        } else
                r = file_read_secret(path, 64, false, &text);
        if (r < 0)
                return log_error_errno(r, "%s: %m", path);
        memcpy(ret, text->data, MIN(text->size, (size_t) 36));
        ret[MIN(text->size, (size_t) 36)] = '\0';
        r = join_token_for_party(ret, PARTY_TENANT, join);
        memory_wipe(join, sizeof join);
        return r < 0 ? log_error("%s: that is not a join token (tj1- and 32 characters).", path), r : 0;
}

/* By its id, or by the digest that each party has of the token. */
static int cancel_calls(const char *id, const char *file, struct ctl_call calls[static 2]) {
        char token[37] = "", hex[65] = "";
        uint8_t digest[32];
        int r = 0;

        if (file)
                r = read_token(file, token);
        for (size_t i = 0; r >= 0 && i < 2; i++) {
                if (file) {
                        r = token_digest(token, parties[i], digest);
                        hex_write(digest, sizeof digest, hex);
                }
                calls[i] = ctl_call(parties[i], "DELETE", "/v1/join-tokens/%s", file ? hex : id);
        }
        memory_wipe(token, sizeof token);
        return r < 0 ? CTL_FAILURE : CTL_OK;
}

/* Who got in before. */
static bool say_used(const struct ctl_call *call) {
        bool used = false;
        size_t i;
        json_t *token;

        json_array_foreach (json_object_get(call->answer, "tokens"), i, token) {
                const json_t *by = json_object_get(token, "used");
                const char *node = ctl_string(by, "node");
                char at[21];

                if (!json_is_object(by))
                        continue;
                used = true;
                ctl_time_text(ctl_integer(by, "time"), at);
                if (node_id_is_valid(node))
                        log_notice("The %s let node %s in by it, at %s. If you do not know that node: tallyctl node revoke %s",
                                   server_names[call->server], node, at, node);
        }
        return used;
}

/* What each party answered that was reached; how many know the token. */
static size_t say_known(const struct ctl_call calls[static 2], bool *used) {
        size_t known = 0;

        for (size_t i = 0; i < 2; i++) {
                known += json_array_size(json_object_get(calls[i].answer, "tokens")) > 0;
                *used |= say_used(calls + i);
        }
        for (size_t i = 0; i < 2 && known > 0; i++) {
                if (calls[i].result == 0 && json_array_size(json_object_get(calls[i].answer, "tokens")) == 0)
                        log_notice("The %s does not know this token: there is nothing to cancel there.",
                                   server_names[calls[i].server]);
                if (calls[i].result < 0 && !*used)
                        log_notice("It is cancelled at the %s: with that no node gets both halves by it.",
                                   server_names[calls[!i].server]);
        }
        return known;
}

static int say_cancelled(struct ctl *ctl, const struct ctl_call calls[static 2]) {
        bool used = false;
        size_t known = say_known(calls, &used);
        int r = ctl_followed(calls, 2);

        if (r == CTL_OK && known == 0)
                return log_error(
                               "Neither party knows such a join token. \"tallyctl join-token list\" has all; they are forgotten a "
                               "week after their end."),
                       CTL_REFUSED;
        if (r == CTL_OK && !ctl->json)
                ctl_print_line("The join token %s.",
                               used ? "was used, and enrolls no other node" : "is cancelled: it enrolls no node");
        return r;
}

static int join_cancel(struct ctl *ctl, int argc, char *argv[]) {
        static const struct option options[] = { { "join-token-file", required_argument, NULL, 'f' }, {} };
        const char *id = NULL, *file = NULL;
        struct ctl_call calls[2];
        bool wrong = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'f')
                        file = optarg;
                else
                        wrong = true;
        if (optind < argc)
                id = argv[optind++];
        if (id && strncmp(id, "tj1-", 4) == 0)
                return log_error("That is a token and no id, and others see it on a command line: --join-token-file FILE (- for "
                                 "standard input)."),
                       CTL_USAGE;
        if (wrong || optind != argc || !id == !file || (id && !join_token_id_is_valid(id)))
                return CTL_USAGE;

        r = cancel_calls(id, file, calls);
        if (r == CTL_OK && ctl_perform(ctl, calls, 2) < 0)
                r = CTL_FAILURE;
        if (r != CTL_OK)
                return r;
        r = say_cancelled(ctl, calls);
        if (ctl->json && (r == CTL_OK || r == CTL_NOT_FOLLOWED))
                ctl_print_answers(calls, 2);
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}

static const struct ctl_verb verbs[] = {
        { "create", "[--group GROUP] [--expires 24h]", "print a token that lets one node enroll without a further approval",
          join_create,
          .more = "  --group GROUP   that the node will be of (default: default)\n"
                  "  --expires TIME  after which it is worthless (default 24h, at most 90d)\n\n"
                  "On the node: tallyboot enroll --join-token-file FILE, with what is printed in FILE. Its id is no secret.\n" },
        { "list", "", "all tokens: by whom, until when, used by which node", join_list,
          .more = "TENANT and VERIFIER: open, used, cancelled, expired; - it is not known there, ? that party was not reached. A token is\n"
                  "forgotten a week after its end.\n" },
        { "cancel", "ID|--join-token-file FILE", "from now on the token enrolls no node", join_cancel,
          .more = "  --join-token-file FILE  the token itself in place of its id; - for standard input\n\n"
                  "Who got in by it before is said. Where one party was away (exit status 5) run the same command again.\n" },
};

int ctl_join_token(struct ctl *ctl, int argc, char *argv[]) {
        return ctl_dispatch(ctl, "join-token", verbs, ELEMENTSOF(verbs), argc, argv);
}
