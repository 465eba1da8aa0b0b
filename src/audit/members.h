/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "base/buffer.h"

/* Inside of audit/: members of JSON objects. Getters: -EBADMSG where a member is missing, of another type, or does not fit. */
int set_bin(json_t *json, const char *name, const void *data, size_t size);
int set_hash(json_t *json, const char *name, const uint8_t hash[static 32]);
int get_text(const json_t *json, const char *name, char *ret, size_t size);
int get_number(const json_t *json, const char *name, int64_t *ret); /* 0 to 2^53 - 1 */
int get_hash(const json_t *json, const char *name, uint8_t ret[static 32]);
int get_bin(const json_t *json, const char *name, void *ret, size_t max, size_t *ret_size);
