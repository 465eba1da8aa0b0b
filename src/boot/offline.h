/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* The node's offline way (docs/protocol.md, 14): K_b and manifest from the header of each volume, by the token of offline-key,
 * without servers. */

/* What the token can give of the volumes that are there, or come: into unlocker->volumes, by volumes_add(), as serve_prepare()
 * does it with halves. once: of those that are there now. 0: at least one; -ENODEV no token; -EPERM it cannot be used; -ENOKEY
 * nothing is kept on any volume; -EUCLEAN nothing that is kept can be used; -EALREADY, -ECANCELED. Words said. */
int offline_fetch(struct unlocker *unlocker, bool once);
/* Volumes that have come since, in a boot that opens offline; with halves nothing that the headers keep is looked at. true: some
 * are still missing. */
bool offline_pass(struct unlocker *unlocker);
struct offline *offline_free(struct offline *offline);

/* offline-keep.c, after a boot with halves: what the headers keep is made anew for the generation that has opened the volumes, if
 * it is of an older one. The token must need nobody for it, and prove that it is the one by opening the older. 0: nothing is
 * behind; -EAGAIN: it is, and stays so (said); what keeps the older generation's slot then is the caller. -ECANCELED. */
bool offline_is_behind(const struct unlocker *unlocker, const struct pair *pair); /* false too where unlock = online */
int offline_keep(struct unlocker *unlocker, const struct pair *pair);
