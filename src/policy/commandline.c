/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "policy/judge.h"

enum { TEXT_MAX = 8192, BUDGET = 16 * 1024 * 1024 };

static size_t count_quotes(const char *text) {
        size_t n = 0;

        for (; *text; text++)
                n += *text == '"' || *text == '\'';
        return n;
}

/* No quote stands for a star: it would make one word of all that follow it, and they would not be said to the kernel. */
static bool pattern_is_met(const char *pattern, const char *measured, uint64_t *budget) {
        return count_quotes(pattern) == count_quotes(measured) && pattern_match(pattern, measured, ' ', budget);
}

/* Exact lines by what the kernel makes of them, patterns word by word. */
static bool line_is_listed(const struct policy_rules *rules, const char *text, uint64_t *budget) {
        char measured[TEXT_MAX], wanted[TEXT_MAX];

        if (strlen(text) >= sizeof(measured))
                return false;
        words_normalize(text, strlen(text), measured, sizeof(measured));

        for (size_t i = 0; i < rules->command_lines.n; i++) {
                const struct rule_text *line = rules->command_lines.items + i;

                if (line->pattern && pattern_is_met(line->text, measured, budget))
                        return true;
                if (line->pattern)
                        continue;
                words_normalize(line->text, strlen(line->text), wanted, sizeof(wanted));
                if (strcmp(wanted, measured) == 0)
                        return true;
        }
        return false;
}

/* GRUB puts the kernel's path in front, which is no part of what the kernel gets. */
static const char *after_path(const struct fact_text *line) {
        const char *space = strchr(line->text, ' ');

        if (line->pcr != 8 || (line->text[0] != '/' && line->text[0] != '('))
                return NULL;
        return space ? space + 1 : "";
}

static int digest_of(const void *a, size_t a_size, const char *end, size_t end_size, uint16_t bank, uint8_t *ret) {
        char text[TEXT_MAX];

        if (a_size + end_size > sizeof(text))
                return -E2BIG;
        memcpy(text, a, a_size);
        memcpy(text + a_size, end, end_size);
        return pcr_bank_digest(bank, text, a_size + end_size, ret);
}

/* Of a UKI's section the log has a digest alone. Tools differ in what they put behind the text; the kernel does not see it. */
static bool section_is_listed(const struct policy_rules *rules, const struct fact_digest *section, uint16_t bank) {
        static const struct {
                const char *text;
                size_t size;
        } ends[] = { { "", 0 }, { "\n", 1 }, { "", 1 }, { "\n", 2 } };
        uint8_t digest[WIRE_DIGEST_MAX];

        for (size_t i = 0; i < rules->command_lines.n; i++) {
                const struct rule_text *line = rules->command_lines.items + i;

                for (size_t e = 0; !line->pattern && e < ELEMENTSOF(ends); e++)
                        if (digest_of(line->text, strlen(line->text), ends[e].text, ends[e].size, bank, digest) >= 0 &&
                            section->size == pcr_alg_size(bank) && memcmp(digest, section->digest, section->size) == 0)
                                return true;
        }
        return false;
}

/* Without a UKI and GRUB the kernel's own EFI stub is the one that measures: the command line, then the initramfs. A kernel that
 * measures the initramfs alone gives one event. */
static bool loaded_is_listed(const struct policy_rules *rules, const struct boot_facts *facts) {
        const struct fact_digests *loaded = &facts->loaded;
        uint8_t digest[WIRE_DIGEST_MAX];

        if (loaded->n < 2 || loaded->items[0].size != pcr_alg_size(facts->bank))
                return false;
        for (size_t i = 0; i < rules->command_lines.n; i++) {
                const struct rule_text *line = rules->command_lines.items + i;

                if (!line->pattern && boot_facts_command_line_digest(line->text, facts->bank, digest) >= 0 &&
                    memcmp(digest, loaded->items[0].digest, loaded->items[0].size) == 0)
                        return true;
        }
        return false;
}

static bool has_exact(const struct policy_rules *rules) {
        for (size_t i = 0; i < rules->command_lines.n; i++)
                if (!rules->command_lines.items[i].pattern)
                        return true;
        return false;
}

static const char *only_digest(const struct policy_rules *rules, const char *where, char *buffer, size_t size) {
        if (has_exact(rules))
                (void) snprintf(buffer, size, "the command line in %s has another text than those on the list", where);
        else
                (void) snprintf(buffer, size,
                                "of the command line in %s the log has a digest alone, which no pattern can be tried on: write "
                                "command-line = and its exact text, or cover it with uki",
                                where);
        return buffer;
}

const char *judge_command_line(const struct policy_rules *rules, const struct boot_facts *facts, char *buffer, size_t size) {
        uint64_t budget = BUDGET;
        bool any = false;

        for (size_t i = 0; i < facts->sections.n; i++) {
                if (strcmp(facts->sections.items[i].name, ".cmdline") != 0)
                        continue;
                any = true;
                if (!section_is_listed(rules, facts->sections.items + i, facts->bank))
                        return only_digest(rules, "the UKI", buffer, size);
        }
        for (size_t i = 0; i < facts->n_command_lines; i++) {
                const struct fact_text *line = facts->command_lines + i;
                const char *rest = after_path(line);

                any = true;
                if (!line_is_listed(rules, line->text, &budget) && !(rest && line_is_listed(rules, rest, &budget))) {
                        (void) snprintf(buffer, size, "PCR %u has another one: %.200s", line->pcr, line->text);
                        return buffer;
                }
        }
        if (any || loaded_is_listed(rules, facts))
                return NULL;
        if (facts->loaded.n >= 2)
                return only_digest(rules, "PCR 9", buffer, size);
        return "no command line was measured";
}
