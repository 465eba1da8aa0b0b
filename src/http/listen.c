/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/ini.h"
#include "base/log.h"
#include "http/connection.h"

enum { PAUSE_MS = 100, BACKLOG = 1024 };

static bool evict(struct connection *oldest) {
        if (!oldest)
                return false;
        server_counted(oldest->server, "evicted", &oldest->peer);
        connection_free(oldest);
        return true;
}

/* No address has more than its share: it makes room among its own. */
static bool admit_address(struct http_server *server, const struct http_peer *peer) {
        struct address *address = address_find(&server->addresses, peer->network);

        if (server->options.max_per_address == 0 || !address || address->n < server->options.max_per_address)
                return true;
        if (evict(TAILQ_FIRST(&address->waiting)))
                return true;
        server_counted(server, "address-full", peer);
        return false;
}

/* Full: the one that has waited longest makes room. Where all are at work, this one more is taken, and the next wait in the
 * kernel's queue until something comes to its end. */
static void on_accept(struct evconnlistener *listener _unused_, evutil_socket_t fd, struct sockaddr *address, int length _unused_,
                      void *userdata) {
        struct http_server *server = userdata;
        struct http_peer peer = {};

        address_format(address, &peer);
        if (!admit_address(server, &peer)) {
                (void) close(fd);
                return;
        }
        if (server->n_connections >= server->max_connections && !evict(TAILQ_FIRST(&server->waiting)))
                listen_pause(server, true);
        (void) connection_new(server, fd, &peer);
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

/* 192.0.2.1:7601, [2001:db8::1]:7601; port 0 is any. */
static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_size) {
        const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
        const char *colon = strrchr(text, ':');
        struct addrinfo *list = NULL;
        char host[64];
        uint64_t port;
        size_t length;

        if (!colon || parse_u64(colon + 1, 0, 65535, &port) < 0)
                return -EINVAL;
        length = (size_t) (colon - text);
        if (text[0] == '[' && length > 2 && colon[-1] == ']') {
                text++;
                length -= 2;
        } else if (memchr(text, ':', length)) {
                return -EINVAL;
        }
        if (length == 0 || length >= sizeof host)
                return -EINVAL;
        memcpy(host, text, length);
        host[length] = 0;
        if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
                return -EINVAL;
        memcpy(ret, list->ai_addr, list->ai_addrlen);
        *ret_size = list->ai_addrlen;
        freeaddrinfo(list);
        return 0;
}

static int listen_address(struct http_server *server, const char *text, char *error, size_t error_size) {
        struct sockaddr_storage address = {};
        socklen_t size;
        int r;

        r = parse_address(text, &address, &size);
        if (r < 0) {
                snprintf(error, error_size, "%s: not ADDRESS:PORT with a numeric address", text);
                return r;
        }
        errno = 0;
        r = add_listener(server, evconnlistener_new_bind(server->base, on_accept, server,
                                                         LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                                         BACKLOG, (struct sockaddr *) &address, (int) size));
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
