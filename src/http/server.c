/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/server.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/log.h"
#include "http/connection.h"

enum {
        WORKERS_DEFAULT = 16,
        CONNECTIONS_DEFAULT = 4096,
        HANDSHAKE_MS = 10000,
        IDLE_MS = 30000,
        REQUEST_MS = 20000,
        STOP_MS = 5000,
        FDS_RESERVED = 64, /* for the rest of the process: database, files, its own connections */
};

void server_counted(const struct http_server *server, const char *what, const struct http_peer *peer) {
        if (server->options.counted)
                server->options.counted(what, peer->address, server->options.userdata);
}

/* A connection is a descriptor, and at times a file beside it. */
static unsigned clamp_connections(unsigned wanted) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return wanted;
        if (limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = MIN(limit.rlim_max, MAX(limit.rlim_cur, (rlim_t) wanted * 2 + FDS_RESERVED));
                (void) setrlimit(RLIMIT_NOFILE, &limit);
                (void) getrlimit(RLIMIT_NOFILE, &limit);
        }
        if (limit.rlim_cur < (rlim_t) wanted + FDS_RESERVED)
                return limit.rlim_cur > 2 * FDS_RESERVED ? (unsigned) (limit.rlim_cur - FDS_RESERVED) : FDS_RESERVED;
        return wanted;
}

static void on_stop_timer(evutil_socket_t fd _unused_, short what _unused_, void *userdata) {
        struct http_server *server = userdata;

        (void) event_base_loopbreak(server->base);
}

/* No new connections; idle ones are closed, requests under way have some seconds. */
static void begin_stop(struct http_server *server) {
        struct timeval tv = { .tv_sec = server->options.stop_ms / 1000, .tv_usec = server->options.stop_ms % 1000 * 1000 };
        struct connection *connection, *next;

        if (server->stopping)
                return;
        server->stopping = true;
        listen_stop(server);
        (void) event_add(server->stop_timer, &tv);
        for (connection = LIST_FIRST(&server->connections); connection; connection = next) {
                next = LIST_NEXT(connection, all);
                if (!connection_is_busy(connection))
                        connection_close(connection);
        }
        if (server->n_connections == 0)
                (void) event_base_loopbreak(server->base);
}

/* A worker has finished, or somebody asks to stop. */
static void on_wake(evutil_socket_t fd, short what _unused_, void *userdata) {
        struct http_server *server = userdata;
        struct connection *connection;
        eventfd_t count;

        (void) eventfd_read(fd, &count);
        while ((connection = workers_take(&server->workers))) {
                if (connection->dead)
                        connection_free(connection);
                else
                        connection_respond(connection);
        }
        if (__atomic_load_n(&server->stop_asked, __ATOMIC_ACQUIRE))
                begin_stop(server);
}

static int reload(struct http_server *server, char *error, size_t error_size) {
        SSL_CTX *fresh = NULL, *old;
        int r;

        r = server_tls_load(&server->options, &fresh, error, error_size);
        if (r < 0)
                return r;
        pthread_mutex_lock(&server->tls_mutex);
        old = server->tls;
        server->tls = fresh;
        pthread_mutex_unlock(&server->tls_mutex);
        SSL_CTX_free(old); /* its connections hold references */
        return 0;
}

int http_server_reload(struct http_server *server) {
        char error[512] = "";
        int r;

        r = reload(server, error, sizeof error);
        if (r < 0)
                log_debug("The old certificates stay: %s", error);
        return r;
}

/* Those who are at work are told when they are done. */
static void close_unproven(struct http_server *server) {
        struct connection *connection, *next;

        for (connection = LIST_FIRST(&server->connections); connection; connection = next) {
                next = LIST_NEXT(connection, all);
                if (connection->state == CONNECTION_READING && !connection_is_busy(connection) &&
                    !connection_is_proven(connection))
                        connection_close(connection);
        }
}

static void on_signal(evutil_socket_t number, short what _unused_, void *userdata) {
        struct http_server *server = userdata;
        char error[512] = "";
        int r;

        if (number != SIGHUP) {
                begin_stop(server);
                return;
        }
        r = reload(server, error, sizeof error);
        if (r == 0)
                close_unproven(server);
        if (server->options.reloaded)
                server->options.reloaded(r, error, server->options.userdata);
}

