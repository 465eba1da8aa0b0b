/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy.h"

enum { BANK_SHA256 = 0x000b, BANK_SHA384 = 0x000c };

bool value_is(const uint8_t *value, size_t size, uint8_t byte);
bool set_name_is_valid(const char *name);
struct policy_set *policy_find(const struct policy *policy, const char *name);
/* A new, empty set at the end. Moves the others. -E2BIG: too many. */
int policy_append(struct policy *policy, const char *name, struct policy_set **ret);
/* Whether a set may ask for this value. -EINVAL, with words in error. */
int set_check_value(const struct policy_set *set, unsigned pcr, char *error, size_t error_size);
