/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/rules.h"

/* Rules against facts: a finding for each. */
struct judgement {
        const struct policy *policy;
        const struct policy_input *input;
        struct policy_finding *findings;
        size_t n, allocated;
        bool failed; /* a rule does not hold, or memory is out */
        bool out_of_memory;
};

/* why NULL: it passed. */
void judge_finding(struct judgement *judgement, const char *rule, unsigned line, const char *why, ...) _printf_(4, 5);
void judge_firmware(struct judgement *judgement);
void judge_ima(struct judgement *judgement);
void judge_release(struct judgement *judgement);
/* NULL: it holds; else why not, in buffer. */
const char *judge_command_line(const struct policy_rules *rules, const struct boot_facts *facts, char *buffer, size_t size);
