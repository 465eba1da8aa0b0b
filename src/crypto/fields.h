/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"

/* L(a, b, ...) of docs/protocol.md, 1: every hash, KDF, info, aad and MAC input is a list of length-prefixed fields, so that no
 * two different lists have the same bytes. */
struct field {
        const void *data;
        size_t size;
        uint8_t number[8];
        bool is_number;
};

struct field field_text(const char *text);
struct field field_bytes(const void *data, size_t size);
struct field field_number(uint64_t number);

#define FIELDS(...) \
        ((const struct field[]){ __VA_ARGS__ }), (sizeof((const struct field[]){ __VA_ARGS__ }) / sizeof(struct field))

/* What a node's token signs (docs/protocol.md, 13): the prefix of 64 bytes that all these messages have, and an encoded list. */
enum { TOKEN_PREFIX_SIZE = 64 };
int fields_token_message(const struct blob *list, struct blob *ret);

int fields_encode(const struct field *fields, size_t n, struct blob *ret);
int fields_sha256(const struct field *fields, size_t n, uint8_t ret[static 32]);
int fields_hmac(const void *key, size_t key_size, const struct field *fields, size_t n, uint8_t ret[static 32]);
