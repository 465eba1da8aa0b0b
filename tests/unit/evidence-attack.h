/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "soft-quote.h"
#include "test.h"

/* Attacks on evidence_verify(): what the node's root could send. Each takes the right evidence and spoils one thing; the quotes
 * are signed after that, for what is tested is not the signature. Invariants as in docs/threat-model.md. */
struct attack {
        struct soft_ak ak;
        struct wire_evidence evidence;
        struct soft_quote quote;
        struct evidence_expected expected;
};
struct attack *attack_new(void);
void attack_free(struct attack **attack);
#define ATTACK(name) _cleanup_(attack_free) struct attack *name = attack_new()

struct evidence_verdict judge_as_it_is(struct attack *attack);
struct evidence_verdict judge(struct attack *attack); /* attested and signed anew */
void expect(struct attack *attack, enum evidence_fault fault);
/* Another bank beside the first, with good values. */
struct pcr_bank *add_bank(struct attack *attack, uint16_t alg, uint32_t mask);
void use_purpose(struct attack *attack, enum purpose purpose);
