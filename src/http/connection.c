/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/connection.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

static void process_input(struct connection *connection);

bool connection_is_busy(const struct connection *connection) {
        switch (connection->state) {
        case CONNECTION_HANDSHAKE:
                return false;
        case CONNECTION_READING:
                return connection->parser.state != REQUEST_IDLE;
        case CONNECTION_WORKING:
        case CONNECTION_WRITING:
        case CONNECTION_LINGERING:
                return true;
        }
        return true;
}

/* May be closed when a newer connection needs the place: nothing of it is lost but a half-sent request. */
static void set_waiting(struct connection *connection, bool waiting) {
        if (connection->is_waiting) {
                TAILQ_REMOVE(&connection->server->waiting, connection, waiting);
                TAILQ_REMOVE(&connection->origin->waiting, connection, waiting_here);
        }
        connection->is_waiting = waiting;
        if (waiting) {
                TAILQ_INSERT_TAIL(&connection->server->waiting, connection, waiting);
                TAILQ_INSERT_TAIL(&connection->origin->waiting, connection, waiting_here);
        }
}

static void set_timer(struct connection *connection, unsigned ms) {
        struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

        connection->moved = 0;
        if (ms > 0)
                (void) event_add(connection->timer, &tv);
        else
                (void) event_del(connection->timer);
}

static void connection_set_state(struct connection *connection, enum connection_state state, unsigned ms) {
        connection->state = state;
        set_waiting(connection, state == CONNECTION_HANDSHAKE || state == CONNECTION_READING || state == CONNECTION_LINGERING);
        set_timer(connection, ms);
}

/* Memory for a body is spoken for before the first byte of it: nobody has half of one and waits for others' rest. */
static bool reserve(struct connection *connection, uint64_t size) {
        struct http_server *server = connection->server;
        uint64_t max = server->options.max_memory;

        if (max > 0 &&
            (size > max || server->memory > max - size || size > max / 2 || connection->origin->memory > max / 2 - size)) {
                server_counted(server, "memory-full", &connection->peer);
                return false;
        }
        connection->reserved = size;
        connection->origin->memory += size;
        server->memory += size;
        return true;
}

static void unreserve(struct connection *connection) {
        if (connection->origin)
                connection->origin->memory -= connection->reserved;
        connection->server->memory -= connection->reserved;
        connection->reserved = 0;
}

static void drop_request(struct connection *connection) {
        unreserve(connection);
        buffer_done(&connection->body);
        connection->body = (struct buffer){};
        closep(&connection->upload_fd);
        connection->upload_fd = -1;
        response_done(&connection->response);
}

static void free_event(struct event *event) {
        if (event)
                event_free(event);
}

/* The descriptor and the TLS object are ours and not the bufferevent's (BEV_OPT_CLOSE_ON_FREE): libevent would end them later. */
static void free_tls(struct connection *connection) {
        if (connection->bev)
                bufferevent_free(connection->bev);
        SSL_free(connection->ssl);
        connection->bev = NULL;
        connection->ssl = NULL;
}

void connection_free(struct connection *connection) {
        struct http_server *server = connection->server;

        set_waiting(connection, false);
        LIST_REMOVE(connection, all);
        server->n_connections--;
        drop_request(connection);
        free_event(connection->timer);
        free_event(connection->drain);
        free_tls(connection);
        (void) close(connection->fd);
        address_drop(connection->origin);
        free(connection);

        if (server->n_connections < server->max_connections)
                listen_pause(server, false);
        if (server->stopping && server->n_connections == 0)
                (void) event_base_loopbreak(server->base);
}

/* libevent never sends close_notify by itself. */
static void say_goodbye(struct connection *connection) {
        if (connection->state == CONNECTION_HANDSHAKE)
                return;
        (void) SSL_shutdown(connection->ssl);
        (void) tls_error(0, "SSL_shutdown");
}

void connection_close(struct connection *connection) {
        say_goodbye(connection);
        connection_free(connection);
}

