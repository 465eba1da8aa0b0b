/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* The node's offline way (docs/protocol.md, 13): K_b and manifest from the header of each volume, by the token of offline-key, without
 * servers. */

/* What the token can give of the volumes that are there, or come: into unlocker->volumes, by volumes_add(), as serve_prepare() does it
 * with halves. 0: at least one; -ENODEV no token; -ENOKEY nothing that it opens; -ECANCELED. Words said. */
int offline_fetch(struct unlocker *unlocker);
