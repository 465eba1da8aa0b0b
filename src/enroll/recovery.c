/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "enroll/internal.h"

/* Letters that are at the same place on most keyboards (systemd's recovery-key.c writes the same form). */
static const char modhex[] = "cbdefghijklnrtuv";

void recovery_format(const uint8_t bytes[static 32], char ret[static RECOVERY_LENGTH]) {
        size_t at = 0;

        for (size_t i = 0; i < 32; i++) {
                if (i > 0 && i % 4 == 0)
                        ret[at++] = '-';
                ret[at++] = modhex[bytes[i] >> 4];
                ret[at++] = modhex[bytes[i] & 15];
        }
}

int recovery_new(struct secret **ret) {
        _cleanup_(secret_freep) struct secret *bytes = NULL, *text = NULL;
        int r;

        r = secret_random(32, &bytes);
        if (r < 0)
                return r;
        r = secret_new(RECOVERY_LENGTH, &text);
        if (r < 0)
                return r;
        recovery_format(bytes->data, (char *) text->data);
        *ret = TAKE_PTR(text);
        return 0;
}
