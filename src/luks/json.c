/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <string.h>

#include "base/ini.h"
#include "luks/internal.h"

char *luks_json_canonical(const json_t *json) {
        return json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);
}

char *luks_digest_canonical(const json_t *digest) {
        json_auto_t *copy = json_copy((json_t *) digest);

        if (!copy)
                return NULL;
        (void) json_object_del(copy, "keyslots");
        return luks_json_canonical(copy);
}

json_t *luks_json_parse(const char *text, size_t size) {
        json_t *json;

        if (size > LUKS_JSON_MAX)
                return NULL;
        json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        if (json && !json_is_object(json)) {
                json_decref(json);
                return NULL;
        }
        return json;
}

int luks_json_u64(const json_t *object, const char *name, uint64_t *ret) {
        const char *text = json_string_value(json_object_get(object, name));

        if (!text || parse_u64(text, 0, UINT64_MAX, ret) < 0)
                return -EBADMSG;
        return 0;
}

int luks_json_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret) {
        const json_t *json = json_object_get(object, name);

        if (!json_is_integer(json) || json_integer_value(json) < min || json_integer_value(json) > max)
                return -EBADMSG;
        *ret = json_integer_value(json);
        return 0;
}

int luks_json_text(const json_t *object, const char *name, char *ret, size_t size) {
        const char *text = json_string_value(json_object_get(object, name));

        if (!text || strlen(text) >= size)
                return -EBADMSG;
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

bool luks_json_array_has(const json_t *array, const char *text) {
        const json_t *item;
        size_t i;

        json_array_foreach (array, i, item) {
                const char *value = json_string_value(item);

                if (value && strcmp(value, text) == 0)
                        return true;
        }
        return false;
}

bool luks_uuid_is_valid(const char *text) {
        if (strlen(text) != LUKS_UUID_LENGTH)
                return false;
        for (size_t i = 0; i < LUKS_UUID_LENGTH; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
                        return false;
        }
        return true;
}

/* What device-mapper takes without escaping. */
bool luks_name_is_valid(const char *text) {
        size_t length = strlen(text);

        if (length == 0 || length >= LUKS_NAME_MAX || text[0] == '.' || text[0] == '-')
                return false;
        for (size_t i = 0; i < length; i++)
                if (!isalnum((unsigned char) text[i]) && !strchr("#+-.:=@_", text[i]))
                        return false;
        return true;
}
