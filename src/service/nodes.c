/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/state.h"

/* What operators see of nodes and do to them. Every action is one transaction with its audit record; node_act() is its frame. */

struct action {
        const struct service_call *call;
        const char *event;
        char reason[256];
        json_t *body;
        const char *conflict; /* set by the action: why not */
        json_t *detail;
        json_t *object;
        int (*act)(struct action *action, struct store_txn *txn, struct node *node);
        struct node node;
};

static int action_txn(struct store_txn *txn, void *userdata) {
        struct action *action = userdata;
        int r;

        r = node_load(txn, service_parameter(action->call, "id"), &action->node);
        if (r < 0)
                return r;

        action->detail = action->reason[0] ? json_pack("{s:s}", "reason", action->reason) : json_object();
        if (!action->detail)
                return -ENOMEM;

        r = action->act(action, txn, &action->node);
        if (r < 0)
                return r;
        if ((r = node_save(txn, &action->node, true)) < 0 ||
            (r = party_audit(txn, action->call, action->event, action->node.id, TAKE_PTR(action->detail))) < 0)
                return r;
        return node_object(call_party(action->call), txn, &action->node, &action->object);
}

/* -ECANCELED from the action: it set conflict. */
static void node_act(struct action *action, struct http_response *response) {
        const struct service_call *call = action->call;
        int r;

        action->body = service_body(call, response);
        if (!action->body)
                return;

        r = wire_get_string(action->body, "reason", action->reason, sizeof(action->reason));
        if (r < 0 && r != -ENOENT)
                service_problem(call, response, "malformed", "reason is a text of at most 255 bytes.");
        else {
                r = store_write(call->service->store, action_txn, action);
                if (r == -ENOENT)
                        service_no_node(call, response);
                else if (r == -ECANCELED)
                        service_problem(call, response, "conflict", "%s", action->conflict);
                else if (r == -EBADMSG)
                        service_problem(call, response, "malformed", "boot is {\"reset\": number, \"restart\": number}.");
                else if (r < 0)
                        service_failure(call, response, r);
                else {
                        log_info("Node %s: %s by %s.", action->node.id, action->event, call->who);
                        service_json(response, 200, TAKE_PTR(action->object));
                }
        }

        json_decref(action->body);
        json_decref(action->detail);
        json_decref(action->object);
        node_done(&action->node);
}

static int act_suspend(struct action *action, struct store_txn *txn, struct node *node) {
        (void) txn;
        if (node->state == NODE_REVOKED) {
                action->conflict = "This node was revoked.";
                return -ECANCELED;
        }
        if (node->state == NODE_PENDING) {
                action->conflict = "This node was never approved: it gets nothing anyway.";
                return -ECANCELED;
        }

        /* who takes it back later does not mean whatever it boots by then */
        node->next_boot = 0;
        node->pardoned = false;
        node->state = NODE_SUSPENDED;
        return 0;
}

void node_suspend(const struct service_call *call, struct http_response *response) {
        node_act(&(struct action){ .call = call, .event = "suspend", .act = act_suspend }, response);
}

static int act_resume(struct action *action, struct store_txn *txn, struct node *node) {
        (void) txn;
        if (node->state == NODE_REVOKED) {
                action->conflict = "A revoked node does not come back; deleted, it can enroll anew and waits for approval.";
                return -ECANCELED;
        }
        if (node->state == NODE_PENDING) {
                action->conflict = "This node was never approved: approve it.";
                return -ECANCELED;
        }

        node->state = NODE_APPROVED;
        node->welcomed = (int64_t) (clock_realtime_ms() / 1000);
        return 0;
}

void node_resume(const struct service_call *call, struct http_response *response) {
        node_act(&(struct action){ .call = call, .event = "resume", .act = act_resume }, response);
}

