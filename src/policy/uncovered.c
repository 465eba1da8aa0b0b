/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "policy/rules.h"

/* What [firmware] holds for every boot, whatever its set. */
struct cover {
        bool loader, state, command_line, uki;
        bool drivers;      /* listed, or signed: Secure Boot is on */
        bool addons;       /* 12 and 13 are zero */
        bool any_words;    /* a command line's pattern has ** */
        bool by_authority; /* what runs is whatever these keys signed */
};

/* Whether the set holds a PCR to a value that somebody measured. */
static bool measures(const struct policy_set *set, unsigned pcr) {
        return set->mask & (1U << pcr) && !(set->zero & (1U << pcr));
}

static bool fixes(const struct policy_set *set, unsigned pcr) {
        return set->mask & (1U << pcr);
}

static struct cover rules_cover(const struct policy_rules *rules) {
        struct cover cover = {};

        if (!rules)
                return cover;
        cover.uki = rules->digests[LIST_UKI].n > 0;
        cover.loader = cover.uki || rules->digests[LIST_BOOT_LOADER].n > 0;
        cover.state = rules->secure_boot.line > 0;
        cover.drivers = rules->secure_boot.value || rules_have_driver(rules);
        cover.addons = rules->addons.line > 0;
        cover.by_authority = rules->digests[LIST_AUTHORITY].n > 0 && rules->secure_boot.value;
        cover.command_line = rules->command_lines.n > 0;
        for (size_t i = 0; i < rules->command_lines.n; i++)
                if (rules->command_lines.items[i].pattern && strstr(rules->command_lines.items[i].text, "**"))
                        cover.any_words = true;
        return cover;
}

/* UEFI (TCG PC Client Platform Firmware Profile, 3.3.4): 4 is the boot loader or UKI. 2 are drivers, of cards and, by Driver####
 * variables that anybody with root or at the console writes, of the ESP: they run before the boot loader, and can measure in its
 * name. GRUB measures commands into 8, files into 9; Linux the initrd into 9; systemd-stub the sections of a UKI, its command
 * line and initrd among them, into 11, another command line and credentials into 12, system extensions into 13. The digest of a
 * UKI is over all its sections: but what comes beside it, and takes their place, shows in 12 and 13 only. */
static void append_uncovered(const struct policy_set *set, const char *who, const struct cover *cover, struct buffer *buffer) {
        bool twelve = cover->addons || fixes(set, 12), thirteen = cover->addons || fixes(set, 13);
        bool uki_alone = cover->uki && twelve && thirteen;
        const struct {
                bool covered;
                const char *text;
        } parts[] = {
                { measures(set, 0), "firmware (PCR 0)" },
                { measures(set, 2) || cover->drivers, "UEFI drivers (PCR 2)" },
                { measures(set, 4) || cover->loader,
                  cover->by_authority ? "boot loader (PCR 4: anything that the listed authorities ever signed)"
                                      : "boot loader (PCR 4)" },
                { measures(set, 7) || cover->state, "Secure Boot state (PCR 7)" },
                { measures(set, 9) || measures(set, 11) || uki_alone, "initramfs (PCR 9, or 11 with a UKI)" },
                { measures(set, 8) || ((measures(set, 11) || cover->uki) && twelve) || (cover->command_line && !cover->any_words),
                  cover->any_words ? "kernel command line (** lets in any words)"
                                   : "kernel command line (PCR 8 with GRUB, 11 and 12 with a UKI)" },
                { twelve && thirteen, "add-ons (PCR 12 and 13)" },
        };
        bool first = true;

        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                if (parts[i].covered)
                        continue;
                if (first)
                        buffer_printf(buffer, "%s%s%s not cover: %s", buffer->size > 0 ? "; " : "", who,
                                      set->name[0] ? " does" : " do", parts[i].text);
                else
                        buffer_printf(buffer, ", %s", parts[i].text);
                first = false;
        }
}

char *policy_uncovered(const struct policy *policy) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        const struct cover cover = rules_cover(policy->rules);
        static const struct policy_set none = {};
        char who[sizeof("set ") + sizeof(policy->sets->name)];

        for (size_t i = 0; i < policy->n; i++) {
                (void) snprintf(who, sizeof(who), "set %s", policy->sets[i].name);
                append_uncovered(policy->sets + i, who, &cover, &buffer);
        }
        if (policy->n == 0 && rules_have_firmware(policy->rules))
                append_uncovered(&none, "the [firmware] rules", &cover, &buffer);
        if (policy->release.token_evidence)
                buffer_printf(
                        &buffer,
                        "%stoken-evidence does not cover: anything that a node with a token boots (no PCRs, no logs), whether its "
                        "gate is closed, whether it is another boot (no counters)",
                        buffer.size > 0 ? "; " : "");
        buffer_u8(&buffer, '\0');
        return buffer_ok(&buffer) < 0 ? NULL : (char *) TAKE_PTR(buffer.data);
}
