/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/policy-cache.h"

#include <pthread.h>
#include <string.h>

enum { PLACES = 16 };

struct policy_ref {
        unsigned refs; /* __atomic */
        char group[65];
        int64_t version;
        uint64_t used;
        struct policy policy;
};

struct policy_cache {
        pthread_mutex_t lock;
        uint64_t clock;
        struct policy_ref *places[PLACES];
};

int policy_cache_new(struct policy_cache **ret) {
        struct policy_cache *cache = calloc(1, sizeof(*cache));

        if (!cache)
                return -ENOMEM;
        (void) pthread_mutex_init(&cache->lock, NULL);
        *ret = cache;
        return 0;
}

struct policy_cache *policy_cache_free(struct policy_cache *cache) {
        if (!cache)
                return NULL;
        for (size_t i = 0; i < PLACES; i++)
                policy_unref(cache->places[i]);
        (void) pthread_mutex_destroy(&cache->lock);
        free(cache);
        return NULL;
}

const struct policy *policy_ref_get(const struct policy_ref *ref) {
        return ref ? &ref->policy : NULL;
}

static struct policy_ref *policy_take(struct policy_ref *ref) {
        (void) __atomic_add_fetch(&ref->refs, 1, __ATOMIC_RELAXED);
        return ref;
}

struct policy_ref *policy_unref(struct policy_ref *ref) {
        if (ref && __atomic_sub_fetch(&ref->refs, 1, __ATOMIC_ACQ_REL) == 0) {
                policy_done(&ref->policy);
                free(ref);
        }
        return NULL;
}

static struct policy_ref *find(struct policy_cache *cache, const struct group *group) {
        struct policy_ref *found = NULL;

        (void) pthread_mutex_lock(&cache->lock);
        for (size_t i = 0; i < PLACES && !found; i++) {
                struct policy_ref *ref = cache->places[i];

                if (ref && ref->version == group->policy_version && strcmp(ref->group, group->name) == 0) {
                        ref->used = ++cache->clock;
                        found = policy_take(ref);
                }
        }
        (void) pthread_mutex_unlock(&cache->lock);
        return found;
}

/* In place of an older version of the same group, or of the one that was not used for longest. */
static void keep(struct policy_cache *cache, struct policy_ref *ref) {
        struct policy_ref **place, *old;

        (void) pthread_mutex_lock(&cache->lock);
        place = cache->places;
        for (size_t i = 0; i < PLACES; i++) {
                struct policy_ref **at = cache->places + i;

                if (*at && strcmp((*at)->group, ref->group) == 0) {
                        place = at;
                        break;
                }
                if (*place && (!*at || (*at)->used < (*place)->used))
                        place = at;
        }
        old = *place;
        ref->used = ++cache->clock;
        *place = policy_take(ref);
        (void) pthread_mutex_unlock(&cache->lock);
        policy_unref(old);
}

int policy_cache_load(struct policy_cache *cache, struct store_txn *txn, const struct group *group, struct policy_ref **ret) {
        _cleanup_(policy_unrefp) struct policy_ref *ref = NULL;
        int r;

        if (group->policy_version == 0) {
                *ret = NULL;
                return 0;
        }

        ref = find(cache, group);
        if (!ref) {
                ref = calloc(1, sizeof(*ref));
                if (!ref)
                        return -ENOMEM;
                ref->refs = 1;
                ref->version = group->policy_version;
                memcpy(ref->group, group->name, sizeof(ref->group));
                r = policy_load(txn, group, &ref->policy);
                if (r < 0)
                        return r;
                keep(cache, ref);
        }

        *ret = TAKE_PTR(ref);
        return 0;
}