/* After a refusal the other side may still be sending: closing now would reset the connection and could lose the answer. So only
 * our end is closed, and what still comes is thrown away for a moment. */
static void linger(struct connection *connection) {
        say_goodbye(connection);
        (void) shutdown(connection->fd, SHUT_WR);
        connection_set_state(connection, CONNECTION_LINGERING, LINGER_MS);
        (void) bufferevent_disable(connection->bev, EV_WRITE);
        (void) bufferevent_enable(connection->bev, EV_READ);
        (void) evbuffer_drain(bufferevent_get_input(connection->bev), SIZE_MAX);
}

static void on_drain(evutil_socket_t fd, short what _unused_, void *userdata) {
        uint8_t chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                connection_free(userdata);
}

/* The same where there is no TLS to read with: the alert that says why is on its way (a client of TLS 1.3 has sent its request by
 * now, and closing would throw the alert away with it). */
static void linger_raw(struct connection *connection) {
        free_tls(connection);
        (void) shutdown(connection->fd, SHUT_WR);
        connection_set_state(connection, CONNECTION_LINGERING, LINGER_MS);
        connection->drain = event_new(connection->server->base, connection->fd, EV_READ | EV_PERSIST, on_drain, connection);
        if (!connection->drain || event_add(connection->drain, NULL) < 0)
                connection_free(connection);
}

/* A certificate's word does not outlive it, nor the CA that vouched for it when the connection began. */
bool connection_is_proven(const struct connection *connection) {
        struct http_server *server = connection->server;
        SSL_CTX *tls;
        bool proven;

        if (!connection->peer.present)
                return true; /* there is no word */
        pthread_mutex_lock(&server->tls_mutex);
        tls = server->tls;
        (void) SSL_CTX_up_ref(tls);
        pthread_mutex_unlock(&server->tls_mutex);
        proven = server_tls_vouches(tls, connection->ssl);
        SSL_CTX_free(tls);
        return proven;
}

static void finish_response(struct connection *connection) {
        drop_request(connection);
        if (connection->parser.state == REQUEST_REFUSED) {
                linger(connection);
                return;
        }
        if (!connection->keep_alive || connection->server->stopping || !connection_is_proven(connection)) {
                connection_close(connection);
                return;
        }
        request_reset(&connection->parser);
        connection_set_state(connection, CONNECTION_READING, connection->server->options.idle_ms);
        (void) bufferevent_enable(connection->bev, EV_READ);
        process_input(connection);
}

void connection_respond(struct connection *connection) {
        struct http_response *response = &connection->response;
        bool head = strcmp(request_method(&connection->parser), "HEAD") == 0;
        bool stream;
        uint64_t size;
        char *text;
        size_t n;
        int r = 0;

        if (connection->server->stopping)
                connection->keep_alive = false;
        if (response->status < 100 || response->status > 999) {
                response_done(response);
                response_problem(500, connection->parser.incident, response);
        }
        stream = !response->body && response->body_fd >= 0;
        if (stream && download_begin(connection) < 0) {
                response_done(response);
                response_problem(500, connection->parser.incident, response);
                stream = false;
        }
        size = stream ? connection->stream_left : response->body ? response->body_size : 0;
        if (!stream || head)
                connection->stream_left = 0;

        text = response_encode(response, size, response->body && !head, connection->keep_alive, &n);
        connection_set_state(connection, CONNECTION_WRITING, connection->server->options.request_ms);
        bufferevent_setwatermark(connection->bev, EV_WRITE, 0, 0);
        if (!text || bufferevent_write(connection->bev, text, n) < 0)
                r = -ENOMEM;
        free(text);
        if (r == 0 && connection->stream_left > 0)
                r = download_more(connection);
        if (r < 0)
                connection_free(connection);
}

