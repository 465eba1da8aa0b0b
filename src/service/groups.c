/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "service/state.h"

enum { EKS_MAX = 10000, GATE_MIN = 8, GATE_MAX = 15 };

static int on_ek(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        if (columns[0].type != STORE_TEXT)
                return -EUCLEAN;
        return json_array_append_new(userdata, json_string(columns[0].data)) < 0 ? -ENOMEM : 0;
}

static int count_nodes(struct store_txn *txn, const char *group, int64_t *ret, int64_t *ret_tokens) {
        int r;

        r = query_int(txn, "SELECT COUNT(*) FROM nodes WHERE group_name = $1", STORE_ARGS(store_text(group)), ret);
        if (r < 0)
                return r;
        return query_int(txn, "SELECT COUNT(token_public) FROM nodes WHERE group_name = $1", STORE_ARGS(store_text(group)),
                         ret_tokens);
}

/* {"name", "bank", "gate", "accept_first_boot", "ek_sha256", "policy_version", "nodes", "tokens", "uncovered", "warning"?} */
static int group_object(struct store_txn *txn, const struct group *group, json_t **ret) {
        _cleanup_(policy_done) struct policy policy = {};
        _cleanup_(freep) char *uncovered = NULL;
        char warning[GROUP_WARNING_SIZE];
        json_t *eks, *object;
        int64_t nodes, tokens;
        int r;

        if ((r = policy_load(txn, group, &policy)) < 0 || (r = group_warning(txn, group->name, &policy, warning)) < 0 ||
            (r = count_nodes(txn, group->name, &nodes, &tokens)) < 0)
                return r;
        uncovered = policy_uncovered(&policy);
        eks = json_array();
        if (!uncovered || !eks) {
                json_decref(eks);
                return -ENOMEM;
        }

        r = store_query(txn, "SELECT ek_sha256 FROM group_eks WHERE group_name = $1 ORDER BY ek_sha256",
                        STORE_ARGS(store_text(group->name)), on_ek, eks);
        if (r < 0) {
                json_decref(eks);
                return r;
        }

        object = json_pack("{s:s, s:s, s:i, s:b, s:o, s:I, s:I, s:I, s:s, s:s*}", "name", group->name, "bank",
                           pcr_alg_to_string(group->bank), "gate", (int) group->gate, "accept_first_boot",
                           (int) group->accept_first_boot, "ek_sha256", eks, "policy_version", (json_int_t) group->policy_version,
                           "nodes", (json_int_t) nodes, "tokens", (json_int_t) tokens, "uncovered", uncovered, "warning",
                           warning[0] ? warning : NULL);
        if (!object)
                return -ENOMEM;
        *ret = object;
        return 0;
}

struct listing {
        char (*names)[65];
        size_t n;
        json_t *groups;
};

static int on_name(const struct store_value *columns, size_t n, void *userdata) {
        struct listing *listing = userdata;
        void *names;

        (void) n;
        names = realloc(listing->names, (listing->n + 1) * sizeof(*listing->names));
        if (!names)
                return -ENOMEM;
        listing->names = names;
        return column_text(columns, listing->names[listing->n++], sizeof(*listing->names));
}

static int list_read(struct store_txn *txn, void *userdata) {
        struct listing *listing = userdata;
        struct group group;
        json_t *object;
        int r;

        r = store_query(txn, "SELECT name FROM groups ORDER BY name", STORE_NO_ARGS, on_name, listing);
        for (size_t i = 0; r >= 0 && i < listing->n; i++) {
                if ((r = group_load(txn, listing->names[i], &group)) < 0 || (r = group_object(txn, &group, &object)) < 0)
                        return r;
                if (json_array_append_new(listing->groups, object) < 0)
                        return -ENOMEM;
        }

        return r;
}

void groups_get(const struct service_call *call, struct http_response *response) {
        struct listing listing = { .groups = json_array() };
        int r;

        r = listing.groups ? store_read(call->service->store, list_read, &listing) : -ENOMEM;
        free(listing.names);
        if (r < 0) {
                json_decref(listing.groups);
                service_failure(call, response, r);
        } else
                service_json(response, 200, json_pack("{s:o}", "groups", listing.groups));
}

struct group_call {
        const struct service_call *call;
        struct group group;
        const json_t *eks;
        bool has_bank, has_gate, has_accept, accept;
        uint16_t bank;
        unsigned gate;
        const char *conflict;
        json_t *object;
};

static int show_read(struct store_txn *txn, void *userdata) {
        struct group_call *g = userdata;
        int r;

        r = group_load(txn, service_parameter(g->call, "name"), &g->group);
        return r < 0 ? r : group_object(txn, &g->group, &g->object);
}

void group_get(const struct service_call *call, struct http_response *response) {
        struct group_call g = { .call = call };
        int r;

        r = store_read(call->service->store, show_read, &g);
        if (r == -ENOENT)
                service_no_group(call, response);
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 200, g.object);
}

