/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/encode.h"

#include <string.h>

static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char BASE32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char HEX[] = "0123456789abcdef";

/* RFC 4648: bits taken from the left, the last digit's spare bits zero. */
static char *bits_encode(const uint8_t *data, size_t size, unsigned bits, const char *alphabet) {
        size_t n = 0;
        uint32_t word = 0;
        unsigned have = 0;
        char *text;

        if (size > SIZE_MAX / 8 - 1)
                return NULL;
        text = malloc((size * 8 + bits - 1) / bits + 1);
        if (!text)
                return NULL;

        for (size_t i = 0; i < size; i++) {
                word = word << 8 | data[i];
                for (have += 8; have >= bits; have -= bits)
                        text[n++] = alphabet[word >> (have - bits) & ((1U << bits) - 1)];
        }
        if (have > 0)
                text[n++] = alphabet[word << (bits - have) & ((1U << bits) - 1)];

        text[n] = '\0';
        return text;
}

/* ret has room for length * bits / 8 bytes. */
static int bits_decode(const char *text, size_t length, unsigned bits, int (*digit)(char c), uint8_t *ret) {
        uint32_t word = 0;
        unsigned have = 0;
        size_t n = 0;

        for (size_t i = 0; i < length; i++) {
                int value = digit(text[i]);

                if (value < 0)
                        return -EBADMSG;

                word = word << bits | (uint32_t) value;
                have += bits;
                if (have >= 8) {
                        have -= 8;
                        ret[n++] = (uint8_t) (word >> have);
                }
        }

        /* A whole digit that carries nothing, or spare bits that are not zero: not what an encoder writes. */
        if (have >= bits || (word & ((1U << have) - 1)) != 0)
                return -EBADMSG;

        return 0;
}

static int base64url_digit(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == '-')
                return 62;
        if (c == '_')
                return 63;
        return -1;
}

static int base32_digit(char c) {
        if (c >= 'a' && c <= 'z')
                return c - 'a';
        if (c >= '2' && c <= '7')
                return c - '2' + 26;
        return -1;
}

char *base64url_encode(const void *data, size_t size) {
        return bits_encode(data, size, 6, BASE64URL);
}

int base64url_decode(const char *text, size_t length, struct blob *ret) {
        size_t size = length / 4 * 3 + length % 4 * 6 / 8;
        uint8_t *data;
        int r;

        data = malloc(size + 1);
        if (!data)
                return -ENOMEM;

        r = bits_decode(text, length, 6, base64url_digit, data);
        if (r < 0) {
                free(data);
                return r;
        }

        data[size] = 0;
        *ret = (struct blob){ .data = data, .size = size };
        return 0;
}

char *base32_encode(const void *data, size_t size) {
        return bits_encode(data, size, 5, BASE32);
}

int base32_decode(const char *text, void *ret, size_t size) {
        size_t length = (size * 8 + 4) / 5;

        if (strnlen(text, length + 1) != length)
                return -EBADMSG;

        return bits_decode(text, length, 5, base32_digit, ret);
}

void hex_write(const void *data, size_t size, char *ret) {
        const uint8_t *bytes = data;

        for (size_t i = 0; i < size; i++) {
                *ret++ = HEX[bytes[i] >> 4];
                *ret++ = HEX[bytes[i] & 15];
        }
        *ret = '\0';
}

char *hex_encode(const void *data, size_t size) {
        char *text;

        if (size > SIZE_MAX / 2 - 1)
                return NULL;
        text = malloc(2 * size + 1);
        if (!text)
                return NULL;

        hex_write(data, size, text);
        return text;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int hex_decode(const char *text, void *ret, size_t size) {
        if (size > SIZE_MAX / 2 - 1 || strnlen(text, 2 * size + 1) != 2 * size)
                return -EBADMSG;

        return bits_decode(text, 2 * size, 4, hex_digit, ret);
}
