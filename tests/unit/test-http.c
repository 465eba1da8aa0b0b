/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <netinet/in.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "http-fixture.h"
#include "http/tls-files.h"

/* Server and client against each other. */

static struct fixture fixture;

static int set_up(void **state) {
        return fixture_pki(&fixture) < 0 || fixture_start(&fixture, NULL) < 0 ? -1 : 0;
}

static int tear_down(void **state) {
        fixture_done(&fixture);
        return 0;
}

static void ask(struct http_client *client, const char *url, const char *path, struct http_exchange *exchange) {
        struct http_server_list servers;

        assert_int_equal(http_server_list_parse(url, &servers), 0);
        *exchange = (struct http_exchange){ .servers = &servers, .method = "GET", .path = path, .body_fd = -1 };
        assert_int_equal(http_client_perform(client, exchange, 1, -1), 0);
        exchange->servers = NULL;
        http_server_list_done(&servers);
}

static void expect_answer(const char *ca, const char *identity, const char *path, int status, const char *part) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};

        assert_int_equal(fixture_client(&fixture, ca, identity, NULL, &client), 0);
        ask(client, fixture.url, path, &exchange);
        if (exchange.result < 0)
                fail_msg("%s", exchange.error);
        assert_int_equal(exchange.status, status);
        if (part && !strstr((char *) exchange.answer.data, part))
                fail_msg("%s: no %s", exchange.answer.data, part);
}

static void expect_failure(const char *ca, const char *identity, const char *url, int error, const char *words) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};

        assert_int_equal(fixture_client(&fixture, ca, identity, NULL, &client), 0);
        ask(client, url, "/v1/peer", &exchange);
        if (exchange.result != error || !strstr(exchange.error, words))
                fail_msg("%d, %s", exchange.result, exchange.error);
}

static void answers(void **state) {
        expect_answer("ca", NULL, "/v1/peer", 200, "\"present\":0");
        expect_answer("ca", NULL, "/v1/peer?a=b&c", 200, "\"query\":\"a=b&c\"");
        expect_answer("ca", NULL, "/v1/none", 204, NULL);
        expect_answer("ca", NULL, "/v1/missing", 404, NULL);
        expect_answer("ca", NULL, "/v1/forgotten", 500, "urn:tallyboot:problem:internal");
}

static void client_certificates(void **state) {
        static const struct pki_spec specs[] = {
                { .name = "late", .issuer = "ca", .san = "URI:urn:tallyboot:operator:late", .from = -7200, .to = -3600 },
                { .name = "foreign", .issuer = "other", .san = "URI:urn:tallyboot:operator:eve" },
                { .name = "serving", .issuer = "ca", .san = "URI:urn:tallyboot:operator:bob", .usage = "serverAuth" },
        };

        for (size_t i = 0; i < ELEMENTSOF(specs); i++)
                assert_int_equal(pki_make(fixture.dir, specs + i), 0);
        expect_answer("ca", "operator", "/v1/peer", 200, "\"uri\":\"urn:tallyboot:operator:anna\",\"present\":1");
        for (size_t i = 0; i < ELEMENTSOF(specs); i++)
                expect_failure("ca", specs[i].name, fixture.url, -EKEYREJECTED, "refused our certificate");
}

/* Whose the peer is must be said once: not by the first of several names, nor by the one that suits. */
static void invariant_14_several_names_are_none(void **state) {
        static const struct pki_spec specs[] = {
                { .name = "two", .issuer = "ca", .san = "URI:urn:tallyboot:operator:anna,URI:urn:tallyboot:tenant" },
                { .name = "twice", .issuer = "ca", .san = "URI:urn:tallyboot:tenant,URI:urn:tallyboot:tenant" },
                { .name = "cases", .issuer = "ca", .san = "URI:urn:tallyboot:tenant,URI:URN:Tallyboot:operator:anna" },
                { .name = "upper", .issuer = "ca", .san = "URI:URN:TALLYBOOT:tenant" },
                { .name = "control", .issuer = "ca", .san = "URI:urn:tallyboot:operator:a b" },
        };
        static const struct pki_spec other = { .name = "others",
                                               .issuer = "ca",
                                               .san = "URI:https://x,DNS:y,URI:urn:tallyboot:tenant" };

        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                assert_int_equal(pki_make(fixture.dir, specs + i), 0);
                expect_answer("ca", specs[i].name, "/v1/peer", 200, "\"uri\":\"\",\"present\":1");
        }
        assert_int_equal(pki_make(fixture.dir, &other), 0);
        expect_answer("ca", "others", "/v1/peer", 200, "\"uri\":\"urn:tallyboot:tenant\",\"present\":1");
}

