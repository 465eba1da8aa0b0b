/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http-fixture.h"

/* The server against clients that are not ours: raw bytes over TLS, slow ones, many. */

enum {
        HANDSHAKE_MS = 1500, /* of a server that has little patience; the others have what a busy machine needs */
        IDLE_MS = 3000,
        REQUEST_MS = 2000,
        CONNECTIONS = 1500,
        LIMIT_MS = 150000,
};

static struct fixture fixture;
static SSL_CTX *tls;

static int set_up(void **state) {
        struct http_server_options options = {
                .handshake_ms = LIMIT_MS,
                .idle_ms = LIMIT_MS,
                .request_ms = LIMIT_MS,
                .max_connections = CONNECTIONS,
        };
        struct rlimit limit;

        signal(SIGPIPE, SIG_IGN);
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        tls = SSL_CTX_new(TLS_client_method());
        return !tls || fixture_pki(&fixture) < 0 || fixture_start(&fixture, &options) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        SSL_CTX_free(tls);
        fixture_done(&fixture);
        return 0;
}

static int dial_port(unsigned port) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };
        struct timeval tv = { .tv_sec = LIMIT_MS / 1000 };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof address), 0);
        return fd;
}

static SSL *dial(unsigned port) {
        SSL *ssl = SSL_new(tls);

        SSL_set_fd(ssl, dial_port(port));
        assert_int_equal(SSL_connect(ssl), 1);
        return ssl;
}

static void hang_up(SSL *ssl) {
        int fd = SSL_get_fd(ssl);

        SSL_free(ssl);
        close(fd);
}

/* All that comes until the other side ends, or has sent want bytes; false where it ended without close_notify. */
static bool receive(SSL *ssl, char *ret, size_t size, size_t want) {
        size_t length = 0;
        int n = 1;

        while (length < want && n > 0) {
                n = SSL_read(ssl, ret + length, (int) (size - 1 - length));
                if (n > 0)
                        length += (size_t) n;
        }
        ret[length] = 0;
        return n > 0 || SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN;
}

static void send_text(SSL *ssl, const char *text) {
        assert_int_equal(SSL_write(ssl, text, (int) strlen(text)), (int) strlen(text));
}

/* Sends, and expects an answer that begins with status; the server then closes where closes. */
static void expect(const char *text, const char *status, const char *part) {
        SSL *ssl = dial(fixture.port);
        char answer[8192];

        send_text(ssl, text);
        if (!receive(ssl, answer, sizeof answer, SIZE_MAX) || strncmp(answer, status, strlen(status)) != 0 ||
            (part && !strstr(answer, part)))
                fail_msg("%.100s: %s", text, answer);
        hang_up(ssl);
}

