/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/file.h"
#include "scratch.h"

uint8_t fixture_byte(uint64_t offset) {
        return (uint8_t) (offset * 31 + (offset >> 13));
}

int fixture_file(uint64_t size) {
        int fd = memfd_create("pattern", MFD_CLOEXEC);
        uint8_t chunk[65536];

        for (uint64_t offset = 0; fd >= 0 && offset < size;) {
                size_t n = MIN(size - offset, sizeof chunk);

                for (size_t i = 0; i < n; i++)
                        chunk[i] = fixture_byte(offset + i);
                if (write_all(fd, chunk, n) < 0)
                        return -1;
                offset += n;
        }
        return fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? -1 : fd;
}

static bool is_pattern(int fd, uint64_t size) {
        uint8_t chunk[65536];

        for (uint64_t offset = 0; offset < size;) {
                ssize_t n = read(fd, chunk, sizeof chunk);

                if (n <= 0)
                        return false;
                for (ssize_t i = 0; i < n; i++)
                        if (chunk[i] != fixture_byte(offset + (uint64_t) i))
                                return false;
                offset += (uint64_t) n;
        }
        return read(fd, chunk, 1) == 0;
}

static void answer(struct http_response *response, int status, char *body) {
        response->status = status;
        response->body = body;
        response->body_size = body ? strlen(body) : 0;
}

static void handle_file(const struct http_request *request, struct http_response *response) {
        if (strcmp(request->method, "GET") == 0) {
                response->status = 200;
                response->body_fd = fixture_file(FIXTURE_FILE);
        } else if (request->body_fd >= 0 && is_pattern(request->body_fd, request->body_size)) {
                answer(response, 200, format("{\"size\":%zu}", request->body_size));
        } else {
                answer(response, 400, NULL);
        }
}

static _Atomic unsigned asked, meeting;

unsigned fixture_asked(void) {
        return asked;
}

static bool until(const _Atomic unsigned *counter, unsigned number) {
        for (unsigned i = 0; i < 20000 && *counter < number; i++)
                sleep_ms(5);
        return *counter >= number;
}

void fixture_until_asked(unsigned number) {
        (void) until(&asked, number);
}

static void handle(const struct http_request *request, struct http_response *response, void *userdata _unused_) {
        const char *path = request->path;

        asked++;
        if (strcmp(request->method, "DELETE") == 0) {
                answer(response, 405, NULL);
        } else if (strcmp(path, "/v1/echo") == 0) {
                response->status = 200;
                response->body = malloc(request->body_size + 1);
                memcpy(response->body, request->body ?: (const uint8_t *) "", request->body_size);
                response->body_size = request->body_size;
        } else if (strcmp(path, "/v1/peer") == 0) {
                answer(response, 200,
                       format("{\"uri\":\"%s\",\"present\":%d,\"address\":\"%s\",\"incident\":\"%s\",\"authorization\":\"%s\","
                              "\"query\":\"%s\"}",
                              request->peer.uri, request->peer.present, request->peer.address, request->incident,
                              request->authorization ?: "-", request->query));
        } else if (strcmp(path, "/v1/sleep") == 0) {
                sleep_ms(300);
                answer(response, 200, format("{}"));
        } else if (strcmp(path, "/v1/meet") == 0) {
                meeting++;
                answer(response, until(&meeting, FIXTURE_MEET) ? 200 : 404, NULL);
        } else if (strcmp(path, "/v1/file") == 0) {
                handle_file(request, response);
        } else if (strcmp(path, "/v1/none") == 0) {
                answer(response, 204, NULL);
        } else if (strcmp(path, "/v1/busy") == 0) {
                answer(response, 503, NULL);
                response->retry_after = 7;
        } else if (strcmp(path, "/v1/forgotten") != 0) {
                answer(response, 404, NULL);
        }
}

static int limit(const struct http_request *head, struct http_limit *ret, void *userdata _unused_) {
        ret->max = FIXTURE_LIMIT;
        if (strcmp(head->method, "PUT") == 0 && strcmp(head->path, "/v1/file") == 0)
                *ret = (struct http_limit){ .max = 64 * 1024 * 1024, .to_file = true };
        if (strcmp(head->path, "/v1/ticket") == 0 && (!head->authorization || strcmp(head->authorization, "the ticket") != 0))
                return head->authorization ? 409 : 401;
        return 0;
}

char *fixture_path(const struct fixture *fixture, const char *name) {
        return format("%s/%s", fixture->dir, name);
}

int fixture_pki(struct fixture *fixture) {
        static const struct pki_spec specs[] = {
                { .name = "ca" },
                { .name = "other" },
                { .name = "server", .issuer = "ca", .san = "IP:127.0.0.1,IP:::1" },
                { .name = "operator",
                  .issuer = "ca",
                  .san = "DNS:nobody,URI:https://elsewhere/,URI:urn:tallyboot:operator:anna" },
        };

        if (scratch_make(fixture->dir) < 0)
                return -1;
        for (size_t i = 0; i < ELEMENTSOF(specs); i++)
                if (pki_make(fixture->dir, specs + i) < 0)
                        return -1;
        return 0;
}

static void *run(void *userdata) {
        struct fixture *fixture = userdata;

        return http_server_run(fixture->server) < 0 ? fixture : NULL;
}

int fixture_start(struct fixture *fixture, struct http_server_options *options) {
        _cleanup_(freep) char *certificate = fixture_path(fixture, "server.pem"), *key = fixture_path(fixture, "server.key"),
                              *ca = fixture_path(fixture, "ca.pem");
        struct http_server_options full = options ? *options : (struct http_server_options){};
        char error[256];
        static char listen_text[] = "127.0.0.1:0", paths[3][128];

        snprintf(paths[0], sizeof paths[0], "%s", certificate);
        snprintf(paths[1], sizeof paths[1], "%s", key);
        snprintf(paths[2], sizeof paths[2], "%s", ca);
        full.listen = full.listen ?: listen_text;
        full.certificate_file = paths[0];
        full.key_file = paths[1];
        full.client_ca_file = paths[2];
        full.temporary_dir = fixture->dir;
        full.handler = handle;
        full.limit = limit;
        if (http_server_new(&full, &fixture->server, error, sizeof error) < 0) {
                fprintf(stderr, "%s\n", error);
                return -1;
        }
        fixture->port = http_server_port(fixture->server);
        snprintf(fixture->url, sizeof fixture->url, "https://127.0.0.1:%u", fixture->port);
        return pthread_create(&fixture->thread, NULL, run, fixture) == 0 ? 0 : -1;
}

void fixture_stop(struct fixture *fixture) {
        if (!fixture->server)
                return;
        http_server_stop(fixture->server);
        pthread_join(fixture->thread, NULL);
        fixture->server = http_server_free(fixture->server);
}

void fixture_done(struct fixture *fixture) {
        fixture_stop(fixture);
        if (scratch_remove(fixture->dir) != 0)
                fprintf(stderr, "%s is still there\n", fixture->dir);
}

int fixture_client(const struct fixture *fixture, const char *ca, const char *identity, struct http_client_options *options,
                   struct http_client **ret) {
        _cleanup_(freep) char *ca_file = format("%s/%s.pem", fixture->dir, ca);
        _cleanup_(freep) char *certificate = identity ? format("%s/%s.pem", fixture->dir, identity) : NULL;
        _cleanup_(freep) char *key = identity ? format("%s/%s.key", fixture->dir, identity) : NULL;
        struct http_client_options full = options ? *options : (struct http_client_options){};

        full.ca_file = ca_file;
        full.certificate_file = certificate;
        full.key_file = key;
        return http_client_new(&full, ret);
}