static void invariant_14_server_of_several_names(void **state) {
        static const struct {
                const char *name;
                bool tenant;
        } cases[] = { { "two", false }, { "twice", false }, { "cases", false }, { "upper", false }, { "others", true } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *file = NULL;
                _cleanup_(blob_done) struct blob pem = {};
                X509 *certificate;
                BIO *bio;

                assert_true(asprintf(&file, "%s/%s.pem", fixture.dir, cases[i].name) > 0);
                assert_int_equal(file_read(file, 65536, &pem), 0);
                bio = BIO_new_mem_buf(pem.data, (int) pem.size);
                certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
                BIO_free(bio);
                assert_non_null(certificate);
                assert_true(tls_certificate_has_role(certificate, "tenant") == cases[i].tenant);
                assert_false(tls_certificate_has_role(certificate, "verifier"));
                X509_free(certificate);
        }
}

static void wide_key_is_refused(void **state) {
        static const struct pki_spec spec = { .name = "wide", .issuer = "ca" };
        _cleanup_(freep) char *key = fixture_path(&fixture, "wide.key"), *pem = fixture_path(&fixture, "wide.pem");
        struct http_client *client = NULL;
        struct http_server *server = NULL;
        struct http_server_options options = {
                .listen = "127.0.0.1:0",
                .certificate_file = pem,
                .key_file = key,
                .handler = (http_handler) abort,
                .limit = (http_limit_fn) abort,
        };
        char error[256];

        assert_int_equal(pki_make(fixture.dir, &spec), 0);
        assert_int_equal(chmod(key, 0640), 0);
        assert_int_equal(fixture_client(&fixture, "ca", "wide", NULL, &client), -EPERM);
        assert_int_equal(http_server_new(&options, &server, error, sizeof error), -EPERM);
        assert_non_null(strstr(error, "chmod 600"));
        assert_null(client);
        assert_null(server);
}

static void wrong_files(void **state) {
        static const char *const listens[] = { "127.0.0.1", "[::1]", "::1", "nonsense", "127.0.0.1:x", "127.0.0.1:99999" };
        _cleanup_(freep) char *key = fixture_path(&fixture, "operator.key"), *pem = fixture_path(&fixture, "server.pem");
        _cleanup_(freep) char *right = fixture_path(&fixture, "server.key"), *missing = fixture_path(&fixture, "missing");
        struct http_server_options options = {
                .listen = "127.0.0.1:0",
                .certificate_file = pem,
                .key_file = key,
                .handler = (http_handler) abort,
                .limit = (http_limit_fn) abort,
        };
        struct http_server *server = NULL;
        char error[256];

        assert_int_equal(http_server_new(&options, &server, error, sizeof error), -EKEYREJECTED);
        options.key_file = pem;
        assert_true(http_server_new(&options, &server, error, sizeof error) < 0);
        options.key_file = missing;
        assert_int_equal(http_server_new(&options, &server, error, sizeof error), -ENOENT);
        options.key_file = right;
        options.client_ca_file = right;
        assert_int_equal(http_server_new(&options, &server, error, sizeof error), -EBADMSG);
        options.client_ca_file = NULL;
        for (size_t i = 0; i < ELEMENTSOF(listens); i++) {
                options.listen = listens[i];
                assert_true(http_server_new(&options, &server, error, sizeof error) < 0);
                assert_non_null(strstr(error, listens[i]));
        }
        assert_null(server);
}

