/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soft-log.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/file.h"
#include "test.h"

const char *const soft_vectors[7] = { "ovmf4m-crb",    "ovmf4m-ms-direct", "ovmf4m-tis", "ovmf4m-uki",
                                      "ovmf4m-uki-sb", "seabios-crb",      "seabios-tis" };

static void le16_append(struct buffer *buffer, uint16_t value) {
        buffer_u8(buffer, (uint8_t) value);
        buffer_u8(buffer, (uint8_t) (value >> 8));
}

void le32_append(struct buffer *buffer, uint32_t value) {
        le16_append(buffer, (uint16_t) value);
        le16_append(buffer, (uint16_t) (value >> 16));
}

static void hash(const char *name, const void *data, size_t size, uint8_t *ret) {
        assert_int_equal(EVP_Digest(data, size, ret, NULL, EVP_get_digestbyname(name), NULL), 1);
}

static void extend(struct soft_log *log, uint32_t pcr, const uint8_t digest[static 32]) {
        uint8_t both[64];

        memcpy(both, log->pcrs.banks[0].values[pcr], 32);
        memcpy(both + 32, digest, 32);
        hash("SHA256", both, sizeof both, log->pcrs.banks[0].values[pcr]);
}

void soft_log_start_ima(struct soft_log *log) {
        *log = (struct soft_log){ .pcrs = { .n = 1, .banks[0] = { .alg = 0xb, .mask = 0xffffff } } };
        for (unsigned pcr = 17; pcr <= 22; pcr++)
                memset(log->pcrs.banks[0].values[pcr], 0xff, 32);
}

void soft_log_start(struct soft_log *log) {
        static const uint8_t header[] = "Spec ID Event03\0\0\0\0\0\0\2\0\2\2\0\0\0\4\0\24\0\13\0\40\0";

        soft_log_start_ima(log);
        le32_append(&log->bytes, 0);
        le32_append(&log->bytes, 3);
        buffer_append(&log->bytes, (uint8_t[20]){}, 20);
        le32_append(&log->bytes, sizeof header); /* the NUL of the literal: no vendor's bytes */
        buffer_append(&log->bytes, header, sizeof header);
}

void soft_log_done(struct soft_log *log) {
        buffer_done(&log->bytes);
}

void soft_extend(struct soft_log *log, uint32_t pcr, const void *hashed, size_t size) {
        uint8_t digest[32];

        hash("SHA256", hashed, size, digest);
        extend(log, pcr, digest);
}

void soft_log_hashed(struct soft_log *log, uint32_t pcr, uint32_t type, const void *hashed, size_t hashed_size, const void *data,
                     size_t size) {
        uint8_t sha1[20] = {}, sha256[32] = {};

        if (type != 3) {
                hash("SHA1", hashed, hashed_size, sha1);
                hash("SHA256", hashed, hashed_size, sha256);
                extend(log, pcr, sha256);
        }
        le32_append(&log->bytes, pcr);
        le32_append(&log->bytes, type);
        le32_append(&log->bytes, 2);
        le16_append(&log->bytes, 4);
        buffer_append(&log->bytes, sha1, sizeof sha1);
        le16_append(&log->bytes, 0xb);
        buffer_append(&log->bytes, sha256, sizeof sha256);
        le32_append(&log->bytes, (uint32_t) size);
        buffer_append(&log->bytes, data, size);
}

void soft_log_event(struct soft_log *log, uint32_t pcr, uint32_t type, const void *data, size_t size) {
        soft_log_hashed(log, pcr, type, data, size, data, size);
}

void soft_log_text(struct soft_log *log, uint32_t pcr, uint32_t type, const char *text) {
        soft_log_event(log, pcr, type, text, strlen(text));
}

void soft_log_separators(struct soft_log *log) {
        for (uint32_t pcr = 0; pcr < 8; pcr++)
                soft_log_event(log, pcr, 4, (uint8_t[4]){}, 4);
}

