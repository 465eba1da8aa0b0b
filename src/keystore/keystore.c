/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keystore/internal.h"

static void use_options(struct keystore *keystore, const struct keystore_options *options, struct master_ref *current,
                        struct master_ref *old) {
        (void) pthread_mutex_lock(&keystore->lock);
        keystore->current = current;
        keystore->old = old;
        keystore->always_sensitive = options->always_sensitive;
        keystore->cache = options->cache;
        keystore->cache_ever = !current->master->ops->wrap;
        (void) pthread_mutex_unlock(&keystore->lock);
}

static void open_words(const struct keystore *keystore, const struct keystore_options *options, int r, char *error,
                       size_t error_size) {
        if (*error)
                return;
        if (r == -EPROTONOSUPPORT)
                (void) snprintf(error, error_size, "the database is an older one: start the %s once", keystore->party);
        else if (r == -EKEYREJECTED || r == -ENOKEY || r == -ENOLINK)
                (void) snprintf(error, error_size, "%s: %s", options->master.text, keystore_error());
        else
                (void) snprintf(error, error_size, "the keys in the database cannot be read: %s", strerror(-r));
}

int keystore_open(const struct keystore_options *options, struct store *store, const char *party, struct keystore **ret,
                  char *error, size_t error_size) {
        _cleanup_(keystore_closep) struct keystore *keystore = NULL;
        struct master_ref *current = NULL, *old = NULL;
        const struct secret *mac;
        uint32_t number;
        int r;

        *error = 0;
        keystore = calloc(1, sizeof(*keystore));
        if (!keystore)
                return -ENOMEM;
        (void) pthread_mutex_init(&keystore->lock, NULL);
        (void) pthread_mutex_init(&keystore->opening, NULL);
        keystore->store = store;
        keystore->party = strdup(party);
        if (!keystore->party)
                return -ENOMEM;

        r = masters_open(keystore, options, &current, &old, error, error_size);
        if (r >= 0) {
                use_options(keystore, options, current, old);
                r = own_prepare(keystore);
        }
        if (r >= 0)
                r = keystore_mac_current(keystore, &number, &mac);
        if (r < 0) {
                open_words(keystore, options, r, error, error_size);
                return r;
        }

        *ret = TAKE_PTR(keystore);
        return 0;
}

int keystore_reload(struct keystore *keystore, const struct keystore_options *options, char *error, size_t error_size) {
        struct master_ref *current = NULL, *old = NULL, *was_current, *was_old;
        int r;

        *error = 0;
        r = masters_open(keystore, options, &current, &old, error, error_size);
        if (r < 0) {
                open_words(keystore, options, r, error, error_size);
                return r;
        }

        was_current = keystore->current;
        was_old = keystore->old;
        use_options(keystore, options, current, old);
        cache_expire(keystore, 0, true);
        (void) master_unref(was_current);
        (void) master_unref(was_old);
        return 0;
}

struct keystore *keystore_close(struct keystore *keystore) {
        if (!keystore)
                return NULL;

        cache_expire(keystore, 0, true);
        (void) master_unref(keystore->current);
        (void) master_unref(keystore->old);
        for (size_t i = 0; i < keystore->n_macs; i++)
                (void) secret_free(keystore->macs[i].key);
        (void) secret_free(keystore->floor_key);
        (void) keypair_free(keystore->inbox);
        (void) keypair_free(keystore->audit);
        (void) pthread_mutex_destroy(&keystore->lock);
        (void) pthread_mutex_destroy(&keystore->opening);
        free(keystore->seen);
        free(keystore->party);
        free(keystore);
        return NULL;
}

static bool tick_master(struct master_ref *ref, char *words, size_t size) {
        return ref && ref->master->ops->tick && ref->master->ops->tick(ref->master, words, size);
}

bool keystore_tick(struct keystore *keystore, char *words, size_t size) {
        _cleanup_(master_unrefp) struct master_ref *current = keystore_master_current(keystore), *old = NULL;

        cache_expire(keystore, clock_monotonic_ms(), false);
        (void) pthread_mutex_lock(&keystore->lock);
        old = master_ref(keystore->old);
        (void) pthread_mutex_unlock(&keystore->lock);
        return tick_master(current, words, size) || tick_master(old, words, size);
}

int keystore_inbox(struct keystore *keystore, const struct keypair **ret) {
        *ret = keystore->inbox;
        return 0;
}

const struct keypair *keystore_audit_key(const struct keystore *keystore) {
        return keystore->audit;
}
