/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/service.h"

/* Signed heads of the audit logs, exchanged between the services (docs/protocol.md, 12). */
extern const struct service_route service_heads_routes[]; /* for every role */
extern const struct service_route service_audit_routes[]; /* the same: what operators see of it (audit-routes.c) */

/* The thread that exchanges heads and writes what was counted into the log. */
struct keeper;
int keeper_start(struct service *service, struct keeper **ret);
struct keeper *keeper_stop(struct keeper *keeper);
DEFINE_CLEANUP(struct keeper *, keeper_stop)

/* One exchange with each of the others that is posted to, where it is due: heads_every seconds, or heads_records records, after
 * the last; an hour after it in any case. at_start: it is, where there is any record: a database that is older than it was is to
 * be found out before the first release. */
void heads_exchange(struct service *service, bool at_start);
