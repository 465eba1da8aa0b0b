/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tpm/tpm-internal.h"

/* Four characters in a number, most significant first; padding left out. */
static void append_text(uint32_t value, char *text, size_t size) {
        size_t length = strlen(text);

        for (int shift = 24; shift >= 0; shift -= 8) {
                char c = (char) (value >> shift);

                if (c != '\0' && length + 1 < size)
                        text[length++] = c;
        }
        while (length > 0 && text[length - 1] == ' ')
                length--;
        text[length] = '\0';
}

int tpm_describe(struct tpm *tpm, char *ret, size_t size) {
        /* Part 2, 6.13: manufacturer, four vendor strings, type, firmware version 1. */
        uint32_t properties[TPM2_PT_FIRMWARE_VERSION_1 - TPM2_PT_MANUFACTURER + 1];
        char vendor[8] = "", model[20] = "", text[64];
        uint32_t firmware;
        int r;

        r = tpm_property(tpm, TPM2_PT_MANUFACTURER, properties, ELEMENTSOF(properties));
        if (r < 0)
                return r;

        append_text(properties[0], vendor, sizeof(vendor));
        for (size_t i = 1; i <= 4; i++)
                append_text(properties[i], model, sizeof(model));
        firmware = properties[ELEMENTSOF(properties) - 1];

        (void) snprintf(text, sizeof(text), "%s %s %u.%u", vendor, model, firmware >> 16, firmware & 0xffffU);
        text_sanitize(text, ret, size);
        return 0;
}

int tpm_state(struct tpm *tpm, struct tpm_state *ret) {
        uint32_t permanent[2];
        int r;

        r = tpm_property(tpm, TPM2_PT_PERMANENT, permanent, ELEMENTSOF(permanent)); /* and STARTUP_CLEAR */
        if (r < 0)
                return r;

        *ret = (struct tpm_state){
                .in_lockout = permanent[0] & TPMA_PERMANENT_INLOCKOUT,
                .endorsement_auth_set = permanent[0] & TPMA_PERMANENT_ENDORSEMENTAUTHSET,
                .endorsement_enabled = permanent[1] & TPMA_STARTUP_CLEAR_EHENABLE,
        };
        return 0;
}
