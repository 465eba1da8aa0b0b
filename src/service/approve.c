/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/state.h"

enum { NEXT_BOOT_SECONDS = 24 * 3600 };

struct approval {
        const struct service_call *call;
        bool has_group, capture, has_name, next_boot;
        char group[65], name[64];
        const json_t *pcrs; /* the values that the operator looked at; NULL: not said */
        const char *conflict;
        json_t *object;
        json_t *detail;
        struct node node;
};

static int conflict(struct approval *approval, const char *why) {
        approval->conflict = why;
        return -ECANCELED;
}

/* What is held changes with every boot that is refused, and its incident id is the node's own word: an operator who says what was
 * looked at gets that, or nothing. */
static bool is_what_was_seen(const struct held *held, const json_t *pcrs) {
        json_t *object = held_object(held);
        bool same = object && json_equal(json_object_get(object, "pcrs"), pcrs);

        json_decref(object);
        return same;
}

/* The held boot becomes a named set of the group's policy. Only what was held of a boot: an enrollment shows another state. */
static int capture(struct approval *approval, struct store_txn *txn, struct group *group) {
        _cleanup_(held_done) struct held held = {};
        _cleanup_(policy_done) struct policy policy = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        r = held_load(txn, approval->node.id, &held);
        if (r == -ENOENT || (r >= 0 && held.pcrs.n == 0))
                return conflict(approval, "No boot of this node is held: it must have booted and been refused by the policy.");
        if (r < 0)
                return r;
        if (approval->pcrs && !is_what_was_seen(&held, approval->pcrs))
                return conflict(approval, "Another boot of this node is held by now: look at it again.");
        r = policy_load(txn, group, &policy);
        if (r < 0)
                return r;

        if (!approval->has_name)
                (void) snprintf(approval->name, sizeof(approval->name), "%s-%lld", approval->node.code, (long long) held.time);
        r = policy_capture(&policy, approval->name, &held.pcrs, held.bank, group->gate);
        if (r == -EEXIST)
                return conflict(approval, "The policy has a set of this name already.");
        if (r == -EINVAL)
                return conflict(approval, "What is held has values that no policy can ask for.");
        if (r == -E2BIG || r == -ENOSPC)
                return conflict(approval, "The policy has too many sets already.");
        if (r < 0)
                return r;

        text = policy_format(&policy);
        if (!text)
                return -ENOMEM;
        if ((r = policy_store(txn, group, text, approval->call->who)) < 0 || (r = held_delete(txn, approval->node.id)) < 0)
                return r;
        return json_object_update_new(approval->detail, json_pack("{s:s, s:I}", "set", approval->name, "version",
                                                                  (json_int_t) group->policy_version)) < 0
                       ? -ENOMEM
                       : 0;
}

static int move(struct approval *approval, struct store_txn *txn, const struct group *group) {
        struct node *node = &approval->node;
        struct group old;
        int r;

        if (strcmp(node->group, group->name) != 0) {
                r = group_load(txn, node->group, &old);
                if (r < 0)
                        return r;
                /* Where the old gate is closed, the new one would still be open in this boot. */
                if (node->state == NODE_APPROVED && old.gate != group->gate)
                        return conflict(approval, "An approved node does not move to a group with another gate.");
                r = generations_rewrap(call_party(approval->call), txn, node->id, group->name);
                if (r < 0)
                        return r;
                memcpy(node->group, group->name, sizeof(node->group));
        }

        node->bank = group->bank;
        node->state = NODE_APPROVED;
        return 0;
}

/* For when a prediction failed: whatever the next boot shows is accepted once. */
static int let_next_boot_pass(struct approval *approval, int64_t now) {
        approval->node.next_boot = now + NEXT_BOOT_SECONDS;
        return json_object_set_new(approval->detail, "next_boot", json_integer(approval->node.next_boot)) < 0 ? -ENOMEM : 0;
}

