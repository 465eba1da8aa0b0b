/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"

/* Encoders return a new NUL-terminated string, or NULL when out of memory. Decoders are strict (alphabet, padding, spare bits
 * zero) and return -EBADMSG. Not for secrets. */
char *base64url_encode(const void *data, size_t size); /* RFC 4648, 5, without padding */
int base64url_decode(const char *text, size_t length, struct blob *ret);
char *hex_encode(const void *data, size_t size); /* lower case */
void hex_write(const void *data, size_t size, char *ret /* 2 * size + 1 */);
int hex_decode(const char *text, void *ret, size_t size);    /* exactly 2 * size lower- or upper-case digits */
char *base32_encode(const void *data, size_t size);          /* RFC 4648, 6, lower case, without padding */
int base32_decode(const char *text, void *ret, size_t size); /* text must be exactly the encoding of size bytes, lower case */