static void headers_arrive(void **state) {
        struct http_client_options options = { .incident = "0123456789abcdef" };
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers,
                .method = "GET",
                .path = "/v1/peer",
                .authorization = "Tallyboot abc",
                .body_fd = -1,
        };

        assert_int_equal(http_server_list_parse(fixture.url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_string_equal((char *) exchange.answer.data,
                            "{\"uri\":\"\",\"present\":0,\"address\":\"127.0.0.1\",\"incident\":\"0123456789abcdef\","
                            "\"authorization\":\"Tallyboot abc\",\"query\":\"\"}");
        exchange.authorization = "a\r\nX: y";
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -EINVAL);
}

static void retry_after(void **state) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};

        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        ask(client, fixture.url, "/v1/busy", &exchange);
        assert_int_equal(exchange.result, 0);
        assert_int_equal(exchange.status, 503);
        assert_int_equal(exchange.retry_after, 7);
}

/* Connections to the server's port in any state but listening, seen from the server's side. */
static unsigned connections_to(unsigned port) {
        _cleanup_(freep) char *want = format(":%04X ", port);
        FILE *file = fopen("/proc/self/net/tcp", "re");
        unsigned n = 0;
        char line[256];

        assert_non_null(file);
        while (fgets(line, sizeof line, file)) {
                char local[64], remote[64];
                unsigned tcp_state;

                if (sscanf(line, " %*[^:]: %63s %63s %x", local, remote, &tcp_state) == 3 && tcp_state != 0x0a) {
                        strcat(local, " ");
                        n += strstr(local, want) != NULL;
                }
        }
        fclose(file);
        return n;
}

static void connection_is_kept(void **state) {
        struct fixture own = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        struct http_server_list servers[2];
        struct http_exchange exchanges[2];

        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, NULL), 0);
        assert_int_equal(fixture_client(&own, "ca", NULL, NULL, &client), 0);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(http_server_list_parse(own.url, servers + i), 0);

        for (unsigned round = 0; round < 3; round++) {
                for (size_t i = 0; i < 2; i++)
                        exchanges[i] = (struct http_exchange){
                                .servers = servers + i,
                                .method = "POST",
                                .path = "/v1/sleep", /* so that both are under way at once */
                                .body_fd = -1,
                        };
                assert_int_equal(http_client_perform(client, exchanges, round == 0 ? 1 : 2, -1), 0);
                for (size_t i = 0; i < (round == 0 ? 1 : 2); i++) {
                        assert_int_equal(exchanges[i].result, 0);
                        assert_string_equal((char *) exchanges[i].answer.data, "{}");
                        http_exchange_done(exchanges + i);
                }
                /* one at first, two for two at once, and no more for the third round */
                assert_int_equal(connections_to(own.port), round == 0 ? 1 : 2);
        }
        for (size_t i = 0; i < 2; i++)
                http_server_list_done(servers + i);
        fixture_stop(&own);
}

static void side_by_side(void **state) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        struct http_exchange exchanges[FIXTURE_MEET];
        struct http_server_list servers;

        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        assert_int_equal(http_server_list_parse(fixture.url, &servers), 0);
        for (size_t i = 0; i < FIXTURE_MEET; i++)
                exchanges[i] = (struct http_exchange){ .servers = &servers, .method = "GET", .path = "/v1/meet", .body_fd = -1 };
        assert_int_equal(http_client_perform(client, exchanges, FIXTURE_MEET, -1), 0);
        for (size_t i = 0; i < FIXTURE_MEET; i++) {
                assert_int_equal(exchanges[i].status, 200);
                http_exchange_done(exchanges + i);
        }
        http_server_list_done(&servers);
}

