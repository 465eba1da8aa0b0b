/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "service/admit.h"
#include "service/limiter.h"

enum {
        STALE_KEY_SECONDS = 24 * 3600,
        MORE_KEYS_SECONDS = 3600, /* after an operator's word, or the registration */
        CLOCK_SKEW_SECONDS = 300,
        UNPROVEN_PENDING_MAX = 256,   /* without a certificate anybody makes as many as he likes */
        UNPROVEN_GONE_SECONDS = 3600, /* who waits asks every minute */
        FULL_RETRY_SECONDS = 60,
};

struct token_row {
        char group[65], id[JOIN_TOKEN_ID_MAX + 1];
        bool found;
};

static int on_token(const struct store_value *columns, size_t n, void *userdata) {
        struct token_row *row = userdata;
        int r;

        (void) n;
        row->found = true;
        r = column_text(columns, row->group, sizeof(row->group));
        return r < 0 ? r : column_text(columns + 1, row->id, sizeof(row->id));
}

/* of: the group that it has to be of; "": any. */
static int use_join_token(struct admission *a, struct store_txn *txn, const char *of, struct token_row *ret) {
        uint8_t digest[32];
        char hex[65];
        int64_t changes;
        int r;

        if (!a->evidence.has_join)
                return -ENOENT;
        r = sha256(a->evidence.join, sizeof(a->evidence.join), digest);
        if (r < 0)
                return r;
        hex_write(digest, sizeof(digest), hex);

        r = store_exec(txn,
                       "UPDATE join_tokens SET used_by = $1, used = $2 WHERE sha256 = $3 AND used_by IS NULL"
                       " AND cancelled IS NULL AND expires > $2 AND ($4 = '' OR group_name = $4)",
                       STORE_ARGS(store_text(a->id), store_int((int64_t) (a->now / 1000)), store_text(hex), store_text(of)),
                       &changes);
        if (r < 0)
                return r;
        if (changes != 1)
                return -ENOENT;
        r = store_query(txn, "SELECT group_name, " JOIN_TOKEN_NAME " FROM join_tokens WHERE sha256 = $1",
                        STORE_ARGS(store_text(hex)), on_token, ret);
        if (r < 0)
                return r;
        return ret->found ? 0 : -ENOENT;
}

/* An operator's approval given ahead: by a join token, or by the EK's digest on a group's list. */
static int approve_ahead(struct admission *a, struct store_txn *txn, struct node *node) {
        const char *by = "join token";
        struct token_row token = {};
        struct group group;
        int r;

        r = use_join_token(a, txn, "", &token);
        if (r == -ENOENT) {
                by = "key on the group's list";
                r = group_of_ek(txn, node->ek_sha256, token.group);
        }
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        r = group_load(txn, token.group, &group);
        if (r < 0)
                return r;
        node->state = NODE_APPROVED;
        node->bank = group.bank;
        memcpy(node->group, group.name, sizeof(node->group));
        return party_audit(txn, a->call, "approve", a->id,
                           json_pack("{s:s, s:s, s:s*}", "group", group.name, "by", by, "token", token.found ? token.id : NULL));
}

/* One active AK for each EK; a revoked EK, or a token's revoked key, under no id. */
static int store_new(struct admission *a, struct store_txn *txn, struct node *node) {
        bool revoked, taken;
        int r;

        if ((r = ek_is_revoked(txn, node->ek_sha256, &revoked)) < 0 || (r = ek_is_taken(txn, node->ek_sha256, a->id, &taken)) < 0)
                return r;
        if (revoked)
                return admit_refuse(a, "revoked", "This machine's key was revoked.");
        if (taken)
                return admit_refuse(a, "conflict", "This machine's endorsement key belongs to another node.");

        r = node_insert(txn, node);
        if (r < 0)
                return r == -EEXIST ? -EAGAIN : r;
        r = node_has_token(node) ? 0 : node_tpm_insert(txn, node->id, &node->tpm);
        if (r < 0)
                return r;
        return party_audit(txn, a->call, "enroll", a->id,
                           json_pack("{s:s, s:s, s:o, s:o}", "ek_sha256", node->ek_sha256, "code", node->code, "tpm",
                                     node_tpm_object(&node->tpm), "token", node_token_object(node)));
}

