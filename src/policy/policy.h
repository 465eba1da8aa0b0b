/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "wire/wire.h"

/* A group's policy. First kind: named sets of exact PCR values; a boot matches when one set matches whole.
 *
 *     [set debian-12.7]
 *     bank = sha256
 *     pcr 0 = HEX
 *     pcr 8 = zero
 *
 * "zero" means all zero bits, and is the only way to allow them outside 0-7 (docs/protocol.md, 5.9). Pure. */

struct policy_set {
        char name[64]; /* letters, digits, . _ - + : */
        uint16_t bank;
        uint32_t mask; /* PCRs with a value in this set */
        uint32_t zero; /* those written as zero */
        uint8_t values[WIRE_PCRS][WIRE_DIGEST_MAX];
};

struct policy {
        struct policy_set *sets; /* at most 256 */
        size_t n;
};

/* -EBADMSG with "LINE: what, what to do" in error. An empty text is a policy without sets: it allows nothing. */
int policy_parse(const char *text, size_t size, struct policy *ret, char *error, size_t error_size);
void policy_done(struct policy *policy);
char *policy_format(const struct policy *policy);

struct policy_difference { /* why a set does not match; value sizes by bank */
        const char *set;   /* points into the policy */
        unsigned pcr;
        char expected[2 * WIRE_DIGEST_MAX + 1], got[2 * WIRE_DIGEST_MAX + 1]; /* hex, "zero", or "missing" */
};
struct policy_decision {
        bool allowed;
        const char *set; /* that matched; points into the policy */
        struct policy_difference *differences;
        size_t n;
};
/* Only values of the bank and in the (verified) selection are read. Differences are of the set that is nearest when none matches,
 * then of the others. */
int policy_decide(const struct policy *policy, const struct pcr_values *pcrs, struct policy_decision *ret);
void policy_decision_done(struct policy_decision *decision);

/* PCRs that any set reads in this bank. */
uint32_t policy_pcrs(const struct policy *policy, uint16_t bank);
/* A set made from a verified boot's values, zeros by name, without the gate; appended to the policy. -EEXIST: that name is
 * there. */
int policy_capture(struct policy *policy, const char *name, const struct pcr_values *pcrs, uint16_t bank, unsigned gate);
/* What the policy leaves uncovered, in words, or "": initramfs (9 or 11), boot loader (4), command line, add-ons (12, 13). ret
 * owns. */
char *policy_uncovered(const struct policy *policy);