static int store_eks(struct group_call *g, struct store_txn *txn) {
        size_t i;
        json_t *item;
        int64_t changes;
        int r;

        r = store_exec(txn, "DELETE FROM group_eks WHERE group_name = $1", STORE_ARGS(store_text(g->group.name)), NULL);
        if (r < 0)
                return r;

        json_array_foreach ((json_t *) g->eks, i, item) {
                r = store_exec(txn, "INSERT INTO group_eks (ek_sha256, group_name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                               STORE_ARGS(store_text(json_string_value(item)), store_text(g->group.name)), &changes);
                if (r < 0)
                        return r;
                if (changes != 1) {
                        g->conflict = "An endorsement key is on the list twice, or on another group's list.";
                        return -ECANCELED;
                }
        }

        return 0;
}

static int find_or_make(struct group_call *g, struct store_txn *txn) {
        const char *name = service_parameter(g->call, "name");
        int r;

        r = group_load(txn, name, &g->group);
        if (r != -ENOENT)
                return r;

        r = store_exec(
                txn,
                "INSERT INTO groups (name, bank, gate, accept_first_boot, policy_version, changed, revision) VALUES ($1, 'sha256', 15, "
                "0, 0, 0, 1)",
                STORE_ARGS(store_text(name)), NULL);
        return r < 0 ? r : group_load(txn, name, &g->group);
}

static int save(struct group_call *g, struct store_txn *txn) {
        struct group *group = &g->group;

        if (g->has_bank)
                group->bank = g->bank;
        if (g->has_gate)
                group->gate = g->gate;
        if (g->has_accept)
                group->accept_first_boot = g->accept;
        group->changed = (int64_t) clock_realtime_ms();
        group->revision++;

        return store_exec(
                txn,
                "UPDATE groups SET bank = $1, gate = $2, accept_first_boot = $3, changed = $4, revision = $5 WHERE name = $6",
                STORE_ARGS(store_text(pcr_alg_to_string(group->bank)), store_int(group->gate),
                           store_int(group->accept_first_boot), store_int(group->changed), store_int(group->revision),
                           store_text(group->name)),
                NULL);
}

/* A running machine has the old gate closed and the new one still zero: its root could quote an open gate. */
static int refuse_other_gate(struct group_call *g, struct store_txn *txn) {
        int64_t nodes = 0;
        int r;

        if (!g->has_gate || g->gate == g->group.gate)
                return 0;
        r = query_int(txn, "SELECT COUNT(*) FROM nodes WHERE group_name = $1", STORE_ARGS(store_text(g->group.name)), &nodes);
        if (r < 0)
                return r;
        if (nodes == 0)
                return 0;
        g->conflict = "The gate of a group that has nodes does not change; make a group with that gate and enroll there.";
        return -ECANCELED;
}

static int put_txn(struct store_txn *txn, void *userdata) {
        struct group_call *g = userdata;
        json_t *detail;
        int r;

        if ((r = find_or_make(g, txn)) < 0 || (r = refuse_other_gate(g, txn)) < 0 || (r = save(g, txn)) < 0)
                return r;
        if (g->eks) {
                r = store_eks(g, txn);
                if (r < 0)
                        return r;
        }

        detail = json_pack("{s:s, s:s, s:i, s:b}", "group", g->group.name, "bank", pcr_alg_to_string(g->group.bank), "gate",
                           (int) g->group.gate, "accept_first_boot", (int) g->group.accept_first_boot);
        if (detail && g->eks)
                (void) json_object_set_new(detail, "eks", json_integer((json_int_t) json_array_size(g->eks)));
        r = party_audit(txn, g->call, "group", "", detail);
        return r < 0 ? r : group_object(txn, &g->group, &g->object);
}

static bool is_digest(const json_t *item) {
        uint8_t digest[32];
        char again[65];

        if (!json_is_string(item) || json_string_length(item) != 64 ||
            hex_decode(json_string_value(item), digest, sizeof(digest)) < 0)
                return false;
        hex_write(digest, sizeof(digest), again);
        return strcmp(again, json_string_value(item)) == 0;
}

static int read_eks(struct group_call *g, const json_t *body) {
        const json_t *eks = json_object_get(body, "ek_sha256");
        size_t i;
        json_t *item;

        if (!eks)
                return 0;
        if (!json_is_array(eks) || json_array_size(eks) > EKS_MAX)
                return -EBADMSG;
        json_array_foreach ((json_t *) eks, i, item) {
                if (!is_digest(item))
                        return -EBADMSG;
        }

        g->eks = eks;
        return 0;
}

static int read_body(struct group_call *g, const json_t *body) {
        char bank[16];
        uint64_t gate;
        int r;

        r = wire_get_string(body, "bank", bank, sizeof(bank));
        if (r == 0) {
                g->has_bank = true;
                if (pcr_alg_from_string(bank, &g->bank) < 0 || (strcmp(bank, "sha256") != 0 && strcmp(bank, "sha384") != 0))
                        return -EBADMSG;
        } else if (r != -ENOENT)
                return r;

        r = wire_get_u64(body, "gate", GATE_MAX, &gate);
        if (r == 0) {
                g->has_gate = true;
                g->gate = (unsigned) gate;
                if (gate < GATE_MIN || gate == 10)
                        return -EBADMSG;
        } else if (r != -ENOENT)
                return r;

        r = wire_get_bool(body, "accept_first_boot", &g->accept);
        if (r < 0 && r != -ENOENT)
                return r;
        g->has_accept = r == 0;
        return read_eks(g, body);
}

void group_put(const struct service_call *call, struct http_response *response) {
        struct group_call g = { .call = call };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        if (read_body(&g, body) < 0)
                service_problem(
                        call, response, "malformed",
                        "Wanted: bank, sha256 or sha384; gate, 8 to 15 and not 10; accept_first_boot; ek_sha256, digests in hex.");
        else {
                r = store_write(call->service->store, put_txn, &g);
                if (r == -ECANCELED)
                        service_problem(call, response, "conflict", "%s", g.conflict);
                else if (r < 0)
                        service_failure(call, response, r);
                else {
                        log_info("Group %s: changed by %s.", g.group.name, call->who);
                        service_json(response, 200, TAKE_PTR(g.object));
                }
        }

        json_decref(g.object);
        json_decref(body);
}
