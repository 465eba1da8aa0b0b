/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Bounded reader over foreign bytes. Every read returns 0, or -EBADMSG where fewer bytes are left than asked for (and takes
 * none). */
struct reader {
        const uint8_t *data;
        size_t left;
};

int reader_u8(struct reader *reader, uint8_t *ret);
int reader_be16(struct reader *reader, uint16_t *ret);
int reader_be32(struct reader *reader, uint32_t *ret);
int reader_be64(struct reader *reader, uint64_t *ret);
int reader_le16(struct reader *reader, uint16_t *ret);
int reader_le32(struct reader *reader, uint32_t *ret);
/* size bytes, not copied: ret points into the reader's data. */
int reader_bytes(struct reader *reader, size_t size, const uint8_t **ret);
/* A 32-bit little-endian length and that many bytes, not copied. */
int reader_le32_bytes(struct reader *reader, const uint8_t **ret, size_t *ret_size);
int reader_copy(struct reader *reader, void *ret, size_t size);

/* Growing byte buffer, for things that are not secret. {} is an empty one. Appending after a failure does nothing: check once, at
 * the end, with buffer_ok(). */
struct buffer {
        uint8_t *data;
        size_t size, allocated;
        bool failed;
};

void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_u8(struct buffer *buffer, uint8_t value);
void buffer_be16(struct buffer *buffer, uint16_t value);
void buffer_be32(struct buffer *buffer, uint32_t value);
void buffer_be64(struct buffer *buffer, uint64_t value);
void buffer_printf(struct buffer *buffer, const char *format, ...) _printf_(2, 3); /* without the NUL */
int buffer_ok(const struct buffer *buffer);                                        /* 0 or -ENOMEM */
void buffer_done(struct buffer *buffer);                                           /* frees; for _cleanup_ */

/* Bytes owned by somebody: {} is none. */
struct blob {
        uint8_t *data;
        size_t size;
};

int blob_copy(const void *data, size_t size, struct blob *ret);
void blob_done(struct blob *blob); /* frees; for _cleanup_ */
