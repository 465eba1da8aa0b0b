/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"

/* HTTPS server: libevent + OpenSSL + http_parser on one event loop; handlers run on worker threads and may block. Requests need
 * Content-Length (chunked is refused), keep-alive is on, TCP_NODELAY, limits on header (16 KiB), idle (30 s), a request as a
 * whole (20 s, streamed uploads longer), connections, of them and of memory for each address. A new connection where all are
 * taken closes the one that has waited longest for its peer; of an address that has its share, one of its own. TLS 1.2 at the
 * least, 1.3 by default, session tickets off. */

/* From the client certificate; the server verified it against client_ca. For each request of a connection it does so again: what
 * has expired, or is not from the CA that was read last, gets 401, or finds its connection closed. */
struct http_peer {
        bool present;
        char uri[256]; /* the subjectAltName URI that starts with "urn:tallyboot:"; "" where there is none, or several */
        char address[64];
        char network[64]; /* what limits go by: the address, of IPv6 its /64 */
};

struct http_request {
        const char *method, *path, *query; /* path without query, percent-decoding refused; query "" where none */
        const char *authorization;         /* or NULL */
        char incident[17];                 /* "" where missing or malformed */
        struct http_peer peer;
        const uint8_t *body;
        size_t body_size;
        int body_fd; /* for streamed uploads: a temporary file at offset 0; else -1 */
};

struct http_response {
        int status;
        char *body; /* malloc'ed; freed by the server */
        size_t body_size;
        const char *content_type; /* static; NULL: application/json, or application/problem+json for status >= 400 */
        int body_fd;              /* sent as application/octet-stream and closed, when body is NULL; -1: none */
        unsigned retry_after;     /* seconds; 0: no header */
};

/* Fills response; one without a status becomes a 500 problem. Runs on a worker thread. Any method that HTTP knows arrives
 * here. */
typedef void (*http_handler)(const struct http_request *request, struct http_response *response, void *userdata);
/* Looks at a request before its body is read: head has no body. 0, and how large the body may be, and whether it is to be
 * streamed into a file; or the status (of docs/protocol.md, 11) to refuse it with. Runs on the loop. */
struct http_limit {
        size_t max;
        bool to_file;
};
typedef int (*http_limit_fn)(const struct http_request *head, struct http_limit *ret, void *userdata);

/* Whether streamed uploads may take more of the disk; asked before each piece. Where not they end with 503. Runs on the loop. */
typedef bool (*http_has_room)(void *userdata);

/* What ended without a handler: "tls", "timeout", "evicted", "address-full", "memory-full", or "http-" and a status. Runs on the
 * loop. */
typedef void (*http_counted)(const char *what, const char *address, void *userdata);

/* After a SIGHUP, for a line in the log: 0, or why the old certificates stay, in words. Runs on the loop. */
typedef void (*http_reloaded)(int result, const char *error, void *userdata);

struct http_server_options {
        const char *listen; /* "127.0.0.1:7601", "[::]:7601", ... ; unused when fds are given */
        const int *fds;     /* socket activation: listening sockets, closed with the server */
        size_t n_fds;
        const char *certificate_file; /* PEM chain */
        const char *key_file;         /* PEM; refused when group or others can read it */
        const char *client_ca_file;   /* PEM: who may present a client certificate; NULL: none is asked for */
        unsigned workers;             /* threads, default 16 */
        unsigned max_connections;     /* default 4096; lowered to what RLIMIT_NOFILE allows */
        unsigned max_per_address;     /* connections; default: no limit of its own */
        uint64_t max_memory;          /* bytes of bodies under way; of it an address has half at most; default: no limit */
        unsigned handshake_ms;        /* default 10000 */
        unsigned idle_ms;             /* between requests; default 30000 */
        unsigned request_ms;       /* to send a request, or to take its answer; a streamed body: for each 64 KiB; default 20000 */
        unsigned stop_ms;          /* for requests under way, when stopped; default 5000 */
        const char *temporary_dir; /* for streamed uploads: files without a name; NULL: none are possible */
        http_has_room has_room;    /* or NULL */
        http_handler handler;
        http_limit_fn limit;
        http_reloaded reloaded; /* or NULL */
        http_counted counted;   /* or NULL */
        void *userdata;
};
struct http_server;
/* The options' texts and fds must stay as long as the server. On failure error says what and what to do. */
int http_server_new(const struct http_server_options *options, struct http_server **ret, char *error, size_t error_size);
/* Runs until http_server_stop(): finishes requests under way (at most stop_ms), then returns. */
int http_server_run(struct http_server *server);
void http_server_stop(struct http_server *server);  /* from a signal watcher or another thread */
int http_server_reload(struct http_server *server); /* certificates and client CA anew; the old ones stay on failure */
struct http_server *http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free)
unsigned http_server_port(const struct http_server *server); /* what was bound, for ":0" */
/* Signals handled on the loop: SIGTERM/SIGINT stop, SIGHUP reload; call before run. */
int http_server_handle_signals(struct http_server *server);
