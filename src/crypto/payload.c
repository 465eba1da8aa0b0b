/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/payload.h"

#include <string.h>

#include "base/buffer.h"

static const uint8_t MAGIC[4] = { 'T', 'B', 'P', '1' };
static const uint64_t NUMBER_MAX = ((uint64_t) 1 << 53) - 1; /* both numbers are in JSON too (docs/protocol.md, 1) */
enum { CONTENT_KEY_SIZE = 32 };

static uint8_t *put_be(uint8_t *p, uint64_t value, unsigned size) {
        for (unsigned i = 0; i < size; i++)
                p[i] = (uint8_t) (value >> (8 * (size - 1 - i)));

        return p + size;
}

void payload_header_encode(const struct payload_header *header, uint8_t ret[static PAYLOAD_HEADER_SIZE]) {
        memcpy(ret, MAGIC, sizeof(MAGIC));
        ret = put_be(ret + sizeof(MAGIC), PAYLOAD_RECORD_SIZE, 4);
        ret = put_be(ret, header->version, 8);
        ret = put_be(ret, header->length, 8);
        memcpy(ret, header->node_id, NODE_ID_LENGTH);
}

int payload_header_decode(const uint8_t data[static PAYLOAD_HEADER_SIZE], struct payload_header *ret) {
        struct reader reader = { .data = data + sizeof(MAGIC), .left = PAYLOAD_HEADER_SIZE - sizeof(MAGIC) };
        struct payload_header header = {};
        uint32_t record_size;

        if (memcmp(data, MAGIC, sizeof(MAGIC)) != 0 || reader_be32(&reader, &record_size) < 0 ||
            record_size != PAYLOAD_RECORD_SIZE || reader_be64(&reader, &header.version) < 0 || header.version > NUMBER_MAX ||
            reader_be64(&reader, &header.length) < 0 || header.length > NUMBER_MAX ||
            reader_copy(&reader, header.node_id, NODE_ID_LENGTH) < 0 || !node_id_is_valid(header.node_id))
                return -EBADMSG;

        *ret = header;
        return 0;
}

static uint64_t record_count(uint64_t length) {
        return length == 0 ? 1 : length / PAYLOAD_RECORD_SIZE + (length % PAYLOAD_RECORD_SIZE != 0);
}

uint64_t payload_file_size(uint64_t length) {
        return PAYLOAD_HEADER_SIZE + length + record_count(length) * AEAD_TAG_SIZE;
}

size_t payload_record_length(uint64_t length, uint64_t index, bool *ret_last) {
        uint64_t n = record_count(length);

        *ret_last = index == n - 1;
        if (index >= n)
                return 0;

        return (size_t) (index < n - 1 ? PAYLOAD_RECORD_SIZE : length - index * PAYLOAD_RECORD_SIZE);
}

/* The header says which records there are: anything else is refused before a key is used. */
static int record_check(const struct secret *content_key, const uint8_t *header, uint64_t index, bool last, size_t size) {
        struct payload_header parsed;
        bool is_last;

        if (content_key->size != CONTENT_KEY_SIZE || payload_header_decode(header, &parsed) < 0 ||
            index >= record_count(parsed.length) || payload_record_length(parsed.length, index, &is_last) != size ||
            is_last != last)
                return -EBADMSG;

        return 0;
}

static void record_nonce(uint64_t index, bool last, uint8_t ret[static AEAD_NONCE_SIZE]) {
        put_be(put_be(ret, last ? 1 : 0, 4), index, 8);
}

int payload_record_seal(const struct secret *content_key, const uint8_t header[static PAYLOAD_HEADER_SIZE], uint64_t index,
                        bool last, const void *data, size_t size, uint8_t *ret) {
        uint8_t nonce[AEAD_NONCE_SIZE], aad[32];
        int r;

        if (record_check(content_key, header, index, last, size) < 0)
                return -EINVAL;
        r = sha256(header, PAYLOAD_HEADER_SIZE, aad);
        if (r < 0)
                return r;

        record_nonce(index, last, nonce);
        return aead_seal(content_key->data, nonce, aad, sizeof(aad), data, size, ret);
}

int payload_record_open(const struct secret *content_key, const uint8_t header[static PAYLOAD_HEADER_SIZE], uint64_t index,
                        bool last, const void *data, size_t size, uint8_t *ret) {
        uint8_t nonce[AEAD_NONCE_SIZE], aad[32];
        int r;

        if (size < AEAD_TAG_SIZE)
                return -EBADMSG;
        r = record_check(content_key, header, index, last, size - AEAD_TAG_SIZE);
        if (r < 0)
                return r;
        r = sha256(header, PAYLOAD_HEADER_SIZE, aad);
        if (r < 0)
                return r;

        record_nonce(index, last, nonce);
        return aead_open(content_key->data, nonce, aad, sizeof(aad), data, size, ret);
}

