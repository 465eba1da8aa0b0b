/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/admit.h"
#include "service/limiter.h"

/* A release with its logs (docs/protocol.md, 6, Logs): the ticket opens the door for the body, the rest is a release like any
 * other. */

static int check_ticket(const struct service_call *call, uint64_t grace_ms, uint8_t ret_attest_digest[static 32]) {
        const struct nonce_scope scope = { .party = call_party(call)->definition->party,
                                           .node_id = service_parameter(call, "id") };
        uint8_t ticket[WIRE_LOG_TICKET_SIZE];
        int r;

        r = service_ticket(call->request, ticket, sizeof(ticket));
        if (r < 0)
                return r;
        return log_ticket_check(call->service->keystore, ticket, &scope, clock_realtime_ms(), grace_ms, ret_attest_digest);
}

/* On the loop, before a byte of the body is taken. */
int release_logs_guard(const struct service_call *call) {
        uint8_t digest[32];
        int r;

        r = check_ticket(call, 0, digest);
        if (r == -EPERM || r == -EKEYREJECTED)
                return 401;
        if (r == -ESTALE)
                return 409;
        if (r < 0)
                return 500;
        return limiter_count(call_party(call)->logs_limiter, "sent", service_parameter(call, "id")) > 0 ? 429 : 0;
}

static int nonce_unused(struct store_txn *txn, void *userdata) {
        const struct admission *a = userdata;

        return nonce_is_fresh(txn, a->evidence.nonce[a->scope.party]);
}

/* The evidence is that of the ticket; what costs more than looking at it comes later. */
static int begin(struct admission *a, const struct service_call *call, const struct wire_span *body,
                 const uint8_t digest[static 32], struct http_response *response) {
        int r;

        r = wire_logs_parse(body->data, body->size, &a->logs.parts);
        if (r < 0) {
                service_problem(call, response, r == -E2BIG ? "too-large" : "malformed",
                                "The body is not evidence, firmware log and IMA list.");
                return -ECANCELED;
        }

        a->logs.given = true;
        r = admit_begin(a, call, &a->logs.parts.evidence, (uint64_t) call->service->config.nonce_ttl * 1000 + LOG_UPLOAD_MS,
                        response);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(a->attest_digest, digest, sizeof(a->attest_digest))) {
                service_problem(call, response, "unauthorized", "The ticket is of other evidence.");
                return -ECANCELED;
        }

        r = store_read(call->service->store, nonce_unused, a);
        return r == -EEXIST ? admit_written(a, -ESTALE, response) : r;
}

static void run(const struct service_call *call, const struct wire_span *body, const uint8_t digest[static 32],
                struct http_response *response) {
        _cleanup_(admission_done) struct admission a = { .call = call };

        release_run(&a, begin(&a, call, body, digest, response), response);
}

/* Logs are read where they lie. Few at a time: what they say takes memory. */
static void read_and_run(const struct service_call *call, const uint8_t digest[static 32], struct http_response *response) {
        struct party_service *party = call_party(call);
        struct wire_span body = { .size = call->request->body_size };
        void *map;

        if (call->request->body_fd < 0) {
                service_problem(call, response, "malformed", "The body is empty.");
                return;
        }
        if (__atomic_fetch_add(&party->logs_read, 1, __ATOMIC_ACQ_REL) >= MAX(call->service->config.workers / 4, 1U)) {
                (void) __atomic_fetch_sub(&party->logs_read, 1, __ATOMIC_ACQ_REL);
                response->retry_after = 2;
                service_problem(call, response, "unavailable", "Too many logs are being read.");
                return;
        }

        map = mmap(NULL, body.size, PROT_READ, MAP_PRIVATE, call->request->body_fd, 0);
        if (map == MAP_FAILED)
                service_failure(call, response, -errno);
        else {
                body.data = map;
                run(call, &body, digest, response);
                (void) munmap(map, body.size);
        }
        (void) __atomic_fetch_sub(&party->logs_read, 1, __ATOMIC_ACQ_REL);
}

void release_logs_post(const struct service_call *call, struct http_response *response) {
        uint8_t digest[32];
        int r;

        r = check_ticket(call, LOG_UPLOAD_MS, digest);
        if (r == -ESTALE)
                service_problem(call, response, "stale-nonce", "The ticket is too old.");
        else if (r == -EPERM || r == -EKEYREJECTED)
                service_problem(call, response, "unauthorized", "The ticket is missing, or of another node or party.");
        else if (r < 0)
                service_failure(call, response, r);
        else
                read_and_run(call, digest, response);
}
