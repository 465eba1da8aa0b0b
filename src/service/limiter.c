/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/limiter.h"

#include <pthread.h>

#include "base/clock.h"
#include "crypto/crypto.h"

enum { ROWS = 1024, PLACES_OF_ROW = 8, MINUTE_S = 60 };

struct place {
        uint64_t name;
        uint64_t end;
        unsigned count;
};

struct limiter {
        pthread_mutex_t lock;
        unsigned per_minute;
        uint64_t seed; /* so that nobody outside can choose who meets whom */
        struct place rows[ROWS][PLACES_OF_ROW];
};

int limiter_new(unsigned per_minute, struct limiter **ret) {
        _cleanup_(limiter_freep) struct limiter *limiter = calloc(1, sizeof(*limiter));
        int r;

        if (!limiter)
                return -ENOMEM;
        (void) pthread_mutex_init(&limiter->lock, NULL);
        limiter->per_minute = per_minute;
        r = random_bytes(&limiter->seed, sizeof(limiter->seed));
        if (r < 0)
                return r;

        *ret = TAKE_PTR(limiter);
        return 0;
}

struct limiter *limiter_free(struct limiter *limiter) {
        if (limiter)
                (void) pthread_mutex_destroy(&limiter->lock);
        free(limiter);
        return NULL;
}

static uint64_t hash(uint64_t value, const char *text) {
        for (; *text; text++)
                value = (value ^ (uint8_t) *text) * UINT64_C(0x100000001b3);
        value ^= value >> 29;
        return value * UINT64_C(0xbf58476d1ce4e5b9);
}

unsigned limiter_count(struct limiter *limiter, const char *kind, const char *name) {
        return limiter_count_to(limiter, kind, name, limiter->per_minute);
}

unsigned limiter_count_to(struct limiter *limiter, const char *kind, const char *name, unsigned per_minute) {
        return limiter_count_in(limiter, kind, name, per_minute, MINUTE_S);
}

/* The name's own, or one whose time is over; in a row that is full of others the one that came least often. */
static struct place *place_of(struct place row[static PLACES_OF_ROW], uint64_t name, uint64_t now, uint64_t window) {
        struct place *least = row;

        for (size_t i = 0; i < PLACES_OF_ROW; i++) {
                if (row[i].end <= now)
                        row[i].count = 0;
                else if (row[i].name == name)
                        return row + i;
                if (row[i].count < least->count)
                        least = row + i;
        }
        *least = (struct place){ .name = name, .end = now + window };
        return least;
}

unsigned limiter_count_in(struct limiter *limiter, const char *kind, const char *name, unsigned limit, unsigned seconds) {
        uint64_t h = hash(hash(limiter->seed, kind), name), now = clock_monotonic_ms();
        struct place *place;
        unsigned wait = 0;

        (void) pthread_mutex_lock(&limiter->lock);
        place = place_of(limiter->rows[(h >> 32) % ROWS], h, now, UINT64_C(1000) * seconds);
        if (place->count < limit)
                place->count++;
        else
                wait = (unsigned) ((place->end - now) / 1000 + 1);
        (void) pthread_mutex_unlock(&limiter->lock);

        return wait;
}
