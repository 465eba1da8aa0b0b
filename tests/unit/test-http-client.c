/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/file.h"
#include "http-fixture.h"

/* The client against a server that is an attacker: whatever it answers, memory and time stay bounded. */

/* What has to go wrong for want of an answer waits so long; all else has the patience that a busy machine needs. */
enum { TIMEOUT_MS = 3000, CONNECT_MS = 1000, PATIENCE_MS = 120000 };

struct evil {
        int listener;
        unsigned port;
        char url[64];
        pthread_t thread;
        void (*act)(struct evil *evil, SSL *ssl); /* after the request was read; NULL: accept and say nothing, without TLS */
        unsigned accepted;
        uint64_t sent;
        bool stop;
};

static struct fixture fixture;
static SSL_CTX *tls;

static void read_request(SSL *ssl) {
        char text[65536];
        int length = 0, n;

        while ((n = SSL_read(ssl, text + length, (int) sizeof text - 1 - length)) > 0) {
                length += n;
                text[length] = 0;
                if (strstr(text, "\r\n\r\n"))
                        return;
        }
}

static bool put(struct evil *evil, SSL *ssl, const char *text) {
        int n = SSL_write(ssl, text, (int) strlen(text));

        evil->sent += n > 0 ? (uint64_t) n : 0;
        return n > 0 && !__atomic_load_n(&evil->stop, __ATOMIC_ACQUIRE);
}

static void serve(struct evil *evil, int fd) {
        struct timeval tv = { .tv_sec = PATIENCE_MS / 1000 };
        SSL *ssl = SSL_new(tls);

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1) {
                read_request(ssl);
                evil->act(evil, ssl);
        }
        SSL_free(ssl);
}

static void *run(void *userdata) {
        struct evil *evil = userdata;
        int held[64], n_held = 0;

        while (!__atomic_load_n(&evil->stop, __ATOMIC_ACQUIRE)) {
                struct pollfd pollfd = { .fd = evil->listener, .events = POLLIN };
                int fd;

                if (poll(&pollfd, 1, 50) != 1)
                        continue;
                fd = accept4(evil->listener, NULL, NULL, SOCK_CLOEXEC);
                __atomic_add_fetch(&evil->accepted, 1, __ATOMIC_ACQ_REL);
                if (evil->act)
                        serve(evil, fd);
                if (!evil->act && n_held < 64)
                        held[n_held++] = fd;
                else
                        close(fd);
        }
        while (n_held > 0)
                close(held[--n_held]);
        return NULL;
}

/* Not on a test's stack: the thread of one that failed goes on. */
static struct evil *evil_start(void (*act)(struct evil *evil, SSL *ssl)) {
        static struct evil evils[64];
        static size_t n;
        struct evil *evil = evils + n++ % ELEMENTSOF(evils);
        struct sockaddr_in address = { .sin_family = AF_INET };
        socklen_t size = sizeof address;

        *evil = (struct evil){ .act = act };
        evil->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
        assert_int_equal(bind(evil->listener, (struct sockaddr *) &address, sizeof address), 0);
        assert_int_equal(listen(evil->listener, 16), 0);
        assert_int_equal(getsockname(evil->listener, (struct sockaddr *) &address, &size), 0);
        evil->port = ntohs(address.sin_port);
        snprintf(evil->url, sizeof evil->url, "https://127.0.0.1:%u", evil->port);
        assert_int_equal(pthread_create(&evil->thread, NULL, run, evil), 0);
        return evil;
}

static void evil_stop(struct evil *evil) {
        __atomic_store_n(&evil->stop, true, __ATOMIC_RELEASE);
        pthread_join(evil->thread, NULL);
        close(evil->listener);
}

static void header_of_a_megabyte(struct evil *evil, SSL *ssl) {
        static char line[1000001];

        memset(line, 'a', sizeof line - 1);
        memcpy(line, "HTTP/1.1 200 OK\r\nX: ", 20);
        (void) (put(evil, ssl, line) && put(evil, ssl, "\r\nContent-Length: 0\r\n\r\n"));
}

static void headers_without_end(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\n");
        while (put(evil, ssl, "Set-Cookie: abcdefghijklmnopqrstuvwxyz=abcdefghijklmnopqrstuvwxyz\r\n"))
                ;
}

static void informational_without_end(struct evil *evil, SSL *ssl) {
        while (put(evil, ssl, "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"))
                ;
}

static void chunk_bomb(struct evil *evil, SSL *ssl) {
        static char chunk[65536 + 8];

        memset(chunk, 'a', sizeof chunk - 1);
        memcpy(chunk, "fff8\r\n", 6);
        memcpy(chunk + 6 + 0xfff8, "\r\n", 3);
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (put(evil, ssl, chunk))
                ;
}

