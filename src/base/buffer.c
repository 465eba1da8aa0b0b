/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int reader_bytes(struct reader *reader, size_t size, const uint8_t **ret) {
        if (reader->left < size)
                return -EBADMSG;

        *ret = reader->data;
        if (size > 0) /* data may be NULL where nothing is left */
                reader->data += size;
        reader->left -= size;
        return 0;
}

int reader_copy(struct reader *reader, void *ret, size_t size) {
        const uint8_t *data;
        int r;

        r = reader_bytes(reader, size, &data);
        if (r < 0)
                return r;

        if (size > 0)
                memcpy(ret, data, size);
        return 0;
}

int reader_u8(struct reader *reader, uint8_t *ret) {
        return reader_copy(reader, ret, 1);
}

static int reader_number(struct reader *reader, size_t size, bool big_endian, uint64_t *ret) {
        uint64_t number = 0;
        const uint8_t *p;
        int r;

        r = reader_bytes(reader, size, &p);
        if (r < 0)
                return r;

        for (size_t i = 0; i < size; i++)
                number = number << 8 | p[big_endian ? i : size - 1 - i];
        *ret = number;
        return 0;
}

#define DEFINE_READER(name, type, big_endian)                                     \
        int reader_##name(struct reader *reader, type *ret) {                     \
                uint64_t number;                                                  \
                int r = reader_number(reader, sizeof(type), big_endian, &number); \
                                                                                  \
                if (r >= 0)                                                       \
                        *ret = (type) number;                                     \
                return r;                                                         \
        }

DEFINE_READER(be16, uint16_t, true)
DEFINE_READER(be32, uint32_t, true)
DEFINE_READER(be64, uint64_t, true)
DEFINE_READER(le16, uint16_t, false)
DEFINE_READER(le32, uint32_t, false)

int reader_le32_bytes(struct reader *reader, const uint8_t **ret, size_t *ret_size) {
        uint32_t size;
        int r;

        r = reader_le32(reader, &size);
        if (r >= 0)
                r = reader_bytes(reader, size, ret);
        if (r >= 0)
                *ret_size = size;
        return r;
}

/* Room for size more bytes and a NUL. */
static bool buffer_reserve(struct buffer *buffer, size_t size) {
        size_t wanted;
        uint8_t *data;

        if (buffer->failed)
                return false;
        if (buffer->allocated > buffer->size && buffer->allocated - buffer->size > size)
                return true;

        wanted = buffer->size + size + 1;
        if (wanted <= size) {
                buffer->failed = true;
                return false;
        }
        wanted = MAX(wanted, MAX(buffer->allocated + buffer->allocated / 2, (size_t) 256));

        data = realloc(buffer->data, wanted);
        if (!data) {
                buffer->failed = true;
                return false;
        }

        buffer->data = data;
        buffer->allocated = wanted;
        return true;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size) {
        if (!buffer_reserve(buffer, size))
                return;

        if (size > 0)
                memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
}

void buffer_u8(struct buffer *buffer, uint8_t value) {
        buffer_append(buffer, &value, 1);
}

void buffer_be16(struct buffer *buffer, uint16_t value) {
        buffer_append(buffer, (const uint8_t[]){ (uint8_t) (value >> 8), (uint8_t) value }, 2);
}

void buffer_be32(struct buffer *buffer, uint32_t value) {
        buffer_be16(buffer, (uint16_t) (value >> 16));
        buffer_be16(buffer, (uint16_t) value);
}

void buffer_be64(struct buffer *buffer, uint64_t value) {
        buffer_be32(buffer, (uint32_t) (value >> 32));
        buffer_be32(buffer, (uint32_t) value);
}

void buffer_printf(struct buffer *buffer, const char *format, ...) {
        va_list ap, again;
        int n;

        va_start(ap, format);
        va_copy(again, ap);

        n = vsnprintf(NULL, 0, format, ap);
        if (n < 0)
                buffer->failed = true;
        else if (buffer_reserve(buffer, (size_t) n)) {
                (void) vsnprintf((char *) buffer->data + buffer->size, (size_t) n + 1, format, again);
                buffer->size += (size_t) n;
        }

        va_end(again);
        va_end(ap);
}

int buffer_ok(const struct buffer *buffer) {
        return buffer->failed ? -ENOMEM : 0;
}

void buffer_done(struct buffer *buffer) {
        free(buffer->data);
        *buffer = (struct buffer){};
}

int blob_copy(const void *data, size_t size, struct blob *ret) {
        uint8_t *copy;

        copy = malloc(size + 1);
        if (!copy)
                return -ENOMEM;

        if (size > 0)
                memcpy(copy, data, size);
        copy[size] = 0;

        *ret = (struct blob){ .data = copy, .size = size };
        return 0;
}

void blob_done(struct blob *blob) {
        free(blob->data);
        *blob = (struct blob){};
}
