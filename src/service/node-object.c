/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "service/ek-nodes.h"
#include "service/state.h"

/* Nodes as operators see them (docs/protocol.md, 10). */

static json_t *generation_object(const struct generation *item) {
        json_t *object;

        object = json_pack("{s:I, s:s}", "generation", (json_int_t) item->generation, "state",
                           generation_state_to_string(item->state));
        if (object && item->has_public && item->state == GENERATION_LIVE)
                (void) wire_set_bin(object, "public", item->public, sizeof(item->public));
        return object;
}

static json_t *key_object(const struct generations *generations, size_t first, size_t *ret_next) {
        const struct generation *head = generations->items + first, *public = NULL;
        json_t *list = json_array(), *object;
        size_t i;

        for (i = first; i < generations->n && strcmp(generations->items[i].key, head->key) == 0; i++) {
                const struct generation *item = generations->items + i;

                (void) json_array_append_new(list, generation_object(item));
                if (item->has_public && item->state == GENERATION_LIVE)
                public = item;
        }

        *ret_next = i;
        object = json_pack("{s:s, s:s, s:s, s:o, s:b}", "id", head->key, "kind", key_kind_to_string(head->kind), "origin",
                           head->dealt ? "dealt" : "joint", "generations", list, "rotate", (int) head->rotate);
        if (object && public) /* of the newest */
                (void) wire_set_bin(object, "public", public->public, sizeof(public->public));
        return object;
}

static json_t *keys_object(const struct generations *generations) {
        json_t *keys = json_array();

        for (size_t i = 0; keys && i < generations->n;)
                if (json_array_append_new(keys, key_object(generations, i, &i)) < 0) {
                        json_decref(keys);
                        return NULL;
                }

        return keys;
}

static int add_held(struct store_txn *txn, const char *id, json_t *object) {
        _cleanup_(held_done) struct held held = {};
        int r;

        r = held_load(txn, id, &held);
        if (r == -ENOENT)
                return json_object_set_new(object, "held", json_null()) < 0 ? -ENOMEM : 0;
        if (r < 0)
                return r;
        return json_object_set_new(object, "held", held_object(&held)) < 0 ? -ENOMEM : 0;
}

static json_t *boot_object(const struct node *node) {
        return node->has_boot ? json_pack("{s:I, s:I}", "reset", (json_int_t) node->boot.reset, "restart",
                                          (json_int_t) node->boot.restart)
                              : json_null();
}

int node_object(struct party_service *party, struct store_txn *txn, const struct node *node, json_t **ret) {
        _cleanup_(generations_done) struct generations generations = {};
        json_t *object, *payload = NULL;
        struct node_tpm tpm;
        int r;

        if ((r = generations_load(txn, node->id, &generations)) < 0 || (r = node_tpm_load(txn, node->id, &tpm)) < 0)
                return r;

        object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "id", node->id, "code", node->code,
                           "ek_sha256", node->ek_sha256, "state", node_state_to_string(node->state), "group", node->group, "bank",
                           pcr_alg_to_string(node->bank), "registered", (json_int_t) node->registered, "seen",
                           node->seen ? json_integer(node->seen) : json_null(), "boot", boot_object(node), "keys",
                           keys_object(&generations), "tpm", node_tpm_object(&tpm), "token", node_token_object(node));
        if (!object)
                return -ENOMEM;

        if (ek_nodes_knows(party->service, node->id)) /* null has no members */
                (void) json_object_set_new(json_object_get(object, "tpm"), "revoked", json_true());
        r = add_held(txn, node->id, object);
        if (json_object_set_new(object, "set", node->set[0] ? json_string(node->set) : json_null()) < 0 ||
            json_object_set_new(object, "next_boot", node->next_boot ? json_integer(node->next_boot) : json_null()) < 0)
                r = -ENOMEM;
        if (r >= 0)
                r = party->definition->payload_object(txn, node->id, &payload);
        if (r >= 0 && json_object_set_new(object, "payload", payload) < 0)
                r = -ENOMEM;
        if (r < 0) {
                json_decref(object);
                return r;
        }

        *ret = object;
        return 0;
}

struct listing {
        const struct service_call *call;
        char state[16], group[65];
        char (*ids)[NODE_ID_LENGTH + 1];
        size_t n;
        json_t *nodes;
};

static int on_id(const struct store_value *columns, size_t n, void *userdata) {
        struct listing *listing = userdata;
        void *ids;

        (void) n;
        ids = realloc(listing->ids, (listing->n + 1) * sizeof(*listing->ids));
        if (!ids)
                return -ENOMEM;
        listing->ids = ids;
        return column_text(columns, listing->ids[listing->n++], sizeof(*listing->ids));
}

static int list_one(struct listing *listing, struct store_txn *txn, const char *id) {
        _cleanup_(node_done) struct node node = {};
        json_t *object;
        int r;

        r = node_load(txn, id, &node);
        if (r < 0)
                return r;
        r = node_object(call_party(listing->call), txn, &node, &object);
        if (r < 0)
                return r;
        return json_array_append_new(listing->nodes, object) < 0 ? -ENOMEM : 0;
}

static int list_read(struct store_txn *txn, void *userdata) {
        struct listing *listing = userdata;
        int r;

        r = store_query(
                txn,
                "SELECT id FROM nodes WHERE ($1 = '' OR state = $1) AND ($2 = '' OR group_name = $2) ORDER BY registered, id",
                STORE_ARGS(store_text(listing->state), store_text(listing->group)), on_id, listing);
        for (size_t i = 0; r >= 0 && i < listing->n; i++)
                r = list_one(listing, txn, listing->ids[i]);

        return r;
}

void nodes_get(const struct service_call *call, struct http_response *response) {
        struct listing listing = { .call = call };
        enum node_state state;
        int r;

        r = service_query(call, "state", listing.state, sizeof(listing.state));
        if (r == -EBADMSG || (r == 0 && node_state_from_string(listing.state, &state) < 0)) {
                service_problem(call, response, "malformed", "state is one of pending, approved, suspended, revoked.");
                return;
        }
        if (service_query(call, "group", listing.group, sizeof(listing.group)) == -EBADMSG) {
                service_problem(call, response, "malformed", "group is not a group's name.");
                return;
        }

        listing.nodes = json_array();
        r = listing.nodes ? store_read(call->service->store, list_read, &listing) : -ENOMEM;
        free(listing.ids);
        if (r < 0) {
                json_decref(listing.nodes);
                service_failure(call, response, r);
                return;
        }

        service_json(response, 200, json_pack("{s:o}", "nodes", listing.nodes));
}

struct showing {
        const struct service_call *call;
        json_t *object;
};

static int show_read(struct store_txn *txn, void *userdata) {
        struct showing *showing = userdata;
        _cleanup_(node_done) struct node node = {};
        int r;

        r = node_load(txn, service_parameter(showing->call, "id"), &node);
        return r < 0 ? r : node_object(call_party(showing->call), txn, &node, &showing->object);
}

void node_get(const struct service_call *call, struct http_response *response) {
        struct showing showing = { .call = call };
        int r;

        r = store_read(call->service->store, show_read, &showing);
        if (r == -ENOENT)
                service_no_node(call, response);
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 200, showing.object);
}
