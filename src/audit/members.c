/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/members.h"

#include <string.h>

#include "base/encode.h"

int set_bin(json_t *json, const char *name, const void *data, size_t size) {
        _cleanup_(freep) char *text = base64url_encode(data, size);

        return text && json_object_set_new(json, name, json_string(text)) == 0 ? 0 : -ENOMEM;
}

int set_hash(json_t *json, const char *name, const uint8_t hash[static 32]) {
        char text[65];

        hex_write(hash, 32, text);
        return json_object_set_new(json, name, json_string(text)) == 0 ? 0 : -ENOMEM;
}

int get_text(const json_t *json, const char *name, char *ret, size_t size) {
        const json_t *value = json_object_get(json, name);

        if (!json_is_string(value) || json_string_length(value) >= size)
                return -EBADMSG;
        memcpy(ret, json_string_value(value), json_string_length(value) + 1);
        return 0;
}

int get_number(const json_t *json, const char *name, int64_t *ret) {
        const json_t *value = json_object_get(json, name);

        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= INT64_C(1) << 53)
                return -EBADMSG;
        *ret = json_integer_value(value);
        return 0;
}

int get_hash(const json_t *json, const char *name, uint8_t ret[static 32]) {
        char text[65];

        return get_text(json, name, text, sizeof(text)) < 0 || hex_decode(text, ret, 32) < 0 ? -EBADMSG : 0;
}

int get_bin(const json_t *json, const char *name, void *ret, size_t max, size_t *ret_size) {
        const json_t *value = json_object_get(json, name);
        _cleanup_(blob_done) struct blob blob = {};
        int r;

        if (!json_is_string(value) || json_string_length(value) > 2 * max)
                return -EBADMSG;
        r = base64url_decode(json_string_value(value), json_string_length(value), &blob);
        if (r < 0 || blob.size > max)
                return r == -ENOMEM ? r : -EBADMSG;

        memcpy(ret, blob.data, blob.size);
        *ret_size = blob.size;
        return 0;
}
