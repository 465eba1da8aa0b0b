/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/service.h"

/* The keystore's own thread: wipes KEKs that are past their time, says when the HSM is away and back, takes a changed section
 * [keystore]. Off the loop and off the workers: a token may take its time. */
struct atrest;
int atrest_start(struct service *service, struct atrest **ret);
struct atrest *atrest_stop(struct atrest *atrest);
DEFINE_CLEANUP(struct atrest *, atrest_stop)
/* After a SIGHUP. Says in the journal what became of it. */
void atrest_reload(struct atrest *atrest);
/* What is to be said about the configured master key at the start. */
void atrest_warn(const struct service *service);
