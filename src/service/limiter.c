/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/limiter.h"

#include <pthread.h>

#include "base/clock.h"
#include "crypto/crypto.h"

enum { PLACES = 8192, MINUTE_S = 60 };

struct place {
        uint64_t name;
        uint64_t began;
        unsigned count;
};

struct limiter {
        pthread_mutex_t lock;
        unsigned per_minute;
        uint64_t seed; /* so that nobody outside can choose who meets whom */
        struct place places[PLACES];
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

unsigned limiter_count_in(struct limiter *limiter, const char *kind, const char *name, unsigned limit, unsigned seconds) {
        uint64_t h = hash(hash(limiter->seed, kind), name), now = clock_monotonic_ms(), window = UINT64_C(1000) * seconds;
        struct place *place = limiter->places + (h >> 32) % PLACES;
        unsigned wait = 0;

        (void) pthread_mutex_lock(&limiter->lock);
        if (place->name != h || now - place->began >= window)
                *place = (struct place){ .name = h, .began = now };
        if (place->count < limit)
                place->count++;
        else
                wait = (unsigned) ((window - (now - place->began)) / 1000 + 1);
        (void) pthread_mutex_unlock(&limiter->lock);

        return wait;
}
