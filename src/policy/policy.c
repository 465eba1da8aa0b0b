/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/ini.h"
#include "policy/rules.h"

enum { SETS_MAX = 256 };

struct line {
        const char *section, *key, *value;
        unsigned number;
};

struct parsing {
        struct policy policy;
        char section[sizeof("set ") + sizeof(((struct policy_set *) NULL)->name)]; /* that the last set is of */
};

bool value_is(const uint8_t *value, size_t size, uint8_t byte) {
        for (size_t i = 0; i < size; i++)
                if (value[i] != byte)
                        return false;
        return true;
}

bool set_name_is_valid(const char *name) {
        size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+:");

        return length > 0 && name[length] == '\0' && length < sizeof(((struct policy_set *) NULL)->name);
}

struct policy_set *policy_find(const struct policy *policy, const char *name) {
        for (size_t i = 0; i < policy->n; i++)
                if (strcmp(policy->sets[i].name, name) == 0)
                        return policy->sets + i;
        return NULL;
}

int policy_append(struct policy *policy, const char *name, struct policy_set **ret) {
        struct policy_set *sets;

        if (policy->n >= SETS_MAX)
                return -E2BIG;

        sets = reallocarray(policy->sets, policy->n + 1, sizeof(*sets));
        if (!sets)
                return -ENOMEM;

        policy->sets = sets;
        sets[policy->n] = (struct policy_set){};
        (void) snprintf(sets[policy->n].name, sizeof(sets[policy->n].name), "%s", name);
        *ret = sets + policy->n++;
        return 0;
}

/* The set that a line belongs to: the last one, or a new one. A set is in one piece. */
static int set_for_section(struct parsing *parsing, const char *section, char *error, size_t error_size,
                           struct policy_set **ret) {
        const char *name = section + strlen("set ");
        struct policy *policy = &parsing->policy;
        int r;

        if (!set_name_is_valid(name)) {
                (void) snprintf(error, error_size,
                                "not a section of a policy: write [set NAME], NAME being up to 63 letters, digits "
                                "or any of . _ - + :");
                return -EINVAL;
        }

        if (policy->n > 0 && strcmp(parsing->section, section) == 0) {
                *ret = policy->sets + policy->n - 1;
                return 0;
        }
        if (policy_find(policy, name)) {
                (void) snprintf(error, error_size, "[%s] is there already: give each set a name of its own", section);
                return -EEXIST;
        }

        r = policy_append(policy, name, ret);
        if (r == -E2BIG)
                (void) snprintf(error, error_size, "more than %d sets: remove those that no node boots any more", SETS_MAX);
        if (r < 0)
                return r;
        (void) snprintf(parsing->section, sizeof(parsing->section), "%s", section);
        return 0;
}

static int set_bank(struct policy_set *set, const char *value, char *error, size_t error_size) {
        if (set->bank != 0) {
                (void) snprintf(error, error_size, "bank is there already: a set has one bank, at its start");
                return -EEXIST;
        }
        if (pcr_alg_from_string(value, &set->bank) < 0 || (set->bank != BANK_SHA256 && set->bank != BANK_SHA384)) {
                (void) snprintf(error, error_size, "no such bank: write sha256 or sha384");
                return -EINVAL;
        }
        return 0;
}

/* docs/protocol.md, 5.9: what nobody measured is only allowed by name, and never for the firmware. */
int set_check_value(const struct policy_set *set, unsigned pcr, char *error, size_t error_size) {
        size_t size = pcr_alg_size(set->bank);
        bool by_name = set->zero & (1U << pcr);

        if (value_is(set->values[pcr], size, 0xff)) {
                (void) snprintf(error, error_size,
                                "PCR %u: all one bits is what a PCR holds that nobody measured into: leave it out", pcr);
                return -EINVAL;
        }
        if (value_is(set->values[pcr], size, 0) && pcr < 8) {
                (void) snprintf(error, error_size, "PCR %u: zero is never allowed for PCR 0 to 7, firmware measures into them",
                                pcr);
                return -EINVAL;
        }
        if (value_is(set->values[pcr], size, 0) && !by_name) {
                (void) snprintf(error, error_size, "PCR %u: all zero bits are written as the word zero", pcr);
                return -EINVAL;
        }
        return 0;
}

