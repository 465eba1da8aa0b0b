/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/json.h"

#include <string.h>

#include "base/encode.h"

#define NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* docs/protocol.md, 1 */

void wire_json_decrefp(json_t **json) {
        json_decref(*json);
}

json_t *wire_json_parse(const void *text, size_t size) {
        json_t *json;

        if (!text || size == 0 || size > WIRE_JSON_MAX)
                return NULL;

        json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        if (json_is_object(json))
                return json;

        json_decref(json);
        return NULL;
}

static int get_text(const json_t *object, const char *name, const char **ret, size_t *ret_length) {
        const json_t *value = json_object_get(object, name);

        if (!value)
                return -ENOENT;
        if (!json_is_string(value))
                return -EBADMSG;

        *ret = json_string_value(value);
        *ret_length = json_string_length(value);
        return 0;
}

int wire_get_bin(const json_t *object, const char *name, size_t max, struct blob *ret) {
        _cleanup_(blob_done) struct blob blob = {};
        const char *text;
        size_t length;
        int r;

        r = get_text(object, name, &text, &length);
        if (r < 0)
                return r;
        if (length / 4 > max / 3 + 1) /* before anything is allocated; the exact comparison follows */
                return -EBADMSG;

        r = base64url_decode(text, length, &blob);
        if (r < 0)
                return r;
        if (blob.size > max)
                return -EBADMSG;

        *ret = blob;
        blob = (struct blob){};
        return 0;
}

int wire_get_bin_fixed(const json_t *object, const char *name, void *ret, size_t size) {
        _cleanup_(blob_done) struct blob blob = {};
        int r;

        r = wire_get_bin(object, name, size, &blob);
        if (r < 0)
                return r;
        if (blob.size != size)
                return -EBADMSG;

        memcpy(ret, blob.data, size);
        return 0;
}

int wire_get_hex_fixed(const json_t *object, const char *name, void *ret, size_t size) {
        const char *text;
        size_t length;
        int r;

        r = get_text(object, name, &text, &length);
        if (r < 0)
                return r;
        if (length != 2 * size || strspn(text, "0123456789abcdef") != length)
                return -EBADMSG;
        return hex_decode(text, ret, size);
}

int wire_get_string(const json_t *object, const char *name, char *ret, size_t size) {
        const char *text;
        size_t length;
        int r;

        r = get_text(object, name, &text, &length);
        if (r < 0)
                return r;
        if (length >= size)
                return -EBADMSG;

        memcpy(ret, text, length + 1);
        return 0;
}

int wire_get_u64(const json_t *object, const char *name, uint64_t max, uint64_t *ret) {
        const json_t *value = json_object_get(object, name);
        json_int_t number;

        if (!value)
                return -ENOENT;
        if (!json_is_integer(value))
                return -EBADMSG;

        number = json_integer_value(value);
        if (number < 0 || (uint64_t) number > MIN(max, NUMBER_MAX))
                return -EBADMSG;

        *ret = (uint64_t) number;
        return 0;
}

int wire_get_bool(const json_t *object, const char *name, bool *ret) {
        const json_t *value = json_object_get(object, name);

        if (!value)
                return -ENOENT;
        if (!json_is_boolean(value))
                return -EBADMSG;

        *ret = json_is_true(value);
        return 0;
}

static int set_text(json_t *object, const char *name, char *text) {
        int r = -ENOMEM;

        if (text && json_object_set_new(object, name, json_string(text)) == 0)
                r = 0;
        free(text);
        return r;
}

int wire_set_bin(json_t *object, const char *name, const void *data, size_t size) {
        return set_text(object, name, base64url_encode(data, size));
}

int wire_set_hex(json_t *object, const char *name, const void *data, size_t size) {
        return set_text(object, name, hex_encode(data, size));
}

/* Keeps the first error; true where the member was there and right. */
static bool took(struct take *take, int r, bool optional) {
        if (r >= 0)
                return true;
        if (r == -ENOENT && optional)
                return false;
        take->error = r == -ENOENT ? -EBADMSG : r;
        return false;
}

void take_check(struct take *take, bool condition) {
        if (take->error == 0 && !condition)
                take->error = -EBADMSG;
}

static bool get_bin(struct take *take, const char *name, size_t min, size_t max, bool optional, struct blob *ret) {
        if (take->error < 0)
                return false;
        if (!took(take, wire_get_bin(take->object, name, max, ret), optional))
                return false;
        take_check(take, ret->size >= min);
        return true;
}

void take_bin(struct take *take, const char *name, size_t min, size_t max, struct blob *ret) {
        (void) get_bin(take, name, min, max, false, ret);
}

