/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>

#include "http/client.h"
#include "http/server.h"
#include "pki.h"

/* A server of ours with a few routes on a thread of its own, certificates in a directory that is removed at the end:
 *
 * POST /v1/echo         the body comes back
 * GET  /v1/peer         {"uri","address","incident","authorization","query"}
 * GET  /v1/sleep        200 after 300 ms
 * GET  /v1/meet         200 when FIXTURE_MEET of them are under way at once; 404 where they do not come
 * PUT  /v1/file         to a file (64 MiB at most): the size, if the bytes are the pattern; else 400
 * GET  /v1/file         FIXTURE_FILE bytes of the pattern, from a file
 * GET  /v1/none         204
 * GET  /v1/forgotten    the handler does nothing
 * other                 404, DELETE 405
 */
enum {
        FIXTURE_FILE = 24 * 1024 * 1024,
        FIXTURE_LIMIT = 64 * 1024, /* of /v1/echo */
        FIXTURE_MEET = 8,
};

/* How many requests have come to a handler, of all fixtures; and a wait until they are so many. */
unsigned fixture_asked(void);
void fixture_until_asked(unsigned number);

struct fixture {
        char dir[64];
        struct http_server *server;
        pthread_t thread;
        unsigned port;
        char url[64]; /* https://127.0.0.1:PORT */
};

int fixture_pki(struct fixture *fixture); /* dir, with ca, other (a CA), server, operator */
int fixture_start(struct fixture *fixture, struct http_server_options *options);
void fixture_stop(struct fixture *fixture);
void fixture_done(struct fixture *fixture);
char *fixture_path(const struct fixture *fixture, const char *name); /* new string */
uint8_t fixture_byte(uint64_t offset);                               /* the pattern */
int fixture_file(uint64_t size);                                     /* a memfd of it, at offset 0 */

/* A client of the fixture's CA; identity: a name of the PKI or NULL. */
int fixture_client(const struct fixture *fixture, const char *ca, const char *identity, struct http_client_options *options,
                   struct http_client **ret);