static void refusals(void **state) {
        static const struct {
                const char *text, *status, *part;
        } cases[] = {
                { "POST /v1/echo HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 411 ", "urn:tallyboot:problem:malformed" },
                { "POST /v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                  "HTTP/1.1 411 ", NULL },
                { "POST /v1/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 4", NULL },
                { "POST /v1/echo HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 411",
                  NULL },
                { "POST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1 400 ", NULL },
                { "POST /v1/echo HTTP/1.1\r\nContent-Length: -5\r\n\r\nhello", "HTTP/1.1 400 ", NULL },
                { "POST /v1/echo HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", "HTTP/1.1 400 ", NULL },
                { "POST /v1/echo HTTP/1.1\r\nTransfer-Encoding : identity\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 400 ",
                  NULL },
                { "POST /v1/echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "POST /v1/echo HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ", "urn:tallyboot:problem:too-large" },
                { "PUT /v1/file HTTP/1.1\r\nContent-Length: 67108865\r\n\r\n", "HTTP/1.1 413 ", "\"status\":413" },
                { "POST /v1/ticket HTTP/1.1\r\nContent-Length: 65536\r\n\r\n", "HTTP/1.1 401 ",
                  "urn:tallyboot:problem:unauthorized" },
                { "POST /v1/ticket HTTP/1.1\r\nAuthorization: an old one\r\nContent-Length: 65536\r\n\r\n", "HTTP/1.1 409 ",
                  "urn:tallyboot:problem:stale-nonce" },
                { "POST /v1/ticket HTTP/1.1\r\nAuthorization: the ticket\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 413 ",
                  "urn:tallyboot:problem:too-large" },
                { "GET /v1/%70eer HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET https://x/v1/peer HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET /v1/peer#a HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET /v1/p\xc3\xa4 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET * HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "CONNECT a:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET / HTTP/2.0\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET /\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "nonsense\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "\x16\x03\x01", "HTTP/1.1 400 ", NULL },
                { "GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", "HTTP/1.1 400 ", NULL },
                { "GET / HTTP/1.1\r\nTallyboot-Incident: 0123456789abcdef\r\nX: y\r\nbad header\r\n\r\n", "HTTP/1.1 400 ",
                  "\"incident\":\"0123456789abcdef\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                expect(cases[i].text, cases[i].status, cases[i].part);
}

static void large_header(void **state) {
        _cleanup_(freep) char *text = malloc(200000);
        size_t length = (size_t) sprintf(text, "GET /v1/peer HTTP/1.1\r\nX: ");

        memset(text + length, 'a', 15000);
        strcpy(text + length + 15000, "\r\nConnection: close\r\n\r\n");
        expect(text, "HTTP/1.1 200 ", NULL);
        memset(text + length, 'a', 190000);
        strcpy(text + length + 190000, "\r\nConnection: close\r\n\r\n");
        expect(text, "HTTP/1.1 413 ", NULL);
        memset(text, '\n', 100000); /* before the first line, and never a first line */
        text[100000] = 0;
        expect(text, "HTTP/1.1 413 ", NULL);
        length = (size_t) sprintf(text, "GET /");
        memset(text + length, 'a', 3000);
        strcpy(text + length + 3000, " HTTP/1.1\r\n\r\n");
        expect(text, "HTTP/1.1 413 ", NULL);
}

static void methods(void **state) {
        expect("HEAD /v1/file HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ", NULL);
        expect("DELETE /v1/peer HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 405 Method", NULL);
        expect("GET /v1/none HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 204 ", NULL);
        expect("GET /v1/peer HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "Connection: close");
        expect("POST /v1/echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 ",
               "Content-Length: 0\r\n");
}

static void head_has_no_body(void **state) {
        SSL *ssl = dial(fixture.port);
        char answer[8192];

        send_text(ssl, "HEAD /v1/peer HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        assert_non_null(strstr(answer, "\r\n\r\n"));
        assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
        assert_null(strstr(answer, "Content-Length: 0"));
        hang_up(ssl);
}

static void pipelined(void **state) {
        SSL *ssl = dial(fixture.port);
        const char *first, *second, *third;
        char answer[8192];

        send_text(ssl, "GET /v1/sleep HTTP/1.1\r\n\r\nPOST /v1/echo HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecond"
                       "\r\nPOST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nthird");
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        first = strstr(answer, "{}");
        second = strstr(answer, "\r\n\r\nsecond");
        third = strstr(answer, "\r\n\r\nthird");
        assert_true(first && second && third && first < second && second < third);
        hang_up(ssl);
}

static void in_pieces(void **state) {
        static const char text[] = "POST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        SSL *ssl = dial(fixture.port);
        char answer[8192];

        for (const char *p = text; *p; p++)
                assert_int_equal(SSL_write(ssl, p, 1), 1);
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        assert_non_null(strstr(answer, "\r\n\r\nhello"));
        hang_up(ssl);
}

static void expect_continue(void **state) {
        SSL *ssl = dial(fixture.port);
        char answer[8192];

        send_text(ssl, "POST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
        assert_true(receive(ssl, answer, sizeof answer, 25));
        assert_string_equal(answer, "HTTP/1.1 100 Continue\r\n\r\n");
        send_text(ssl, "hello");
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        assert_non_null(strstr(answer, "200 OK"));
        hang_up(ssl);
        expect("POST /v1/echo HTTP/1.1\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413", NULL);
}

static void serves(unsigned port) {
        SSL *ssl = dial(port);
        char answer[8192];

        send_text(ssl, "GET /v1/peer HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        assert_true(strncmp(answer, "HTTP/1.1 200", 12) == 0);
        hang_up(ssl);
}

/* True where the other side ends the connection, before we have lost patience. */
static bool ends(SSL *ssl) {
        uint64_t begin = clock_monotonic_ms(), took;
        char answer[8192];

        (void) receive(ssl, answer, sizeof answer, SIZE_MAX);
        took = clock_monotonic_ms() - begin;
        hang_up(ssl);
        return took < LIMIT_MS - 1000;
}

static void start_impatient(struct fixture *own) {
        struct http_server_options options = { .handshake_ms = HANDSHAKE_MS, .idle_ms = IDLE_MS, .request_ms = REQUEST_MS };

        *own = (struct fixture){};
        strcpy(own->dir, fixture.dir);
        assert_int_equal(fixture_start(own, &options), 0);
}

static void slow_clients_are_ended(void **state) {
        struct fixture own;
        SSL *idle, *half, *body, *drip;
        unsigned dripped = 0;
        uint64_t begin;
        int silent;
        char byte;

        start_impatient(&own);
        begin = clock_monotonic_ms(); /* before they dial: this machine may be busy */
        idle = dial(own.port);
        half = dial(own.port);
        body = dial(own.port);
        drip = dial(own.port);
        silent = dial_port(own.port);
        send_text(half, "GET /v1/pe");
        send_text(body, "POST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel");
        send_text(drip, "GET /v1/peer HTTP/1.1\r\nX: ");
        assert_int_equal(read(silent, &byte, 1), 0); /* no handshake */
        assert_true(clock_monotonic_ms() - begin >= HANDSHAKE_MS - 100);
        close(silent);
        while (dripped < LIMIT_MS / 50 && SSL_write(drip, "a", 1) == 1) { /* a byte now and then does not help */
                sleep_ms(50);
                dripped++;
        }
        assert_true(dripped < LIMIT_MS / 50);
        hang_up(drip);
        assert_true(ends(half));
        assert_true(ends(body));
        assert_true(ends(idle));
        assert_true(clock_monotonic_ms() - begin >= IDLE_MS - 100);
        fixture_stop(&own);
}

static void thousand_slow_connections(void **state) {
        enum { RAW = 1000, TLS = 200 };
        int *raw = calloc(RAW, sizeof raw[0]);
        SSL **idle = calloc(TLS, sizeof idle[0]);

        for (unsigned i = 0; i < RAW; i++)
                raw[i] = dial_port(fixture.port);
        for (unsigned i = 0; i < TLS; i++)
                idle[i] = dial(fixture.port);
        for (unsigned i = 0; i < 20; i++)
                serves(fixture.port);
        for (unsigned i = 0; i < RAW; i++)
                close(raw[i]);
        for (unsigned i = 0; i < TLS; i++)
                hang_up(idle[i]);
        free(raw);
        free(idle);
        serves(fixture.port);
}

static void oldest_makes_room(void **state) {
        struct http_server_options options = { .max_connections = 4 };
        struct fixture own = {};
        SSL *idle[6];
        char byte;

        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, &options), 0);
        for (unsigned i = 0; i < 6; i++)
                idle[i] = dial(own.port);
        serves(own.port);
        assert_true(SSL_read(idle[0], &byte, 1) <= 0); /* gone */
        send_text(idle[5], "GET /v1/none HTTP/1.1\r\n\r\n");
        assert_int_equal(SSL_read(idle[5], &byte, 1), 1); /* still there */
        for (unsigned i = 0; i < 6; i++)
                hang_up(idle[i]);
        fixture_stop(&own);
}

/* All at work: a newcomer waits, and is served when one is done. */
static void full_of_work(void **state) {
        struct http_server_options options = { .max_connections = 2, .workers = 4 };
        unsigned before = fixture_asked();
        struct fixture own = {};
        SSL *busy[2];

        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, &options), 0);
        for (unsigned i = 0; i < 2; i++) {
                busy[i] = dial(own.port);
                send_text(busy[i], "GET /v1/sleep HTTP/1.1\r\nConnection: close\r\n\r\n");
        }
        fixture_until_asked(before + 2);
        serves(own.port);
        for (unsigned i = 0; i < 2; i++) {
                char answer[1024];

                assert_true(receive(busy[i], answer, sizeof answer, SIZE_MAX));
                assert_non_null(strstr(answer, "200 OK"));
                hang_up(busy[i]);
        }
        fixture_stop(&own);
}

static long resident_pages(void) {
        FILE *file = fopen("/proc/self/statm", "re");
        long pages = 0;

        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
        fclose(file);
        return pages;
}

/* Readers that do not read: memory stays small, and they are ended. The file is in memory too, once for each. */
static void back_pressure(void **state) {
        enum { READERS = 4 };
        unsigned asked = fixture_asked();
        SSL *readers[READERS];
        struct fixture own;
        long before, after;

        start_impatient(&own);
        before = resident_pages();
        for (unsigned i = 0; i < READERS; i++) {
                readers[i] = dial(own.port);
                send_text(readers[i], "GET /v1/file HTTP/1.1\r\n\r\n");
        }
        fixture_until_asked(asked + READERS);
        sleep_ms(500);
        after = resident_pages();
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed for a while */
        assert_true((after - before) * 4096 < FIXTURE_FILE / 2);
#else
        (void) (after - before);
#endif
        serves(own.port);
        sleep_ms(2 * REQUEST_MS);
        for (unsigned i = 0; i < READERS; i++)
                assert_true(ends(readers[i]));
        fixture_stop(&own);
}

static void stop_does_not_wait_for_ever(void **state) {
        struct http_server_options options = { .stop_ms = 300, .request_ms = 2 * LIMIT_MS, .idle_ms = 2 * LIMIT_MS };
        unsigned asked = fixture_asked();
        struct fixture own = {};
        SSL *reader, *idle;
        uint64_t begin;

        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, &options), 0);
        reader = dial(own.port);
        idle = dial(own.port);
        send_text(reader, "GET /v1/file HTTP/1.1\r\n\r\n");
        fixture_until_asked(asked + 1);
        sleep_ms(200);
        begin = clock_monotonic_ms();
        fixture_stop(&own);
        assert_true(clock_monotonic_ms() - begin >= 250); /* its clock is a coarse one */
        assert_true(clock_monotonic_ms() - begin < LIMIT_MS);
        assert_true(ends(reader));
        assert_true(ends(idle));
}

static void clear_text_is_not_answered(void **state) {
        int fd = dial_port(fixture.port);
        char answer[256];
        ssize_t n;

        assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
        n = read(fd, answer, sizeof answer);
        assert_true(n <= 0 || answer[0] == 0x15); /* at most a TLS alert */
        close(fd);
}

static void vanishing_clients(void **state) {
        for (unsigned i = 0; i < 20; i++) {
                SSL *ssl = dial(fixture.port);

                send_text(ssl, i % 2 ? "GET /v1/sleep HTTP/1.1\r\n\r\n" : "GET /v1/file HTTP/1.1\r\n\r\n");
                hang_up(ssl);
        }
        sleep_ms(500);
        serves(fixture.port);
}

static void no_tickets(void **state) {
        SSL *ssl = dial(fixture.port);
        SSL_SESSION *session;
        char answer[8192];

        send_text(ssl, "GET /v1/peer HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_true(receive(ssl, answer, sizeof answer, SIZE_MAX));
        assert_string_equal(SSL_get_version(ssl), "TLSv1.3");
        session = SSL_get0_session(ssl);
        assert_false(SSL_SESSION_has_ticket(session));
        assert_false(SSL_SESSION_is_resumable(session));
        hang_up(ssl);

        SSL_CTX_set_max_proto_version(tls, TLS1_2_VERSION);
        serves(fixture.port);
        SSL_CTX_set_security_level(tls, 0);
        SSL_CTX_set_min_proto_version(tls, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(tls, TLS1_1_VERSION);
        ssl = SSL_new(tls);
        SSL_set_fd(ssl, dial_port(fixture.port));
        assert_int_not_equal(SSL_connect(ssl), 1);
        hang_up(ssl);
        SSL_CTX_set_max_proto_version(tls, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(refusals),
                cmocka_unit_test(large_header),
                cmocka_unit_test(methods),
                cmocka_unit_test(head_has_no_body),
                cmocka_unit_test(pipelined),
                cmocka_unit_test(in_pieces),
                cmocka_unit_test(expect_continue),
                cmocka_unit_test(clear_text_is_not_answered),
                cmocka_unit_test(vanishing_clients),
                cmocka_unit_test(slow_clients_are_ended),
                cmocka_unit_test(oldest_makes_room),
                cmocka_unit_test(full_of_work),
                cmocka_unit_test(back_pressure),
                cmocka_unit_test(stop_does_not_wait_for_ever),
                cmocka_unit_test(thousand_slow_connections),
                cmocka_unit_test(no_tickets),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
