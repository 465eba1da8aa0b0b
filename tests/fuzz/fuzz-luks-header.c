/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first kilobytes of a disk: reader, and the view of every slot that a check starts with. Input that starts with { is a JSON
 * area: the binary header and its checksum, which no fuzzer would guess, are made around it. */
#include <string.h>

#include "luks/internal.h"

enum { IMAGE = 16384, JSON_AT = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const uint8_t *data, size_t size) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        struct luks_view view;
        char error[256];

        if (luks_header_parse(data, size, &header) < 0)
                return;
        for (int slot = 0; slot < LUKS_KEYSLOTS; slot++)
                (void) luks_view(header, slot, &view, error, sizeof(error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t image[IMAGE + 65536];

        if (size == 0 || data[0] != '{' || size > IMAGE - JSON_AT) {
                look(data, size);
                return 0;
        }
        memset(image, 0, IMAGE);
        memcpy(image, "LUKS\xba\xbe\0\2\0\0\0\0\0\0\x40\0", 16);
        memcpy(image + 72, "sha256", 6);
        memcpy(image + 168, "11111111-2222-3333-4444-555555555555", 36);
        memcpy(image + JSON_AT, data, size);
        if (sha256(image, IMAGE, image + 448) == 0)
                look(image, sizeof(image));
        return 0;
}
