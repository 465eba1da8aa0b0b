/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/payload.h"
#include "verifier/verifier.h"

/* A half that the tenant made. Every other V is made here; this one is taken only after an operator said so to us, once, within
 * an hour, for a new generation of a key that is not joint. */

enum { DEAL_SECONDS = 3600 };

struct deal {
        const struct service_call *call;
        const char *id;
        char key[KEY_ID_LENGTH + 1];
        uint32_t generation;
        struct secret *half;
        const char *conflict;
};

static int conflict(struct deal *deal, const char *why) {
        deal->conflict = why;
        return -ECANCELED;
}

static int load(struct deal *deal, struct store_txn *txn, struct node *node, uint32_t *ret_highest) {
        _cleanup_(generations_done) struct generations generations = {};
        const struct generation *newest;
        int r;

        if ((r = node_load(txn, deal->id, node)) < 0 || (r = generations_load(txn, deal->id, &generations)) < 0)
                return r;
        if (node->state != NODE_APPROVED)
                return conflict(deal, "This node is not approved here.");

        *ret_highest = generations_highest(&generations, deal->key);
        newest = generations_find(&generations, deal->key, *ret_highest);
        if (newest && !newest->dealt)
                return conflict(deal, "This key is joint: nobody deals its halves.");
        return 0;
}

static int allow_txn(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        _cleanup_(node_done) struct node node = {};
        int64_t expires = (int64_t) (clock_realtime_ms() / 1000) + DEAL_SECONDS;
        uint32_t highest;
        int r;

        r = load(deal, txn, &node, &highest);
        if (r < 0)
                return r;
        r = store_exec(
                txn,
                "INSERT INTO deals (node, key, expires) VALUES ($1, $2, $3) ON CONFLICT (node, key) DO UPDATE SET expires = $3",
                STORE_ARGS(store_text(deal->id), store_text(deal->key), store_int(expires)), NULL);
        if (r < 0)
                return r;
        return party_audit(txn, deal->call, "deal-allowed", deal->id,
                           json_pack("{s:s, s:I}", "key", deal->key, "expires", (json_int_t) expires));
}

static void answer(const struct deal *deal, int r, struct http_response *response) {
        const struct service_call *call = deal->call;

        if (r == -ENOENT)
                service_no_node(call, response);
        else if (r == -ECANCELED)
                service_problem(call, response, "conflict", "%s", deal->conflict);
        else if (r == -EPERM)
                service_problem(call, response, "unauthorized", "No operator has allowed this deal.");
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 201, json_pack("{s:s}", "key", deal->key));
}

static void allow_post(const struct service_call *call, struct http_response *response) {
        struct deal deal = { .call = call, .id = service_parameter(call, "id") };
        json_t *body = service_body(call, response);

        if (!body)
                return;

        if (wire_get_string(body, "key", deal.key, sizeof(deal.key)) < 0 || !key_id_is_valid(deal.key))
                service_problem(call, response, "malformed", "Wanted: key, a key id.");
        else
                answer(&deal, store_write(call->service->store, allow_txn, &deal), response);
        json_decref(body);
}

static int take_txn(struct store_txn *txn, void *userdata) {
        struct deal *deal = userdata;
        struct generation what = { .kind = KEY_PAYLOAD, .dealt = true, .generation = deal->generation, .state = GENERATION_LIVE };
        _cleanup_(node_done) struct node node = {};
        uint32_t highest;
        int64_t changes;
        int r;

        r = store_exec(txn, "DELETE FROM deals WHERE node = $1 AND key = $2 AND expires >= $3",
                       STORE_ARGS(store_text(deal->id), store_text(deal->key), store_int((int64_t) (clock_realtime_ms() / 1000))),
                       &changes);
        if (r < 0)
                return r;
        if (changes != 1)
                return -EPERM;

        r = load(deal, txn, &node, &highest);
        if (r < 0)
                return r;
        /* The tenant may be ahead by tries that failed half-way. Not further: the last number there is would be the key's
         * last. */
        if (deal->generation <= highest || deal->generation - highest > ROTATE_AHEAD_MAX)
                return conflict(deal, "This is not the next generation of the key.");

        memcpy(what.key, deal->key, sizeof(what.key));
        if ((r = generation_create(call_party(deal->call), txn, &node, &what, deal->half, NULL)) < 0 ||
            (r = node_save(txn, &node, true)) < 0)
                return r == -E2BIG ? conflict(deal, "This node has too many keys.") : r;
        return party_audit(txn, deal->call, "half", deal->id,
                           json_pack("{s:s, s:I}", "key", deal->key, "generation", (json_int_t) deal->generation));
}

static int unseal(struct deal *deal, const json_t *body) {
        _cleanup_(blob_done) struct blob ct = {};
        const struct keypair *inbox;
        uint8_t enc[POINT_SIZE];
        uint64_t generation;
        int r;

        if ((r = wire_get_u64(body, "generation", UINT32_MAX, &generation)) < 0 ||
            (r = wire_get_bin_fixed(body, "enc", enc, sizeof(enc))) < 0 || (r = wire_get_bin(body, "ct", 256, &ct)) < 0)
                return -EBADMSG;
        if (generation == 0)
                return -EBADMSG;

        deal->generation = (uint32_t) generation;
        r = keystore_inbox(deal->call->service->keystore, &inbox);
        if (r < 0)
                return r;
        r = deal_open(inbox, deal->id, deal->key, deal->generation, enc, ct.data, ct.size, &deal->half);
        return r >= 0 && deal->half->size != HALF_SIZE ? -EBADMSG : r;
}

static void half_put(const struct service_call *call, struct http_response *response) {
        struct deal deal = { .call = call, .id = service_parameter(call, "id") };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        memcpy(deal.key, service_parameter(call, "key"), sizeof(deal.key));
        r = unseal(&deal, body);
        if (r == -EBADMSG)
                service_problem(call, response, "malformed",
                                "Wanted: generation; enc and ct, a half sealed to this verifier's inbox.");
        else {
                if (r >= 0)
                        r = keys_warm(call_party(call), deal.id, NULL);
                if (r >= 0)
                        r = store_write(call->service->store, take_txn, &deal);
                answer(&deal, r, response);
        }

        secret_free(deal.half);
        json_decref(body);
}

const struct service_route deal_routes[] = {
        { "POST", "/v1/nodes/{id}/deals", ROLE_OPERATOR, 0, false, allow_post },
        { "PUT", "/v1/nodes/{id}/keys/{key}/half", ROLE_TENANT, 0, false, half_put },
        {},
};