static void upload_is_streamed(void **state) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(closep) int fd = fixture_file(FIXTURE_FILE);
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers,
                .method = "PUT",
                .path = "/v1/file",
                .content_type = "application/octet-stream",
                .body_fd = fd,
                .body_size = FIXTURE_FILE,
        };
        _cleanup_(freep) char *dead = format("https://127.0.0.1:1 %s", fixture.url);

        assert_true(fd >= 0);
        assert_int_equal(http_server_list_parse(dead, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        for (unsigned i = 0; i < 2; i++) { /* the position of the file does not move */
                assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
                if (exchange.result < 0)
                        fail_msg("%s", exchange.error);
                assert_int_equal(exchange.status, 200);
                assert_string_equal((char *) exchange.answer.data, "{\"size\":25165824}");
        }
        exchange.body_size++; /* the file is shorter than that */
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -EIO);
}

struct sink {
        uint64_t size, stop_at;
        bool wrong;
};

static int sink(const void *data, size_t size, void *userdata) {
        struct sink *s = userdata;

        for (size_t i = 0; i < size; i++)
                s->wrong |= ((const uint8_t *) data)[i] != fixture_byte(s->size + i);
        s->size += size;
        return s->stop_at > 0 && s->size >= s->stop_at ? -ENOSPC : 0;
}

static void download_is_streamed(void **state) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        struct sink s = {};
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers, .method = "GET", .path = "/v1/file", .body_fd = -1, .sink = sink, .sink_userdata = &s
        };

        assert_int_equal(http_server_list_parse(fixture.url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.status, 200);
        assert_int_equal(s.size, FIXTURE_FILE);
        assert_false(s.wrong);

        s = (struct sink){ .stop_at = 100000 };
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -ENOSPC);
        assert_true(s.size < FIXTURE_FILE / 2);

        s = (struct sink){};
        exchange.max_answer = 1000000;
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.result, -EFBIG);
        assert_true(s.size <= 1000000);

        s = (struct sink){};
        exchange.max_answer = 0;
        exchange.path = "/v1/missing"; /* a refusal goes to the answer, never to the sink */
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.status, 404);
        assert_int_equal(s.size, 0);
}

static void too_large(void **state) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(freep) char *body = calloc(1, FIXTURE_LIMIT + 1);
        _cleanup_(http_exchange_done) struct http_exchange exchange = {
                .servers = &servers, .method = "POST", .path = "/v1/echo", .body = body, .body_fd = -1, .body_size = FIXTURE_LIMIT
        };

        assert_int_equal(http_server_list_parse(fixture.url, &servers), 0);
        assert_int_equal(fixture_client(&fixture, "ca", NULL, NULL, &client), 0);
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.status, 200);
        assert_int_equal(exchange.answer.size, FIXTURE_LIMIT);
        exchange.body_size++;
        assert_int_equal(http_client_perform(client, &exchange, 1, -1), 0);
        assert_int_equal(exchange.status, 413);
        assert_non_null(strstr((char *) exchange.answer.data, "urn:tallyboot:problem:too-large"));
}

static void wrong_certificates(void **state) {
        static const struct pki_spec specs[] = {
                { .name = "expired", .issuer = "ca", .san = "IP:127.0.0.1", .from = -7200, .to = -3600 },
                { .name = "early", .issuer = "ca", .san = "IP:127.0.0.1", .from = 86400, .to = 3 * 86400 },
                { .name = "clienty", .issuer = "ca", .san = "IP:127.0.0.1", .usage = "clientAuth" },
        };
        static const char *const words[] = { "expired", "not valid yet", "" };
        _cleanup_(freep) char *pem = fixture_path(&fixture, "server.pem"), *key = fixture_path(&fixture, "server.key");
        _cleanup_(freep) char *elsewhere = format("https://localhost:%u", fixture.port);

        expect_failure("other", NULL, fixture.url, -EKEYREJECTED, "not from the configured CA");
        expect_failure("ca", NULL, elsewhere, -EKEYREJECTED, "for another name");
        expect_failure("ca", NULL, "https://127.0.0.1:1", -ENOLINK, "Connection refused");
        expect_failure("ca", NULL, "https://name.invalid", -ENOLINK, "the name is not known");

        for (size_t i = 0; i < ELEMENTSOF(specs); i++) {
                _cleanup_(freep) char *from = format("%s/%s.pem", fixture.dir, specs[i].name);
                _cleanup_(freep) char *from_key = format("%s/%s.key", fixture.dir, specs[i].name);

                assert_int_equal(pki_make(fixture.dir, specs + i), 0);
                assert_int_equal(rename(from, pem) | rename(from_key, key), 0);
                assert_int_equal(http_server_reload(fixture.server), 0);
                expect_failure("ca", NULL, fixture.url, -EKEYREJECTED, words[i]);
        }
}

