/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"

enum {
        CACHED_MAX = 1024,
        READY_MS = 2000, /* what was made ready waits for its uses so long */
};

static void cached_drop(struct keystore *keystore, size_t i) {
        (void) kek_unref(keystore->cached[i].kek);
        blob_done(&keystore->cached[i].wrapped);
        keystore->cached[i] = keystore->cached[--keystore->n_cached];
}

/* The cache is asked with the row itself: a key that a rolled-back transaction made, or that another process replaced, is never
 * used. */
struct kek *cache_find(struct keystore *keystore, const struct kek_row *row) {
        uint64_t now = clock_monotonic_ms();
        struct kek *kek = NULL;

        (void) pthread_mutex_lock(&keystore->lock);
        for (size_t i = 0; i < keystore->n_cached; i++) {
                struct cached *cached = keystore->cached + i;

                if (cached->generation != row->generation || cached->master != row->master ||
                    strcmp(cached->name, row->name) != 0 || cached->until <= now || cached->wrapped.size != row->wrapped.size ||
                    memcmp(cached->wrapped.data, row->wrapped.data, row->wrapped.size) != 0)
                        continue;
                kek = kek_ref(cached->kek);
                if (cached->uses > 0 && --cached->uses == 0)
                        cached_drop(keystore, i);
                break;
        }
        (void) pthread_mutex_unlock(&keystore->lock);
        return kek;
}

static size_t cached_soonest(const struct keystore *keystore) {
        size_t soonest = 0;

        for (size_t i = 1; i < keystore->n_cached; i++)
                if (keystore->cached[i].until < keystore->cached[soonest].until)
                        soonest = i;
        return soonest;
}

/* A cache for which there is no memory only costs time. */
static void remember(struct keystore *keystore, const struct kek_row *row, struct kek *kek, unsigned uses) {
        struct cached cached = { .generation = row->generation, .master = row->master }, *items;
        uint64_t now = clock_monotonic_ms();
        bool once;

        strcpy(cached.name, row->name);
        (void) pthread_mutex_lock(&keystore->lock);
        once = !keystore->cache_ever && keystore->cache == 0;
        cached.uses = once ? uses : 0;
        cached.until = keystore->cache_ever ? UINT64_MAX : now + (once ? READY_MS : UINT64_C(1000) * keystore->cache);
        if (once != (uses > 0))
                goto out;

        /* the same one again (two generations can be in use at a time), or one of no use any more */
        for (size_t i = keystore->n_cached; i > 0; i--) {
                const struct cached *other = keystore->cached + i - 1;
                bool same = other->generation == row->generation && strcmp(other->name, row->name) == 0;

                if (once && same && other->until > now)
                        cached.uses += other->uses;
                if (same || other->until <= now)
                        cached_drop(keystore, i - 1);
        }
        if (keystore->n_cached >= CACHED_MAX)
                cached_drop(keystore, cached_soonest(keystore));

        items = reallocarray(keystore->cached, keystore->n_cached + 1, sizeof(*items));
        if (!items)
                goto out;
        keystore->cached = items;
        if (blob_copy(row->wrapped.data, row->wrapped.size, &cached.wrapped) < 0)
                goto out;
        cached.kek = kek_ref(kek);
        items[keystore->n_cached++] = cached;
out:
        (void) pthread_mutex_unlock(&keystore->lock);
}

void cache_remember(struct keystore *keystore, const struct kek_row *row, struct kek *kek) {
        remember(keystore, row, kek, 0);
}

void cache_ready(struct keystore *keystore, const struct kek_row *row, struct kek *kek, unsigned uses) {
        remember(keystore, row, kek, uses);
}

void cache_expire(struct keystore *keystore, uint64_t now, bool all) {
        (void) pthread_mutex_lock(&keystore->lock);
        for (size_t i = keystore->n_cached; i > 0; i--)
                if (all || keystore->cached[i - 1].until <= now)
                        cached_drop(keystore, i - 1);
        if (keystore->n_cached == 0) {
                free(keystore->cached);
                keystore->cached = NULL;
        }
        (void) pthread_mutex_unlock(&keystore->lock);
}

static struct seen *seen_of(struct keystore *keystore, const char *name) {
        struct seen *items;

        for (size_t i = 0; i < keystore->n_seen; i++)
                if (strcmp(keystore->seen[i].name, name) == 0)
                        return keystore->seen + i;

        items = keystore->n_seen < CACHED_MAX ? reallocarray(keystore->seen, keystore->n_seen + 1, sizeof(*items)) : NULL;
        if (!items)
                return NULL;
        keystore->seen = items;
        items += keystore->n_seen++;
        *items = (struct seen){};
        strcpy(items->name, name);
        return items;
}

/* While we run, what is accepted does not go back, whatever the database says; a read that began before it went on sees it as it
 * was. */
int seen_check(struct keystore *keystore, const struct store_txn *txn, const struct kek_row *row) {
        bool back = false;
        struct seen *seen;

        (void) pthread_mutex_lock(&keystore->lock);
        seen = seen_of(keystore, row->name);
        if (seen && (row->oldest < seen->oldest || row->newest < seen->newest || row->oldest_master < seen->master))
                back = store_txn_began(txn) > seen->at;
        else if (seen && (row->oldest > seen->oldest || row->newest > seen->newest || row->oldest_master > seen->master)) {
                seen->oldest = row->oldest;
                seen->newest = row->newest;
                seen->master = row->oldest_master;
                seen->at = clock_monotonic_ms();
        }
        (void) pthread_mutex_unlock(&keystore->lock);

        return back ? keystore_fail(-EKEYREJECTED, "%s: group '%s': the database went back to older KEKs while the service runs",
                                    keystore->party, row->name)
                    : 0;
}
