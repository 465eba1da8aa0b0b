/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/heads.h"

#include <string.h>

#include "audit/head.h"
#include "base/clock.h"
#include "base/log.h"
#include "service/counts.h"
#include "service/hold.h"
#include "service/limiter.h"
#include "wire/wire.h"

/* UNSHOWN_MAX: an honest sender that was told where to begin begins there the next time, unless our answers are lost. */
enum { HEADS_PER_MINUTE = 120, HOUR_MS = 3600 * 1000, TRIES = 3, UNSHOWN_MAX = 8 };

struct exchange {
        struct service *service;
        const char *role; /* of the other one */
        int64_t from;     /* our record that it says it has */
        int64_t asked;    /* the record of its own that we asked it to begin from */
        struct audit_head ours, theirs;
        enum audit_taken taken;
        struct audit_peer peer;
        int64_t tried, news;
        bool at_start, due;
};

static int row_exchange(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct exchange *exchange = userdata;

        exchange->tried = columns[0].number;
        exchange->from = columns[1].number;
        return 0;
}

static int load(struct store_txn *txn, struct exchange *exchange) {
        int r;

        exchange->tried = exchange->from = 0;
        r = store_query(txn, "SELECT tried, sent FROM audit_exchanges WHERE role = $1", STORE_ARGS(store_text(exchange->role)),
                        row_exchange, exchange);
        if (r < 0)
                return r;
        r = audit_peer_load(txn, exchange->role, &exchange->peer);
        return r == -ENOENT ? 0 : r;
}

static int read_due(struct store_txn *txn, void *userdata) {
        struct exchange *exchange = userdata;
        const struct service_config *config = &exchange->service->config;
        int64_t now = (int64_t) clock_realtime_ms(), passed;
        int r;

        r = load(txn, exchange);
        if (r < 0)
                return r;
        /* an hour counts in any case: nothing more than that is ever cut unseen */
        passed = exchange->tried > now ? HOUR_MS : now - exchange->tried;
        if (!exchange->at_start && passed < MIN((int64_t) config->heads_every * 1000, INT64_C(1000)))
                return 0;
        r = audit_news(txn, exchange->from, config->heads_records * INT64_C(2), &exchange->news);
        if (r >= 0)
                r = audit_head_read(txn, exchange->service->definition->role, exchange->from, &exchange->ours);
        if (r < 0)
                return r;
        /* what it has is not in our log: that is news, too */
        exchange->news += exchange->ours.from_seq != exchange->from;
        exchange->due = exchange->at_start ? exchange->ours.seq > 0
                                           : passed >= HOUR_MS || exchange->news >= config->heads_records ||
                                                     (exchange->news > 0 && passed >= (int64_t) config->heads_every * 1000);
        return 0;
}

/* Of several processes on one store one finds the time as it was. */
static int claim(struct store_txn *txn, void *userdata) {
        struct exchange *exchange = userdata;
        int64_t changes;
        int r;

        r = store_exec(txn, "INSERT INTO audit_exchanges (role, tried, sent) VALUES ($1, 0, 0) ON CONFLICT (role) DO NOTHING",
                       STORE_ARGS(store_text(exchange->role)), NULL);
        if (r < 0)
                return r;
        r = store_exec(
                txn, "UPDATE audit_exchanges SET tried = $1 WHERE role = $2 AND tried = $3",
                STORE_ARGS(store_int((int64_t) clock_realtime_ms()), store_text(exchange->role), store_int(exchange->tried)),
                &changes);
        if (r < 0)
                return r;
        return changes == 1 ? 0 : -EAGAIN;
}

static int read_own(struct store_txn *txn, void *userdata) {
        struct exchange *exchange = userdata;

        return audit_head_read(txn, exchange->service->definition->role, exchange->from, &exchange->ours);
}

static int sign_own(struct exchange *exchange) {
        int r;

        r = store_read(exchange->service->store, read_own, exchange);
        return r < 0 ? r : audit_head_sign(&exchange->ours, keystore_audit_key(exchange->service->keystore));
}

static int take_theirs(struct store_txn *txn, void *userdata) {
        struct exchange *exchange = userdata;

        return audit_peer_take(txn, &exchange->theirs, exchange->asked, &exchange->taken, &exchange->peer);
}

static int store_sent(struct store_txn *txn, void *userdata) {
        struct exchange *exchange = userdata;

        return store_exec(txn, "UPDATE audit_exchanges SET sent = $1 WHERE role = $2",
                          STORE_ARGS(store_int(exchange->ours.seq), store_text(exchange->role)), NULL);
}