/* After wrong_certificates(): the server has the one that is not valid yet. */
static void clock_behind(void **state) {
        static const struct pki_spec early = {
                .name = "server", .issuer = "ca", .san = "IP:127.0.0.1", .from = 86400, .to = 172800
        };
        struct http_client_options options = { .not_before = (int64_t) (clock_realtime_ms() / 1000) + 86400 + 3600 };

        assert_int_equal(pki_make(fixture.dir, &early), 0);
        assert_int_equal(http_server_reload(fixture.server), 0);
        expect_failure("ca", NULL, fixture.url, -EKEYREJECTED, "clock is behind");
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(http_client_freep) struct http_client *client = NULL;
                _cleanup_(http_exchange_done) struct http_exchange exchange = {};

                assert_int_equal(fixture_client(&fixture, "ca", NULL, &options, &client), 0);
                ask(client, fixture.url, "/v1/peer", &exchange);
                assert_int_equal(exchange.result, i == 0 ? 0 : -EKEYREJECTED);
                options.not_before += 2 * 86400; /* never earlier than the time given: then it has expired */
        }
}

static void reload(void **state) {
        static const struct pki_spec again = { .name = "server", .issuer = "other", .san = "IP:127.0.0.1" };
        static const struct pki_spec back = { .name = "server", .issuer = "ca", .san = "IP:127.0.0.1,IP:::1" };
        _cleanup_(freep) char *pem = fixture_path(&fixture, "server.pem");

        assert_int_equal(pki_make(fixture.dir, &again), 0);
        assert_int_equal(http_server_reload(fixture.server), 0);
        expect_answer("other", NULL, "/v1/peer", 200, NULL);
        expect_failure("ca", NULL, fixture.url, -EKEYREJECTED, "not from the configured CA");

        assert_int_equal(file_write(pem, "nonsense", 8, 0644), 0);
        assert_int_equal(http_server_reload(fixture.server), -EBADMSG);
        expect_answer("other", NULL, "/v1/peer", 200, NULL); /* the old one stays */

        assert_int_equal(pki_make(fixture.dir, &back), 0);
        assert_int_equal(http_server_reload(fixture.server), 0);
        expect_answer("ca", NULL, "/v1/peer", 200, NULL);
}

struct stop {
        struct fixture *fixture;
        unsigned asked;
};

static void *stop_when_asked(void *userdata) {
        fixture_until_asked(((struct stop *) userdata)->asked);
        http_server_stop(((struct stop *) userdata)->fixture->server);
        return NULL;
}

static void stop_finishes_requests(void **state) {
        struct http_server_options options = { .stop_ms = 300000 };
        struct fixture own = {};
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_exchange_done) struct http_exchange exchange = {};
        struct stop stop = { .fixture = &own };
        pthread_t thread;
        uint64_t begin;

        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, &options), 0);
        assert_int_equal(fixture_client(&own, "ca", NULL, NULL, &client), 0);
        ask(client, own.url, "/v1/peer", &exchange); /* leaves an idle connection */
        stop.asked = fixture_asked() + 1;
        assert_int_equal(pthread_create(&thread, NULL, stop_when_asked, &stop), 0);
        begin = clock_monotonic_ms();
        http_exchange_done(&exchange);
        ask(client, own.url, "/v1/sleep", &exchange);
        assert_int_equal(exchange.result, 0);
        assert_int_equal(exchange.status, 200);
        pthread_join(thread, NULL);
        fixture_stop(&own);
        assert_true(clock_monotonic_ms() - begin < 200000);
        http_exchange_done(&exchange);
        ask(client, own.url, "/v1/peer", &exchange);
        assert_int_equal(exchange.result, -ENOLINK);
}

