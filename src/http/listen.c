/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "http/connection.h"

enum { PAUSE_MS = 100, BACKLOG = 1024 };

/* Full: the one that has waited longest makes room. Where all are at work, new ones wait in the kernel's queue. */
static bool make_room(struct http_server *server) {
        struct connection *oldest = TAILQ_FIRST(&server->waiting);

        if (server->n_connections < server->max_connections)
                return true;
        if (oldest)
                connection_free(oldest);
        return oldest != NULL;
}

static void on_accept(struct evconnlistener *listener _unused_, evutil_socket_t fd, struct sockaddr *address, int length _unused_,
                      void *userdata) {
        struct http_server *server = userdata;

        if (!make_room(server)) {
                (void) close(fd);
                return;
        }
        (void) connection_new(server, fd, address);
        if (server->n_connections >= server->max_connections && TAILQ_EMPTY(&server->waiting))
                listen_pause(server, true);
}

static void on_accept_timer(evutil_socket_t fd _unused_, short what _unused_, void *userdata) {
        listen_pause(userdata, false);
}

/* Out of descriptors or memory: the socket stays readable, so look again a little later and not at once. */
static void on_accept_error(struct evconnlistener *listener _unused_, void *userdata) {
        struct http_server *server = userdata;
        struct timeval tv = { .tv_usec = PAUSE_MS * 1000 };

        log_debug_errno(-errno, "A connection could not be accepted: %m");
        listen_pause(server, true);
        (void) event_add(server->accept_timer, &tv);
}

void listen_pause(struct http_server *server, bool pause) {
        if (server->accepting == !pause || server->stopping)
                return;
        server->accepting = !pause;
        for (size_t i = 0; i < server->n_listeners; i++) {
                if (pause)
                        (void) evconnlistener_disable(server->listeners[i]);
                else
                        (void) evconnlistener_enable(server->listeners[i]);
        }
}

void listen_stop(struct http_server *server) {
        for (size_t i = 0; i < server->n_listeners; i++)
                evconnlistener_free(server->listeners[i]);
        server->n_listeners = 0;
}

static int add_listener(struct http_server *server, struct evconnlistener *listener) {
        if (!listener)
                return errno > 0 ? -errno : -ENOMEM;
        evconnlistener_set_error_cb(listener, on_accept_error);
        server->listeners[server->n_listeners++] = listener;
        return 0;
}

/* libevent would take a missing port as 0: any. */
static bool has_port(const char *text) {
        const char *colon = text[0] == '[' ? strstr(text, "]:") : strchr(text, ':');

        if (!colon)
                return false;
        colon += *colon == ']' ? 2 : 1;
        return *colon && strspn(colon, "0123456789") == strlen(colon);
}

static int listen_address(struct http_server *server, const char *text, char *error, size_t error_size) {
        struct sockaddr_storage address = {};
        int size = sizeof address, r;

        if (!has_port(text) || evutil_parse_sockaddr_port(text, (struct sockaddr *) &address, &size) < 0) {
                snprintf(error, error_size, "%s: not ADDRESS:PORT with a numeric address", text);
                return -EINVAL;
        }
        errno = 0;
        r = add_listener(server, evconnlistener_new_bind(server->base, on_accept, server,
                                                         LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                                         BACKLOG, (struct sockaddr *) &address, size));
        if (r < 0)
                snprintf(error, error_size, "%s: cannot listen there: %s", text, strerrordesc_np(-r));
        return r;
}

static int listen_fds(struct http_server *server, char *error, size_t error_size) {
        const struct http_server_options *options = &server->options;
        int r;

        for (size_t i = 0; i < options->n_fds && i < LISTENERS_MAX; i++) {
                (void) evutil_make_socket_nonblocking(options->fds[i]);
                errno = 0;
                r = add_listener(server,
                                 evconnlistener_new(server->base, on_accept, server,
                                                    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, options->fds[i]));
                if (r < 0) {
                        snprintf(error, error_size, "descriptor %d cannot be listened on: %s", options->fds[i],
                                 strerrordesc_np(-r));
                        return r;
                }
        }
        return 0;
}

static unsigned bound_port(const struct http_server *server) {
        struct sockaddr_storage address = {};
        socklen_t size = sizeof address;

        if (getsockname(evconnlistener_get_fd(server->listeners[0]), (struct sockaddr *) &address, &size) < 0)
                return 0;
        if (address.ss_family == AF_INET6)
                return ntohs(((struct sockaddr_in6 *) &address)->sin6_port);
        return address.ss_family == AF_INET ? ntohs(((struct sockaddr_in *) &address)->sin_port) : 0;
}

int listen_start(struct http_server *server, char *error, size_t error_size) {
        int r;

        server->accept_timer = event_new(server->base, -1, 0, on_accept_timer, server);
        if (!server->accept_timer)
                return -ENOMEM;
        if (server->options.n_fds > 0)
                r = listen_fds(server, error, error_size);
        else
                r = listen_address(server, server->options.listen, error, error_size);
        if (r < 0)
                return r;
        server->accepting = true;
        server->port = bound_port(server);
        return 0;
}
