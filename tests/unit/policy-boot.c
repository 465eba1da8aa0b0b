/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-boot.h"

#include <stdio.h>

struct fact_digest fact_of_byte(const char *name, uint8_t byte) {
        struct fact_digest digest = { .size = 32 };

        (void) snprintf(digest.name, sizeof(digest.name), "%s", name);
        memset(digest.digest, byte, 32);
        return digest;
}

struct fact_digest fact_of_text(const char *name, const void *text, size_t size) {
        struct fact_digest digest = { .size = 32 };

        (void) snprintf(digest.name, sizeof(digest.name), "%s", name);
        assert_int_equal(pcr_bank_digest(0x0b, text, size, digest.digest), 0);
        return digest;
}

struct ima_entry ima_entry_of(const char *path, uint8_t byte) {
        struct ima_entry entry = { .path = path, .size = 32, .alg = 0x0b };

        memset(entry.digest, byte, 32);
        return entry;
}

void boot_set_up(struct boot *boot) {
        *boot = (struct boot){};
        boot->applications[0] = fact_of_byte("", 0xaa);
        boot->applications[1] = fact_of_byte("", 0xbb);
        boot->db[0] = fact_of_byte("x509", 0xaa);
        boot->db[1] = fact_of_byte("x509", 0xbb);
        boot->dbx[0] = fact_of_byte("sha256", 0xcc);
        boot->authorities[0] = fact_of_byte("x509", 0xaa);
        boot->sections[0] = fact_of_byte(".linux", 0x11);
        boot->sections[1] = fact_of_text(".cmdline", "root=/dev/sda ro", 16);
        boot->facts = (struct boot_facts){
                .bank = 0x0b,
                .proven = 0xffffff,
                .secure_boot = 1,
                .deployed_or_user = true,
                .applications = { boot->applications, 2 },
                .db = { boot->db, 2 },
                .dbx = { boot->dbx, 1 },
                .authorities = { boot->authorities, 1 },
                .sections = { boot->sections, 2 },
                .loaded = { boot->loaded, 0 },
                .command_lines = boot->lines,
        };
        boot->entries[0] = ima_entry_of("boot_aggregate", 0x99);
        boot->entries[1] = ima_entry_of("/usr/bin/true", 0xaa);
        boot->entries[2] = ima_entry_of("/usr/lib/a/b.so", 0xbb);
        boot->entries[3] = ima_entry_of("/var/x/y", 0xcc);
        boot->ima = (struct ima_facts){ .entries = boot->entries, .n = 4, .has_aggregate = true };
        boot->pcrs = (struct pcr_values){ .n = 1, .banks[0] = { .alg = 0x0b, .mask = 0xffffff } };
        memset(boot->pcrs.banks[0].values[1], 0xaa, 32);
        boot->input = (struct policy_input){
                .pcrs = &boot->pcrs,
                .bank = 0x0b,
                .facts = &boot->facts,
                .ima = &boot->ima,
                .ima_aggregate_right = true,
                .address = "192.0.2.7",
        };
}

void decides(const char *text, const struct boot *boot, const char *why) {
        struct policy policy = policy_parsed(text);
        struct policy_decision decision;
        bool said = false;

        assert_int_equal(policy_decide(&policy, &boot->input, &decision), 0);
        for (size_t i = 0; i < decision.n_findings; i++) {
                const struct policy_finding *finding = decision.findings + i;

                assert_int_equal(finding->passed, finding->why[0] == '\0');
                if (!finding->passed && !why)
                        fail_msg("%s: %s", finding->rule, finding->why);
                said |= why && strstr(finding->why, why);
        }
        assert_int_equal(decision.allowed, why == NULL);
        assert_int_equal(decision.rules_hold, why == NULL);
        if (why && !said)
                fail_msg("not said: %s", why);
        policy_decision_done(&decision);
        policy_done(&policy);
}