void soft_log_variable(struct soft_log *log, uint32_t type, char guid, const char *name, const void *data, size_t size) {
        static const uint8_t guids[3][16] = {
                { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c },
                { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f },
                { 0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23 },
        };
        _cleanup_(buffer_done) struct buffer variable = {};

        buffer_append(&variable, guids[guid == 'g' ? 0 : guid == 's' ? 1 : 2], 16);
        le32_append(&variable, (uint32_t) strlen(name));
        le32_append(&variable, 0);
        le32_append(&variable, (uint32_t) size);
        le32_append(&variable, 0);
        for (const char *p = name; *p; p++)
                le16_append(&variable, (uint8_t) *p);
        buffer_append(&variable, data, size);
        soft_log_event(log, 7, type, variable.data, variable.size);
}

void soft_signature_list(struct buffer *list, char kind, const void *data, size_t size) {
        static const uint8_t x509[16] = { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                          0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 };
        static const uint8_t sha256[16] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                            0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };

        buffer_append(list, kind == 'x' ? x509 : sha256, 16);
        le32_append(list, (uint32_t) (28 + 16 + size));
        le32_append(list, 0);
        le32_append(list, (uint32_t) (16 + size));
        buffer_append(list, (uint8_t[16]){ 1, 2, 3 }, 16);
        buffer_append(list, data, size);
}

void soft_utf16(struct buffer *ret, const char *text) {
        for (const char *p = text; *p; p++)
                le16_append(ret, (uint8_t) *p);
        le16_append(ret, 0);
}

static void ima_entry(struct soft_log *log, const uint8_t sha1[static 20], const char *template, const void *data, size_t size) {
        le32_append(&log->bytes, 10);
        buffer_append(&log->bytes, sha1, 20);
        le32_append(&log->bytes, (uint32_t) strlen(template));
        buffer_append(&log->bytes, template, strlen(template));
        le32_append(&log->bytes, (uint32_t) size);
        buffer_append(&log->bytes, data, size);
}

void soft_ima_raw(struct soft_log *log, bool padded, const char *template, const void *data, size_t size) {
        uint8_t sha1[20], value[32] = {};

        hash("SHA1", data, size, sha1);
        if (padded)
                memcpy(value, sha1, sizeof sha1);
        else
                hash("SHA256", data, size, value);
        extend(log, 10, value);
        ima_entry(log, sha1, template, data, size);
}

static void ima_fields(struct buffer *fields, const char *path, const uint8_t digest[static 32]) {
        le32_append(fields, 40);
        buffer_append(fields, "sha256:", 8);
        buffer_append(fields, digest, 32);
        le32_append(fields, (uint32_t) strlen(path) + 1);
        buffer_append(fields, path, strlen(path) + 1);
}

void soft_ima(struct soft_log *log, bool padded, const char *path, const uint8_t digest[static 32]) {
        _cleanup_(buffer_done) struct buffer fields = {};

        ima_fields(&fields, path, digest);
        soft_ima_raw(log, padded, "ima-ng", fields.data, fields.size);
}

void soft_ima_violation(struct soft_log *log, const char *path) {
        static const uint8_t zeros[32];
        _cleanup_(buffer_done) struct buffer fields = {};
        uint8_t ones[32];

        memset(ones, 0xff, sizeof ones);
        extend(log, 10, ones);
        ima_fields(&fields, path, zeros);
        ima_entry(log, zeros, "ima-ng", fields.data, fields.size);
}

void soft_vector(const char *name, struct blob *ret) {
        _cleanup_(freep) char *path = format("tests/vectors/eventlog/%s", name);

        assert_int_equal(file_read(path, 1024 * 1024, ret), 0);
}

void soft_vector_pcrs(const char *name, struct pcr_values *ret) {
        _cleanup_(freep) char *path = format("tests/vectors/eventlog/%s.pcrs", name);
        FILE *file = fopen(path, "re");
        char text[200];
        unsigned pcr;

        assert_non_null(file);
        *ret = (struct pcr_values){ .n = 1, .banks[0].alg = 0xb };
        while (fscanf(file, "%u %199s", &pcr, text) == 2) {
                assert_true(pcr < WIRE_PCRS);
                for (char *p = text; *p; p++)
                        *p = *p >= 'A' && *p <= 'F' ? (char) (*p - 'A' + 'a') : *p;
                assert_int_equal(hex_decode(text, ret->banks[0].values[pcr], 32), 0);
                ret->banks[0].mask |= 1U << pcr;
        }
        fclose(file);
        assert_int_equal(ret->banks[0].mask, 0xffffff);
}
