/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include "evidence/evidence.h"
#include "http/server.h"
#include "keystore/keystore.h"
#include "store/store.h"

/* What the three daemons share: start, configuration, the way of a request to its handler, problems. A daemon is a
 * struct service_definition and a main() of one line. */

/* Who asks: what the client certificate's URI says; a peer without a certificate is ROLE_ANYONE and nothing more. */
enum service_role {
        ROLE_ANYONE = 1 << 0,
        ROLE_OPERATOR = 1 << 1,
        ROLE_TENANT = 1 << 2,
        ROLE_VERIFIER = 1 << 3,
        ROLE_REGISTRAR = 1 << 4,
        ROLE_MONITOR = 1 << 5, /* reads metrics, nothing else */
};

/* The configuration file (INI). Paths are absolute here; those in the file are relative to the file's directory. */
struct service_config {
        char *file;
        char *listen;
        char *client_refuse;                 /* file of names whose certificates count no more; NULL: none */
        char *certificate, *key, *client_ca; /* PEM; the certificate is the client certificate of this service, too */
        char *database;
        struct keystore_options keystore;
        char *ek_roots, *ek_crls;                       /* directories; NULL: none */
        char *ek_allow;                                 /* file of EK digests; NULL: none */
        char *ek_refuse;                                /* rules of ek_trust_refuse() */
        bool ek_required, ek_crls_required, ek_recheck; /* recheck: of nodes that are enrolled, at parties */
        char *payload_dir;                              /* tenant */
        char *registrar_url, *registrar_ca;             /* tenant, verifier; url: one or more, separated by spaces or commas */
        char *verifier_url, *verifier_ca;               /* tenant */
        unsigned nonce_ttl;                             /* seconds */
        unsigned answers_per_minute, workers;           /* a node's; threads */
        unsigned requests_per_minute;                   /* an address', without a certificate */
        unsigned connections, connections_per_address, memory; /* memory: MB, of bodies under way */
        unsigned free_space;                                   /* MB */
        unsigned token_nodes;                                  /* 0: none are taken; else so many are kept by a registrar */
        unsigned uncertified_per_hour;                         /* an address' new nodes that no certificate vouches for */
        unsigned heads_every, heads_records;                   /* seconds; records */
};

struct service_definition;
struct atrest;

struct service {
        const struct service_definition *definition;
        struct service_config config;
        struct store *store;
        struct keystore *keystore;
        struct atrest *atrest;                     /* while the service runs */
        struct ek_trust *ek_trust;                 /* under ek_lock: replaced by a reload */
        char *refused;                             /* the same: what service_refuse_parse() makes */
        _Atomic unsigned ek_loads;                 /* how often it was read */
        struct ek_revoked {                        /* enrolled nodes whose certificates a CRL names; under ek_lock (ek-nodes.c) */
                char (*nodes)[NODE_ID_LENGTH + 1]; /* sorted */
                size_t n;
                unsigned loads; /* as of; the keeper's alone */
        } ek_revoked;
        pthread_rwlock_t ek_lock;
        void *data; /* the daemon's own: set by setup, freed by teardown */
        struct limiter *limiter;
        struct counts *counts;
        struct heads_told { /* to the tenant, to the verifier: the record that the next head is to be from (heads.c) */
                _Atomic int64_t seq;
                _Atomic unsigned times; /* that it was not, in succession */
        } heads_told[2];
        _Atomic uint64_t answers[6], releases; /* by the status' first digit; answers to a release with 200 */
        /* space.c; times of the monotonic clock, ms */
        _Atomic uint64_t space_looked, space_failed;
        _Atomic int space;
};

/* What became of a request. */
struct service_outcome {
        char problem[32]; /* "": none */
        bool recorded;    /* it is in the audit log, so it is not counted among what was not proven */
};

enum { SERVICE_PARAMETERS_MAX = 4 };

/* One request on its way to a handler, on a worker thread. */
struct service_call {
        struct service *service;
        const struct http_request *request;
        const struct service_route *route;
        struct service_outcome *outcome;
        enum service_role role; /* of the peer */
        char who[128];          /* the operator's name, "tenant", "verifier", "registrar"; "node" for others; for the audit log */
        struct {
                char name[16];
                char value[JOIN_TOKEN_ID_MAX + 1];
        } parameters[SERVICE_PARAMETERS_MAX]; /* of the pattern, in order, already checked (below) */
        size_t n_parameters;
};

/* Before the body is read: 0, or the status to refuse it with. No body in call->request, and no I/O: it runs on the loop. */
typedef int (*service_guard)(const struct service_call *call);

/* Fills the response: with service_json(), service_text() or service_problem(). One that leaves status 0 becomes a 500. */
typedef void (*service_handler)(const struct service_call *call, struct http_response *response);

struct service_route {
        const char *method;
        /* "/v1/nodes/{id}/release". A parameter is one path segment and is checked before the handler runs: {id} a node id, {key}
         * a key id, {name} a group's name (1-64 of a-z A-Z 0-9 . _ -), {version} decimal digits, {token} a join token's id or
         * sha256; anything else is a 404. */
        const char *pattern;
        unsigned roles;  /* mask of service_role; ROLE_ANYONE: a certificate is not looked at */
        size_t max_body; /* bytes; 0: WIRE_REQUEST_MAX */
        bool body_to_file;
        service_handler handler;
        service_guard guard; /* NULL: none */
        bool is_new_work;    /* not taken when there is little room on the disk */
};