bool take_bin_optional(struct take *take, const char *name, size_t min, size_t max, struct blob *ret) {
        return get_bin(take, name, min, max, true, ret);
}

void take_bin_fixed(struct take *take, const char *name, void *ret, size_t size) {
        if (take->error == 0)
                (void) took(take, wire_get_bin_fixed(take->object, name, ret, size), false);
}

bool take_bin_fixed_optional(struct take *take, const char *name, void *ret, size_t size) {
        return take->error == 0 && took(take, wire_get_bin_fixed(take->object, name, ret, size), true);
}

void take_hex(struct take *take, const char *name, void *ret, size_t size) {
        if (take->error == 0)
                (void) took(take, wire_get_hex_fixed(take->object, name, ret, size), false);
}

bool take_hex_optional(struct take *take, const char *name, void *ret, size_t size) {
        return take->error == 0 && took(take, wire_get_hex_fixed(take->object, name, ret, size), true);
}

void take_string(struct take *take, const char *name, char *ret, size_t size) {
        ret[0] = 0;
        if (take->error == 0)
                (void) took(take, wire_get_string(take->object, name, ret, size), false);
}

void take_key_id(struct take *take, const char *name, char ret[static KEY_ID_LENGTH + 1]) {
        take_string(take, name, ret, KEY_ID_LENGTH + 1);
        take_check(take, take->error < 0 || key_id_is_valid(ret));
}

uint64_t take_u64(struct take *take, const char *name, uint64_t min, uint64_t max) {
        uint64_t value = 0;

        if (take->error == 0 && took(take, wire_get_u64(take->object, name, max, &value), false))
                take_check(take, value >= min);
        return value;
}

uint32_t take_generation(struct take *take, const char *name) {
        return (uint32_t) take_u64(take, name, 1, UINT32_MAX);
}

bool take_bool(struct take *take, const char *name) {
        bool value = false;

        if (take->error == 0)
                (void) took(take, wire_get_bool(take->object, name, &value), false);
        return value;
}

static const json_t *get_container(struct take *take, const char *name, json_type type, bool optional) {
        const json_t *value;

        if (take->error < 0)
                return NULL;
        value = json_object_get(take->object, name);
        if (!value && optional)
                return NULL;
        take_check(take, value && json_typeof(value) == type);
        return take->error < 0 ? NULL : value;
}

const json_t *take_object(struct take *take, const char *name) {
        return get_container(take, name, JSON_OBJECT, false);
}

const json_t *take_object_optional(struct take *take, const char *name) {
        return get_container(take, name, JSON_OBJECT, true);
}

static const json_t *get_array(struct take *take, const char *name, size_t max, bool optional) {
        const json_t *array = get_container(take, name, JSON_ARRAY, optional);

        take_check(take, json_array_size(array) <= max);
        return take->error < 0 ? NULL : array;
}

const json_t *take_array(struct take *take, const char *name, size_t max) {
        return get_array(take, name, max, false);
}

const json_t *take_array_optional(struct take *take, const char *name, size_t max) {
        return get_array(take, name, max, true);
}

struct put put_new(void) {
        struct put put = { .object = json_object() };

        put.failed = !put.object;
        return put;
}

void put_bin(struct put *put, const char *name, const void *data, size_t size) {
        if (!put->failed)
                put->failed = wire_set_bin(put->object, name, data, size) < 0;
}

void put_blob(struct put *put, const char *name, const struct blob *blob) {
        put_bin(put, name, blob->data, blob->size);
}

void put_hex(struct put *put, const char *name, const void *data, size_t size) {
        if (!put->failed)
                put->failed = wire_set_hex(put->object, name, data, size) < 0;
}

void put_json(struct put *put, const char *name, json_t *value) {
        if (put->failed)
                json_decref(value);
        else
                put->failed = json_object_set_new(put->object, name, value) < 0;
}

void put_string(struct put *put, const char *name, const char *text) {
        put_json(put, name, text ? json_string(text) : NULL);
}

void put_u64(struct put *put, const char *name, uint64_t value) {
        put_json(put, name, value <= NUMBER_MAX ? json_integer((json_int_t) value) : NULL);
}

void put_bool(struct put *put, const char *name, bool value) {
        put_json(put, name, json_boolean(value));
}

json_t *put_end(struct put *put) {
        json_t *object = TAKE_PTR(put->object);

        if (!put->failed)
                return object;
        json_decref(object);
        return NULL;
}

char *put_text(struct put *put) {
        _cleanup_(wire_json_decrefp) json_t *object = put_end(put);

        return object ? json_dumps(object, JSON_COMPACT) : NULL;
}

bool put_element(json_t *array, json_t *value) {
        return json_array_append_new(array, value) == 0;
}