static void chunk_size_lies(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello");
}

static void trailers_without_end(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n");
        while (put(evil, ssl, "X-Trailer: abcdefghijklmnopqrstuvwxyz\r\n"))
                ;
}

static void length_too_large(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
        while (put(evil, ssl, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
                ;
}

static void truncated(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":");
        SSL_shutdown(ssl);
}

static void truncated_chunk(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{\"half\":");
        SSL_shutdown(ssl);
}

/* Without a length the end of the connection ends the body: only close_notify tells it from an attacker's cut. */
static void cut_without_notify(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\n\r\n{\"half\":1}");
}

static void drip(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while (put(evil, ssl, "a"))
                sleep_ms(20);
}

static void hang(struct evil *evil, SSL *ssl) {
        char byte;

        (void) evil;
        (void) SSL_read(ssl, &byte, 1);
}

static void not_http(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "220 mail.example ESMTP\r\n");
        SSL_shutdown(ssl);
}

static void says_nothing(struct evil *evil, SSL *ssl) {
        (void) evil;
        SSL_shutdown(ssl);
}

static void redirect(struct evil *evil, SSL *ssl) {
        char text[256];

        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: %s/other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                 evil->url);
        (void) put(evil, ssl, text);
        SSL_shutdown(ssl);
}

/* 100 bytes of gzip that would be more: nothing here decodes. */
static void compressed(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl,
                   "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\nConnection: close\r\n\r\n\x1f\x8b{}");
        SSL_shutdown(ssl);
}

