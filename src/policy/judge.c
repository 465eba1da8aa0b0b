/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"

void judge_finding(struct judgement *judgement, const char *rule, unsigned line, const char *why, ...) {
        struct policy_finding *finding;
        char text[sizeof(finding->why)];
        va_list ap;

        judgement->failed |= why != NULL;
        if (judgement->n >= judgement->allocated) {
                finding = reallocarray(judgement->findings, judgement->allocated + 16, sizeof(*finding));
                if (!finding) {
                        judgement->failed = judgement->out_of_memory = true;
                        return;
                }
                judgement->findings = finding;
                judgement->allocated += 16;
        }

        finding = judgement->findings + judgement->n++;
        *finding = (struct policy_finding){ .line = line, .passed = !why };
        (void) snprintf(finding->rule, sizeof(finding->rule), "%s", rule);
        if (!why)
                return;
        va_start(ap, why);
        (void) vsnprintf(text, sizeof(text), why, ap);
        va_end(ap);
        text_sanitize(text, finding->why, sizeof(finding->why)); /* paths and command lines are the node's words */
}

/* Only what the events of these PCRs say, and only all of it. False with words in why. */
static bool judge_log_proves(const struct policy_input *input, uint32_t pcrs, char *why, size_t size) {
        const struct boot_facts *facts = input->facts;

        if (!facts) {
                (void) snprintf(why, size, "there is no firmware event log of this boot");
                return false;
        }
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                if (!(pcrs & (UINT32_C(1) << pcr)))
                        continue;
                if (!(facts->proven & (UINT32_C(1) << pcr))) {
                        (void) snprintf(why, size, "the event log does not give the value of PCR %u that the TPM signed", pcr);
                        return false;
                }
                if (facts->unread & (UINT32_C(1) << pcr)) {
                        (void) snprintf(why, size, "PCR %u: not all that was measured can be read: %s", pcr,
                                        facts->unread_why[pcr]);
                        return false;
                }
        }
        return true;
}

static void judge_secure_boot(struct judgement *judgement) {
        const struct rule_switch *rule = &judgement->policy->rules->secure_boot;
        const struct boot_facts *facts = judgement->input->facts;
        const char *name = "[firmware] secure-boot";
        char why[256];

        if (rule->line == 0)
                return;
        if (!judge_log_proves(judgement->input, 1 << 7, why, sizeof(why)))
                judge_finding(judgement, name, rule->line, "%s", why);
        else if (facts->secure_boot < 0)
                judge_finding(judgement, name, rule->line, "the firmware did not say whether Secure Boot was on");
        else if (rule->value && facts->secure_boot == 1 && !facts->deployed_or_user)
                judge_finding(judgement, name, rule->line,
                              "Secure Boot was on in setup or audit mode, in which it refuses nothing");
        else if (rule->value != (facts->secure_boot == 1))
                judge_finding(judgement, name, rule->line, "Secure Boot was %s", facts->secure_boot == 1 ? "on" : "off");
        else
                judge_finding(judgement, name, rule->line, NULL);
}

static void judge_debug(struct judgement *judgement) {
        const struct rule_switch *rule = &judgement->policy->rules->debug;
        char why[256];

        if (rule->line == 0)
                return;
        if (!judge_log_proves(judgement->input, 1 << 7, why, sizeof(why)))
                judge_finding(judgement, "[firmware] debug", rule->line, "%s", why);
        else if (judgement->input->facts->debug != 0)
                judge_finding(judgement, "[firmware] debug", rule->line,
                              "the firmware measured its debug mode, or that DMA protection was off");
        else
                judge_finding(judgement, "[firmware] debug", rule->line, NULL);
}

/* Of the quoted values alone: whatever systemd-stub measures there is an add-on, a credential, or another command line. */
static void judge_addons(struct judgement *judgement) {
        const struct rule_switch *rule = &judgement->policy->rules->addons;
        const struct pcr_bank *bank =
                judgement->input->pcrs ? pcr_values_bank(judgement->input->pcrs, judgement->input->bank) : NULL;

        if (rule->line == 0)
                return;
        for (unsigned pcr = 12; pcr <= 13; pcr++) {
                if (!bank || !(bank->mask & (UINT32_C(1) << pcr))) {
                        judge_finding(judgement, "[firmware] add-ons", rule->line, "PCR %u was not quoted", pcr);
                        return;
                }
                if (!value_is(bank->values[pcr], pcr_alg_size(bank->alg), 0)) {
                        judge_finding(judgement, "[firmware] add-ons", rule->line,
                                      "PCR %u is not zero: a command line, credential or extension beside the UKI was measured",
                                      pcr);
                        return;
                }
        }
        judge_finding(judgement, "[firmware] add-ons", rule->line, NULL);
}