static void say_alarm(struct service *service, const char *role, const char *alarm) {
        if (counts_are_few(service->counts, "audit-alarm"))
                log_error(
                        "The audit log of the %s is not what it was: %s. It was restored from a backup, or somebody has rewritten it. "
                        "\"tallyctl audit verify\" compares; \"tallyctl audit accept\" begins anew with it.",
                        role, alarm);
        counts_add(service->counts, "audit-alarm", NULL);
}

/* {"head", "recorded", "known"} -> exchange->theirs; ret_known: 0 where it knows nothing. */
static int read_answer(struct exchange *exchange, const struct blob *answer, bool *ret_recorded, int64_t *ret_known) {
        json_t *json = wire_json_parse(answer->data, answer->size);
        uint64_t known = 0;
        bool recorded = false;
        int r = -EBADMSG;

        if (json && wire_get_bool(json, "recorded", &recorded) == 0 && wire_get_u64(json, "known", INT64_MAX >> 10, &known) == 0)
                r = audit_head_from_json(json_object_get(json, "head"), &exchange->theirs);
        json_decref(json);
        if (r == 0 && strcmp(exchange->theirs.role, exchange->role) != 0)
                r = -EBADMSG;
        if (r == 0) {
                *ret_recorded = recorded;
                *ret_known = (int64_t) known;
        }
        return r;
}

/* Refused: the answer has the newest head of ours that the other one recorded, where it is of a version that says so. */
static void take_refusal(struct exchange *exchange, const struct blob *answer) {
        struct audit_head head;
        json_t *json = wire_json_parse(answer->data, answer->size);
        int r = audit_head_from_json(json_object_get(json, "head"), &head);

        json_decref(json);
        say_alarm(exchange->service, exchange->service->definition->role, "another service remembers a longer or another one");
        if (r >= 0)
                r = hold_take(exchange->service, &head);
        if (r < 0)
                log_debug_errno(r, "What the %s remembers says nothing against this database: %m", exchange->role);
}

static int post_own(struct exchange *exchange, int *ret_status, struct blob *ret) {
        _cleanup_(freep) char *body = NULL;
        char error[320] = "";
        json_t *json;
        int r;

        exchange->asked = exchange->peer.seq;
        json = json_pack("{s:o, s:I}", "head", audit_head_to_json(&exchange->ours), "known", (json_int_t) exchange->asked);
        body = json ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        if (!body)
                return -ENOMEM;

        r = service_exchange(exchange->service,
                             &(struct service_request){ exchange->role, NULL, "POST", "/v1/audit/heads", body }, ret_status, ret,
                             error, sizeof(error));
        if (r < 0 && counts_are_few(exchange->service->counts, "heads-unsent"))
                log_notice("The %s does not take the head of the audit log at the moment: %s", exchange->role, error);
        if (r < 0)
                counts_add(exchange->service->counts, "heads-unsent", NULL);
        return r;
}

/* 1: once more, from what it knows. */
static int exchange_once(struct exchange *exchange) {
        struct store *store = exchange->service->store;
        _cleanup_(blob_done) struct blob answer = {};
        bool recorded = false;
        int64_t known = 0;
        int status = 0, r;

        if ((r = sign_own(exchange)) < 0 || (r = post_own(exchange, &status, &answer)) < 0)
                return r;
        if (status == 409) {
                take_refusal(exchange, &answer);
                return 0;
        }
        r = status == 200 ? read_answer(exchange, &answer, &recorded, &known) : -ENOLINK;
        if (r < 0)
                return r;

        r = store_write(store, take_theirs, exchange);
        if (r < 0)
                return r;
        if (exchange->taken == AUDIT_ALARM)
                say_alarm(exchange->service, exchange->role, exchange->peer.alarm);
        if (recorded)
                return store_write(store, store_sent, exchange);
        exchange->from = known;
        return 1;
}

static int exchange_with(struct service *service, bool at_start, const char *role) {
        struct exchange exchange = { .service = service, .role = role, .at_start = at_start };
        int r;

        r = store_read(service->store, read_due, &exchange);
        if (r < 0 || !exchange.due)
                return r;
        r = store_write(service->store, claim, &exchange);
        for (unsigned i = 0; r >= 0 && i < TRIES; i++) {
                r = exchange_once(&exchange);
                if (r == 0)
                        break;
        }
        return r == -EAGAIN ? 0 : r;
}

