/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pthread.h>
#include <sys/queue.h>

#include "http/request.h"
#include "http/server.h"
#include "http/tls-files.h"

/* Inside of the server. Everything but the handler runs on the loop's thread; the workers see a connection's job and nothing
 * else. */

enum {
        LINGER_MS = 2000,
        BUSY_RETRY_S = 5,
        STREAM_MIN = 64 * 1024, /* bytes of a stream in each request_ms */
        CHUNK = 64 * 1024,
        WORKERS_MAX = 256,
        LISTENERS_MAX = 16,
};

enum connection_state {
        CONNECTION_HANDSHAKE,
        CONNECTION_READING, /* or idle: see request.state */
        CONNECTION_WORKING, /* its job is with the workers */
        CONNECTION_WRITING,
        CONNECTION_LINGERING, /* all said; waits for the other side to stop sending, so that the answer is not lost in a reset */
};

struct connection {
        LIST_ENTRY(connection) all;
        TAILQ_ENTRY(connection)
        waiting, waiting_here; /* on the server's and the address' list while is_waiting: may be closed for a newer one */
        bool is_waiting;
        struct address *origin;
        uint64_t reserved; /* bytes of memory for its body */
        struct http_server *server;
        int fd;
        SSL *ssl;
        struct bufferevent *bev; /* NULL after a failed handshake */
        struct event *timer, *drain;
        enum connection_state state;
        struct http_peer peer;

        struct request parser;
        struct buffer body;
        int upload_fd;
        uint64_t moved; /* bytes of the stream since the timer was last looked at */

        STAILQ_ENTRY(connection) job; /* request and response belong to the worker in state WORKING */
        struct http_request request;
        struct http_response response;
        uint64_t stream_left; /* of response.body_fd */
        bool keep_alive, dead;
};

LIST_HEAD(connection_list, connection);
TAILQ_HEAD(waiting_list, connection);
STAILQ_HEAD(job_list, connection);

struct address {
        LIST_ENTRY(address) bucket;
        char network[64];
        unsigned n; /* connections */
        uint64_t memory;
        struct waiting_list waiting;
};
LIST_HEAD(address_list, address);
enum { ADDRESS_BUCKETS = 1024 };
struct addresses {
        uint32_t seed;
        struct address_list buckets[ADDRESS_BUCKETS];
};

struct workers {
        pthread_mutex_t mutex;
        pthread_cond_t cond;
        pthread_t threads[WORKERS_MAX];
        unsigned n;
        struct job_list todo, done;
        bool stop;
        int wake_fd; /* eventfd of the loop; not ours to close */
        http_handler handler;
        void *userdata;
};

struct http_server {
        struct http_server_options options;
        struct event_base *base;
        struct evconnlistener *listeners[LISTENERS_MAX];
        size_t n_listeners;
        struct event *signals[3], *wake, *stop_timer, *accept_timer;
        size_t n_signals;
        int wake_fd;
        unsigned port;

        pthread_mutex_t tls_mutex; /* of tls: a reload may come from any thread */
        SSL_CTX *tls;

        struct connection_list connections;
        struct waiting_list waiting;
        unsigned n_connections, max_connections;
        struct addresses addresses;
        uint64_t memory; /* reserved by all */
        struct workers workers;
        bool stop_asked; /* __atomic: set by any thread */
        bool stopping, accepting;
};

/* connection.c */
int connection_new(struct http_server *server, int fd, const struct http_peer *peer);
void connection_free(struct connection *connection);
void connection_respond(struct connection *connection); /* connection->response is filled */
void connection_close(struct connection *connection);   /* politely; frees it */
bool connection_is_busy(const struct connection *connection);
bool connection_is_proven(const struct connection *connection); /* its certificate, where it showed one, still stands for it */

/* server.c */
void server_counted(const struct http_server *server, const char *what, const struct http_peer *peer);

/* addresses.c */
void address_format(const struct sockaddr *address, struct http_peer *ret);
struct address *address_find(struct addresses *addresses, const char *network); /* NULL: holds nothing */
struct address *address_hold(struct addresses *addresses, const char *network); /* one connection more; NULL: out of memory */
void address_drop(struct address *address);

/* stream.c: bodies that go to or come from files */
int upload_open(struct connection *connection);
int upload_write(struct connection *connection, const void *data, size_t size);
int download_begin(struct connection *connection);
int download_more(struct connection *connection);

/* listen.c */
int listen_start(struct http_server *server, char *error, size_t error_size);
void listen_pause(struct http_server *server, bool pause);
void listen_stop(struct http_server *server);

/* server-tls.c */
int server_tls_load(const struct http_server_options *options, SSL_CTX **ret, char *error, size_t error_size);
void server_tls_peer(SSL *ssl, struct http_peer *peer);
bool server_tls_vouches(SSL_CTX *ctx,
                        SSL *ssl); /* for the certificate that the peer has shown, by what is configured now, at this time */

/* response.c */
/* Header (and body, where one is given) in one piece: one write, one TLS record where it fits. NULL: out of memory. */
char *response_encode(const struct http_response *response, uint64_t size, bool with_body, bool keep_alive, size_t *ret_size);
void response_problem(int status, const char *incident, struct http_response *ret);
void response_done(struct http_response *response);

/* workers.c */
int workers_start(struct workers *workers, unsigned n);
void workers_stop(struct workers *workers);
void workers_give(struct workers *workers, struct connection *connection);
struct connection *workers_take(struct workers *workers);
