/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "crypto/payload.h"
#include "tenant/tenant.h"

/* Keylime's way, for a payload that must be ready when a node is approved: K_b is made here, split, and forgotten. First U is
 * stored, staged; then the verifier takes V; then U is live. What is cut short in between is a generation that nobody uses. */

struct deal {
        const struct service_call *call;
        const char *id;
        struct generation what;
        struct secret *u, *v;
        const char *conflict;
};

static void deal_done(struct deal *deal) {
        deal->u = secret_free(deal->u);
        deal->v = secret_free(deal->v);
}

static int conflict(struct deal *deal, const char *why) {
        deal->conflict = why;
        return -ECANCELED;
}

static int check_node(struct deal *deal, struct store_txn *txn, struct node *node) {
        int r;

        r = node_load(txn, deal->id, node);
        if (r < 0)
                return r;
        return node->state == NODE_APPROVED ? 0 : conflict(deal, "This node is not approved here.");
}

static int next_generation(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        _cleanup_(generations_done) struct generations generations = {};
        _cleanup_(node_done) struct node node = {};
        const struct generation *newest;
        uint32_t highest;
        int r;

        if ((r = check_node(deal, txn, &node)) < 0 || (r = generations_load(txn, deal->id, &generations)) < 0)
                return r;

        highest = generations_highest(&generations, deal->what.key);
        newest = generations_find(&generations, deal->what.key, highest);
        if (newest && !newest->dealt)
                return conflict(deal, "This key is joint: nobody deals its halves.");
        deal->what.generation = highest + 1;
        return 0;
}

static int make_halves(struct deal *deal) {
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        int r;

        if ((r = secret_random(HALF_SIZE, &k_b)) < 0 || (r = secret_random(HALF_SIZE, &deal->u)) < 0 ||
            (r = split_other(k_b, deal->u, &deal->v)) < 0 ||
            (r = derive_payload_keypair(k_b, deal->id, deal->what.generation, &keypair)) < 0)
                return r;

        memcpy(deal->what.public, keypair->public, sizeof(deal->what.public));
        deal->what.has_public = true;
        return 0;
}

static int ask_verifier(struct deal *deal, const char *method, const char *path, const char *body, int *ret_status,
                        struct blob *ret) {
        const struct service_request request = { "verifier", deal->call->request->incident, method, path, body };
        char error[320] = "";
        int r;

        r = service_exchange(deal->call->service, &request, ret_status, ret, error, sizeof(error));
        if (r < 0)
                log_warning_errno(r, "The verifier does not answer: %s", error);
        return r;
}

static int read_inbox(struct deal *deal, uint8_t ret[static POINT_SIZE]) {
        _cleanup_(blob_done) struct blob answer = {};
        json_t *json;
        int status, r;

        r = ask_verifier(deal, "GET", "/v1/inbox", NULL, &status, &answer);
        if (r < 0)
                return r;
        json = status == 200 ? wire_json_parse(answer.data, answer.size) : NULL;
        r = json && wire_get_bin_fixed(json, "public", ret, POINT_SIZE) == 0 ? 0 : -ENOLINK;
        json_decref(json);
        return r;
}

static int seal_half(struct deal *deal, char **ret) {
        _cleanup_(blob_done) struct blob ct = {};
        uint8_t inbox[POINT_SIZE], enc[POINT_SIZE];
        json_t *json;
        int r;

        r = read_inbox(deal, inbox);
        if (r < 0)
                return r;
        r = deal_seal(inbox, deal->id, deal->what.key, deal->what.generation, deal->v, enc, &ct);
        if (r < 0)
                return r;

        json = json_pack("{s:I}", "generation", (json_int_t) deal->what.generation);
        if (json && wire_set_bin(json, "enc", enc, sizeof(enc)) >= 0 && wire_set_bin(json, "ct", ct.data, ct.size) >= 0)
                *ret = json_dumps(json, JSON_COMPACT);
        json_decref(json);
        return *ret ? 0 : -ENOMEM;
}

static int stage_txn(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        _cleanup_(node_done) struct node node = {};
        int r;

        deal->what.state = GENERATION_STAGED;
        if ((r = check_node(deal, txn, &node)) < 0 ||
            (r = generation_create(call_party(deal->call), txn, &node, &deal->what, deal->u, NULL)) < 0 ||
            (r = node_save(txn, &node, true)) < 0)
                return r == -EEXIST  ? conflict(deal, "This key is being dealt by somebody else at this moment.")
                       : r == -E2BIG ? conflict(deal, "This node has too many keys.")
                                     : r;
        return party_audit(txn, deal->call, "deal-begun", deal->id,
                           json_pack("{s:s, s:I}", "key", deal->what.key, "generation", (json_int_t) deal->what.generation));
}