static void good(struct evil *evil, SSL *ssl) {
        (void) put(
                evil, ssl,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n");
        SSL_shutdown(ssl);
}

static void asks_to_wait_long(struct evil *evil, SSL *ssl) {
        (void) put(evil, ssl, "HTTP/1.1 503 X\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        SSL_shutdown(ssl);
}

static void ask_for(const char *urls, unsigned timeout_ms, unsigned connect_ms, struct http_exchange *exchange) {
        struct http_client_options options = { .timeout_ms = timeout_ms, .connect_timeout_ms = connect_ms };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;

        assert_int_equal(http_server_list_parse(urls, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        *exchange = (struct http_exchange){
                .servers = &servers, .method = "POST", .path = "/v1/x", .body = "{}", .body_size = 2, .body_fd = -1
        };
        assert_int_equal(http_client_perform(client, exchange, 1, -1), 0);
        exchange->servers = NULL;
}

static void ask(const char *urls, struct http_exchange *exchange) {
        ask_for(urls, PATIENCE_MS, PATIENCE_MS, exchange);
}

static void attacks(void **state) {
        static const struct {
                const char *name;
                void (*act)(struct evil *evil, SSL *ssl);
                int result;
                const char *words;
        } cases[] = {
                { "header of a megabyte", header_of_a_megabyte, -EFBIG, "larger" },
                { "headers without end", headers_without_end, -EFBIG, "larger" },
                { "1xx without end", informational_without_end, -EFBIG, "larger" },
                { "chunk bomb", chunk_bomb, -EFBIG, "larger" },
                { "chunk size lies", chunk_size_lies, -ENOLINK, "" },
                { "trailers without end", trailers_without_end, -EFBIG, "larger" },
                { "length too large", length_too_large, -EFBIG, "larger" },
                { "truncated", truncated, -ENOLINK, "broke" },
                { "truncated chunk", truncated_chunk, -ENOLINK, "broke" },
                { "cut without close_notify", cut_without_notify, -EBADMSG, "no length" },
                { "drip", drip, -ETIMEDOUT, "no whole answer" },
                { "hang", hang, -ETIMEDOUT, "no whole answer" },
                { "no TLS", NULL, -ETIMEDOUT, "no connection in time" },
                { "not HTTP", not_http, -EBADMSG, "" },
                { "says nothing", says_nothing, -ENOLINK, "broke" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(http_exchange_done) struct http_exchange exchange = {};
                uint64_t begin = clock_monotonic_ms();
                struct evil *evil;

                evil = evil_start(cases[i].act);
                ask_for(evil->url, cases[i].result == -ETIMEDOUT && cases[i].act ? TIMEOUT_MS : PATIENCE_MS,
                        cases[i].act ? PATIENCE_MS : CONNECT_MS, &exchange);
                if (exchange.result != cases[i].result || !strstr(exchange.error, cases[i].words) ||
                    !strstr(exchange.error, evil->url) || exchange.answer.size > 0)
                        fail_msg("%s: %d, %s", cases[i].name, exchange.result, exchange.error);
                assert_true(clock_monotonic_ms() - begin < PATIENCE_MS);
                evil_stop(evil);
                assert_true(evil->sent < 8 * 1024 * 1024); /* what fits into buffers on the way, not more */
        }
}

static void harmless(void **state) {
        _cleanup_(http_exchange_done) struct http_exchange one = {}, two = {}, three = {}, four = {};
        struct evil *evil;

        evil = evil_start(good);
        ask(evil->url, &one);
        assert_int_equal(one.result, 0);
        assert_string_equal((char *) one.answer.data, "{\"a\":1}");
        assert_int_equal(one.answer.size, 7);
        evil_stop(evil);

        evil = evil_start(redirect);
        ask(evil->url, &two);
        assert_int_equal(two.status, 302);
        evil_stop(evil);
        assert_int_equal(evil->accepted, 1);

        evil = evil_start(compressed);
        ask(evil->url, &three);
        assert_int_equal(three.answer.size, 4);
        evil_stop(evil);

        evil = evil_start(asks_to_wait_long);
        ask(evil->url, &four);
        assert_int_equal(four.status, 503);
        assert_true(four.retry_after <= 86400);
        evil_stop(evil);
}

static void next_address(void **state) {
        struct http_client_options options = { .timeout_ms = PATIENCE_MS, .connect_timeout_ms = 3 * CONNECT_MS };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(freep) char *urls = NULL;
        struct evil *silent, *broken, *right;

        silent = evil_start(NULL);
        broken = evil_start(truncated);
        right = evil_start(good);
        urls = format("https://127.0.0.1:1, %s %s https://name.invalid %s", silent->url, broken->url, right->url);
        assert_int_equal(http_server_list_parse(urls, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        for (unsigned i = 0; i < 3; i++) {
                _cleanup_(http_exchange_done) struct http_exchange exchange = {
                        .servers = &servers, .method = "POST", .path = "/v1/x", .body = "{}", .body_size = 2, .body_fd = -1
                };

                assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
                assert_int_equal(exchange.result, 0);
                assert_string_equal(exchange.error, "");
                assert_int_equal(servers.current, 4);
        }
        evil_stop(silent);
        evil_stop(broken);
        evil_stop(right);
        assert_int_equal(silent->accepted, 1); /* the good one is tried first afterwards */
        assert_int_equal(right->accepted, 3);
}

static void all_dead(void **state) {
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};
        _cleanup_(freep) char *urls = NULL;
        struct evil *broken;

        broken = evil_start(not_http);
        urls = format("https://127.0.0.1:1 %s https://127.0.0.1:2", broken->url);
        ask(urls, &exchange);
        assert_int_equal(exchange.result, -EBADMSG); /* what says most */
        assert_non_null(strstr(exchange.error, "127.0.0.1:1: "));
        assert_non_null(strstr(exchange.error, broken->url));
        evil_stop(broken);
}

static int count(const void *data _unused_, size_t size, void *userdata) {
        *(size_t *) userdata += size;
        return 0;
}

/* Half a file from one address and half from another would be neither. */
static void sink_is_fed_once(void **state) {
        struct http_client_options options = { .timeout_ms = PATIENCE_MS };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(freep) char *urls = NULL;
        struct evil *broken, *right;
        size_t size = 0;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers, .method = "GET", .path = "/v1/x", .body_fd = -1, .sink = count, .sink_userdata = &size
        };

        broken = evil_start(truncated);
        right = evil_start(good);
        urls = format("%s %s", broken->url, right->url);
        assert_int_equal(http_server_list_parse(urls, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -ENOLINK);
        assert_int_equal(size, strlen("{\"half\":"));
        evil_stop(broken);
        evil_stop(right);
        assert_int_equal(right->accepted, 0);
}

/* A stream has no limit on its whole time, but one on slowness. */
static void slow_stream(void **state) {
        struct http_client_options options = { .timeout_ms = 1000 };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        uint64_t begin = clock_monotonic_ms();
        struct evil *slow;
        size_t size = 0;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers, .method = "GET", .path = "/v1/x", .body_fd = -1, .sink = count, .sink_userdata = &size
        };

        slow = evil_start(drip);
        assert_int_equal(http_server_list_parse(slow->url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -ETIMEDOUT);
        assert_true(clock_monotonic_ms() - begin < PATIENCE_MS);
        evil_stop(slow);
}

static void *cancel_soon(void *userdata) {
        sleep_ms(100);
        (void) eventfd_write(*(int *) userdata, 1);
        return NULL;
}

static void cancelled(void **state) {
        struct http_client_options options = { .timeout_ms = PATIENCE_MS, .connect_timeout_ms = PATIENCE_MS };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(closep) int fd = eventfd(0, EFD_CLOEXEC);
        uint64_t begin = clock_monotonic_ms();
        struct http_exchange exchanges[2];
        pthread_t thread;
        struct evil *silent;

        silent = evil_start(NULL);
        assert_int_equal(http_server_list_parse(silent->url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        for (size_t i = 0; i < 2; i++)
                exchanges[i] = (struct http_exchange){ .servers = &servers, .method = "GET", .path = "/", .body_fd = -1 };
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &fd), 0);
        assert_int_equal(http_client_perform(client, exchanges, 2, fd), -ECANCELED);
        assert_int_equal(exchanges[0].result, -ECANCELED);
        assert_int_equal(exchanges[1].result, -ECANCELED);
        assert_true(clock_monotonic_ms() - begin < PATIENCE_MS / 2);
        pthread_join(thread, NULL);
        evil_stop(silent);
}

struct caller {
        int fd;
        unsigned times;
};

static int answer_it(void *userdata) {
        struct caller *caller = userdata;
        eventfd_t value;

        (void) eventfd_read(caller->fd, &value);
        return ++caller->times < 2 ? 0 : -EBUSY;
}

/* Who has something to do meanwhile is interrupted without an end, and is not forgotten where nobody interrupts. */
static void meanwhile(void **state) {
        struct http_client_options options = { .timeout_ms = PATIENCE_MS, .connect_timeout_ms = PATIENCE_MS };
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(closep) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct caller caller = { .fd = fd };
        uint64_t begin = clock_monotonic_ms();
        struct http_exchange exchange = { .servers = &servers,
                                          .method = "GET",
                                          .path = "/",
                                          .body_fd = -1,
                                          .meanwhile = answer_it,
                                          .meanwhile_userdata = &caller };
        pthread_t thread;
        struct evil *silent;

        silent = evil_start(NULL);
        assert_int_equal(http_server_list_parse(silent->url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &fd), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, fd), -EBUSY);
        assert_int_equal(exchange.result, -EBUSY);
        assert_int_equal(caller.times, 2);
        assert_true(clock_monotonic_ms() - begin < PATIENCE_MS / 2);
        pthread_join(thread, NULL);
        evil_stop(silent);
}

static void wrong_questions(void **state) {
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        const struct http_exchange wrong[] = {
                { .servers = &servers, .method = "GET", .path = "v1", .body_fd = -1 },
                { .servers = &servers, .method = "GET", .path = "/v1\r\nX: y", .body_fd = -1 },
                { .servers = &servers, .method = "GET", .path = "/v1 HTTP/1.1", .body_fd = -1 },
                { .servers = &servers, .method = "TRACE", .path = "/", .body_fd = -1 },
                { .servers = &servers, .method = "PUT", .path = "/", .body_size = 1, .body_fd = -1 },
                { .servers = NULL, .method = "GET", .path = "/", .body_fd = -1 },
        };

        assert_int_equal(http_server_list_parse("https://127.0.0.1:1", &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                struct http_exchange exchange = wrong[i];

                assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
                assert_int_equal(exchange.result, -EINVAL);
        }
}

/* What surrounds the process says nothing to the client. */
static void environment_is_ignored(void **state) {
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};
        struct evil *evil;

        setenv("https_proxy", "http://127.0.0.1:1", 1);
        setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
        setenv("SSL_CERT_FILE", "/dev/null", 1);
        evil = evil_start(good);
        ask(evil->url, &exchange);
        assert_int_equal(exchange.result, 0);
        evil_stop(evil);
        unsetenv("https_proxy");
        unsetenv("ALL_PROXY");
        unsetenv("SSL_CERT_FILE");
}

static int set_up(void **state) {
        _cleanup_(freep) char *pem = NULL, *key = NULL;

        signal(SIGPIPE, SIG_IGN);
        if (fixture_pki(&fixture) < 0)
                return -1;
        pem = fixture_path(&fixture, "server.pem");
        key = fixture_path(&fixture, "server.key");
        tls = SSL_CTX_new(TLS_server_method());
        return SSL_CTX_use_certificate_file(tls, pem, SSL_FILETYPE_PEM) == 1 &&
                               SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) == 1
                       ? 0
                       : -1;
}

static int tear_down(void **state) {
        SSL_CTX_free(tls);
        fixture_done(&fixture);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(attacks),   cmocka_unit_test(harmless),         cmocka_unit_test(next_address),
                cmocka_unit_test(all_dead),  cmocka_unit_test(sink_is_fed_once), cmocka_unit_test(slow_stream),
                cmocka_unit_test(cancelled), cmocka_unit_test(wrong_questions),  cmocka_unit_test(environment_is_ignored),
                cmocka_unit_test(meanwhile),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
