/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/state.h"

/* Policies as they were parsed: a version of a group's policy never changes. Thread-safe; the last ones used are kept. */
struct policy_cache;
int policy_cache_new(struct policy_cache **ret);
struct policy_cache *policy_cache_free(struct policy_cache *cache); /* every reference must be gone */

/* Not to be changed. */
struct policy_ref;
const struct policy *policy_ref_get(const struct policy_ref *ref); /* NULL: of no policy at all */
struct policy_ref *policy_unref(struct policy_ref *ref);
DEFINE_CLEANUP(struct policy_ref *, policy_unref)
/* The group's current policy. In a read: what a write has not committed yet is nobody's. ret NULL: there is none. */
int policy_cache_load(struct policy_cache *cache, struct store_txn *txn, const struct group *group, struct policy_ref **ret);