static int set_pcr(struct policy_set *set, const char *index, const char *value, char *error, size_t error_size) {
        uint64_t pcr;

        if (parse_u64(index, 0, WIRE_PCRS - 1, &pcr) < 0) {
                (void) snprintf(error, error_size, "no such PCR: write pcr 0 to pcr %d", WIRE_PCRS - 1);
                return -EINVAL;
        }
        if (set->bank == 0) {
                (void) snprintf(error, error_size, "the set's bank is not known yet: write bank = sha256 before the first PCR");
                return -EINVAL;
        }
        if (set->mask & (1U << pcr)) {
                (void) snprintf(error, error_size, "PCR %u is there already: a set has one value for each PCR", (unsigned) pcr);
                return -EEXIST;
        }

        if (strcmp(value, "zero") == 0)
                set->zero |= 1U << pcr;
        else if (hex_decode(value, set->values[pcr], pcr_alg_size(set->bank)) < 0) {
                (void) snprintf(error, error_size, "PCR %u: write its value as %zu hexadecimal digits, or zero", (unsigned) pcr,
                                2 * pcr_alg_size(set->bank));
                return -EINVAL;
        }
        set->mask |= 1U << pcr;
        return set_check_value(set, (unsigned) pcr, error, error_size);
}

static int on_set_line(struct parsing *parsing, const struct line *line, char *error, size_t error_size) {
        struct policy_set *set = NULL;
        int r;

        r = set_for_section(parsing, line->section, error, error_size, &set);
        if (r < 0)
                return r;

        if (strcmp(line->key, "bank") == 0)
                return set_bank(set, line->value, error, error_size);
        if (strcmp(line->key, "replaced") == 0)
                return parse_bool(line->value, &set->replaced);
        if (strncmp(line->key, "pcr ", 4) == 0)
                return set_pcr(set, line->key + 4, line->value, error, error_size);
        return -ENOENT;
}

/* What "policy apply" keeps of a policy that it replaced: more of what is allowed, never one more thing to ask for. */
static bool can_be_replaced(const struct line *line) {
        static const char *const keys[] = { "pk only-these", "kek only-these", "db only-these", "boot-loader",       "uki",
                                            "kernel",        "authority",      "command-line",  "command-line like", "digest",
                                            "file",          "driver" };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (strcmp(line->key, keys[i]) == 0)
                        return strcmp(line->key, "driver") != 0 || strcmp(line->value, "none") != 0;
        return false;
}

static int on_rule_line(struct policy_rules *rules, const struct line *line, char *error, size_t error_size) {
        bool replaced = strcmp(line->section, POLICY_FIRMWARE_REPLACED) == 0 || strcmp(line->section, POLICY_IMA_REPLACED) == 0;

        if (replaced && !can_be_replaced(line)) {
                (void) snprintf(error, error_size,
                                "\"%.64s\" has no place in [%s]: only what is allowed beside the new policy has", line->key,
                                line->section);
                return -EINVAL;
        }
        if (strncmp(line->section, "ima", 3) == 0)
                return rules_parse_ima(rules, line->key, line->value, line->number, error, error_size);
        return rules_parse_firmware(rules, line->key, line->value, line->number, error, error_size);
}

static int on_line(const char *section, const char *key, const char *value, unsigned number, char *error, size_t error_size,
                   void *userdata) {
        const struct line line = { section, key, value, number };
        struct parsing *parsing = userdata;
        struct policy *policy = &parsing->policy;

        if (strncmp(section, "set ", strlen("set ")) == 0)
                return on_set_line(parsing, &line, error, error_size);

        parsing->section[0] = '\0';
        if (strcmp(section, "release") == 0)
                return release_parse(policy, key, value, number, error, error_size);
        if (strcmp(section, "firmware") != 0 && strcmp(section, POLICY_FIRMWARE_REPLACED) != 0 && strcmp(section, "ima") != 0 &&
            strcmp(section, POLICY_IMA_REPLACED) != 0) {
                (void) snprintf(error, error_size, "not a section of a policy: write [set NAME], [firmware], [ima] or [release]");
                return -EINVAL;
        }

        if (!policy->rules && !(policy->rules = calloc(1, sizeof(*policy->rules))))
                return -ENOMEM;
        return on_rule_line(policy->rules, &line, error, error_size);
}