static bool facts_have(const struct fact_digests *facts, const struct rule_digest *digest) {
        for (size_t i = 0; i < facts->n; i++)
                if (facts->items[i].size == digest->size && memcmp(facts->items[i].digest, digest->bytes, digest->size) == 0)
                        return true;
        return false;
}

/* Whether the policy has this list and the log proves PCR 7, which all that is held against lists is measured into. If only the
 * log is missing, that is the finding. ret: the rule's name. */
static bool can_judge_list(struct judgement *judgement, enum digest_list which, char *ret, size_t size) {
        const struct rule_digests *list = judgement->policy->rules->digests + which;
        char why[256];

        if (list->n == 0)
                return false;
        (void) snprintf(ret, size, "[firmware] %s", digest_list_name(which));
        if (judge_log_proves(judgement->input, 1 << 7, why, sizeof(why)))
                return true;
        judge_finding(judgement, ret, digests_line(list), "%s", why);
        return false;
}

/* Everything measured is on the list; any: and something was. */
static void judge_only(struct judgement *judgement, enum digest_list which, const struct fact_digests *measured, bool any) {
        const struct rule_digests *list = judgement->policy->rules->digests + which;
        char rule[64], hex[2 * WIRE_DIGEST_MAX + 1];

        if (!can_judge_list(judgement, which, rule, sizeof(rule)))
                return;
        for (size_t i = 0; i < measured->n; i++)
                if (!digests_find(list, measured->items[i].digest, measured->items[i].size)) {
                        hex_write(measured->items[i].digest, measured->items[i].size, hex);
                        judge_finding(judgement, rule, digests_line(list), "%s %s was measured and is not on the list",
                                      measured->items[i].name, hex);
                        return;
                }
        if (any && measured->n == 0)
                judge_finding(judgement, rule, digests_line(list), "nothing was measured that could be on the list");
        else
                judge_finding(judgement, rule, digests_line(list), NULL);
}

static void judge_has(struct judgement *judgement, enum digest_list which, const struct fact_digests *measured) {
        const struct rule_digests *list = judgement->policy->rules->digests + which;
        char rule[64], hex[2 * WIRE_DIGEST_MAX + 1];

        if (!can_judge_list(judgement, which, rule, sizeof(rule)))
                return;
        for (size_t i = 0; i < list->n; i++)
                if (!facts_have(measured, list->items + i)) {
                        hex_write(list->items[i].bytes, list->items[i].size, hex);
                        judge_finding(judgement, rule, list->items[i].line, "%s is not in the measured variable", hex);
                        return;
                }
        judge_finding(judgement, rule, digests_line(list), NULL);
}

/* What the firmware started before the boot loader: option ROMs of cards and Driver#### of the ESP. */
static void judge_drivers(struct judgement *judgement) {
        const struct policy_rules *rules = judgement->policy->rules;
        const struct boot_facts *facts = judgement->input->facts;
        unsigned line = rules->no_driver.line ?: digests_line(rules->digests + LIST_DRIVER);
        char why[256], hex[2 * WIRE_DIGEST_MAX + 1];

        if (!rules_have_driver(rules))
                return;
        if (!judge_log_proves(judgement->input, 1 << 2, why, sizeof(why))) {
                judge_finding(judgement, "[firmware] driver", line, "%s", why);
                return;
        }
        for (size_t i = 0; i < facts->drivers.n; i++)
                if (!digests_find(rules->digests + LIST_DRIVER, facts->drivers.items[i].digest, facts->drivers.items[i].size)) {
                        hex_write(facts->drivers.items[i].digest, facts->drivers.items[i].size, hex);
                        judge_finding(judgement, "[firmware] driver", line, "driver %zu of PCR 2, %s, is not on the list", i + 1,
                                      hex);
                        return;
                }
        judge_finding(judgement, "[firmware] driver", line, NULL);
}

enum image { IMAGE_UNKNOWN, IMAGE_LOADER, IMAGE_UKI, IMAGE_KERNEL };

static enum image image_of(const struct policy_rules *rules, const struct fact_digest *digest) {
        if (digests_find(rules->digests + LIST_UKI, digest->digest, digest->size))
                return IMAGE_UKI;
        if (digests_find(rules->digests + LIST_KERNEL, digest->digest, digest->size))
                return IMAGE_KERNEL;
        if (digests_find(rules->digests + LIST_BOOT_LOADER, digest->digest, digest->size))
                return IMAGE_LOADER;
        return IMAGE_UNKNOWN;
}

/* Boot loaders, then, where UKIs are listed, one of them, then at most the kernel in it. A kernel without its UKI, or started by
 * the firmware after the UKI gave up, has whatever command line and initramfs somebody gave it. */
