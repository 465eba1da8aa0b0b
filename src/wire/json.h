/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "wire/wire.h"

/* Inside of wire/: reading and writing members one after the other with the error kept, so that a message reads as the list of
 * its members. After the first failure nothing more is read or written. */

enum {
        WIRE_JSON_MAX = 16 * 1024 * 1024, /* bytes of any text that is parsed */
        WIRE_CREDENTIAL_MAX = 1024,
        WIRE_PUBLIC_MAX = 1024, /* TPMT_PUBLIC */
        WIRE_CERTIFICATE_MAX = 8192,
        WIRE_MANIFEST_MAX = 65536,
        WIRE_SEALED_KEY_MAX = 256, /* a content key and its tag */
};

/* Reading. error is 0 or -EBADMSG or -ENOMEM. The _optional ones say whether the member was there. */
struct take {
        const json_t *object;
        int error;
};
void take_bin(struct take *take, const char *name, size_t min, size_t max, struct blob *ret);
bool take_bin_optional(struct take *take, const char *name, size_t min, size_t max, struct blob *ret);
void take_bin_fixed(struct take *take, const char *name, void *ret, size_t size);
bool take_bin_fixed_optional(struct take *take, const char *name, void *ret, size_t size);
void take_hex(struct take *take, const char *name, void *ret, size_t size);
bool take_hex_optional(struct take *take, const char *name, void *ret, size_t size);
void take_string(struct take *take, const char *name, char *ret, size_t size);
void take_key_id(struct take *take, const char *name, char ret[static KEY_ID_LENGTH + 1]);
uint64_t take_u64(struct take *take, const char *name, uint64_t min, uint64_t max);
uint32_t take_generation(struct take *take, const char *name);
bool take_bool(struct take *take, const char *name);
/* The member as an object or an array of at most max elements; NULL where it is absent (optional) or wrong. */
const json_t *take_object(struct take *take, const char *name);
const json_t *take_object_optional(struct take *take, const char *name);
const json_t *take_array(struct take *take, const char *name, size_t max);
const json_t *take_array_optional(struct take *take, const char *name, size_t max);
/* Remembers -EBADMSG unless condition. */
void take_check(struct take *take, bool condition);

/* Writing. */
struct put {
        json_t *object;
        bool failed;
};
struct put put_new(void);
void put_bin(struct put *put, const char *name, const void *data, size_t size);
void put_blob(struct put *put, const char *name, const struct blob *blob);
void put_hex(struct put *put, const char *name, const void *data, size_t size);
void put_string(struct put *put, const char *name, const char *text);
void put_u64(struct put *put, const char *name, uint64_t value);
void put_bool(struct put *put, const char *name, bool value);
void put_json(struct put *put, const char *name, json_t *value); /* takes the reference; NULL is a failure */
json_t *put_end(struct put *put);                                /* the object, or NULL after a failure */
char *put_text(struct put *put);                                 /* the same as a new string */
void wire_json_decrefp(json_t **json);
/* Appends to an array; takes the reference; false after a failure. */
bool put_element(json_t *array, json_t *value);
