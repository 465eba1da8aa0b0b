/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/clock.h"
#include "service/party.h"
#include "service/space.h"

/* For the keeper, which every service has: nothing else of a party is here. */

enum { KEPT_SECONDS = 7 * 24 * 3600 }; /* after its end: what became of a token is looked at then */

static int prune_txn(struct store_txn *txn, void *userdata) {
        const int64_t *before = userdata;

        return store_exec(txn, "DELETE FROM join_tokens WHERE expires < $1", STORE_ARGS(store_int(*before)), NULL);
}

void join_tokens_prune(struct service *service) {
        int64_t before = (int64_t) (clock_realtime_ms() / 1000) - KEPT_SECONDS;

        if (service->definition->has_registrar && service_space(service) == SPACE_GOOD)
                (void) store_write(service->store, prune_txn, &before);
}
