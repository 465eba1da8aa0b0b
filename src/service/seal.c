/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "service/admit.h"

static void describe_mark(const struct generations *generations, const struct generation *item, struct wire_details *details) {
        size_t n = details->n_rotate;

        if (!item->rotate || n >= ELEMENTSOF(details->rotate) || (n > 0 && strcmp(details->rotate[n - 1].id, item->key) == 0))
                return;

        memcpy(details->rotate[n].id, item->key, sizeof(item->key));
        details->rotate[n].highest = generations_highest(generations, item->key);
        details->n_rotate++;
}

/* What goes with the halves; the same generations, in the same order. */
int release_describe(struct admission *a, struct store_txn *txn) {
        struct wire_details *details = &a->details;

        details->keys = calloc(a->generations.n + 1, sizeof(*details->keys));
        if (!details->keys)
                return -ENOMEM;

        for (size_t i = 0; i < a->generations.n; i++) {
                const struct generation *item = a->generations.items + i;
                struct wire_key *key = details->keys + details->n_keys;

                describe_mark(&a->generations, item, details);
                if (item->state == GENERATION_RETIRED)
                        continue;
                memcpy(key->id, item->key, sizeof(key->id));
                key->kind = item->kind;
                key->generation = item->generation;
                key->state = item->state;
                details->n_keys++;
        }

        return a->party->definition->describe(a->party, txn, &a->node, a->now, details);
}

int release_halves_add(struct halves *halves, const struct generation *what, struct secret *take) {
        struct half *items;

        items = realloc(halves->items, (halves->n + 1) * sizeof(*items));
        if (!items) {
                secret_free(take);
                return -ENOMEM;
        }

        halves->items = items;
        items[halves->n] = (struct half){
                .kind = what->kind,
                .state = what->state,
                .generation = what->generation,
                .half = take,
        };
        memcpy(items[halves->n++].key_id, what->key, sizeof(what->key));
        return 0;
}

json_t *release_detail(const struct admission *a) {
        json_t *detail = admit_detail(a), *keys = json_array();

        for (size_t i = 0; keys && i < a->details.n_keys; i++) {
                const struct wire_key *key = a->details.keys + i;

                (void) json_array_append_new(keys, json_pack("{s:s, s:I, s:s}", "id", key->id, "generation",
                                                             (json_int_t) key->generation, "state",
                                                             generation_state_to_string(key->state)));
        }
        if (!detail || !keys || json_object_set_new(detail, "keys", keys) < 0) {
                json_decref(detail);
                return NULL;
        }
        return detail;
}

static int new_context(struct admission *a, struct hpke **ret_hpke, uint8_t ret_enc[static POINT_SIZE]) {
        _cleanup_(blob_done) struct blob info = {}, psk_id = {};
        const char *party = party_to_string(a->scope.party);
        struct hpke_psk psk = {};
        int r;

        r = fields_encode(FIELDS(field_text("tallyboot half v1"), field_text(party), field_text(a->id),
                                 field_text(purpose_to_string(a->evidence.purpose))),
                          &info);
        if (r < 0)
                return r;
        if (a->evidence.purpose != PURPOSE_ENROLL || node_has_token(&a->node))
                return hpke_sender(a->evidence.nk, info.data, info.size, NULL, ret_enc, ret_hpke);

        r = fields_encode(FIELDS(field_text("tallyboot credential v1"), field_text(party), field_text(a->id)), &psk_id);
        if (r < 0)
                return r;
        psk = (struct hpke_psk){ a->credential->data, a->credential->size, psk_id.data, psk_id.size };
        return hpke_sender(a->evidence.nk, info.data, info.size, &psk, ret_enc, ret_hpke);
}

/* Halves first, then details, in one context, bound to the evidence by its digest. */
static int seal(struct admission *a, struct wire_sealed *sealed) {
        _cleanup_(hpke_freep) struct hpke *hpke = NULL;
        _cleanup_(secret_freep) struct secret *halves = NULL;
        _cleanup_(freep) char *details = NULL;
        int r;

        r = halves_encode(a->halves, &halves);
        if (r < 0)
                return r;
        details = wire_details_encode(&a->details);
        if (!details)
                return -ENOMEM;

        r = new_context(a, &hpke, sealed->enc);
        if (r < 0)
                return r;
        r = hpke_seal(hpke, a->attest_digest, sizeof(a->attest_digest), halves->data, halves->size, &sealed->halves);
        if (r < 0)
                return r;
        return hpke_seal(hpke, a->attest_digest, sizeof(a->attest_digest), details, strlen(details), &sealed->details);
}

int release_answer(struct admission *a, struct http_response *response) {
        _cleanup_(wire_sealed_done) struct wire_sealed sealed = {};
        int r;

        r = seal(a, &sealed);
        if (r == -EBADMSG) { /* the key that was quoted is no point of the curve */
                service_problem(a->call, response, "malformed", "The node's key is not a point of the curve.");
                return -ECANCELED;
        }
        if (r < 0)
                return r;

        service_text(response, 200, wire_sealed_encode(&sealed));
        return 0;
}