static int approve_txn(struct store_txn *txn, void *userdata) {
        struct approval *approval = userdata;
        struct node *node = &approval->node;
        int64_t now = (int64_t) (clock_realtime_ms() / 1000);
        struct group group;
        int r;

        r = node_load(txn, service_parameter(approval->call, "id"), node);
        if (r < 0)
                return r;
        if (node->state == NODE_REVOKED)
                return conflict(approval, "This node was revoked.");
        if (node->state == NODE_SUSPENDED)
                return conflict(approval, "This node is suspended: resume it.");

        if (node_has_token(node) && (approval->capture || approval->next_boot))
                return conflict(
                        approval,
                        "This node has a token: its boots show no values. Its group's policy takes it by token-evidence = yes.");

        r = group_load(txn, approval->has_group ? approval->group : node->group, &group);
        if (r == -ENOENT)
                return conflict(approval, SERVICE_NO_GROUP);
        if (r < 0)
                return r;

        /* The bank is pinned by an approval; capturing alone changes nothing about it. */
        if (node->state == NODE_PENDING || approval->has_group) {
                r = move(approval, txn, &group);
                if (r < 0)
                        return r;
        }

        approval->detail = json_pack("{s:s, s:b}", "group", group.name, "capture", (int) approval->capture);
        r = !approval->detail ? -ENOMEM : approval->capture ? capture(approval, txn, &group) : 0;
        if (r >= 0 && approval->next_boot)
                r = let_next_boot_pass(approval, now);
        if (r < 0)
                return r;

        node->welcomed = now;
        if ((r = node_save(txn, node, true)) < 0 ||
            (r = party_audit(txn, approval->call, "approve", node->id, TAKE_PTR(approval->detail))) < 0)
                return r;
        return node_object(call_party(approval->call), txn, node, &approval->object);
}

/* A node that moves to another group takes its halves with it. */
static int warm_and_write(struct approval *approval) {
        int r = 0;

        if (approval->has_group)
                r = keys_warm(call_party(approval->call), service_parameter(approval->call, "id"), approval->group);
        return r < 0 ? r : store_write(approval->call->service->store, approve_txn, approval);
}

static bool is_set_name(const char *text) {
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+:";

        return text[0] && strspn(text, allowed) == strlen(text);
}

static int read_body(struct approval *approval, const json_t *body) {
        int r;

        r = wire_get_string(body, "group", approval->group, sizeof(approval->group));
        if (r < 0 && r != -ENOENT)
                return r;
        approval->has_group = r == 0;

        r = wire_get_bool(body, "capture", &approval->capture);
        if (r < 0 && r != -ENOENT)
                return r;

        r = wire_get_bool(body, "next_boot", &approval->next_boot);
        if (r < 0 && r != -ENOENT)
                return r;

        r = wire_get_string(body, "name", approval->name, sizeof(approval->name));
        if (r < 0 && r != -ENOENT)
                return r;
        approval->has_name = r == 0;
        if (approval->has_name && !is_set_name(approval->name))
                return -EBADMSG;

        approval->pcrs = json_object_get(body, "pcrs");
        return approval->pcrs && !json_is_object(approval->pcrs) ? -EBADMSG : 0;
}

static void answer(const struct approval *approval, int r, struct http_response *response) {
        const struct service_call *call = approval->call;

        if (r == -ENOENT)
                service_no_node(call, response);
        else if (r == -ECANCELED)
                service_problem(call, response, "conflict", "%s", approval->conflict);
        else if (r < 0)
                service_failure(call, response, r);
        else {
                log_info("Node %s: approved by %s%s%s.", approval->node.id, call->who,
                         approval->capture ? ", its boot captured" : "",
                         approval->next_boot ? ", its next boot whatever it shows" : "");
                service_json(response, 200, json_incref(approval->object));
        }
}

void node_approve(const struct service_call *call, struct http_response *response) {
        struct approval approval = { .call = call };
        json_t *body = service_body(call, response);

        if (!body)
                return;

        if (read_body(&approval, body) < 0)
                service_problem(
                        call, response, "malformed",
                        "Wanted: group, a name; capture and next_boot, true or false; name, of the captured set, 1 to 63 of a-z A-Z "
                        "0-9 . _ - + :; pcrs, as they are held.");
        else
                answer(&approval, warm_and_write(&approval), response);

        json_decref(body);
        json_decref(approval.detail);
        json_decref(approval.object);
        node_done(&approval.node);
}