void heads_exchange(struct service *service, bool at_start) {
        const struct service_config *config = &service->config;
        int r = 0, k = 0;

        if (config->verifier_url)
                r = exchange_with(service, at_start, "verifier");
        if (config->registrar_url)
                k = exchange_with(service, at_start, "registrar");
        if (r < 0 || k < 0)
                log_debug_errno(r < 0 ? r : k, "Heads were not exchanged: %m");
}

/* The other end of it. */
struct heads_post {
        const struct service_call *call;
        struct audit_head theirs, ours, recorded; /* recorded: of theirs; seq 0: none */
        uint64_t known;                           /* of ours, at the other end */
        int64_t asked;
        enum audit_taken taken;
        struct audit_peer peer;
};

static int post_txn(struct store_txn *txn, void *userdata) {
        struct heads_post *post = userdata;
        int r;

        r = audit_peer_take(txn, &post->theirs, post->asked, &post->taken, &post->peer);
        if (r >= 0 && post->taken == AUDIT_ALARM && audit_peer_recorded(txn, &post->peer, &post->recorded) < 0)
                post->recorded = (struct audit_head){};
        if (r < 0)
                return r;
        return audit_head_read(txn, post->call->service->definition->role, (int64_t) post->known, &post->ours);
}

static int read_post(const struct service_call *call, struct http_response *response, struct heads_post *ret) {
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return -EBADMSG;
        r = audit_head_from_json(json_object_get(body, "head"), &ret->theirs);
        if (r == 0)
                r = wire_get_u64(body, "known", INT64_MAX >> 10, &ret->known);
        json_decref(body);
        if (r < 0)
                service_problem(call, response, "malformed", "Wanted: head, a signed head; known, a number.");
        else if (strcmp(ret->theirs.role, call->who) != 0 || strcmp(call->who, call->service->definition->role) == 0) {
                service_problem(call, response, "conflict", "This is not the head of the one who sends it.");
                r = -EPERM;
        }
        return r;
}

/* With what is known of theirs, signed by them: if it is not in their log, they have put an older database back. */
static void refuse_head(const struct heads_post *post, struct http_response *response) {
        json_t *json;

        say_alarm(post->call->service, post->theirs.role, post->peer.alarm);
        service_problem(post->call, response, "conflict", "This head does not follow the one that is known: %s.",
                        post->peer.alarm);
        json = post->recorded.seq > 0 ? wire_json_parse(response->body, response->body_size) : NULL;
        if (!json || json_object_set_new(json, "head", audit_head_to_json(&post->recorded)) < 0) {
                json_decref(json);
                return;
        }
        free(TAKE_PTR(response->body));
        service_json(response, response->status, json);
}

static struct heads_told *told_to(const struct service_call *call) {
        return call->service->heads_told + (strcmp(call->who, "verifier") == 0);
}

/* What the sender was told often enough. */
static int64_t asked_of(const struct service_call *call) {
        const struct heads_told *told = told_to(call);

        return told->times >= UNSHOWN_MAX ? told->seq : AUDIT_NOT_ASKED;
}

static void note_told(const struct service_call *call, const struct heads_post *post) {
        struct heads_told *told = told_to(call);

        /* after an alarm, too: it is told again where to begin, and may be honest from then on */
        if (post->taken != AUDIT_NOT_FROM)
                told->times = 0;
        else
                told->times = told->seq == post->peer.seq ? told->times + 1 : 1;
        told->seq = post->peer.seq;
}

static void heads_handler(const struct service_call *call, struct http_response *response) {
        struct heads_post post = { .call = call };
        json_t *head;
        int r;

        if (read_post(call, response, &post) < 0)
                return;
        post.asked = asked_of(call);
        response->retry_after = limiter_count_to(call->service->limiter, "heads", call->who, HEADS_PER_MINUTE);
        if (response->retry_after > 0) {
                service_problem(call, response, "rate-limited", "Heads come too often.");
                return;
        }

        r = store_write(call->service->store, post_txn, &post);
        if (r >= 0)
                r = audit_head_sign(&post.ours, keystore_audit_key(call->service->keystore));
        if (r < 0) {
                service_failure(call, response, r);
                return;
        }
        note_told(call, &post);
        if (post.taken == AUDIT_ALARM) {
                refuse_head(&post, response);
                return;
        }

        head = audit_head_to_json(&post.ours);
        service_json(response, 200,
                     json_pack("{s:o, s:b, s:I}", "head", head, "recorded", post.taken != AUDIT_NOT_FROM, "known",
                               (json_int_t) post.peer.seq));
}

const struct service_route service_heads_routes[] = {
        { "POST", "/v1/audit/heads", ROLE_TENANT | ROLE_VERIFIER, 0, false, heads_handler },
        {},
};
