/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy.h"

/* A policy in place of another, with what the other allowed kept beside it until the nodes have moved: sets marked "replaced",
 * and lists in [firmware replaced] and [ima replaced]. Texts in, text out. Pure. */

/* The text of next, and what of old is to be kept. ret owns. -EEXIST: a set has the name of an old one and other values;
 * -ENOTSUP: the images are listed in ways that cannot stand side by side; with words in error. ret_kept: sets and lines that were
 * added. */
int policy_apply(const struct policy *old, const struct policy *next, char **ret, size_t *ret_kept, char *error,
                 size_t error_size);
bool policy_has_replaced(const struct policy *policy);
/* The text without what is kept for nodes that have not moved. ret owns. */
int policy_retire(const struct policy *policy, char **ret);
