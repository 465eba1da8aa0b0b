/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy.h"

enum { BANK_SHA256 = 0x000b, BANK_SHA384 = 0x000c };
enum { POLICY_TOKEN_INTERVAL = 30 /* seconds, where a policy does not say */ };
enum {
        IMA_PCR = 10,
        AGGREGATE_PCRS = 0x3ff,
        ADDON_PCRS = 1 << 12 | 1 << 13,
        COMMAND_LINE_PCRS = 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12
};

#define POLICY_FIRMWARE_REPLACED "firmware replaced"
#define POLICY_IMA_REPLACED "ima replaced"

bool value_is(const uint8_t *value, size_t size, uint8_t byte);
bool set_name_is_valid(const char *name);
struct policy_set *policy_find(const struct policy *policy, const char *name);
/* Whether a boot that matches it is allowed by that: it holds a measured value, or there are rules that say what boots. Zeros
 * alone match whatever measures nothing there. */
bool policy_set_counts(const struct policy *policy, const struct policy_set *set);
/* A new, empty set at the end. Moves the others. -E2BIG: too many. */
int policy_append(struct policy *policy, const char *name, struct policy_set **ret);
/* Whether a set may ask for this value. -EINVAL, with words in error. */
int set_check_value(const struct policy_set *set, unsigned pcr, char *error, size_t error_size);
/* Over data with a bank's algorithm. -ENOTSUP. */
int pcr_bank_digest(uint16_t bank, const void *data, size_t size, uint8_t ret[static WIRE_DIGEST_MAX]);
/* value = digest(value || digest). */
int pcr_bank_extend(uint16_t bank, uint8_t value[static WIRE_DIGEST_MAX], const uint8_t *digest);
