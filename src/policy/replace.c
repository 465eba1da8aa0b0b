/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/replace.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "policy/predict.h"
#include "policy/rules.h"

struct applying {
        const struct policy *old, *next;
        struct buffer text, lines; /* lines: of the section under way */
        size_t kept;
        char *error;
        size_t error_size;
};

static void applying_done(struct applying *applying) {
        buffer_done(&applying->text);
        buffer_done(&applying->lines);
}

static bool same_values(const struct policy_set *a, const struct policy_set *b) {
        if (a->bank != b->bank || a->mask != b->mask || a->zero != b->zero)
                return false;
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (a->mask & 1U << pcr && memcmp(a->values[pcr], b->values[pcr], pcr_alg_size(a->bank)) != 0)
                        return false;
        return true;
}

static bool has_values(const struct policy *policy, const struct policy_set *set) {
        for (size_t i = 0; i < policy->n; i++)
                if (same_values(policy->sets + i, set))
                        return true;
        return false;
}

static int keep_sets(struct applying *a) {
        for (size_t i = 0; i < a->old->n; i++) {
                const struct policy_set *set = a->old->sets + i;
                _cleanup_(freep) char *text = NULL;
                const char *body;

                if (has_values(a->next, set))
                        continue;
                if (policy_find(a->next, set->name)) {
                        (void) snprintf(a->error, a->error_size,
                                        "[set %s] is in the old policy with other values: give the new one a name of its own",
                                        set->name);
                        return -EEXIST;
                }
                text = policy_format_set(set);
                if (!text)
                        return -ENOMEM;
                body = strchr(text, '\n') + 1;
                buffer_printf(&a->text, "\n[set %s]\nreplaced = yes\n%s", set->name, body);
                a->kept++;
        }
        return 0;
}

static const struct policy_rules *rules_of(const struct policy *policy) {
        static const struct policy_rules none = {};

        return policy->rules ?: &none;
}

static void keep_digests(struct applying *a, enum digest_list list) {
        const struct rule_digests *old = rules_of(a->old)->digests + list, *next = rules_of(a->next)->digests + list;
        char hex[2 * WIRE_DIGEST_MAX + 1];

        for (size_t i = 0; i < old->n; i++) {
                if (digests_find(next, old->items[i].bytes, old->items[i].size))
                        continue;
                hex_write(old->items[i].bytes, old->items[i].size, hex);
                buffer_printf(&a->lines, "%s = %s\n", digest_list_name(list), hex);
                a->kept++;
        }
}

/* A list that the new policy does not have at all holds nothing: a line of the old one would be one more thing to ask for. */
static void keep_digests_of_both(struct applying *a, enum digest_list list) {
        if (rules_of(a->next)->digests[list].n > 0)
                keep_digests(a, list);
}

static bool has_text(const struct rule_texts *list, const struct rule_text *text) {
        for (size_t i = 0; i < list->n; i++)
                if (list->items[i].pattern == text->pattern && strcmp(list->items[i].text, text->text) == 0 &&
                    rule_digest_compare(&list->items[i].digest, &text->digest) == 0)
                        return true;
        return false;
}

static void keep_command_lines(struct applying *a) {
        const struct rule_texts *old = &rules_of(a->old)->command_lines, *next = &rules_of(a->next)->command_lines;

        for (size_t i = 0; next->n > 0 && i < old->n; i++)
                if (!has_text(next, old->items + i)) {
                        buffer_printf(&a->lines, "command-line%s = %s\n", old->items[i].pattern ? " like" : "",
                                      old->items[i].text);
                        a->kept++;
                }
}

static void end_section(struct applying *a, const char *name) {
        if (a->lines.size > 0) {
                buffer_printf(&a->text, "\n[%s]\n", name);
                buffer_append(&a->text, a->lines.data, a->lines.size);
        }
        buffer_done(&a->lines);
        a->lines = (struct buffer){};
}

static int keep_firmware(struct applying *a) {
        const struct rule_digests *old = rules_of(a->old)->digests, *next = rules_of(a->next)->digests;
        bool old_images = old[LIST_UKI].n > 0 || old[LIST_BOOT_LOADER].n > 0,
             next_images = next[LIST_UKI].n > 0 || next[LIST_BOOT_LOADER].n > 0;

        if (old_images && next_images && (old[LIST_UKI].n > 0) != (next[LIST_UKI].n > 0)) {
                (void) snprintf(a->error, a->error_size,
                                "[firmware]: one policy lists UKIs and the other does not: they cannot be kept side by side, use "
                                "\"policy set\"");
                return -ENOTSUP;
        }
        for (enum digest_list list = LIST_BOOT_LOADER; next_images && list <= LIST_KERNEL; list++)
                keep_digests(a, list);
        if (rules_have_driver(a->next->rules))
                keep_digests(a, LIST_DRIVER);
        for (enum digest_list list = LIST_AUTHORITY; list <= LIST_DB_ONLY; list++)
                keep_digests_of_both(a, list);
        keep_command_lines(a);
        end_section(a, POLICY_FIRMWARE_REPLACED);
        return 0;
}

