/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* Rotation (docs/protocol.md, 4 and 8): the new halves before the gate, the new slots after the volumes are open. Whatever fails
 * is dropped: the boot goes on with the generation that it has, and the next one tries again. */
int rotate_begin(struct unlocker *unlocker);  /* 0, -ECANCELED */
int rotate_finish(struct unlocker *unlocker); /* 0, -ECANCELED */
void rotate_wipe(struct unlocker *unlocker);
