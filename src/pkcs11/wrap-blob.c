/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/wrap-internal.h"

#include <string.h>

static const char magic[4] = { 't', 'b', 'w', 'k' };

static const char *const mechanism_names[] = {
        [WRAP_KWP] = "kwp",         [WRAP_KEY_WRAP_PAD] = "key-wrap-pad", [WRAP_GCM] = "gcm",
        [WRAP_CBC_PAD] = "cbc-pad", [WRAP_RSA_OAEP] = "rsa-oaep",         [WRAP_ECDH] = "ecdh",
};

static const char *const mac_names[] = {
        [WRAP_MAC_NONE] = "none",
        [WRAP_MAC_SHA256_HMAC] = "sha256-hmac",
        [WRAP_MAC_AES_CMAC] = "aes-cmac",
        [WRAP_MAC_AES_MAC_64] = "aes-mac-64",
};

const char *wrap_mechanism_to_string(enum wrap_mechanism mechanism) {
        return mechanism >= WRAP_KWP && mechanism <= WRAP_ECDH ? mechanism_names[mechanism] : "unknown";
}

int wrap_mechanism_from_string(const char *text, enum wrap_mechanism *ret) {
        for (enum wrap_mechanism m = WRAP_KWP; m <= WRAP_ECDH; m++)
                if (strcmp(text, mechanism_names[m]) == 0) {
                        *ret = m;
                        return 0;
                }
        return -EINVAL;
}

const char *wrap_mac_to_string(enum wrap_mac mac) {
        return (size_t) mac < ELEMENTSOF(mac_names) ? mac_names[mac] : "unknown";
}

int wrap_mac_from_string(const char *text, enum wrap_mac *ret) {
        for (enum wrap_mac m = WRAP_MAC_NONE; m <= WRAP_MAC_AES_MAC_64; m++)
                if (strcmp(text, mac_names[m]) == 0) {
                        *ret = m;
                        return 0;
                }
        return -EINVAL;
}

bool wrap_is_aes(enum wrap_mechanism mechanism) {
        return mechanism >= WRAP_KWP && mechanism <= WRAP_CBC_PAD;
}

size_t wrap_mac_size(enum wrap_mac mac) {
        static const size_t sizes[] = { 0, 32, 16, 8 };

        return sizes[mac];
}

/* How the IV and the wrapped bytes of a key of WRAP_KEY_MIN to WRAP_KEY_MAX bytes can be. */
static bool sizes_are_valid(const struct wrap_blob *blob) {
        static const struct {
                size_t iv, least, most, multiple;
        } shapes[] = {
                [WRAP_KWP] = { 0, WRAP_KEY_MIN + 8, WRAP_KEY_MAX + 8, 8 },
                [WRAP_KEY_WRAP_PAD] = { 0, WRAP_KEY_MIN + 8, WRAP_KEY_MAX + 32, 8 },
                [WRAP_GCM] = { GCM_IV_SIZE, WRAP_KEY_MIN + 16, WRAP_KEY_MAX + 16, 1 },
                [WRAP_CBC_PAD] = { CBC_IV_SIZE, WRAP_KEY_MIN + 16, WRAP_KEY_MAX + 16, 16 },
                [WRAP_RSA_OAEP] = { 0, 256, WRAP_DATA_MAX, 8 },
                [WRAP_ECDH] = { 65, WRAP_KEY_MIN + 16, WRAP_KEY_MAX + 16, 1 },
        };
        enum wrap_mechanism m = blob->info.mechanism;

        if (blob->iv_size != shapes[m].iv && !(m == WRAP_ECDH && blob->iv_size == 97))
                return false;
        return blob->data_size >= shapes[m].least && blob->data_size <= shapes[m].most &&
               blob->data_size % shapes[m].multiple == 0;
}

