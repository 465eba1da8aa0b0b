/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/admit.h"

struct boot {
        struct admission *a;
        bool repeat;
        const char *set;   /* of the policy, that matched */
        char captured[64]; /* a new set's name: the first boot is accepted unseen */
};

/* Not allowed: held for an operator, who sees what differs. */
static int refuse(struct admission *a, const struct policy_decision *decision) {
        json_t *differences;
        int r;

        if (policy_allows_nothing(&a->policy) || a->node.boots == 0)
                r = admit_refuse(a, "pending-policy", "No policy allows this boot yet; an operator can look at it.");
        else
                r = admit_refuse(a, "policy-refused", "The policy does not allow this boot.");
        if (r < 0)
                return r;

        differences = differences_object(decision);
        if (!differences)
                return -ENOMEM;
        admit_hold(a, differences);
        return json_object_set(a->refusal.detail, "differences", differences) < 0 ? -ENOMEM : 0;
}

/* A node's first boot, in a group that accepts it unseen: a set of its values joins the policy. Values that no policy can have, or one
 * set too many, are refused like any boot that does not match. */
static bool captures_unseen(struct boot *boot) {
        struct admission *a = boot->a;
        int r;

        if (!a->group.accept_first_boot || a->node.boots > 0 || a->evidence.purpose != PURPOSE_BOOT)
                return false;

        (void) snprintf(boot->captured, sizeof(boot->captured), "first-boot-%.12s", a->id);
        r = policy_capture(&a->policy, boot->captured, &a->evidence.pcrs, a->node.bank, a->group.gate);
        if (r == -EEXIST) { /* the same machine, enrolled again */
                (void) snprintf(boot->captured, sizeof(boot->captured), "first-boot-%.12s-%llu", a->id,
                                (unsigned long long) a->now);
                r = policy_capture(&a->policy, boot->captured, &a->evidence.pcrs, a->node.bank, a->group.gate);
        }
        if (r < 0)
                boot->captured[0] = '\0';
        return r >= 0;
}

/* 10: the node's state, the group's policy. Sets a->refusal, or not. */
static int decide(struct boot *boot) {
        struct admission *a = boot->a;
        const struct policy_input input = {
                .pcrs = &a->evidence.pcrs,
                .bank = a->node.bank,
                .address = a->call->request->peer.address,
        };
        struct policy_decision decision = {};
        int r;

        r = admit_require_state(a);
        if (r < 0 || a->refusal.problem)
                return r;

        r = policy_decide(&a->policy, &input, &decision);
        if (r < 0)
                return r;

        boot->set = decision.set;
        if (!decision.allowed && !(decision.rules_hold && captures_unseen(boot)))
                r = refuse(a, &decision);
        policy_decision_done(&decision);
        return r;
}

/* The group said that a node's first boot becomes its policy with nobody looking. */
static int store_captured(struct boot *boot, struct store_txn *txn) {
        struct admission *a = boot->a;
        _cleanup_(freep) char *text = NULL;
        json_t *detail;
        int r;

        text = policy_format(&a->policy);
        if (!text)
                return -ENOMEM;
        r = policy_store(txn, &a->group, text, "service");
        if (r < 0)
                return r;

        detail = json_pack("{s:s, s:s, s:I, s:s}", "group", a->group.name, "set", boot->captured, "version",
                           (json_int_t) a->group.policy_version, "meaning",
                           "the first boot was accepted unseen, as the group says");
        return party_audit(txn, a->call, "first-boot-accepted", a->id, detail);
}

static int record_release(struct boot *boot, struct store_txn *txn) {
        struct admission *a = boot->a;
        json_t *detail = release_detail(a);
        const char *set = boot->captured[0] ? boot->captured : boot->set;

        if (!detail || json_object_set_new(detail, "set", set ? json_string(set) : json_null()) < 0 ||
            json_object_set_new(detail, "repeat", json_boolean(boot->repeat)) < 0) {
                json_decref(detail);
                return -ENOMEM;
        }

        return party_audit(txn, a->call, "release", a->id, detail);
}

/* 11. The answer is sealed already; without this transaction it does not leave. */
static int boot_txn(struct store_txn *txn, void *userdata) {
        struct boot *boot = userdata;
        struct admission *a = boot->a;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0)
                return r;

        r = admit_boot_row(a, &boot->repeat);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        if (boot->captured[0]) {
                r = store_captured(boot, txn);
                if (r < 0)
                        return r;
        }

        a->node.seen = (int64_t) (a->now / 1000);
        a->node.has_refused = false;
        if ((r = node_save(txn, &a->node, false)) < 0 || (r = held_delete(txn, a->id)) < 0)
                return r;
        return record_release(boot, txn);
}

static int load_halves(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        if ((r = admit_recheck(a, txn)) < 0 || (r = generations_load(txn, a->id, &a->generations)) < 0)
                return r;
        r = generations_halves(a->party, txn, a->id, &a->generations, &a->halves);
        return r < 0 ? r : release_describe(a, txn);
}