/* Room for a new key: one that was asked for at least a day ago and never confirmed makes place. */
static int make_room(struct admission *a, struct store_txn *txn, bool *ret_room) {
        const struct generation *oldest = NULL;
        const char *last = "";
        size_t keys = 0;

        for (size_t i = 0; i < a->generations.n; i++) {
                const struct generation *item = a->generations.items + i;

                keys += strcmp(item->key, last) != 0;
                last = item->key;
                if (item->state == GENERATION_STAGED && generations_highest(&a->generations, item->key) == 1 &&
                    (!oldest || item->created < oldest->created))
                        oldest = item;
        }

        *ret_room = keys < KEYS_MAX;
        if (*ret_room || !oldest || oldest->created + STALE_KEY_SECONDS > (int64_t) (a->now / 1000))
                return 0;

        *ret_room = true;
        return key_delete(a->party, txn, a->id, oldest->key);
}

/* The gate may be anything here and no policy is asked, and a run that was cut has left a keyslot that these halves open: they go
 * to the NK of that run alone. Whoever starts another system on this machine has another one. */
static bool is_of_this_run(const struct admission *a, const struct generation *existing) {
        return existing->has_nk && bytes_equal_ct(existing->nk, a->nk_digest, sizeof(existing->nk));
}

static int enroll_key(struct admission *a, struct store_txn *txn, const struct node *node, struct generation *what) {
        const struct generation *existing = generations_find(&a->generations, what->key, 1);
        struct secret *half = NULL;
        bool room;
        int r;

        if (existing) { /* the answer of a moment ago was lost */
                if (existing->kind != what->kind || existing->dealt || existing->state != GENERATION_STAGED ||
                    generations_highest(&a->generations, what->key) != 1)
                        return admit_refuse(a, "conflict", "This key is there already.");
                if (!is_of_this_run(a, existing))
                        return admit_refuse(a, "conflict", "This key was made for another run: enroll again, with a new one.");
                r = generation_half(a->party, txn, a->id, existing, &half);
        } else {
                r = make_room(a, txn, &room);
                if (r < 0)
                        return r;
                if (!room)
                        return admit_refuse(a, "conflict", "This node has too many keys.");
                r = generation_create(a->party, txn, node, what, NULL, &half);
                if (r >= 0) {
                        generations_done(&a->generations);
                        r = generations_load(txn, a->id, &a->generations);
                        if (r < 0)
                                secret_free(half);
                }
        }
        if (r == -E2BIG)
                return admit_refuse(a, "conflict", "This node has too many keys.");
        if (r < 0)
                return r;

        return release_halves_add(a->halves, what, half);
}

static bool has_live(const struct generations *generations) {
        for (size_t i = 0; i < generations->n; i++)
                if (generations->items[i].state == GENERATION_LIVE)
                        return true;

        return false;
}

static bool was_welcomed_just_now(const struct admission *a) {
        int64_t last = MAX(a->node.registered, a->node.welcomed), now = (int64_t) (a->now / 1000);

        return last >= now - MORE_KEYS_SECONDS && last <= now + CLOCK_SKEW_SECONDS;
}

/* What another key's manifest names, the measured boot opens as its own, a root too. No policy is asked here, so whoever starts
 * a system of his own on the machine would put his root beside the volumes of its owner: it takes an operator's word, and not
 * one of long ago. */
