/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/counts.h"

void generations_done(struct generations *generations) {
        free(generations->items);
        *generations = (struct generations){};
}

static int on_generation(const struct store_value *columns, size_t n, void *userdata) {
        struct generations *generations = userdata;
        struct generation generation = {}, *items;
        int r;

        assert(n == 10);
        r = column_text(columns + 0, generation.key, sizeof(generation.key));
        if (r < 0)
                return r;
        generation.kind = (enum key_kind) column_int(columns + 1);
        generation.dealt = column_int(columns + 2) != 0;
        generation.rotate = column_int(columns + 3) != 0;
        generation.generation = (uint32_t) column_int(columns + 4);
        generation.state = (enum generation_state) column_int(columns + 5);
        generation.handle = column_int(columns + 6);
        generation.created = column_int(columns + 8);
        r = column_fixed(columns + 7, generation.public, sizeof(generation.public));
        if (r < 0 && r != -ENODATA)
                return r;
        generation.has_public = r == 0;
        r = column_fixed(columns + 9, generation.nk, sizeof(generation.nk));
        if (r < 0 && r != -ENODATA)
                return r;
        generation.has_nk = r == 0;

        items = realloc(generations->items, (generations->n + 1) * sizeof(*items));
        if (!items)
                return -ENOMEM;
        items[generations->n++] = generation;
        generations->items = items;
        return 0;
}

int generations_load(struct store_txn *txn, const char *node, struct generations *ret) {
        struct generations generations = {};
        int r;

        r = store_query(
                txn,
                "SELECT k.id, k.kind, k.dealt, k.rotate, g.generation, g.state, g.handle, g.public, g.created, g.nk FROM keys k JOIN "
                "generations g ON g.node = k.node AND g.key = k.id WHERE k.node = $1 ORDER BY k.id, g.generation",
                STORE_ARGS(store_text(node)), on_generation, &generations);
        if (r < 0) {
                generations_done(&generations);
                return r;
        }

        *ret = generations;
        return 0;
}

const struct generation *generations_find(const struct generations *generations, const char *key, uint32_t generation) {
        for (size_t i = 0; i < generations->n; i++)
                if (generations->items[i].generation == generation && strcmp(generations->items[i].key, key) == 0)
                        return generations->items + i;

        return NULL;
}

uint32_t generations_highest(const struct generations *generations, const char *key) {
        uint32_t highest = 0;

        for (size_t i = 0; i < generations->n; i++)
                if (strcmp(generations->items[i].key, key) == 0)
                        highest = MAX(highest, generations->items[i].generation);

        return highest;
}

int generation_half(struct party_service *party, struct store_txn *txn, const char *node, const struct generation *generation,
                    struct secret **ret) {
        _cleanup_(secret_freep) struct secret *half = NULL;
        int r;

        r = keystore_unwrap(party->service->keystore, txn, generation->handle,
                            KEYSTORE_HALF_CONTEXT(node, generation->key, generation->generation), &half);
        if (r < 0) {
                if (counts_are_few(party->service->counts, r == -EKEYREJECTED ? "half-rejected" : "half-unavailable"))
                        log_warning("Half of node %s, key %s, generation %u, does not open: %s", node, generation->key,
                                    generation->generation, keystore_error());
                return r;
        }
        if (half->size != HALF_SIZE)
                return -EUCLEAN;

        *ret = TAKE_PTR(half);
        return 0;
}

struct warming {
        const char *node, *group;
        char groups[2][sizeof(((struct node *) NULL)->group)];
};

static int warm_read(struct store_txn *txn, void *userdata) {
        struct warming *warming = userdata;
        _cleanup_(node_done) struct node node = {};
        struct group group;
        int r;

        r = node_load(txn, warming->node, &node);
        if (r >= 0)
                memcpy(warming->groups[0], node.group, sizeof(node.group));
        if (warming->group && group_load(txn, warming->group, &group) >= 0)
                memcpy(warming->groups[1], group.name, sizeof(group.name));
        return 0;
}

int keys_warm(struct party_service *party, const char *node, const char *group) {
        struct warming warming = { .node = node, .group = group };
        int r;

        r = store_read(party->service->store, warm_read, &warming);
        for (size_t i = 0; i < ELEMENTSOF(warming.groups) && r >= 0; i++)
                if (warming.groups[i][0] && (i == 0 || strcmp(warming.groups[0], warming.groups[1]) != 0))
                        r = keystore_warm(party->service->keystore, warming.groups[i], WIRE_KEYS_MAX);
        return r;
}

int generations_halves(struct party_service *party, struct store_txn *txn, const char *node,
                       const struct generations *generations, struct halves **ret) {
        _cleanup_(halves_freep) struct halves *halves = NULL;
        int r;

        halves = calloc(1, sizeof(*halves));
        if (!halves)
                return -ENOMEM;
        halves->items = calloc(generations->n + 1, sizeof(*halves->items));
        if (!halves->items)
                return -ENOMEM;

        for (size_t i = 0; i < generations->n; i++) {
                const struct generation *generation = generations->items + i;
                struct half *half = halves->items + halves->n;

                if (generation->state == GENERATION_RETIRED)
                        continue;
                r = generation_half(party, txn, node, generation, &half->half);
                if (r < 0)
                        return r;
                memcpy(half->key_id, generation->key, sizeof(half->key_id));
                half->kind = generation->kind;
                half->state = generation->state;
                half->generation = generation->generation;
                halves->n++;
        }

        *ret = TAKE_PTR(halves);
        return 0;
}