/* One message in mode base. */
static int seal_one(const uint8_t *public, const struct field *info_fields, size_t n, const struct blob *aad,
                    const struct secret *plain, uint8_t *ret_enc, struct blob *ret_ct) {
        _cleanup_(hpke_freep) struct hpke *hpke = NULL;
        _cleanup_(blob_done) struct blob info = {};
        uint8_t enc[POINT_SIZE];
        int r;

        r = fields_encode(info_fields, n, &info);
        if (r < 0)
                return r;
        r = hpke_sender(public, info.data, info.size, NULL, enc, &hpke);
        if (r < 0)
                return r;
        r = hpke_seal(hpke, aad->data, aad->size, plain->data, plain->size, ret_ct);
        if (r < 0)
                return r;

        memcpy(ret_enc, enc, POINT_SIZE);
        return 0;
}

/* ct: of a key or half of 32 bytes. */
static int open_one(const struct keypair *keypair, const struct field *info_fields, size_t n, const struct blob *aad,
                    const uint8_t *enc, const struct blob *ct, struct secret **ret) {
        _cleanup_(hpke_freep) struct hpke *hpke = NULL;
        _cleanup_(blob_done) struct blob info = {};
        int r;

        if (ct->size != 32 + AEAD_TAG_SIZE)
                return -EBADMSG;
        r = fields_encode(info_fields, n, &info);
        if (r < 0)
                return r;
        r = hpke_receiver(keypair, enc, info.data, info.size, NULL, &hpke);
        if (r < 0)
                return r;

        return hpke_open(hpke, aad->data, aad->size, ct->data, ct->size, ret);
}

#define KEY_INFO(header, key_id, generation)                                                              \
        FIELDS(field_text("tallyboot payload key v1"), field_text((header)->node_id), field_text(key_id), \
               field_number(generation), field_number((header)->version))
#define DEAL_INFO(node_id, key_id, generation) \
        FIELDS(field_text("tallyboot deal v1"), field_text(node_id), field_text(key_id), field_number(generation))

int payload_key_seal(const uint8_t public[static POINT_SIZE], const uint8_t header[static PAYLOAD_HEADER_SIZE],
                     const char *key_id, uint32_t generation, const struct secret *content_key,
                     uint8_t ret_enc[static POINT_SIZE], struct blob *ret_ct) {
        struct payload_header parsed;
        uint8_t aad[32];
        int r;

        if (content_key->size != CONTENT_KEY_SIZE || !key_id_is_valid(key_id) || payload_header_decode(header, &parsed) < 0)
                return -EINVAL;
        r = sha256(header, PAYLOAD_HEADER_SIZE, aad);
        if (r < 0)
                return r;

        return seal_one(public, KEY_INFO(&parsed, key_id, generation), &(struct blob){ aad, sizeof(aad) }, content_key, ret_enc,
                        ret_ct);
}

int payload_key_open(const struct keypair *keypair, const uint8_t header[static PAYLOAD_HEADER_SIZE], const char *key_id,
                     uint32_t generation, const uint8_t enc[static POINT_SIZE], const void *ct, size_t ct_size,
                     struct secret **ret) {
        struct payload_header parsed;
        uint8_t aad[32];
        int r;

        if (!key_id_is_valid(key_id))
                return -EINVAL;
        r = payload_header_decode(header, &parsed);
        if (r < 0)
                return r;
        r = sha256(header, PAYLOAD_HEADER_SIZE, aad);
        if (r < 0)
                return r;

        return open_one(keypair, KEY_INFO(&parsed, key_id, generation), &(struct blob){ aad, sizeof(aad) }, enc,
                        &(struct blob){ (uint8_t *) ct, ct_size }, ret);
}

int deal_seal(const uint8_t inbox[static POINT_SIZE], const char *node_id, const char *key_id, uint32_t generation,
              const struct secret *half, uint8_t ret_enc[static POINT_SIZE], struct blob *ret_ct) {
        if (half->size != HALF_SIZE || !node_id_is_valid(node_id) || !key_id_is_valid(key_id))
                return -EINVAL;

        return seal_one(inbox, DEAL_INFO(node_id, key_id, generation), &(struct blob){}, half, ret_enc, ret_ct);
}

int deal_open(const struct keypair *inbox, const char *node_id, const char *key_id, uint32_t generation,
              const uint8_t enc[static POINT_SIZE], const void *ct, size_t ct_size, struct secret **ret) {
        if (!node_id_is_valid(node_id) || !key_id_is_valid(key_id))
                return -EINVAL;

        return open_one(inbox, DEAL_INFO(node_id, key_id, generation), &(struct blob){}, enc,
                        &(struct blob){ (uint8_t *) ct, ct_size }, ret);
}