/* By EK: no other id of this machine is taken either. Nor is it approved ahead any more, should the node be deleted. */
static int act_revoke(struct action *action, struct store_txn *txn, struct node *node) {
        int r;

        (void) action;
        node->state = NODE_REVOKED;
        r = store_exec(txn, "DELETE FROM group_eks WHERE ek_sha256 = $1", STORE_ARGS(store_text(node->ek_sha256)), NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "INSERT INTO revoked_eks (ek_sha256, node) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                          STORE_ARGS(store_text(node->ek_sha256), store_text(node->id)), NULL);
}

void node_revoke(const struct service_call *call, struct http_response *response) {
        node_act(&(struct action){ .call = call, .event = "revoke", .act = act_revoke }, response);
}

/* What is refused can be another boot by now: an operator who says which one was looked at accepts that, or nothing. */
static int is_boot_that_was_seen(const json_t *body, struct boot_counters refused) {
        const json_t *boot = json_object_get(body, "boot");
        uint64_t reset, restart;

        if (!boot)
                return 0;
        if (wire_get_u64(boot, "reset", UINT32_MAX, &reset) < 0 || wire_get_u64(boot, "restart", UINT32_MAX, &restart) < 0)
                return -EBADMSG;
        return reset == refused.reset && restart == refused.restart ? 0 : -ESTALE;
}

/* The refused boot takes the place of the highest one, without a key: the next answer binds one. */
static int act_accept_reset(struct action *action, struct store_txn *txn, struct node *node) {
        int r;

        if (!node->has_refused) {
                action->conflict = "No boot of this node was refused for its counters.";
                return -ECANCELED;
        }
        r = is_boot_that_was_seen(action->body, node->refused);
        if (r == -ESTALE) {
                action->conflict = "Another boot of this node was refused by now: look at it again.";
                return -ECANCELED;
        }
        if (r < 0)
                return r;

        node->boot = node->refused;
        node->has_boot = true;
        node->has_nk = node->has_refused = false;
        (void) json_object_set_new(
                action->detail, "boot",
                json_pack("{s:I, s:I}", "reset", (json_int_t) node->boot.reset, "restart", (json_int_t) node->boot.restart));
        return held_delete(txn, node->id);
}

void node_accept_reset(const struct service_call *call, struct http_response *response) {
        node_act(&(struct action){ .call = call, .event = "accept-reset", .act = act_accept_reset }, response);
}

static int mark_keys(struct action *action, struct store_txn *txn, const struct node *node, const char *only, size_t *ret_n) {
        _cleanup_(generations_done) struct generations generations = {};
        const char *last = "";
        int r;

        r = generations_load(txn, node->id, &generations);
        if (r < 0)
                return r;

        for (size_t i = 0; i < generations.n; i++) {
                const struct generation *item = generations.items + i;

                if (item->dealt || item->state != GENERATION_LIVE || (only[0] && strcmp(item->key, only) != 0) ||
                    strcmp(item->key, last) == 0)
                        continue;
                last = item->key;
                r = key_mark(txn, node->id, item->key, true);
                if (r < 0)
                        return r;
                (void) json_array_append_new(json_object_get(action->detail, "keys"), json_string(item->key));
                (*ret_n)++;
        }

        return 0;
}

static int act_rotate(struct action *action, struct store_txn *txn, struct node *node) {
        char only[KEY_ID_LENGTH + 1] = "";
        size_t n = 0;
        int r;

        r = wire_get_string(action->body, "key", only, sizeof(only));
        if (r == -ENOENT)
                r = 0;
        if (r < 0 || (only[0] && !key_id_is_valid(only))) {
                action->conflict = "key is not a key id.";
                return -ECANCELED;
        }

        (void) json_object_set_new(action->detail, "keys", json_array());
        r = mark_keys(action, txn, node, only, &n);
        if (r < 0)
                return r;
        if (n == 0) {
                action->conflict = only[0] ? "There is no live joint key of this id." : "This node has no live joint key.";
                return -ECANCELED;
        }
        return 0;
}

void node_rotate(const struct service_call *call, struct http_response *response) {
        node_act(&(struct action){ .call = call, .event = "rotate", .act = act_rotate }, response);
}

/* Halves first: their wrapping keys are gone with the commit. A revocation goes, too: the machine may enroll anew and waits for
 * approval like any other. */
int node_forget(struct party_service *party, struct store_txn *txn, const struct node *node) {
        static const char *const statements[] = {
                "DELETE FROM generations WHERE node = $1", "DELETE FROM keys WHERE node = $1",
                "DELETE FROM held WHERE node = $1",        "DELETE FROM ima_states WHERE node = $1",
                "DELETE FROM node_tpms WHERE node = $1",   "DELETE FROM nodes WHERE id = $1",
        };
        _cleanup_(generations_done) struct generations generations = {};
        int r;

        r = generations_load(txn, node->id, &generations);
        for (size_t i = 0; r >= 0 && i < generations.n; i++)
                if (generations.items[i].state != GENERATION_RETIRED)
                        r = generation_retire(party, txn, node->id, generations.items + i);
        for (const char *const *sql = party->definition->forget; r >= 0 && *sql; sql++)
                r = store_exec(txn, *sql, STORE_ARGS(store_text(node->id)), NULL);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(statements); i++)
                r = store_exec(txn, statements[i], STORE_ARGS(store_text(node->id)), NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "DELETE FROM revoked_eks WHERE ek_sha256 = $1", STORE_ARGS(store_text(node->ek_sha256)), NULL);
}

struct deletion {
        const struct service_call *call;
        const char *id;
};

static int delete_txn(struct store_txn *txn, void *userdata) {
        struct deletion *deletion = userdata;
        _cleanup_(node_done) struct node node = {};
        int r;

        r = node_load(txn, deletion->id, &node);
        if (r < 0)
                return r;
        r = node_forget(call_party(deletion->call), txn, &node);
        if (r < 0)
                return r;
        return party_audit(txn, deletion->call, "delete", deletion->id,
                           json_pack("{s:s, s:s}", "ek_sha256", node.ek_sha256, "state", node_state_to_string(node.state)));
}

void node_delete(const struct service_call *call, struct http_response *response) {
        struct party_service *party = call_party(call);
        struct deletion deletion = { .call = call, .id = service_parameter(call, "id") };
        int r;

        r = store_write(call->service->store, delete_txn, &deletion);
        if (r == -ENOENT)
                service_no_node(call, response);
        else if (r < 0)
                service_failure(call, response, r);
        else {
                if (party->definition->forgotten)
                        party->definition->forgotten(party, deletion.id);
                log_info("Node %s: deleted by %s.", deletion.id, call->who);
                service_empty(response, 204);
        }
}