static int require_word(struct admission *a, struct store_txn *txn) {
        struct token_row token = {};
        int r;

        if (!has_live(&a->generations) || was_welcomed_just_now(a))
                return 0;
        r = use_join_token(a, txn, a->node.group, &token);
        if (r == -ENOENT)
                return admit_refuse(a, "pending-approval",
                                    "This node has keys already: another one needs an operator's approval.");
        if (r < 0)
                return r;

        a->node.welcomed = (int64_t) (a->now / 1000);
        return party_audit(txn, a->call, "approve", a->id,
                           json_pack("{s:s, s:s, s:s, s:s}", "group", token.group, "by", "join token", "token", token.id, "for",
                                     "another key"));
}

static int enroll_keys(struct admission *a, struct store_txn *txn, const struct node *node) {
        const struct wire_enroll_body *body = &a->enroll;
        int r;

        a->halves = calloc(1, sizeof(*a->halves));
        a->details.keys = calloc(body->n_keys + 1, sizeof(*a->details.keys));
        if (!a->halves || !a->details.keys)
                return -ENOMEM;
        r = generations_load(txn, a->id, &a->generations);
        if (r >= 0 && body->n_keys > 0)
                r = require_word(a, txn);
        if (r < 0 || a->refusal.problem)
                return r;

        for (size_t i = 0; i < body->n_keys; i++) {
                struct generation what = {
                        .kind = body->keys[i].kind, .generation = 1, .state = GENERATION_STAGED, .has_nk = true
                };
                struct wire_key *key = a->details.keys + i;

                memcpy(what.key, body->keys[i].id, sizeof(what.key));
                memcpy(what.nk, a->nk_digest, sizeof(what.nk));
                r = enroll_key(a, txn, node, &what);
                if (r < 0 || a->refusal.problem)
                        return r;
                memcpy(key->id, what.key, sizeof(key->id));
                key->kind = what.kind;
                key->generation = what.generation;
                key->state = what.state;
                a->details.n_keys++;
        }

        return 0;
}

/* Waiting for approval, without a certificate, or with a token, which none vouches for. $1, $2 */
#define UNPROVEN_PENDING                                                                          \
        "FROM nodes LEFT JOIN node_tpms ON node_tpms.node = nodes.id WHERE nodes.state = $1 AND " \
        "(node_tpms.proof = $2 OR nodes.token_public IS NOT NULL)"

static int on_id(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        return column_text(columns, userdata, NODE_ID_LENGTH + 1);
}

/* The one that has not asked for the longest time makes place. -EUSERS: all of them still ask. */
static int forget_gone(struct admission *a, struct store_txn *txn) {
        _cleanup_(node_done) struct node node = {};
        int64_t since = (int64_t) (a->now / 1000) - UNPROVEN_GONE_SECONDS;
        char id[NODE_ID_LENGTH + 1] = "";
        int r;

        r = store_query(txn,
                        "SELECT id " UNPROVEN_PENDING " AND MAX(seen, registered) <= $3 ORDER BY MAX(seen, registered) LIMIT 1",
                        STORE_ARGS(store_text(node_state_to_string(NODE_PENDING)), store_text(ek_proof_to_string(EK_UNPROVEN)),
                                   store_int(since)),
                        on_id, id);
        if (r < 0)
                return r;
        if (!id[0])
                return -EUSERS;

        r = node_load(txn, id, &node);
        if (r >= 0)
                r = node_forget(a->party, txn, &node);
        if (r < 0)
                return r;
        return party_audit(txn, a->call, "delete", id,
                           json_pack("{s:s, s:s, s:s}", "ek_sha256", node.ek_sha256, "state", node_state_to_string(node.state),
                                     "why", "gone, and others wait"));
}

/* -EUSERS: one more that waits for approval and that nobody vouches for. The transaction is rolled back then. Counted last, so
 * that who finds no room has not used up what his network may do. */
