/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "evidence/facts.h"
#include "wire/wire.h"

/* A group's policy: tallyboot-policy(5). Named sets of exact PCR values, rules on what the logs of a boot say, rules on the
 * release.
 *
 *     [set debian-12.7]
 *     bank = sha256
 *     pcr 0 = HEX
 *     pcr 8 = zero
 *
 * "zero" means all zero bits, and is the only way to allow them outside 0-7 (docs/protocol.md, 5.9). A boot is allowed when one
 * set matches whole (or there is none), every rule holds, and a measured value of that set or a [firmware] rule says what may
 * boot. Pure. */

enum { POLICY_TEXT_MAX = 1024 * 1024 };

struct policy_set {
        char name[64]; /* letters, digits, . _ - + : */
        uint16_t bank;
        bool replaced; /* kept by "policy apply" until the nodes have moved on */
        uint32_t mask; /* PCRs with a value in this set */
        uint32_t zero; /* those written as zero */
        uint8_t values[WIRE_PCRS][WIRE_DIGEST_MAX];
};

struct policy_network {
        uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
        unsigned prefix;     /* of 128 bits */
};
struct policy_release {
        bool token_evidence;             /* a PKCS#11 token's word is enough, without PCRs */
        uint64_t token_interval;         /* seconds between answers to different NKs of a token */
        uint64_t another_nk_window;      /* seconds after a release in which another NK of the same boot is answered; 0: never */
        uint64_t max_absence;            /* seconds after which a node that was not seen is suspended; 0: never */
        struct policy_network *networks; /* policy_decide() looks at them */
        size_t n_networks;               /* 0: any */
        unsigned token_line, interval_line, networks_line;
};

struct policy_rules; /* [firmware] and [ima] */

struct policy {
        struct policy_set *sets; /* at most 256 */
        size_t n;
        struct policy_rules *rules; /* NULL: none */
        struct policy_release release;
        char *text; /* as it was read, with what was captured since; NULL: nothing */
};

/* -EBADMSG with "LINE: what, what to do" in error. An empty text is a policy without sets and rules: it allows nothing. */
int policy_parse(const char *text, size_t size, struct policy *ret, char *error, size_t error_size);
void policy_done(struct policy *policy);
/* The text, to be stored: comments and order as they were, captured sets at the end. ret owns; NULL: out of memory. */
char *policy_format(const struct policy *policy);
bool policy_allows_nothing(const struct policy *policy); /* neither a set nor a [firmware] rule says what may boot */

/* A boot as it was proven. The logs' facts are of the same quote as pcrs. */
struct policy_input {
        const struct pcr_values *pcrs;  /* verified selection */
        uint16_t bank;                  /* pinned: of the logs' facts */
        const struct boot_facts *facts; /* NULL: no firmware log */
        const struct ima_facts *ima;    /* NULL: no list */
        bool ima_aggregate_right;       /* ima_aggregate_check() said 0 */
        const char *address;            /* of the peer, text; NULL: not known, which no list of networks holds */
        bool token;                     /* of a token node: no PCRs, no logs */
};

struct policy_difference { /* why a set does not match; value sizes by bank */
        const char *set;   /* points into the policy */
        unsigned pcr;
        char expected[2 * WIRE_DIGEST_MAX + 1], got[2 * WIRE_DIGEST_MAX + 1]; /* hex, "zero", or "missing" */
};
struct policy_finding { /* what became of a rule */
        char rule[64];  /* "[firmware] secure-boot" */
        unsigned line;  /* of its first line in the text */
        bool passed;
        char why[384]; /* why not, what to do; printable. "" where it passed */
};
struct policy_decision {
        bool allowed;
        bool rules_hold; /* whatever the sets say: a set that is captured can allow this boot */
        const char *set; /* that matched; points into the policy. NULL: none, or the policy has no sets */
        struct policy_difference *differences;
        size_t n;
        struct policy_finding *findings; /* every rule, passed ones too; for operator and audit log only */
        size_t n_findings;
};
/* Only values of the bank and in the (verified) selection are read. Differences are of the set that is nearest when none matches,
 * then of the others. 0 whatever the decision. */
int policy_decide(const struct policy *policy, const struct policy_input *input, struct policy_decision *ret);
void policy_decision_done(struct policy_decision *decision);

/* PCRs that any set or rule reads in this bank. */
uint32_t policy_pcrs(const struct policy *policy, uint16_t bank);
/* PCRs whose events the rules read: 0 where no firmware log is needed; a log is good enough when it proves all of them. */
uint32_t policy_log_pcrs(const struct policy *policy);
bool policy_wants_ima(const struct policy *policy);
/* A set made from a verified boot's values, zeros by name, without the gate; appended to the policy. -EEXIST: that name is
 * there. */
int policy_capture(struct policy *policy, const char *name, const struct pcr_values *pcrs, uint16_t bank, unsigned gate);
/* What the policy leaves uncovered, in words, or "": initramfs (9 or 11), boot loader (4), command line, add-ons (12, 13); of
 * nodes with a token everything. ret owns. */
char *policy_uncovered(const struct policy *policy);
