/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/state.h"

#include <string.h>

enum { FINDINGS_MAX = 32 };

void held_done(struct held *held) {
        json_decref(held->differences);
        json_decref(held->findings);
        *held = (struct held){};
}

struct held_row {
        struct held held;
        bool found;
};

static int on_held(const struct store_value *columns, size_t n, void *userdata) {
        struct held_row *row = userdata;
        struct held *held = &row->held;
        json_t *pcrs = NULL;
        char bank[16];
        int r;

        assert(n == 9);
        if ((r = column_text(columns + 0, held->reason, sizeof(held->reason))) < 0 ||
            (r = column_text(columns + 1, held->incident, sizeof(held->incident))) < 0 ||
            (r = column_text(columns + 3, bank, sizeof(bank))) < 0)
                return r;
        if (pcr_alg_from_string(bank, &held->bank) < 0 || columns[4].type != STORE_TEXT || columns[5].type != STORE_TEXT)
                return -EUCLEAN;

        pcrs = json_loads(columns[4].data, 0, NULL);
        held->differences = json_loads(columns[5].data, 0, NULL);
        r = !pcrs || !held->differences ? -EUCLEAN : json_object_size(pcrs) > 0 ? pcr_values_from_json(pcrs, &held->pcrs) : 0;
        json_decref(pcrs);
        if (r < 0)
                return -EUCLEAN;
        if (columns[8].type == STORE_TEXT) {
                held->findings = json_loads(columns[8].data, 0, NULL);
                if (!held->findings)
                        return -EUCLEAN;
        }

        held->time = column_int(columns + 2);
        held->boot.reset = (uint32_t) column_int(columns + 6);
        held->boot.restart = (uint32_t) column_int(columns + 7);
        row->found = true;
        return 0;
}

int held_load(struct store_txn *txn, const char *node, struct held *ret) {
        struct held_row row = {};
        int r;

        r = store_query(
                txn,
                "SELECT reason, incident, time, bank, pcrs, differences, boot_reset, boot_restart, findings FROM held WHERE node = $1",
                STORE_ARGS(store_text(node)), on_held, &row);
        if (r >= 0 && !row.found)
                r = -ENOENT;
        if (r < 0) {
                held_done(&row.held);
                return r;
        }

        *ret = row.held;
        return 0;
}

int held_store(struct store_txn *txn, const char *node, const struct held *held) {
        _cleanup_(freep) char *pcrs = NULL, *differences = NULL, *findings = NULL;
        json_t *values;
        int r;

        values = held->pcrs.n > 0 ? pcr_values_to_json(&held->pcrs) : json_object();
        pcrs = values ? json_dumps(values, JSON_COMPACT) : NULL;
        json_decref(values);
        differences = held->differences ? json_dumps(held->differences, JSON_COMPACT) : strdup("[]");
        findings = held->findings ? json_dumps(held->findings, JSON_COMPACT) : strdup("[]");
        if (!pcrs || !differences || !findings)
                return -ENOMEM;

        r = held_delete(txn, node);
        if (r < 0)
                return r;
        return store_exec(
                txn,
                "INSERT INTO held (node, reason, incident, time, bank, pcrs, differences, boot_reset, boot_restart, findings) VALUES "
                "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                STORE_ARGS(store_text(node), store_text(held->reason), store_text(held->incident), store_int(held->time),
                           store_text(pcr_alg_to_string(held->bank)), store_text(pcrs), store_text(differences),
                           store_int(held->boot.reset), store_int(held->boot.restart), store_text(findings)),
                NULL);
}

int held_delete(struct store_txn *txn, const char *node) {
        return store_exec(txn, "DELETE FROM held WHERE node = $1", STORE_ARGS(store_text(node)), NULL);
}

json_t *held_object(const struct held *held) {
        json_t *all, *values = NULL, *object;

        all = held->pcrs.n > 0 ? pcr_values_to_json(&held->pcrs) : NULL;
        if (all)
                values = json_incref(json_object_get(all, pcr_alg_to_string(held->bank)));
        json_decref(all);
        if (!values)
                values = json_object();

        object = json_pack("{s:s, s:s, s:I, s:s, s:o, s:O, s:{s:I, s:I}}", "reason", held->reason, "incident", held->incident,
                           "time", (json_int_t) held->time, "bank", pcr_alg_to_string(held->bank), "pcrs", values, "differences",
                           held->differences, "boot", "reset", (json_int_t) held->boot.reset, "restart",
                           (json_int_t) held->boot.restart);
        if (object && json_object_set_new(object, "rules", held->findings ? json_incref(held->findings) : json_array()) < 0) {
                json_decref(object);
                return NULL;
        }
        return object;
}

json_t *findings_object(const struct policy_decision *decision) {
        json_t *array = json_array();
        size_t n = 0;

        for (size_t i = 0; array && i < decision->n_findings && n < FINDINGS_MAX; i++) {
                const struct policy_finding *finding = decision->findings + i;

                if (finding->passed)
                        continue;
                n++;
                if (json_array_append_new(array, json_pack("{s:s, s:I, s:s}", "rule", finding->rule, "line",
                                                           (json_int_t) finding->line, "why", finding->why)) < 0) {
                        json_decref(array);
                        return NULL;
                }
        }

        return array;
}

json_t *differences_object(const struct policy_decision *decision) {
        json_t *array = json_array();

        /* What an operator looks at; sets that are far away are many. */
        for (size_t i = 0; array && i < MIN(decision->n, (size_t) 64); i++) {
                const struct policy_difference *difference = decision->differences + i;
                json_t *item = json_pack("{s:s, s:i, s:s, s:s}", "set", difference->set, "pcr", (int) difference->pcr, "expected",
                                         difference->expected, "got", difference->got);

                if (json_array_append_new(array, item) < 0) {
                        json_decref(array);
                        return NULL;
                }
        }

        return array;
}