static int live_txn(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        _cleanup_(node_done) struct node node = {};
        int r;

        if ((r = check_node(deal, txn, &node)) < 0 || (r = generation_set_live(txn, deal->id, &deal->what)) < 0 ||
            (r = node_save(txn, &node, true)) < 0)
                return r;
        return party_audit(txn, deal->call, "deal", deal->id,
                           json_pack("{s:s, s:I}", "key", deal->what.key, "generation", (json_int_t) deal->what.generation));
}

/* The verifier did not take its half: ours is worth nothing. Its number is used up all the same. */
static int drop_txn(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        _cleanup_(generations_done) struct generations generations = {};
        const struct generation *staged;
        int r;

        r = generations_load(txn, deal->id, &generations);
        if (r < 0)
                return r;
        staged = generations_find(&generations, deal->what.key, deal->what.generation);
        return staged ? generation_retire(call_party(deal->call), txn, deal->id, staged) : 0;
}

static int hand_over(struct deal *deal, const char *sealed) {
        _cleanup_(blob_done) struct blob answer = {};
        char path[160];
        int status = 0, r;

        (void) snprintf(path, sizeof(path), "/v1/nodes/%s/keys/%s/half", deal->id, deal->what.key);
        r = ask_verifier(deal, "PUT", path, sealed, &status, &answer);
        if (r < 0)
                return r;
        if (status == 201)
                return 0;

        log_notice("Node %s: the verifier answers %d to a dealt half.", deal->id, status);
        return conflict(deal, status == 403
                                      ? "The verifier takes no half for this key: an operator has to allow the deal there first."
                                      : "The verifier does not take this half; its log says why.");
}

static int make_deal(struct deal *deal) {
        struct store *store = deal->call->service->store;
        _cleanup_(freep) char *sealed = NULL;
        int r;

        if ((r = store_read(store, next_generation, deal)) < 0 || (r = make_halves(deal)) < 0 ||
            (r = seal_half(deal, &sealed)) < 0 || (r = keys_warm(call_party(deal->call), deal->id, NULL)) < 0 ||
            (r = store_write(store, stage_txn, deal)) < 0)
                return r;

        r = hand_over(deal, sealed);
        if (r < 0) {
                (void) store_write(store, drop_txn, deal);
                return r;
        }
        return store_write(store, live_txn, deal);
}

static void answer(const struct deal *deal, int r, struct http_response *response) {
        const struct service_call *call = deal->call;
        json_t *json;

        switch (r) {
        case 0:
                json = json_pack("{s:s, s:I}", "key", deal->what.key, "generation", (json_int_t) deal->what.generation);
                if (json)
                        (void) wire_set_bin(json, "public", deal->what.public, sizeof(deal->what.public));
                service_json(response, 200, json);
                return;
        case -ENOENT:
                service_no_node(call, response);
                return;
        case -ECANCELED:
                service_problem(call, response, "conflict", "%s", deal->conflict);
                return;
        case -ENOLINK:
        case -ETIMEDOUT:
        case -EKEYREJECTED:
        case -EBADMSG:
                service_problem(call, response, "unavailable", "The verifier cannot be asked at the moment.");
                return;
        default:
                service_failure(call, response, r);
        }
}

static void deal_post(const struct service_call *call, struct http_response *response) {
        _cleanup_(deal_done) struct deal deal = {
                .call = call,
                .id = service_parameter(call, "id"),
                .what = { .kind = KEY_PAYLOAD, .dealt = true },
        };
        json_t *body = service_body(call, response);

        if (!body)
                return;

        if (wire_get_string(body, "key", deal.what.key, sizeof(deal.what.key)) < 0 || !key_id_is_valid(deal.what.key))
                service_problem(call, response, "malformed", "Wanted: key, a key id.");
        else
                answer(&deal, make_deal(&deal), response);
        json_decref(body);
}

const struct service_route deal_routes[] = {
        { "POST", "/v1/nodes/{id}/deals", ROLE_OPERATOR, 0, false, deal_post, NULL, true },
        {},
};