static bool check_is_valid(const struct wrap_blob *blob) {
        if (blob->info.mac != WRAP_MAC_NONE)
                return wrap_is_aes(blob->info.mechanism) && blob->check_size == wrap_mac_size(blob->info.mac);
        switch (blob->info.mechanism) {
        case WRAP_CBC_PAD:
                return false; /* a padding oracle, and malleable */
        case WRAP_GCM:
        case WRAP_ECDH:
                return blob->check_size == 0;
        default:
                return blob->check_size == SHA256_SIZE;
        }
}

static bool variant_is_valid(const struct wrap_blob *blob) {
        if (blob->info.mechanism == WRAP_RSA_OAEP)
                return blob->variant == OAEP_SHA1 || blob->variant == OAEP_SHA256;
        return blob->variant == 0;
}

static int read_header(struct reader *reader, struct wrap_blob *blob) {
        uint8_t version, mechanism, mac;
        const uint8_t *start;

        if (reader_bytes(reader, sizeof(magic), &start) < 0 || memcmp(start, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        if (reader_u8(reader, &version) < 0 || version != WRAP_VERSION || reader_u8(reader, &mechanism) < 0 ||
            mechanism < WRAP_KWP || mechanism > WRAP_ECDH || reader_u8(reader, &mac) < 0 || mac > WRAP_MAC_AES_MAC_64 ||
            reader_u8(reader, &blob->variant) < 0)
                return -EBADMSG;
        blob->info.mechanism = mechanism;
        blob->info.mac = mac;
        return reader_be32(reader, &blob->info.generation);
}

static int read_sized(struct reader *reader, size_t size, uint8_t *ret, size_t max, size_t *ret_size) {
        if (size > max)
                return -EBADMSG;
        *ret_size = size;
        return reader_copy(reader, ret, size);
}

int wrap_parse(const void *data, size_t size, struct wrap_blob *ret) {
        struct reader reader = { data, size };
        struct wrap_blob blob = {};
        uint16_t data_size;
        uint8_t small;

        if (read_header(&reader, &blob) < 0)
                return -EBADMSG;
        if (reader_u8(&reader, &small) < 0 || read_sized(&reader, small, blob.iv, sizeof(blob.iv), &blob.iv_size) < 0)
                return -EBADMSG;
        if (reader_be16(&reader, &data_size) < 0 ||
            read_sized(&reader, data_size, blob.data, sizeof(blob.data), &blob.data_size) < 0)
                return -EBADMSG;
        if (reader_u8(&reader, &small) < 0 || read_sized(&reader, small, blob.check, sizeof(blob.check), &blob.check_size) < 0)
                return -EBADMSG;
        if (reader.left != 0 || !sizes_are_valid(&blob) || !check_is_valid(&blob) || !variant_is_valid(&blob))
                return -EBADMSG;
        *ret = blob;
        return 0;
}

int wrap_format(const struct wrap_blob *blob, bool with_check, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};

        buffer_append(&buffer, magic, sizeof(magic));
        buffer_u8(&buffer, WRAP_VERSION);
        buffer_u8(&buffer, (uint8_t) blob->info.mechanism);
        buffer_u8(&buffer, (uint8_t) blob->info.mac);
        buffer_u8(&buffer, blob->variant);
        buffer_be32(&buffer, blob->info.generation);
        buffer_u8(&buffer, (uint8_t) blob->iv_size);
        buffer_append(&buffer, blob->iv, blob->iv_size);
        buffer_be16(&buffer, (uint16_t) blob->data_size);
        buffer_append(&buffer, blob->data, blob->data_size);
        if (with_check) {
                buffer_u8(&buffer, (uint8_t) blob->check_size);
                buffer_append(&buffer, blob->check, blob->check_size);
        }
        if (buffer_ok(&buffer) < 0)
                return -ENOMEM;
        *ret = (struct blob){ TAKE_PTR(buffer.data), buffer.size };
        return 0;
}

int wrap_describe(const void *blob, size_t size, struct wrap_info *ret) {
        struct wrap_blob parsed;
        int r = wrap_parse(blob, size, &parsed);

        if (r >= 0)
                *ret = parsed.info;
        return r;
}
