/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/json.h"

enum {
        HALVES_MIN = 6 + AEAD_TAG_SIZE,
        HALVES_MAX = 6 + WIRE_KEYS_MAX * 54 + AEAD_TAG_SIZE,
        DETAILS_MAX = 512 * 1024,
};

void wire_sealed_done(struct wire_sealed *sealed) {
        blob_done(&sealed->halves);
        blob_done(&sealed->details);
        *sealed = (struct wire_sealed){};
}

char *wire_sealed_encode(const struct wire_sealed *sealed) {
        struct put put = put_new();

        put_bin(&put, "enc", sealed->enc, sizeof sealed->enc);
        put_blob(&put, "halves", &sealed->halves);
        put_blob(&put, "details", &sealed->details);
        return put_text(&put);
}

int wire_sealed_parse(const char *text, size_t size, struct wire_sealed *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        _cleanup_(wire_sealed_done) struct wire_sealed sealed = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_bin_fixed(&take, "enc", sealed.enc, sizeof sealed.enc);
        take_bin(&take, "halves", HALVES_MIN, HALVES_MAX, &sealed.halves);
        take_bin(&take, "details", AEAD_TAG_SIZE + 1, DETAILS_MAX, &sealed.details);
        if (take.error < 0)
                return take.error;

        *ret = sealed;
        sealed = (struct wire_sealed){};
        return 0;
}