static void connection_refuse(struct connection *connection, int status) {
        char what[16];

        (void) snprintf(what, sizeof what, "http-%d", status);
        server_counted(connection->server, what, &connection->peer);
        (void) bufferevent_disable(connection->bev, EV_READ);
        connection->keep_alive = false;
        response_done(&connection->response);
        response_problem(status, connection->parser.incident, &connection->response);
        if (status == 503)
                connection->response.retry_after = BUSY_RETRY_S;
        connection_respond(connection);
}

/* The request without its body. */
static struct http_request request_head(const struct connection *connection) {
        const struct request *parser = &connection->parser;
        struct http_request head = {
                .method = request_method(parser),
                .path = parser->target,
                .query = parser->query,
                .authorization = parser->has_authorization ? parser->authorization : NULL,
                .peer = connection->peer,
                .body_fd = -1,
        };

        memcpy(head.incident, parser->incident, sizeof parser->incident);
        return head;
}

/* What is under way takes up the disk as well: each piece is looked at, so that no number of uploads takes what releases need. */
static bool has_room(const struct http_server *server) {
        return !server->options.has_room || server->options.has_room(server->options.userdata);
}

/* The parser's events. */
static int on_header(struct request *parser, void *userdata) {
        struct connection *connection = userdata;
        struct http_server *server = connection->server;
        const struct http_request head = request_head(connection);
        struct http_limit limit = {};
        int r;

        connection->keep_alive = parser->keep_alive;
        if (!connection_is_proven(connection))
                return 401;
        r = server->options.limit(&head, &limit, server->options.userdata);
        if (r != 0)
                return r;
        if (parser->content_length > limit.max)
                return 413;
        if (!limit.to_file && !reserve(connection, parser->content_length))
                return 503;
        if (limit.to_file && parser->content_length > 0) {
                if (!has_room(server))
                        return 503;
                r = upload_open(connection);
                if (r < 0) {
                        log_debug_errno(r, "No temporary file for an upload: %m");
                        return r == -ENOSPC ? 503 : 500;
                }
        }
        if (parser->expect_continue && parser->content_length > 0)
                (void) bufferevent_write(connection->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        return 0;
}

static int on_body(struct request *parser _unused_, const void *data, size_t size, void *userdata) {
        struct connection *connection = userdata;

        if (connection->upload_fd >= 0) {
                int r = has_room(connection->server) ? upload_write(connection, data, size) : -ENOSPC;

                return r == -ENOSPC || r == -EDQUOT ? 503 : r < 0 ? 500 : 0;
        }
        buffer_append(&connection->body, data, size);
        return buffer_ok(&connection->body) < 0 ? 500 : 0;
}

static const struct request_events request_events = { on_header, on_body };

static void start_job(struct connection *connection) {
        struct request *parser = &connection->parser;

        (void) bufferevent_disable(connection->bev, EV_READ);
        if (connection->upload_fd >= 0)
                (void) lseek(connection->upload_fd, 0, SEEK_SET);
        connection->request = request_head(connection);
        connection->request.body = connection->body.data;
        connection->request.body_size = connection->upload_fd >= 0 ? parser->content_length : connection->body.size;
        connection->request.body_fd = connection->upload_fd;
        connection_set_state(connection, CONNECTION_WORKING, 0);
        workers_give(&connection->server->workers, connection);
}

/* Feeds the parser what has come; ends when it wants more, or has a request or a reason to refuse one. */
static void process_input(struct connection *connection) {
        struct evbuffer *input = bufferevent_get_input(connection->bev);
        struct request *parser = &connection->parser;

        while (evbuffer_get_length(input) > 0 && parser->state != REQUEST_WHOLE && parser->state != REQUEST_REFUSED) {
                size_t size = evbuffer_get_contiguous_space(input);

                if (parser->state == REQUEST_IDLE)
                        set_timer(connection,
                                  connection->server->options.request_ms); /* from the first byte on, for the whole request */
                size = request_feed(parser, evbuffer_pullup(input, (ssize_t) size), size);
                (void) evbuffer_drain(input, size);
        }
        if (parser->state == REQUEST_WHOLE)
                start_job(connection);
        else if (parser->state == REQUEST_REFUSED)
                connection_refuse(connection, parser->status);
}

static void on_read(struct bufferevent *bev, void *userdata) {
        struct connection *connection = userdata;

        if (connection->state == CONNECTION_READING)
                process_input(connection);
        else if (connection->state == CONNECTION_LINGERING)
                (void) evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
}

static void on_write(struct bufferevent *bev, void *userdata) {
        struct connection *connection = userdata;

        if (connection->state != CONNECTION_WRITING)
                return;
        if (connection->stream_left > 0) {
                if (download_more(connection) < 0)
                        connection_free(connection);
        } else if (evbuffer_get_length(bufferevent_get_output(bev)) == 0) {
                finish_response(connection);
        }
}

static void on_event(struct bufferevent *bev _unused_, short what, void *userdata) {
        struct connection *connection = userdata;

        if (what & BEV_EVENT_CONNECTED) {
                server_tls_peer(connection->ssl, &connection->peer);
                connection_set_state(connection, CONNECTION_READING, connection->server->options.idle_ms);
                return;
        }
        (void) tls_error(0, "TLS connection");
        if (connection->state == CONNECTION_WORKING)
                connection->dead = true; /* the worker still has its request */
        else if (connection->state == CONNECTION_HANDSHAKE && !(what & BEV_EVENT_EOF)) {
                server_counted(connection->server, "tls", &connection->peer);
                linger_raw(connection);
        } else
                connection_free(connection);
}

static void on_timer(evutil_socket_t fd _unused_, short what _unused_, void *userdata) {
        struct connection *connection = userdata;
        bool stream = connection->state == CONNECTION_WRITING ? connection->response.body_fd >= 0 : connection->upload_fd >= 0;

        if (stream && connection_is_busy(connection) && connection->moved >= STREAM_MIN)
                set_timer(connection, connection->server->options.request_ms);
        else if (connection->state == CONNECTION_READING && !connection_is_busy(connection))
                connection_close(connection);
        else {
                if (connection->state != CONNECTION_LINGERING)
                        server_counted(connection->server, "timeout", &connection->peer);
                connection_free(connection);
        }
}

static SSL *new_tls(struct http_server *server) {
        SSL *ssl;

        pthread_mutex_lock(&server->tls_mutex);
        ssl = SSL_new(server->tls);
        pthread_mutex_unlock(&server->tls_mutex);
        return ssl;
}

/* Takes fd, also on failure. Without a TLS object the connection is closed: there is no way to clear text. */
int connection_new(struct http_server *server, int fd, const struct http_peer *peer) {
        struct connection *connection = calloc(1, sizeof *connection);
        int one = 1;

        if (!connection) {
                (void) close(fd);
                return -ENOMEM;
        }
        connection->server = server;
        connection->fd = fd;
        connection->upload_fd = connection->response.body_fd = -1;
        connection->peer = *peer;
        connection->origin = address_hold(&server->addresses, peer->network);
        LIST_INSERT_HEAD(&server->connections, connection, all);
        server->n_connections++;

        connection->ssl = new_tls(server);
        connection->timer = event_new(server->base, -1, 0, on_timer, connection);
        if (connection->ssl)
                connection->bev = bufferevent_openssl_socket_new(server->base, fd, connection->ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                                 BEV_OPT_DEFER_CALLBACKS);
        if (!connection->origin || !connection->timer || !connection->bev) {
                connection_free(connection);
                return tls_error(-ENOMEM, "SSL_new");
        }

        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        request_init(&connection->parser, &request_events, connection);
        bufferevent_openssl_set_allow_dirty_shutdown(connection->bev, 1);
        bufferevent_setwatermark(connection->bev, EV_READ, 0, CHUNK);
        bufferevent_setcb(connection->bev, on_read, on_write, on_event, connection);
        connection_set_state(connection, CONNECTION_HANDSHAKE, server->options.handshake_ms);
        (void) bufferevent_enable(connection->bev, EV_READ | EV_WRITE);
        return 0;
}