/* What can only be seen at the end. */
static int check_whole(const struct policy *policy, char *error, size_t error_size) {
        unsigned line = 0;
        char why[256] = "out of memory";

        /* A set that wants nothing would match every boot. */
        for (size_t i = 0; i < policy->n; i++)
                if (policy->sets[i].mask == 0) {
                        (void) snprintf(error, error_size, "[set %s] has no PCR: write pcr 4 = ... and so on, or remove it",
                                        policy->sets[i].name);
                        return -EBADMSG;
                }

        if (policy->rules && rules_check(policy->rules, &line, why, sizeof(why)) < 0) {
                (void) snprintf(error, error_size, "%u: %s", line, why);
                return -EBADMSG;
        }
        return 0;
}

int policy_parse(const char *text, size_t size, struct policy *ret, char *error, size_t error_size) {
        struct parsing parsing = { .policy.release.token_interval = POLICY_TOKEN_INTERVAL };
        char unused[256];
        int r;

        if (size > POLICY_TEXT_MAX) {
                if (error && error_size > 0)
                        (void) snprintf(error, error_size, "1: longer than %d bytes", POLICY_TEXT_MAX);
                return -EBADMSG;
        }

        r = ini_parse(text, size, on_line, &parsing, error, error_size);

        if (r >= 0)
                r = check_whole(&parsing.policy, error ?: unused, error ? error_size : sizeof(unused));
        if (r >= 0 && !(parsing.policy.text = strndup(text, size)))
                r = -ENOMEM;
        if (r < 0) {
                policy_done(&parsing.policy);
                return r;
        }
        *ret = parsing.policy;
        return 0;
}

void policy_done(struct policy *policy) {
        free(policy->sets);
        rules_free(policy->rules);
        free(policy->release.networks);
        free(policy->text);
        *policy = (struct policy){};
}

char *policy_format(const struct policy *policy) {
        return strdup(policy->text ?: "");
}

bool policy_set_counts(const struct policy *policy, const struct policy_set *set) {
        return set->mask & ~set->zero || (set->mask && rules_say_what_boots(policy->rules));
}

bool policy_allows_nothing(const struct policy *policy) {
        for (size_t i = 0; i < policy->n; i++)
                if (policy_set_counts(policy, policy->sets + i))
                        return false;
        return policy->n > 0 || !rules_say_what_boots(policy->rules);
}

uint32_t policy_log_pcrs(const struct policy *policy) {
        const struct policy_rules *rules = policy->rules;
        uint32_t mask = 0;

        if (!rules)
                return 0;
        if (rules->secure_boot.line > 0 || rules->debug.line > 0)
                mask |= 1 << 7;
        for (enum digest_list list = 0; list < DIGEST_LISTS; list++)
                if (rules->digests[list].n > 0 && list != LIST_IMA_DIGEST && list != LIST_DRIVER)
                        mask |= list == LIST_BOOT_LOADER || list == LIST_UKI || list == LIST_KERNEL ? 1 << 4 : 1 << 7;
        if (rules_have_driver(rules))
                mask |= 1 << 2;
        if (rules->command_lines.n > 0)
                mask |= COMMAND_LINE_PCRS;
        return mask;
}

bool policy_wants_ima(const struct policy *policy) {
        return rules_have_ima(policy->rules);
}

uint32_t policy_pcrs(const struct policy *policy, uint16_t bank) {
        uint32_t mask = 0;

        for (size_t i = 0; i < policy->n; i++)
                if (policy->sets[i].bank == bank)
                        mask |= policy->sets[i].mask;

        mask |= policy_log_pcrs(policy);
        if (policy->rules && policy->rules->addons.line > 0)
                mask |= ADDON_PCRS;
        if (policy_wants_ima(policy))
                mask |= 1U << IMA_PCR | AGGREGATE_PCRS;
        return mask;
}
