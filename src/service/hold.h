/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/head.h"
#include "service/service.h"

/* A database that is older than the newest head of it that another service has recorded, a backup that was put back, releases
 * nothing before an operator has said that he knows (audit/past.h): it may not know who was revoked. Operators are answered as
 * ever. */

/* head: of ours, as another service has it. Says in the journal when the database is held from now on. */
int hold_take(struct service *service, const struct audit_head *head);
bool hold_is(struct service *service);
/* True, and the problem "unavailable" is in response, where nothing is released. */
bool hold_refuses(const struct service_call *call, struct http_response *response);
