/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "service/counts.h"
#include "service/ek-nodes.h"
#include "service/heads.h"
#include "service/space.h"

enum { TICK_S = 1, SUMMARY_MS = 60 * 1000 };

struct keeper {
        struct service *service;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t cond;
        bool stop;
        uint64_t summary; /* when the last one was written: the first comes at once, the next a minute later */
};

static int append(struct store_txn *txn, void *userdata) {
        return audit_append(txn, userdata);
}

/* Not while there is little room: a flood must not take what is kept for releases. */
static bool write_summary(struct keeper *keeper) {
        struct service *service = keeper->service;
        _cleanup_(freep) char *text = NULL;
        json_t *json = NULL;

        if (service_space(service) != SPACE_GOOD || counts_take(service->counts, &json) < 0)
                return false;
        text = json_dumps(json, JSON_COMPACT);
        json_decref(json);
        if (!text)
                return false;
        log_info("Refused before anything was proven, in the last minute: %s", text);
        (void) store_write(service->store, append,
                           &(struct audit_record){ .event = "unproven", .who = "service", .detail = text });
        return true;
}

static bool wait_tick(struct keeper *keeper) {
        struct timespec until;
        bool stop;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += TICK_S;
        (void) pthread_mutex_lock(&keeper->lock);
        while (!keeper->stop && pthread_cond_timedwait(&keeper->cond, &keeper->lock, &until) == 0)
                ;
        stop = keeper->stop;
        (void) pthread_mutex_unlock(&keeper->lock);
        return !stop;
}

static void *keeper_main(void *userdata) {
        struct keeper *keeper = userdata;

        while (wait_tick(keeper)) {
                uint64_t now = clock_monotonic_ms();

                (void) service_space(keeper->service);
                if (now - keeper->summary >= SUMMARY_MS && write_summary(keeper))
                        keeper->summary = now;
                (void) ek_nodes_review(keeper->service);
                heads_exchange(keeper->service, false);
        }
        return NULL;
}

int keeper_start(struct service *service, struct keeper **ret) {
        struct keeper *keeper = calloc(1, sizeof(*keeper));
        int r;

        if (!keeper)
                return -ENOMEM;
        keeper->service = service;
        (void) pthread_mutex_init(&keeper->lock, NULL);
        cond_init_monotonic(&keeper->cond);
        r = thread_start(&keeper->thread, keeper_main, keeper);
        if (r < 0) {
                free(keeper);
                return r;
        }
        *ret = keeper;
        return 0;
}

struct keeper *keeper_stop(struct keeper *keeper) {
        if (!keeper)
                return NULL;

        (void) pthread_mutex_lock(&keeper->lock);
        keeper->stop = true;
        (void) pthread_cond_signal(&keeper->cond);
        (void) pthread_mutex_unlock(&keeper->lock);
        (void) pthread_join(keeper->thread, NULL);
        (void) pthread_cond_destroy(&keeper->cond);
        (void) pthread_mutex_destroy(&keeper->lock);
        free(keeper);
        return NULL;
}
