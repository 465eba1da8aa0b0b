/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "http/client.h"

/* What tallyctl exits with; documented in tallyctl(1). */
enum ctl_exit {
        CTL_OK = 0,
        CTL_FAILURE = 1,      /* something on this machine */
        CTL_USAGE = 2,        /* the command line */
        CTL_REFUSED = 3,      /* every server that the verb concerns said no */
        CTL_UNREACHED = 4,    /* no server could be reached */
        CTL_NOT_FOLLOWED = 5, /* some followed, one has not: run the same command again */
        CTL_BROKEN = 6,       /* keystore verify: something does not open */
};

enum server { SERVER_REGISTRAR, SERVER_TENANT, SERVER_VERIFIER, SERVERS };
extern const char *const server_names[SERVERS];

struct ctl {
        bool json;
        const char *config; /* --config before the verb, or NULL */
        char *ca, *certificate, *key;
        struct http_server_list servers[SERVERS];
        struct http_client *client; /* made at the first call */
};

/* NULL: $TALLYCTL_CONFIG, else ~/.config/tallyboot/tallyctl.conf, else /etc/tallyboot/operator/tallyctl.conf. Logs what is
 * wrong. */
int ctl_load_config(struct ctl *ctl, const char *path);
void ctl_done(struct ctl *ctl);

/* One request to one server. body is borrowed; body_fd (with body_size) instead of it for a file, -1 where there is none. */
struct ctl_call {
        enum server server;
        const char *method;
        char path[256];
        const json_t *body;
        int body_fd;
        size_t body_size;
        /* answered */
        int result;       /* 0: 2xx. -EACCES refused, -ENOENT not found, -EEXIST conflict, -ENOLINK not reached, ... */
        json_t *answer;   /* NULL where the answer has no body */
        char error[512];  /* in words */
        char problem[32]; /* name of the problem, or "" */
};
struct ctl_call ctl_call(enum server server, const char *method, const char *path_format, ...) _printf_(3, 4);
void ctl_call_done(struct ctl_call *call);
/* Side by side. 0 when all were tried; look at each result. */
int ctl_perform(struct ctl *ctl, struct ctl_call *calls, size_t n);
/* After ctl_perform(): says on standard error who has not followed and why; an exit code. */
int ctl_followed(const struct ctl_call *calls, size_t n);
/* {"tenant": answer, ...} to standard output. */
void ctl_print_answers(const struct ctl_call *calls, size_t n);
void ctl_print_json(const json_t *value);
void ctl_print_taken(json_t *take); /* the same, and frees it */
/* --json: from now on ctl_print_line() keeps its lines. At the end they are printed, with what was logged as an error, where no
 * JSON was. */
int ctl_json_begin(void);
void ctl_json_end(int code);
/* A read from one server; logs on failure and returns an exit code; 0 sets ret_answer. */
int ctl_get(struct ctl *ctl, enum server server, const char *path, json_t **ret_answer);

/* A node by its whole id, its code (abcd-efgh), or a prefix of the id of 6 characters or more that is unique. Exit code; logs. */
int ctl_resolve_node(struct ctl *ctl, const char *text, char ret[static NODE_ID_LENGTH + 1]);

/* Tables for people. Cells are copied, control characters replaced. */
struct table;
struct table *table_new(const char *const *headings, size_t n);
int table_row(struct table *table, const char *const *cells);
void table_print(const struct table *table);
struct table *table_free(struct table *table);
DEFINE_CLEANUP(struct table *, table_free)
const char *ctl_string(const json_t *object, const char *name); /* "" where missing */
int64_t ctl_integer(const json_t *object, const char *name);    /* -1 where missing */
void ctl_time_text(int64_t seconds, char ret[static 21]);       /* UTC; "-" where there is none */
void ctl_print_line(const char *format, ...) _printf_(1, 2);    /* sanitized, to standard output */
void ctl_print_text(const char *text);                          /* the same of lines as they are, tabs too */

/* A table of verbs: "node" has its own below. */
struct ctl_verb {
        const char *name, *arguments, *help;
        /* argv[0] is the verb; returns enum ctl_exit. For CTL_USAGE the caller prints name and arguments. */
        int (*run)(struct ctl *ctl, int argc, char *argv[]);
        bool own_help;    /* it answers --help itself, at length */
        const char *more; /* what else its --help says: the options, in lines of 130 columns */
};
int ctl_dispatch(struct ctl *ctl, const char *group, const struct ctl_verb *verbs, size_t n, int argc, char *argv[]);
void ctl_print_verbs(const char *group, const struct ctl_verb *verbs, size_t n);

int ctl_init(struct ctl *ctl, int argc, char *argv[]);
int ctl_node(struct ctl *ctl, int argc, char *argv[]);
int ctl_group(struct ctl *ctl, int argc, char *argv[]);
int ctl_join_token(struct ctl *ctl, int argc, char *argv[]);
int ctl_policy(struct ctl *ctl, int argc, char *argv[]);
int ctl_payload(struct ctl *ctl, int argc, char *argv[]);
int ctl_audit(struct ctl *ctl, int argc, char *argv[]);
int ctl_log(struct ctl *ctl, int argc, char *argv[]);
int ctl_cert(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore(struct ctl *ctl, int argc, char *argv[]);
int ctl_health(struct ctl *ctl, int argc, char *argv[]);
int ctl_node_approve(struct ctl *ctl, int argc, char *argv[]);