static bool is_repeat(const struct admission *a) {
        return a->node.has_boot && a->node.has_nk && boot_counters_compare(a->verdict.boot, a->node.boot) == 0 &&
               memcmp(a->node.nk, a->nk_digest, sizeof(a->nk_digest)) == 0;
}

int release_boot(struct admission *a, struct http_response *response) {
        struct boot boot = { .a = a };
        struct store *store = a->party->service->store;
        int r;

        r = decide(&boot);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_answer_refusal(a, response);
        if (is_repeat(a) && admit_rate(a, response) < 0)
                return 0;

        r = store_read(store, load_halves, a);
        if (r < 0)
                return r;
        r = release_answer(a, response);
        if (r < 0)
                return r;

        r = store_write(store, boot_txn, &boot);
        if (r < 0 || a->refusal.problem) {
                free(TAKE_PTR(response->body));
                response->status = 0;
        }
        r = admit_written(a, r, response);
        if (r >= 0)
                log_info("Node %s, incident %s: boot %u.%u released, %zu halves%s.", a->id, a->call->request->incident,
                         a->verdict.boot.reset, a->verdict.boot.restart, a->halves->n,
                         boot.repeat ? ", again to the same key" : "");
        return r;
}

/* 1 + the highest that either party ever used; the other party's can be ahead of ours by the tries whose answer was lost. */
static int check_rotation(struct admission *a, const struct generation **ret_existing, struct generation *what) {
        const struct wire_rotate_body *body = &a->rotate;
        uint32_t highest = generations_highest(&a->generations, body->key);
        const struct generation *newest = generations_find(&a->generations, body->key, highest);
        size_t n = 0;

        *ret_existing = NULL;
        if (!newest || newest->dealt || !newest->rotate)
                return admit_refuse(a, "conflict", "This key is not to be rotated.");

        *what = (struct generation){ .kind = newest->kind, .generation = body->generation, .state = GENERATION_STAGED };
        memcpy(what->key, newest->key, sizeof(what->key));
        if (body->generation == highest && newest->state == GENERATION_STAGED) {
                *ret_existing = newest;
                return 0;
        }

        for (size_t i = 0; i < a->generations.n; i++)
                n += a->generations.items[i].state != GENERATION_RETIRED && strcmp(a->generations.items[i].key, body->key) == 0;
        if (body->generation <= highest || body->generation - highest > ROTATE_AHEAD_MAX || n >= GENERATIONS_MAX)
                return admit_refuse(a, "conflict", "This is not the next generation of the key.");
        return 0;
}

static int create_generation(struct admission *a, struct store_txn *txn) {
        const struct generation *existing;
        struct secret *half = NULL;
        struct generation what;
        int r;

        r = check_rotation(a, &existing, &what);
        if (r < 0 || a->refusal.problem)
                return r;

        r = existing ? generation_half(a->party, txn, a->id, existing, &half)
                     : generation_create(a->party, txn, &a->node, &what, NULL, &half);
        if (r == -E2BIG)
                return admit_refuse(a, "conflict", "This node has too many keys.");
        if (r < 0)
                return r;

        a->halves = calloc(1, sizeof(*a->halves));
        a->details.keys = calloc(1, sizeof(*a->details.keys));
        if (!a->halves || !a->details.keys) {
                secret_free(half);
                return -ENOMEM;
        }
        a->details.n_keys = 1;
        memcpy(a->details.keys[0].id, what.key, sizeof(what.key));
        a->details.keys[0].kind = what.kind;
        a->details.keys[0].generation = what.generation;
        a->details.keys[0].state = what.state;
        return release_halves_add(a->halves, &what, half);
}

static int rotate_txn(struct store_txn *txn, void *userdata) {
        struct boot *boot = userdata;
        struct admission *a = boot->a;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0 ||
            (r = generations_load(txn, a->id, &a->generations)) < 0 || (r = admit_boot_row(a, &boot->repeat)) < 0)
                return r;

        if (!a->refusal.problem) {
                r = create_generation(a, txn);
                if (r < 0)
                        return r;
        }
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        r = node_save(txn, &a->node, true);
        return r < 0 ? r : record_release(boot, txn);
}

int release_rotate(struct admission *a, struct http_response *response) {
        struct boot boot = { .a = a };
        int r;

        r = decide(&boot);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_answer_refusal(a, response);
        if (admit_rate(a, response) < 0)
                return 0;

        r = store_write(a->party->service->store, rotate_txn, &boot);
        r = admit_written(a, r, response);
        if (r < 0)
                return r;

        log_info("Node %s, incident %s: generation %u of key %s is staged.", a->id, a->call->request->incident,
                 a->rotate.generation, a->rotate.key);
        return release_answer(a, response);
}
