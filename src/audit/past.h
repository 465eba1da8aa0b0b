/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/head.h"

/* What others show of our own chain (docs/protocol.md, 12): a head that we signed and that is not of this chain any more says
 * that the database is an older one than we had, a backup that was put back. It is held then: nothing is released before an
 * operator has said that he knows. Only our own signature counts, so no other service can say it of us falsely. */
extern const char audit_past_migration[]; /* SQL; the number is the role's */

/* In a write transaction. *ret_held: this head made it so, recorded as "audit-alarm". -EKEYREJECTED: not ours, or not signed by
 * public. */
int audit_past_take(struct store_txn *txn, const struct audit_head *head, const char *role,
                    const uint8_t public[static POINT_SIZE], bool *ret_held);
int audit_past_is_held(struct store_txn *txn, bool *ret);
/* An operator's word: what was signed until now counts no more. -ENOENT: it is not held. */
int audit_past_accept(struct store_txn *txn);
