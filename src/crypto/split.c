/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/split.h"

#include <string.h>

#include "base/encode.h"

enum { HALVES_MAX = 64, PLAIN_HEADER = 6, PLAIN_HALF = KEY_ID_SIZE + 1 + 1 + 4 + HALF_SIZE };
static const uint8_t MAGIC[4] = { 'T', 'B', 'H', '1' };

void halves_free(struct halves *halves) {
        if (!halves)
                return;

        for (size_t i = 0; i < halves->n; i++)
                secret_free(halves->items[i].half);
        free(halves->items);
        free(halves);
}

/* Live and staged generations from 1 on, each once, a key of one kind: the same whether we say it or hear it. */
static bool half_fits(const struct half *half, const struct half *before, size_t n) {
        if (half->generation == 0 || (half->kind != KEY_VOLUMES && half->kind != KEY_PAYLOAD) ||
            (half->state != GENERATION_STAGED && half->state != GENERATION_LIVE))
                return false;

        for (size_t i = 0; i < n; i++)
                if (strcmp(before[i].key_id, half->key_id) == 0 &&
                    (before[i].generation == half->generation || before[i].kind != half->kind))
                        return false;

        return true;
}

static int half_encode(const struct half *half, uint8_t ret[static PLAIN_HALF]) {
        if (half->half->size != HALF_SIZE || hex_decode(half->key_id, ret, KEY_ID_SIZE) < 0 || !key_id_is_valid(half->key_id))
                return -EBADMSG;

        ret += KEY_ID_SIZE;
        *ret++ = (uint8_t) half->kind;
        *ret++ = (uint8_t) half->state;
        for (unsigned i = 0; i < 4; i++)
                *ret++ = (uint8_t) (half->generation >> (24 - 8 * i));
        memcpy(ret, half->half->data, HALF_SIZE);
        return 0;
}

int halves_encode(const struct halves *halves, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        int r;

        if (halves->n > HALVES_MAX)
                return -EBADMSG;
        r = secret_new(PLAIN_HEADER + halves->n * PLAIN_HALF, &plain);
        if (r < 0)
                return r;

        memcpy(plain->data, MAGIC, sizeof(MAGIC));
        plain->data[4] = 0;
        plain->data[5] = (uint8_t) halves->n;
        for (size_t i = 0; i < halves->n; i++) {
                if (!half_fits(halves->items + i, halves->items, i))
                        return -EBADMSG;
                r = half_encode(halves->items + i, plain->data + PLAIN_HEADER + i * PLAIN_HALF);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(plain);
        return 0;
}

static int half_decode(struct reader *reader, struct half *half) {
        const uint8_t *id, *bytes;
        uint8_t kind, state;
        int r;

        if (reader_bytes(reader, KEY_ID_SIZE, &id) < 0 || reader_u8(reader, &kind) < 0 || reader_u8(reader, &state) < 0 ||
            reader_be32(reader, &half->generation) < 0 || reader_bytes(reader, HALF_SIZE, &bytes) < 0)
                return -EBADMSG;

        hex_write(id, KEY_ID_SIZE, half->key_id);
        half->kind = (enum key_kind) kind;
        half->state = (enum generation_state) state;
        r = secret_copy(bytes, HALF_SIZE, &half->half);
        return r;
}

int halves_decode(const struct secret *plain, struct halves **ret) {
        struct reader reader = { .data = plain->data, .left = plain->size };
        _cleanup_(halves_freep) struct halves *halves = NULL;
        const uint8_t *magic;
        uint16_t n;
        int r;

        if (reader_bytes(&reader, sizeof(MAGIC), &magic) < 0 || memcmp(magic, MAGIC, sizeof(MAGIC)) != 0 ||
            reader_be16(&reader, &n) < 0 || n > HALVES_MAX || reader.left != (size_t) n * PLAIN_HALF)
                return -EBADMSG;

        halves = calloc(1, sizeof(*halves));
        if (!halves)
                return -ENOMEM;
        halves->items = calloc(MAX(n, (uint16_t) 1), sizeof(*halves->items));
        if (!halves->items)
                return -ENOMEM;

        for (; halves->n < n; halves->n++) {
                r = half_decode(&reader, halves->items + halves->n);
                if (r < 0)
                        return r;
                if (!half_fits(halves->items + halves->n, halves->items, halves->n)) {
                        halves->n++; /* so that this one is wiped too */
                        return -EBADMSG;
                }
        }

        *ret = TAKE_PTR(halves);
        return 0;
}

const struct half *halves_find(const struct halves *halves, const char *key_id, uint32_t generation) {
        for (size_t i = 0; i < halves->n; i++)
                if (halves->items[i].generation == generation && strcmp(halves->items[i].key_id, key_id) == 0)
                        return halves->items + i;

        return NULL;
}

int split_other(const struct secret *k_b, const struct secret *u, struct secret **ret) {
        struct secret *v;
        int r;

        if (k_b->size != HALF_SIZE || u->size != HALF_SIZE)
                return -EINVAL;

        r = secret_new(HALF_SIZE, &v);
        if (r < 0)
                return r;
        for (size_t i = 0; i < HALF_SIZE; i++)
                v->data[i] = k_b->data[i] ^ u->data[i];

        *ret = v;
        return 0;
}

int split_join(const struct half *u, const struct half *v, struct secret **ret) {
        if (u->kind != v->kind || u->generation != v->generation || strcmp(u->key_id, v->key_id) != 0)
                return -EINVAL;

        return split_other(u->half, v->half, ret);
}