int http_server_handle_signals(struct http_server *server) {
        static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                struct event *event = evsignal_new(server->base, numbers[i], on_signal, server);

                if (!event)
                        return -ENOMEM;
                server->signals[server->n_signals++] = event;
                if (event_add(event, NULL) < 0)
                        return -EIO;
        }
        return 0;
}

static int start_loop(struct http_server *server) {
        server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (server->wake_fd < 0)
                return -errno;
        server->base = event_base_new();
        if (!server->base)
                return -ENOMEM;
        server->wake = event_new(server->base, server->wake_fd, EV_READ | EV_PERSIST, on_wake, server);
        server->stop_timer = event_new(server->base, -1, 0, on_stop_timer, server);
        if (!server->wake || !server->stop_timer || event_add(server->wake, NULL) < 0)
                return -ENOMEM;
        return 0;
}

static int start(struct http_server *server, char *error, size_t error_size) {
        const struct http_server_options *options = &server->options;
        int r;

        r = server_tls_load(options, &server->tls, error, error_size);
        if (r < 0)
                return r;
        r = start_loop(server);
        if (r < 0)
                return r;
        r = listen_start(server, error, error_size);
        if (r < 0)
                return r;
        server->workers.wake_fd = server->wake_fd;
        server->workers.handler = options->handler;
        server->workers.userdata = options->userdata;
        return workers_start(&server->workers, options->workers ?: WORKERS_DEFAULT);
}

int http_server_new(const struct http_server_options *options, struct http_server **ret, char *error, size_t error_size) {
        _cleanup_(http_server_freep) struct http_server *server = NULL;
        int r;

        if (error_size > 0)
                error[0] = 0;
        if (!options->certificate_file || !options->key_file || !options->handler || !options->limit ||
            (!options->listen && options->n_fds == 0))
                return -EINVAL;
        server = calloc(1, sizeof *server);
        if (!server)
                return -ENOMEM;
        server->options = *options;
        server->options.handshake_ms = options->handshake_ms ?: HANDSHAKE_MS;
        server->options.stop_ms = options->stop_ms ?: STOP_MS;
        server->options.idle_ms = options->idle_ms ?: IDLE_MS;
        server->options.request_ms = options->request_ms ?: REQUEST_MS;
        server->wake_fd = -1;
        server->max_connections = clamp_connections(options->max_connections ?: CONNECTIONS_DEFAULT);
        LIST_INIT(&server->connections);
        TAILQ_INIT(&server->waiting);
        (void) pthread_mutex_init(&server->tls_mutex, NULL);
        (void) signal(SIGPIPE, SIG_IGN); /* SSL_write() has no MSG_NOSIGNAL */

        r = start(server, error, error_size);
        if (r < 0) {
                if (error_size > 0 && !error[0])
                        snprintf(error, error_size, "the server cannot be set up: %s", strerrordesc_np(-r));
                return r;
        }

        *ret = TAKE_PTR(server);
        return 0;
}

int http_server_run(struct http_server *server) {
        return event_base_dispatch(server->base) < 0 ? -EIO : 0;
}

void http_server_stop(struct http_server *server) {
        __atomic_store_n(&server->stop_asked, true, __ATOMIC_RELEASE);
        (void) eventfd_write(server->wake_fd, 1);
}

static void free_event(struct event *event) {
        if (event)
                event_free(event);
}

/* A bufferevent lives on until its last deferred callback has run. */
static void free_base(struct event_base *base) {
        if (!base)
                return;
        (void) event_base_loop(base, EVLOOP_NONBLOCK);
        event_base_free(base);
}

struct http_server *http_server_free(struct http_server *server) {
        struct connection *connection;

        if (!server)
                return NULL;
        server->stopping = true;
        if (server->workers.n > 0)
                workers_stop(&server->workers); /* waits for the handlers: they use what the caller frees next */
        while ((connection = LIST_FIRST(&server->connections)))
                connection_free(connection);
        listen_stop(server);
        for (size_t i = 0; i < server->n_signals; i++)
                free_event(server->signals[i]);
        free_event(server->wake);
        free_event(server->stop_timer);
        free_event(server->accept_timer);
        free_base(server->base);
        closep(&server->wake_fd);
        SSL_CTX_free(server->tls);
        pthread_mutex_destroy(&server->tls_mutex);
        free(server);
        return NULL;
}

unsigned http_server_port(const struct http_server *server) {
        return server->port;
}
