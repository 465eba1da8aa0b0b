/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy-text.h"
#include "policy/policy-internal.h"

/* A boot for policies to be tried on. */

/* A boot of a UKI (a), its kernel (b), Secure Boot on, command line "root=/dev/sda ro" in the UKI. */
struct boot {
        struct boot_facts facts;
        struct fact_digest applications[4], db[4], dbx[4], authorities[4], sections[4], loaded[4];
        struct fact_text lines[4];
        struct ima_facts ima;
        struct ima_entry entries[4];
        struct pcr_values pcrs;
        struct policy_input input;
};

struct fact_digest fact_of_byte(const char *name, uint8_t byte);
struct fact_digest fact_of_text(const char *name, const void *text, size_t size);
struct ima_entry ima_entry_of(const char *path, uint8_t byte);
void boot_set_up(struct boot *boot);
/* why NULL: allowed; else some finding says it. */
void decides(const char *text, const struct boot *boot, const char *why);

/* With a set that every boot here matches: a rule that only narrows what is allowed can be tried alone. */
#define SOME_SET "[set x]\nbank = sha256\npcr 1 = " A32 "\n"
#define FIRMWARE SOME_SET "[firmware]\n"
