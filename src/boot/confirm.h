/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* After the volumes are open: tells the parties what they do not know yet (docs/protocol.md, 8), only where there is something to
 * say. A failure is said and repeated at the next boot. */
int confirm_boot(struct unlocker *unlocker); /* 0, -ECANCELED */