static int check_room(struct admission *a, struct store_txn *txn, const struct node *node) {
        const struct service *service = a->party->service;
        int64_t waiting;
        int r;

        if (node->state != NODE_PENDING || node->tpm.proof != EK_UNPROVEN)
                return 0;
        r = query_int(txn, "SELECT COUNT(*) " UNPROVEN_PENDING,
                      STORE_ARGS(store_text(node_state_to_string(NODE_PENDING)), store_text(ek_proof_to_string(EK_UNPROVEN))),
                      &waiting);
        if (r >= 0 && waiting > UNPROVEN_PENDING_MAX)
                r = forget_gone(a, txn);
        if (r < 0)
                return r;

        a->refusal.retry_after = limiter_count_in(service->limiter, "uncertified", a->call->request->peer.network,
                                                  service->config.uncertified_per_hour, 3600);
        return a->refusal.retry_after > 0 ? -EUSERS : 0;
}

static int admit_node(struct admission *a, struct store_txn *txn) {
        struct node *node = &a->node;
        bool is_new = !a->known;
        int r = 0;

        if (is_new)
                r = store_new(a, txn, node);
        if (r < 0 || a->refusal.problem)
                return r;
        if (node->state == NODE_PENDING) {
                r = approve_ahead(a, txn, node);
                if (node->state == NODE_PENDING)
                        node->seen = (int64_t) (a->now / 1000);
                if (r >= 0)
                        r = node_save(txn, node, true);
                if (r >= 0 && is_new)
                        r = check_room(a, txn, node);
                if (r < 0)
                        return r;
        }
        return admit_require_state(a);
}

/* Nothing of a refused key stays behind: its halves are made after all else is right, or the whole is rolled back. */
static int enroll_txn(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0 || (r = admit_node(a, txn)) < 0)
                return r;
        if (!a->refusal.problem) {
                r = enroll_keys(a, txn, &a->node);
                if (r < 0)
                        return r;
        }
        if (a->refusal.problem && a->halves && a->halves->n > 0)
                return -EDOM;
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        r = node_save(txn, &a->node, true);
        return r < 0 ? r : party_audit(txn, a->call, "release", a->id, release_detail(a));
}

static bool names_twice(const struct wire_enroll_body *body) {
        for (size_t i = 0; i < body->n_keys; i++)
                for (size_t k = 0; k < i; k++)
                        if (strcmp(body->keys[i].id, body->keys[k].id) == 0)
                                return true;

        return false;
}

static void answer_no_room(struct admission *a, struct http_response *response) {
        unsigned wait = a->refusal.retry_after;

        response->retry_after = wait > 0 ? wait : FULL_RETRY_SECONDS;
        if (wait > 0) {
                if (service_may_log(a->call, "uncertified"))
                        log_notice("Node %s, from %s: not taken, too many new nodes without an EK certificate came from there"
                                   " (uncertified-per-hour).",
                                   a->id, a->call->request->peer.address);
                service_problem(a->call, response, "rate-limited", "Too many new nodes from this network.");
                return;
        }
        if (service_may_log(a->call, "full"))
                log_notice("%d nodes without an EK certificate wait for approval and still ask: approve or delete some of them.",
                           UNPROVEN_PENDING_MAX);
        service_problem(a->call, response, "unavailable", "Too many nodes wait for approval.");
}

int release_enroll(struct admission *a, struct http_response *response) {
        int r;

        if (names_twice(&a->enroll)) {
                service_problem(a->call, response, "malformed", "A key is named twice.");
                return -ECANCELED;
        }
        if (admit_rate(a, response) < 0)
                return 0;

        if (a->enroll.n_keys > 0) {
                r = keys_warm(a->party, a->id, a->node.group);
                if (r < 0)
                        return r;
        }
        r = store_write(a->party->service->store, enroll_txn, a);
        if (r == -EDOM) /* one of several keys was refused: none was made, the refusal is written by itself */
                return admit_answer_refusal(a, response);
        if (r == -EUSERS) {
                answer_no_room(a, response);
                return -ECANCELED;
        }
        r = admit_written(a, r, response);
        if (r < 0)
                return r;

        log_info("Node %s, incident %s: enrolled, %zu new keys.", a->id, a->call->request->incident, a->halves->n);
        return release_answer(a, response);
}
