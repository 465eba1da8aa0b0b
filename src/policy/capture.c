/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "policy/policy-internal.h"
#include "policy/predict.h"

static void format_set(const struct policy_set *set, struct buffer *buffer) {
        char hex[2 * WIRE_DIGEST_MAX + 1];

        buffer_printf(buffer, "[set %s]\nbank = %s\n", set->name, pcr_alg_to_string(set->bank));
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                if (!(set->mask & (1U << pcr)))
                        continue;
                hex_write(set->values[pcr], pcr_alg_size(set->bank), hex);
                buffer_printf(buffer, "pcr %u = %s\n", pcr, set->zero & (1U << pcr) ? "zero" : hex);
        }
}

/* What an operator wrote stays as it is; a last line without its end is given one. */
static char *append_text(const char *text, const struct policy_set *set) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        size_t size = text ? strlen(text) : 0;

        if (size > 0) {
                buffer_append(&buffer, text, size);
                buffer_printf(&buffer, text[size - 1] == '\n' ? "\n" : "\n\n");
        }
        format_set(set, &buffer);
        buffer_u8(&buffer, '\0');
        return buffer_ok(&buffer) < 0 ? NULL : (char *) TAKE_PTR(buffer.data);
}

char *policy_format_set(const struct policy_set *set) {
        _cleanup_(buffer_done) struct buffer buffer = {};

        format_set(set, &buffer);
        buffer_u8(&buffer, '\0');
        return buffer_ok(&buffer) < 0 ? NULL : (char *) TAKE_PTR(buffer.data);
}

int policy_capture(struct policy *policy, const char *name, const struct pcr_values *pcrs, uint16_t bank, unsigned gate) {
        const struct pcr_bank *values = pcr_values_bank(pcrs, bank);
        struct policy_set set = { .bank = bank }, *appended;
        _cleanup_(freep) char *text = NULL;
        int r;

        if (!set_name_is_valid(name) || !values || (bank != BANK_SHA256 && bank != BANK_SHA384))
                return -EINVAL;
        if (policy_find(policy, name))
                return -EEXIST;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                if (!(values->mask & (1U << pcr)) || pcr == gate)
                        continue;

                memcpy(set.values[pcr], values->values[pcr], pcr_alg_size(bank));
                set.mask |= 1U << pcr;
                if (value_is(set.values[pcr], pcr_alg_size(bank), 0))
                        set.zero |= 1U << pcr;

                r = set_check_value(&set, pcr, NULL, 0);
                if (r < 0)
                        return r;
        }
        if (set.mask == 0)
                return -EINVAL;

        (void) snprintf(set.name, sizeof(set.name), "%s", name);
        text = append_text(policy->text, &set);
        if (!text)
                return -ENOMEM;
        if (strlen(text) > POLICY_TEXT_MAX)
                return -E2BIG;
        r = policy_append(policy, name, &appended);
        if (r < 0)
                return r;

        *appended = set;
        free(policy->text);
        policy->text = TAKE_PTR(text);
        return 0;
}
