/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/hold.h"

#include "audit/past.h"
#include "base/log.h"

struct taking {
        struct service *service;
        const struct audit_head *head;
        bool held;
};

static int take_txn(struct store_txn *txn, void *userdata) {
        struct taking *taking = userdata;

        return audit_past_take(txn, taking->head, taking->service->definition->role,
                               keystore_audit_key(taking->service->keystore)->public, &taking->held);
}

int hold_take(struct service *service, const struct audit_head *head) {
        struct taking taking = { .service = service, .head = head };
        const char *role = service->definition->role;
        int r;

        r = store_write(service->store, take_txn, &taking);
        if (r >= 0 && taking.held)
                log_error(
                        "This database is older than one that this %s had: others have signed heads of its audit log that are not in it. "
                        "Nothing is released. If a backup was put back: say again what operators said since (tallyctl node revoke, "
                        "suspend, delete, policy set), then \"tallyctl audit accept --of %s\". If not, somebody has rewritten it.",
                        role, role);
        return r;
}

static int read_held(struct store_txn *txn, void *userdata) {
        return audit_past_is_held(txn, userdata);
}

/* What cannot be read cannot be released from either. */
bool hold_is(struct service *service) {
        bool held = true;

        return store_read(service->store, read_held, &held) < 0 || held;
}

bool hold_refuses(const struct service_call *call, struct http_response *response) {
        const char *role = call->service->definition->role;

        if (!hold_is(call->service))
                return false;
        if (service_may_log(call, "held"))
                log_notice(
                        "Nothing is released: the database is an older one, and no operator has accepted it (tallyctl audit accept "
                        "--of %s).",
                        role);
        service_problem(call, response, "unavailable",
                        "The database of this %s is an older one; an operator has to look (tallyctl audit accept --of %s).", role,
                        role);
        return true;
}
