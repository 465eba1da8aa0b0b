/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/audit.h"

/* A record as it is stored. */
struct audit_entry {
        int64_t seq;  /* from 1, without a hole */
        int64_t time; /* milliseconds since 1970 */
        struct audit_record record;
};

/* SHA-256(L("tallyboot audit v1", previous, seq, time, event, node, incident, who, detail)); previous: 32 bytes, zero for the
 * first. */
int audit_hash(const uint8_t previous[static 32], const struct audit_entry *entry, uint8_t ret[static 32]);