int generation_create(struct party_service *party, struct store_txn *txn, const struct node *node, const struct generation *what,
                      const struct secret *half, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *made = NULL;
        int64_t handle, n;
        int r;

        r = query_int(txn, "SELECT COUNT(*) FROM generations WHERE node = $1 AND state <> $2",
                      STORE_ARGS(store_text(node->id), store_int(GENERATION_RETIRED)), &n);
        if (r < 0)
                return r;
        if (n >= WIRE_KEYS_MAX)
                return -E2BIG;

        r = half ? secret_copy(half->data, half->size, &made) : secret_random(HALF_SIZE, &made);
        if (r < 0)
                return r;

        r = keystore_wrap(party->service->keystore, txn, node->group,
                          KEYSTORE_HALF_CONTEXT(node->id, what->key, what->generation), made, &handle);
        if (r < 0)
                return r;

        r = store_exec(txn, "INSERT INTO keys (node, id, kind, dealt, rotate) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING",
                       STORE_ARGS(store_text(node->id), store_text(what->key), store_int(what->kind), store_int(what->dealt)),
                       NULL);
        if (r < 0)
                return r;

        r = store_exec(
                txn,
                "INSERT INTO generations (node, key, generation, state, handle, public, created, nk) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                STORE_ARGS(store_text(node->id), store_text(what->key), store_int(what->generation), store_int(what->state),
                           store_int(handle), what->has_public ? store_blob(what->public, sizeof(what->public)) : store_null(),
                           store_int((int64_t) clock_realtime_ms() / 1000),
                           what->has_nk ? store_blob(what->nk, sizeof(what->nk)) : store_null()),
                NULL);
        if (r < 0)
                return r;

        if (ret)
                *ret = TAKE_PTR(made);
        return 0;
}

int generation_set_live(struct store_txn *txn, const char *node, const struct generation *what) {
        return store_exec(txn, "UPDATE generations SET state = $1, public = $2 WHERE node = $3 AND key = $4 AND generation = $5",
                          STORE_ARGS(store_int(GENERATION_LIVE),
                                     what->has_public ? store_blob(what->public, sizeof(what->public)) : store_null(),
                                     store_text(node), store_text(what->key), store_int(what->generation)),
                          NULL);
}

int generation_retire(struct party_service *party, struct store_txn *txn, const char *node, const struct generation *what) {
        int r;

        if (what->handle > 0) {
                r = keystore_destroy(party->service->keystore, txn, what->handle);
                if (r < 0)
                        return r;
        }

        return store_exec(
                txn, "UPDATE generations SET state = $1, handle = 0 WHERE node = $2 AND key = $3 AND generation = $4",
                STORE_ARGS(store_int(GENERATION_RETIRED), store_text(node), store_text(what->key), store_int(what->generation)),
                NULL);
}

int generations_retire_before(struct party_service *party, struct store_txn *txn, const char *node, const char *key,
                              uint32_t generation) {
        _cleanup_(generations_done) struct generations generations = {};
        int r;

        r = generations_load(txn, node, &generations);
        if (r < 0)
                return r;

        for (size_t i = 0; i < generations.n; i++) {
                const struct generation *item = generations.items + i;

                if (strcmp(item->key, key) != 0 || item->generation >= generation || item->state == GENERATION_RETIRED)
                        continue;
                r = generation_retire(party, txn, node, item);
                if (r < 0)
                        return r;
        }

        return 0;
}

int key_delete(struct party_service *party, struct store_txn *txn, const char *node, const char *key) {
        int r;

        r = generations_retire_before(party, txn, node, key, UINT32_MAX);
        if (r < 0)
                return r;

        r = store_exec(txn, "DELETE FROM generations WHERE node = $1 AND key = $2", STORE_ARGS(store_text(node), store_text(key)),
                       NULL);
        if (r < 0)
                return r;
        return store_exec(txn, "DELETE FROM keys WHERE node = $1 AND id = $2", STORE_ARGS(store_text(node), store_text(key)),
                          NULL);
}

int key_mark(struct store_txn *txn, const char *node, const char *key, bool rotate) {
        return store_exec(txn, "UPDATE keys SET rotate = $1 WHERE node = $2 AND id = $3",
                          STORE_ARGS(store_int(rotate), store_text(node), store_text(key)), NULL);
}

int generations_rewrap(struct party_service *party, struct store_txn *txn, const char *node, const char *group) {
        _cleanup_(generations_done) struct generations generations = {};
        int64_t handle;
        int r;

        r = generations_load(txn, node, &generations);
        if (r < 0)
                return r;

        for (size_t i = 0; i < generations.n; i++) {
                const struct generation *item = generations.items + i;

                if (item->state == GENERATION_RETIRED)
                        continue;
                r = keystore_move(party->service->keystore, txn, item->handle, group,
                                  KEYSTORE_HALF_CONTEXT(node, item->key, item->generation), &handle);
                if (r < 0)
                        return r;
                r = store_exec(
                        txn, "UPDATE generations SET handle = $1 WHERE node = $2 AND key = $3 AND generation = $4",
                        STORE_ARGS(store_int(handle), store_text(node), store_text(item->key), store_int(item->generation)),
                        NULL);
                if (r < 0)
                        return r;
        }

        return 0;
}
