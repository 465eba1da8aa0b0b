/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a strict decoder takes is what its encoder writes. */
#include <string.h>

#include "base/encode.h"
#include "base/log.h"

static void same(char *text, const uint8_t *data, size_t size) {
        if (!text || strlen(text) != size || memcmp(text, data, size) != 0)
                abort();
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *text = strndup((const char *) data, size);
        struct blob blob = {};
        uint8_t bytes[4096];
        char clean[64];

        if (base64url_decode((const char *) data, size, &blob) == 0) {
                same(base64url_encode(blob.data, blob.size), data, size);
                blob_done(&blob);
        }
        size = strlen(text);
        if (size * 5 / 8 <= sizeof(bytes) && base32_decode(text, bytes, size * 5 / 8) == 0)
                same(base32_encode(bytes, size * 5 / 8), data, size);
        if (size / 2 <= sizeof(bytes) && hex_decode(text, bytes, size / 2) == 0 && !strpbrk(text, "ABCDEF"))
                same(hex_encode(bytes, size / 2), data, size);

        text_sanitize(text, clean, sizeof(clean));
        for (const char *p = clean; *p; p++)
                if ((uint8_t) *p < 0x20 || *p == 0x7f)
                        abort();
        return 0;
}