static const char *check_images(const struct policy_rules *rules, const struct boot_facts *facts, size_t *ret_at) {
        const struct fact_digests *applications = &facts->applications;
        bool wants_uki = rules->digests[LIST_UKI].n > 0;
        enum image last = IMAGE_UNKNOWN;

        for (size_t i = 0; i < applications->n; i++) {
                enum image image = image_of(rules, applications->items + i);

                *ret_at = i;
                if (image == IMAGE_UNKNOWN)
                        return "is not on the list";
                if (image == IMAGE_KERNEL && last != IMAGE_UKI)
                        return "is the kernel of a UKI and was not started by one that is on the list";
                if (last == IMAGE_KERNEL || (last == IMAGE_UKI && image != IMAGE_KERNEL))
                        return "was started after the UKI: only its kernel can be";
                if (image == IMAGE_UKI && facts->returned > i)
                        return "came back to the firmware: what was started then need not be from it";
                last = image;
        }
        *ret_at = SIZE_MAX;
        if (applications->n == 0)
                return "no boot loader was measured";
        if (wants_uki && last != IMAGE_UKI && last != IMAGE_KERNEL)
                return "no UKI was started";
        return NULL;
}

static void judge_images(struct judgement *judgement) {
        const struct policy_rules *rules = judgement->policy->rules;
        const struct rule_digests *loaders = rules->digests + LIST_BOOT_LOADER, *ukis = rules->digests + LIST_UKI;
        const char *rule = ukis->n == 0      ? "[firmware] boot-loader"
                           : loaders->n == 0 ? "[firmware] uki"
                                             : "[firmware] boot-loader, uki";
        unsigned line = loaders->n == 0 ? digests_line(ukis) : digests_line(loaders);
        const struct boot_facts *facts = judgement->input->facts;
        char why[256], hex[2 * WIRE_DIGEST_MAX + 1];
        const char *wrong;
        size_t at;

        if (loaders->n == 0 && ukis->n == 0)
                return;
        if (!judge_log_proves(judgement->input, 1 << 4, why, sizeof(why))) {
                judge_finding(judgement, rule, line, "%s", why);
                return;
        }
        wrong = check_images(rules, facts, &at);
        if (!wrong)
                judge_finding(judgement, rule, line, NULL);
        else if (at == SIZE_MAX)
                judge_finding(judgement, rule, line, "%s", wrong);
        else {
                hex_write(facts->applications.items[at].digest, facts->applications.items[at].size, hex);
                judge_finding(judgement, rule, line, "image %zu of PCR 4, %s, %s", at + 1, hex, wrong);
        }
}

static void judge_command_lines(struct judgement *judgement) {
        const struct policy_rules *rules = judgement->policy->rules;
        const char *wrong;
        char why[384];

        if (rules->command_lines.n == 0)
                return;
        if (!judge_log_proves(judgement->input, COMMAND_LINE_PCRS, why, sizeof(why)))
                wrong = why;
        else
                wrong = judge_command_line(rules, judgement->input->facts, why, sizeof(why));
        if (wrong)
                judge_finding(judgement, "[firmware] command-line", rules->command_lines.items[0].line, "%s", wrong);
        else
                judge_finding(judgement, "[firmware] command-line", rules->command_lines.items[0].line, NULL);
}

void judge_firmware(struct judgement *judgement) {
        static const struct boot_facts none = {};
        const struct boot_facts *facts = judgement->input->facts ?: &none;

        judge_secure_boot(judgement);
        judge_debug(judgement);
        judge_addons(judgement);
        judge_only(judgement, LIST_PK_ONLY, &facts->pk, true);
        judge_only(judgement, LIST_KEK_ONLY, &facts->kek, true);
        judge_only(judgement, LIST_DB_ONLY, &facts->db, false);
        judge_has(judgement, LIST_DB_HAS, &facts->db);
        judge_has(judgement, LIST_DBX_HAS, &facts->dbx);
        judge_only(judgement, LIST_AUTHORITY, &facts->authorities, true);
        judge_drivers(judgement);
        judge_images(judgement);
        judge_command_lines(judgement);
}

void judge_release(struct judgement *judgement) {
        const struct policy_release *release = &judgement->policy->release;
        const struct policy_input *input = judgement->input;

        if (input->token && release->token_evidence)
                judge_finding(judgement, "[release] token-evidence", release->token_line, NULL);
        else if (input->token)
                judge_finding(judgement, "[release] token-evidence", release->token_line,
                              "a token says who asks, not what was booted: the policy has to allow that by token-evidence = yes");
        if (release->n_networks == 0)
                return;
        if (network_holds(release, input->address))
                judge_finding(judgement, "[release] networks", release->networks_line, NULL);
        else
                judge_finding(judgement, "[release] networks", release->networks_line, "%s is in none of them",
                              input->address ?: "an address that is not known");
}
