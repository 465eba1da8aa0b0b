/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/admit.h"

/* The group said that a node's first boot becomes its policy with nobody looking. */
static int store_captured(struct admission *a, struct store_txn *txn) {
        _cleanup_(freep) char *text = NULL;
        json_t *detail;
        int r;

        text = policy_format(&a->policy);
        if (!text)
                return -ENOMEM;
        r = policy_store(txn, &a->group, text, "service");
        if (r < 0)
                return r;

        detail = json_pack("{s:s, s:s, s:I, s:s}", "group", a->group.name, "set", a->decision.captured, "version",
                           (json_int_t) a->group.policy_version, "meaning",
                           "the first boot was accepted unseen, as the group says");
        return party_audit(txn, a->call, "first-boot-accepted", a->id, detail);
}

/* Whatever is out of the ordinary in a release is in its record. */
static int record_release(struct admission *a, struct store_txn *txn) {
        const struct decision *decision = &a->decision;
        json_t *detail = release_detail(a);
        int r;

        r = detail ? json_object_set_new(detail, "set", decision->set[0] ? json_string(decision->set) : json_null()) : -1;
        r |= json_object_set_new(detail, "repeat", json_boolean(a->row.repeat));
        if (a->row.another_nk)
                r |= json_object_set_new(detail, "another_nk", json_true());
        if (decision->pardoned)
                r |= json_object_set_new(
                        detail, "next_boot",
                        json_pack("{s:O, s:O}", "differences", decision->differences, "rules", decision->findings));
        if (r < 0) {
                json_decref(detail);
                return -ENOMEM;
        }

        return party_audit(txn, a->call, "release", a->id, detail);
}

/* An operator's word on the next boot is used by the next boot, also where that one needed none. What it let pass is held, so
 * that it can be looked at and captured. */
static int use_next_boot(struct admission *a, struct store_txn *txn) {
        struct node *node = &a->node;
        const struct decision *decision = &a->decision;

        if (a->row.first)
                node->next_boot = 0;
        if (!decision->pardoned || a->row.repeat)
                return decision->pardoned ? 0 : held_delete(txn, a->id);

        node->pardoned = true;
        admit_hold(a, json_incref(decision->differences), json_incref(decision->findings));
        return admit_keep_held(a, txn, "next-boot");
}

/* 11. The answer is sealed already; without this transaction it does not leave. */
static int boot_txn(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0)
                return r;
        if (a->decision.pardoned && !decide_is_pardoned(a)) /* used up meanwhile */
                return -EAGAIN;

        r = admit_boot_row(a);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        if (a->decision.captured[0]) {
                r = store_captured(a, txn);
                if (r < 0)
                        return r;
        }

        a->node.seen = (int64_t) (a->now / 1000);
        a->node.has_refused = false;
        if (!a->decision.pardoned)
                memcpy(a->node.set, a->decision.set, sizeof(a->node.set));
        if ((r = use_next_boot(a, txn)) < 0 || (r = node_save(txn, &a->node, false)) < 0 || (r = logs_keep(a, txn)) < 0)
                return r;
        return record_release(a, txn);
}

static int load_halves(struct store_txn *txn, void *userdata) {
        struct admission *a = userdata;
        int r;

        if ((r = admit_recheck(a, txn)) < 0 || (r = generations_load(txn, a->id, &a->generations)) < 0)
                return r;
        r = generations_halves(a->party, txn, a->id, &a->generations, &a->halves);
        return r < 0 ? r : release_describe(a, txn);
}

/* A new boot of a TPM takes its time; a token's only sign of one is another NK, which costs nothing. */
static bool is_answered_boot(const struct admission *a) {
        if (node_has_token(&a->node))
                return true;
        return a->node.has_boot && a->node.has_nk && boot_counters_compare(a->verdict.boot, a->node.boot) == 0;
}

static void log_release(const struct admission *a) {
        char what[64] = "token's word";

        if (!node_has_token(&a->node))
                (void) snprintf(what, sizeof(what), "boot %u.%u", a->verdict.boot.reset, a->verdict.boot.restart);
        log_info("Node %s, incident %s: %s released, %zu halves%s%s%s.", a->id, a->call->request->incident, what, a->halves->n,
                 a->row.repeat ? ", again to the same key" : "", a->row.another_nk ? ", to another key within the window" : "",
                 a->decision.pardoned ? ", as an operator said of this boot" : "");
}

int release_boot(struct admission *a, struct http_response *response) {
        struct store *store = a->party->service->store;
        int r;

        r = decide(a, response);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_answer_refusal(a, response);
        if (is_answered_boot(a) && admit_rate(a, response) < 0)
                return 0;

        r = store_read(store, load_halves, a);
        if (r < 0)
                return r;
        r = release_answer(a, response);
        if (r < 0)
                return r;

        r = store_write(store, boot_txn, a);
        if (r < 0 || a->refusal.problem) {
                free(TAKE_PTR(response->body));
                response->status = 0;
        }
        r = admit_written(a, r, response);
        if (r >= 0)
                log_release(a);
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
        struct admission *a = userdata;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0)
                return r;
        if (a->decision.pardoned && !decide_is_pardoned(a))
                return -EAGAIN;
        if ((r = generations_load(txn, a->id, &a->generations)) < 0 || (r = admit_boot_row(a)) < 0)
                return r;

        if (!a->refusal.problem) {
                r = create_generation(a, txn);
                if (r < 0)
                        return r;
        }
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        a->node.pardoned = a->decision.pardoned;
        if ((r = node_save(txn, &a->node, true)) < 0 || (r = logs_keep(a, txn)) < 0)
                return r;
        return record_release(a, txn);
}

int release_rotate(struct admission *a, struct http_response *response) {
        int r;

        r = decide(a, response);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_answer_refusal(a, response);

        r = keys_warm(a->party, a->id, NULL);
        if (r >= 0)
                r = admit_write(a, rotate_txn, a, response);
        if (r < 0)
                return r;

        log_info("Node %s, incident %s: generation %u of key %s is staged.", a->id, a->call->request->incident,
                 a->rotate.generation, a->rotate.key);
        return release_answer(a, response);
}
