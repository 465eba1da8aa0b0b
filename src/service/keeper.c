/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/audit.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "service/counts.h"
#include "service/ek-nodes.h"
#include "service/heads.h"
#include "service/party.h"
#include "service/space.h"

enum { SUMMARY_MS = 60 * 1000, PRUNE_MS = 3600 * 1000 };

struct keeper {
        struct service *service;
        struct ticker ticker;
        uint64_t pruned;  /* when what has ended was last looked for; 0: not yet */
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

static void tick(void *userdata) {
        struct keeper *keeper = userdata;
        uint64_t now = clock_monotonic_ms();

        (void) service_space(keeper->service);
        if (now - keeper->summary >= SUMMARY_MS && write_summary(keeper))
                keeper->summary = now;
        if (keeper->pruned == 0 || now - keeper->pruned >= PRUNE_MS) {
                join_tokens_prune(keeper->service);
                keeper->pruned = now;
        }
        (void) ek_nodes_review(keeper->service);
        heads_exchange(keeper->service, false);
}

int keeper_start(struct service *service, struct keeper **ret) {
        _cleanup_(freep) struct keeper *keeper = calloc(1, sizeof(*keeper));
        int r;

        if (!keeper)
                return -ENOMEM;
        keeper->service = service;
        r = ticker_start(&keeper->ticker, tick, keeper);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(keeper);
        return 0;
}

struct keeper *keeper_stop(struct keeper *keeper) {
        if (!keeper)
                return NULL;

        ticker_stop(&keeper->ticker);
        free(keeper);
        return NULL;
}
