/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/offline.h"

int offline_fetch(struct unlocker *unlocker) {
        unlocker_say(unlocker, "unlocking offline is not there yet");
        return -EOPNOTSUPP;
}
