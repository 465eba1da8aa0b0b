/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/encode.h"
#include "policy/judge.h"

/* Steps of pattern matching for a whole list: seconds, whatever paths a node makes up. */
enum { BUDGET = 200 * 1024 * 1024 };

static bool is_excluded(const struct policy_rules *rules, const char *path, uint64_t *budget) {
        for (size_t i = 0; i < rules->ima_excludes.n; i++)
                if (pattern_match(rules->ima_excludes.items[i].text, path, '/', budget))
                        return true;
        return false;
}

static bool is_listed(const struct policy_rules *rules, const struct ima_entry *entry, uint64_t *budget) {
        /* a digest of 32 bytes is SHA-256 and nothing else */
        if (pcr_alg_size(entry->alg) != entry->size || entry->size == 0)
                return false;
        if (digests_find(rules->digests + LIST_IMA_DIGEST, entry->digest, entry->size))
                return true;
        for (size_t i = rules_files_from(rules, entry->digest, entry->size); i < rules->ima_files.n; i++) {
                const struct rule_text *file = rules->files_by_digest[i];

                if (file->digest.size != entry->size || memcmp(file->digest.bytes, entry->digest, entry->size) != 0)
                        break;
                if (pattern_match(file->text, entry->path, '/', budget))
                        return true;
        }
        return false;
}

/* The first entry that no rule allows, or SIZE_MAX. A list that only has to be there is not looked at, but for what nobody can
 * know. */
static size_t find_unlisted(const struct policy_rules *rules, const struct ima_facts *ima, uint64_t *budget, size_t *ret_n) {
        bool judged = rules->digests[LIST_IMA_DIGEST].n > 0 || rules->ima_files.n > 0;
        size_t first = SIZE_MAX;

        *ret_n = 0;
        for (size_t i = 0; i < ima->n; i++) {
                const struct ima_entry *entry = ima->entries + i;

                if (i == 0 && ima->has_aggregate && !entry->violation)
                        continue;
                if (!entry->violation && (!judged || is_listed(rules, entry, budget) || is_excluded(rules, entry->path, budget)))
                        continue;
                if (first == SIZE_MAX)
                        first = i;
                ++*ret_n;
                if (*budget == 0)
                        break;
        }
        return first;
}

static unsigned ima_line(const struct policy_rules *rules) {
        if (rules->ima_require.line > 0)
                return rules->ima_require.line;
        if (rules->ima_files.n > 0)
                return rules->ima_files.items[0].line;
        return rules->digests[LIST_IMA_DIGEST].items[0].line;
}

static void judge_entries(struct judgement *judgement, unsigned line) {
        const struct ima_facts *ima = judgement->input->ima;
        char hex[2 * WIRE_DIGEST_MAX + 1] = "";
        const struct ima_entry *entry;
        uint64_t budget = BUDGET;
        size_t at, n;

        at = find_unlisted(judgement->policy->rules, ima, &budget, &n);
        if (budget == 0) {
                judge_finding(judgement, "[ima] entries", line, "the list takes too long to match: use fewer * in patterns");
                return;
        }
        if (at == SIZE_MAX) {
                judge_finding(judgement, "[ima] entries", line, NULL);
                return;
        }

        entry = ima->entries + at;
        if (entry->violation) {
                judge_finding(judgement, "[ima] entries", line,
                              "entry %zu is a violation: a file was written while it was measured, nobody knows what ran",
                              at + 1);
                return;
        }
        hex_write(entry->digest, MIN(entry->size, (size_t) WIRE_DIGEST_MAX), hex);
        judge_finding(judgement, "[ima] entries", line, "%zu of %zu are not on the list; the first is entry %zu, %s %.160s", n,
                      ima->n, at + 1, hex, entry->path);
}

void judge_ima(struct judgement *judgement) {
        const struct policy_rules *rules = judgement->policy->rules;
        unsigned line;

        if (!rules_have_ima(rules))
                return;
        line = ima_line(rules);
        if (!judgement->input->ima) {
                judge_finding(judgement, "[ima] require", line, "there is no IMA list that the quoted PCR 10 binds");
                return;
        }
        judge_finding(judgement, "[ima] require", line, NULL);
        if (judgement->input->ima_aggregate_right)
                judge_finding(judgement, "[ima] boot_aggregate", line, NULL);
        else
                judge_finding(judgement, "[ima] boot_aggregate", line,
                              "boot_aggregate is not the hash of the quoted PCRs 0 to 9: the list is not of this boot");
        judge_entries(judgement, line);
}
