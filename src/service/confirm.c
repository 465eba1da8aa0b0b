/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/log.h"
#include "service/admit.h"

struct confirmation {
        struct admission *a;
        struct wire_confirmed answer;
};

static bool is_complete(const struct wire_confirm_body *body, enum key_kind kind) {
        return kind == KEY_VOLUMES ? body->manifest.size > 0 : body->has_payload_public;
}

/* The same again, after an answer that was lost: nothing may differ. */
static int confirm_again(struct admission *a, struct store_txn *txn, const struct generation *what) {
        const struct wire_confirm_body *body = &a->confirm;
        int r;

        if (what->kind == KEY_PAYLOAD &&
            (!what->has_public || memcmp(what->public, body->payload_public, sizeof(what->public)) != 0))
                return admit_refuse(a, "conflict", "This generation was confirmed with another key.");

        r = a->party->definition->same(txn, a->id, what->kind, body);
        if (r == -EEXIST)
                return admit_refuse(a, "conflict", "This generation was confirmed with another manifest.");
        return r;
}

static int confirm_staged(struct admission *a, struct store_txn *txn, struct generation what) {
        const struct wire_confirm_body *body = &a->confirm;
        int r;

        what.has_public = body->has_payload_public;
        memcpy(what.public, body->payload_public, sizeof(what.public));
        if ((r = generation_set_live(txn, a->id, &what)) < 0 || (r = key_mark(txn, a->id, what.key, false)) < 0)
                return r;
        return a->party->definition->keep(txn, a->id, what.kind, body);
}

static int confirm_first(struct admission *a, struct store_txn *txn, const struct generation *what) {
        if (!is_complete(&a->confirm, what->kind))
                return admit_refuse(a, "malformed",
                                    what->kind == KEY_VOLUMES ? "A manifest is missing." : "The payload key is missing.");
        if (what->state == GENERATION_LIVE)
                return confirm_again(a, txn, what);
        if (what->state == GENERATION_STAGED)
                return confirm_staged(a, txn, *what);
        return admit_refuse(a, "conflict", "This generation was retired.");
}

/* A later boot opened with this generation: the older ones are not needed any more. */
static int confirm_opened(struct confirmation *confirmation, struct store_txn *txn, const struct generation *what) {
        struct admission *a = confirmation->a;
        struct wire_confirmed *answer = &confirmation->answer;
        int r;

        if (what->state != GENERATION_LIVE)
                return admit_refuse(a, "conflict", "This generation is not live.");
        if (a->party->definition->may_retire) {
                r = a->party->definition->may_retire(txn, a->id, &a->confirm);
                if (r == -EBUSY)
                        return admit_refuse(a, "conflict", "The payload is not sealed to this generation yet.");
                if (r < 0)
                        return r;
        }

        r = generations_retire_before(a->party, txn, a->id, what->key, what->generation);
        if (r < 0)
                return r;

        for (size_t i = 0; i < a->generations.n; i++) {
                const struct generation *item = a->generations.items + i;

                if (strcmp(item->key, what->key) == 0 && item->generation < what->generation &&
                    answer->n_retired < ELEMENTSOF(answer->retired))
                        answer->retired[answer->n_retired++] = item->generation;
        }
        return 0;
}

static json_t *confirm_detail(const struct confirmation *confirmation) {
        const struct admission *a = confirmation->a;
        json_t *detail = admit_detail(a), *retired = json_array();

        for (size_t i = 0; i < confirmation->answer.n_retired; i++)
                (void) json_array_append_new(retired, json_integer(confirmation->answer.retired[i]));
        (void) json_object_set_new(detail, "key", json_string(a->confirm.key));
        (void) json_object_set_new(detail, "generation", json_integer(a->confirm.generation));
        (void) json_object_set_new(detail, "opened", json_boolean(a->confirm.opened));
        if (json_object_set_new(detail, "retired", retired) < 0) {
                json_decref(detail);
                return NULL;
        }
        return detail;
}

static int confirm_txn(struct store_txn *txn, void *userdata) {
        struct confirmation *confirmation = userdata;
        struct admission *a = confirmation->a;
        const struct generation *what;
        int r;

        if ((r = admit_use_nonce(a, txn)) < 0 || (r = admit_recheck(a, txn)) < 0 ||
            (r = generations_load(txn, a->id, &a->generations)) < 0)
                return r;

        what = generations_find(&a->generations, a->confirm.key, a->confirm.generation);
        if (!what || what->dealt)
                r = admit_refuse(a, "conflict", "There is no such generation to confirm.");
        else
                r = a->confirm.opened ? confirm_opened(confirmation, txn, what) : confirm_first(a, txn, what);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_record_refusal(a, txn);

        r = node_save(txn, &a->node, true);
        return r < 0 ? r : party_audit(txn, a->call, "confirm", a->id, confirm_detail(confirmation));
}

int release_confirm(struct admission *a, struct http_response *response) {
        struct confirmation confirmation = { .a = a };
        int r;

        r = admit_require_state(a);
        if (r < 0)
                return r;
        if (a->refusal.problem)
                return admit_answer_refusal(a, response);

        r = admit_write(a, confirm_txn, &confirmation, response);
        if (r < 0)
                return r;

        log_info("Node %s, incident %s: generation %u of key %s is confirmed%s.", a->id, a->call->request->incident,
                 a->confirm.generation, a->confirm.key, a->confirm.opened ? ", the older ones are destroyed" : "");
        service_text(response, 200, wire_confirmed_encode(&confirmation.answer));
        return 0;
}