struct service_definition {
        const char *role;                         /* "registrar", "tenant", "verifier" */
        bool has_payload_dir;                     /* [service] payload-dir is a key of this role */
        bool has_registrar;                       /* section [registrar] */
        bool has_verifier;                        /* section [verifier] */
        const struct store_migration *migrations; /* the role's, numbered from 3; may be NULL */
        size_t n_migrations;
        const struct service_route *const *routes; /* tables, each ended by a route without method; the list by NULL */
        int (*setup)(struct service *service);     /* after store and keystore are open, before the first request; may be NULL */
        void (*teardown)(struct service *service); /* may be NULL */
};

/* The whole life of a daemon; returns the exit code (0; 1 it failed; 2 wrong usage or configuration). Options: --config FILE
 * (default /etc/tallyboot/ROLE.conf), --check, --help, --version. Socket activation, READY/RELOADING/STOPPING, SIGTERM,
 * SIGHUP. */
int service_main(int argc, char *argv[], const struct service_definition *definition);

/* Configuration (config.c). error: "FILE:LINE: what is wrong". */
int service_config_read(const char *file, const struct service_definition *definition, struct service_config *ret, char *error,
                        size_t error_size);
void service_config_done(struct service_config *config);

/* Endorsement keys (ek.c). Reads what they are held against, anew after a SIGHUP; logs. Before the first check. */
int service_ek_load(struct service *service);
/* ek_check(), ek_certificates_revoked() and ek_firmware_refused() against what is loaded, now. */
int service_ek_check(struct service *service, const struct wire_registration *registration, struct ek_verdict *ret, char *error,
                     size_t error_size);
bool service_ek_revoked(struct service *service, const uint8_t digest[static 32], const struct blob *certificates, char *ret_why,
                        size_t size);
bool service_firmware_refused(struct service *service, const struct ek_identity *tpm, uint64_t firmware, char *ret_why,
                              size_t size);

/* Whose certificates count no more (refuse.c): [service] client-refuse, read at start and after a SIGHUP, logged; while it cannot
 * be used the old list stays. */
int service_refuse_load(struct service *service);
bool service_refuses_client(struct service *service, const char *uri); /* of a peer that has a role */
/* The file's text, which is changed -> "\nurn:tallyboot:operator:ann\n...". -EBADMSG, with the line in error. */
int service_refuse_parse(char *text, char **ret, char *error, size_t error_size);

/* The one place where a request finds its route and is held against the route's roles (routes.c; invariant 14). */
void service_dispatch(const struct http_request *request, struct http_response *response, void *service);
int service_limit(const struct http_request *head, struct http_limit *ret, void *service);
/* "urn:tallyboot:operator:NAME" and so on. ROLE_ANYONE and "node" for anything else. */
enum service_role service_peer_role(const struct http_peer *peer, char *ret_who, size_t size);

/* For handlers (answer.c). */
#define SERVICE_NO_GROUP "There is no such group (tallyctl group list; group set makes one)."
const char *service_parameter(const struct service_call *call, const char *name); /* asserts that it is in the pattern */
/* A problem document; name is of the table in docs/protocol.md, 11, and gives the status. Never what differs in PCRs.
 * rate-limited and unavailable get Retry-After: 5 unless response->retry_after is set. */
void service_problem(const struct service_call *call, struct http_response *response, const char *name, const char *title, ...)
        _printf_(4, 5);
void service_no_node(const struct service_call *call, struct http_response *response);  /* the problem "unknown-node" */
void service_no_group(const struct service_call *call, struct http_response *response); /* "not-found" */
/* -ENOMEM and the like of the handler's own, logged, as "internal" (or "unavailable" for -EIO, -ENOSPC, -EROFS). */
void service_failure(const struct service_call *call, struct http_response *response, int r);
void service_json(struct http_response *response, int status, json_t *take); /* steals take; NULL: a 500 */
void service_text(struct http_response *response, int status, char *take);   /* JSON text, freed by the server; NULL: a 500 */
void service_empty(struct http_response *response, int status);              /* 204 */
/* The request's body as a JSON object ({} where it is empty); NULL: the problem "malformed" is in response. */
json_t *service_body(const struct service_call *call, struct http_response *response);
/* A value of the query string, percent-decoding refused. 0, -ENOENT absent or empty, -EBADMSG (too long, or characters other than
 * A-Z a-z 0-9 . _ - :). */
int service_query(const struct service_call *call, const char *name, char *ret, size_t size);
bool service_name_is_valid(const char *text); /* a group's name */
/* "Authorization: Tallyboot TICKET", of exactly size bytes. -EPERM: missing or something else. */
int service_ticket(const struct http_request *request, void *ret, size_t size);

/* For a request that was refused, and whose refusal is in the audit log. */
void service_recorded(const struct service_call *call);
/* Whether a line in the log about such a request does no harm: there were few of this kind in this minute. */
bool service_may_log(const struct service_call *call, const char *reason);

/* GET /v1/health and GET /v1/log (log.c), for every role. */
extern const struct service_route service_common_routes[];
/* GET /v1/metrics (metrics.c), for every role; and what it counts of each answer. */
extern const struct service_route service_metrics_routes[];
void service_count_answer(const struct service_call *call, int status);

/* The JSON-speaking client of this service towards another one (client.c): certificate and key of [service]. 0 with the HTTP
 * status and the answer; -ENOLINK, -ETIMEDOUT, -EKEYREJECTED, ... with words in error. */
struct service_request {
        const char *to;       /* "registrar" or "verifier": the section of the configuration with its addresses and CA */
        const char *incident; /* NULL or "": none */
        const char *method, *path, *body; /* as in struct http_exchange; body NULL: none */
};
int service_exchange(struct service *service, const struct service_request *request, int *ret_status, struct blob *ret_answer,
                     char *error, size_t error_size);