static void keep_ima(struct applying *a) {
        const struct policy_rules *old = rules_of(a->old), *next = rules_of(a->next);
        char hex[2 * WIRE_DIGEST_MAX + 1];

        if (next->digests[LIST_IMA_DIGEST].n == 0 && next->ima_files.n == 0)
                return;
        keep_digests(a, LIST_IMA_DIGEST);
        for (size_t i = 0; i < old->ima_files.n; i++) {
                const struct rule_text *file = old->ima_files.items + i;

                if (has_text(&next->ima_files, file))
                        continue;
                hex_write(file->digest.bytes, file->digest.size, hex);
                buffer_printf(&a->lines, "file = %s %s\n", hex, file->text);
                a->kept++;
        }
        end_section(a, POLICY_IMA_REPLACED);
}

int policy_apply(const struct policy *old, const struct policy *next, char **ret, size_t *ret_kept, char *error,
                 size_t error_size) {
        _cleanup_(applying_done) struct applying a = { .old = old, .next = next, .error = error, .error_size = error_size };
        size_t size = next->text ? strlen(next->text) : 0;
        int r;

        if (size > 0)
                buffer_append(&a.text, next->text, size);
        if (size > 0 && next->text[size - 1] != '\n')
                buffer_u8(&a.text, '\n');
        if ((r = keep_sets(&a)) < 0 || (r = keep_firmware(&a)) < 0)
                return r;
        keep_ima(&a);
        buffer_u8(&a.text, '\0');
        r = buffer_ok(&a.text);
        if (r < 0)
                return r;

        *ret = (char *) TAKE_PTR(a.text.data);
        *ret_kept = a.kept;
        return 0;
}

/* The name of a section's first line: "[set x]" is "set x". False: another line. */
static bool section_name(const char *line, size_t size, char *ret, size_t ret_size) {
        while (size > 0 && (*line == ' ' || *line == '\t')) {
                line++;
                size--;
        }
        if (size == 0 || *line != '[')
                return false;

        (void) snprintf(ret, ret_size, "%.*s", (int) (size - 1), line + 1);
        ret[strcspn(ret, "]")] = '\0';
        for (size_t n = strlen(ret); n > 0 && (ret[n - 1] == ' ' || ret[n - 1] == '\t'); n--)
                ret[n - 1] = '\0';
        memmove(ret, ret + strspn(ret, " \t"), strlen(ret + strspn(ret, " \t")) + 1);
        return true;
}

static bool is_replaced(const struct policy *policy, const char *section) {
        const struct policy_set *set = strncmp(section, "set ", 4) == 0 ? policy_find(policy, section + 4) : NULL;

        return strcmp(section, POLICY_FIRMWARE_REPLACED) == 0 || strcmp(section, POLICY_IMA_REPLACED) == 0 ||
               (set && set->replaced);
}

int policy_retire(const struct policy *policy, char **ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        const char *line = policy->text ?: "";
        bool skipping = false;
        char section[320];
        int r;

        while (*line) {
                size_t size = strcspn(line, "\n"), whole = size + (line[size] == '\n');

                if (section_name(line, size, section, sizeof(section)))
                        skipping = is_replaced(policy, section);
                if (!skipping)
                        buffer_append(&buffer, line, whole);
                line += whole;
        }
        /* the empty line that was in front of what was kept */
        while (buffer.size > 1 && buffer.data[buffer.size - 1] == '\n' && buffer.data[buffer.size - 2] == '\n')
                buffer.size--;
        buffer_u8(&buffer, '\0');
        r = buffer_ok(&buffer);
        if (r < 0)
                return r;
        *ret = (char *) TAKE_PTR(buffer.data);
        return 0;
}

bool policy_has_replaced(const struct policy *policy) {
        char section[320];
        const char *line = policy->text ?: "";

        for (; *line; line += strcspn(line, "\n"), line += *line == '\n')
                if (section_name(line, strcspn(line, "\n"), section, sizeof(section)) && is_replaced(policy, section))
                        return true;
        return false;
}