static void listens_elsewhere(void **state) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        struct http_server_options six = { .listen = "[::1]:0" }, activated = { .n_fds = 1 };
        struct fixture own = {}, saved = fixture;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof address) | listen(fd, 8), 0);
        activated.fds = &fd;
        strcpy(own.dir, fixture.dir);
        assert_int_equal(fixture_start(&own, &activated), 0);
        assert_true(own.port > 0);
        fixture = own;
        expect_answer("ca", NULL, "/v1/peer", 200, "\"address\":\"127.0.0.1\"");
        fixture_stop(&own);

        if (fixture_start(&own, &six) == 0) { /* where there is IPv6 */
                snprintf(own.url, sizeof own.url, "https://[::1]:%u", own.port);
                fixture = own;
                expect_answer("ca", NULL, "/v1/peer", 200, "\"address\":\"::1\"");
                fixture_stop(&own);
        }
        fixture = saved;
}

static int reloads = 1;

static void reloaded(int result, const char *error, void *userdata _unused_) {
        reloads = result;
        assert_true(result == 0 || strlen(error) > 0);
        raise(SIGTERM);
}

static void signals(void **state) {
        _cleanup_(freep) char *pem = fixture_path(&fixture, "server.pem"), *key = fixture_path(&fixture, "server.key");
        _cleanup_(freep) char *wrong = fixture_path(&fixture, "operator.key");
        struct http_server_options options = {
                .listen = "127.0.0.1:0",
                .certificate_file = pem,
                .key_file = key,
                .handler = (http_handler) abort,
                .limit = (http_limit_fn) abort,
                .reloaded = reloaded,
        };
        char error[256];

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(http_server_freep) struct http_server *server = NULL;

                assert_int_equal(http_server_new(&options, &server, error, sizeof error), 0);
                assert_int_equal(http_server_handle_signals(server), 0);
                if (i == 1)
                        assert_int_equal(rename(wrong, key), 0);
                raise(SIGHUP);
                assert_int_equal(http_server_run(server), 0);
                assert_int_equal(reloads, i == 0 ? 0 : -EKEYREJECTED);
        }
}

static void lists(void **state) {
        static const char *const bad[] = { "",
                                           " , ",
                                           "http://a",
                                           "https://",
                                           "https://a/b",
                                           "https://u@a",
                                           "https://a:0",
                                           "https://a:65536",
                                           "https://a b",
                                           "https://[::1",
                                           "https://[]:1",
                                           "a:1",
                                           "https://a?x",
                                           "https://a:1:2",
                                           "https://\x01" };
        struct http_server_list list = {};

        assert_int_equal(http_server_list_parse(" https://a:1,https://[2001:db8::1]:7601\thttps://192.0.2.1/ ", &list), 0);
        assert_int_equal(list.n, 3);
        assert_string_equal(list.urls[2], "https://192.0.2.1");
        http_server_list_done(&list);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(http_server_list_parse(bad[i], &list), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lists),
                cmocka_unit_test(answers),
                cmocka_unit_test(client_certificates),
                cmocka_unit_test(invariant_14_several_names_are_none),
                cmocka_unit_test(invariant_14_server_of_several_names),
                cmocka_unit_test(wide_key_is_refused),
                cmocka_unit_test(wrong_files),
                cmocka_unit_test(headers_arrive),
                cmocka_unit_test(retry_after),
                cmocka_unit_test(connection_is_kept),
                cmocka_unit_test(side_by_side),
                cmocka_unit_test(upload_is_streamed),
                cmocka_unit_test(download_is_streamed),
                cmocka_unit_test(too_large),
                cmocka_unit_test(stop_finishes_requests),
                cmocka_unit_test(wrong_certificates),
                cmocka_unit_test(clock_behind),
                cmocka_unit_test(reload),
                cmocka_unit_test(listens_elsewhere),
                cmocka_unit_test(signals),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
