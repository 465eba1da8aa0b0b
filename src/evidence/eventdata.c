/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/eventlog.h"

/* What is inside of events: variables, signature lists, UTF-16. */

static uint32_t le32(const uint8_t *p) {
        return (uint32_t) p[3] << 24 | (uint32_t) p[2] << 16 | (uint32_t) p[1] << 8 | p[0];
}

static int reader_le64(struct reader *reader, uint64_t *ret) {
        uint32_t low, high;
        int r = reader_le32(reader, &low);

        if (r >= 0)
                r = reader_le32(reader, &high);
        if (r < 0)
                return r;
        *ret = (uint64_t) high << 32 | low;
        return 0;
}

/* UEFI_VARIABLE_DATA (Platform Firmware Profile, 10.4.3): GUID, length of the name in characters, of the content in bytes. */
int eventlog_variable(const void *data, size_t size, struct eventlog_variable *ret) {
        struct reader reader = { data, size };
        struct eventlog_variable variable = {};
        uint64_t name_size, data_size;
        const uint8_t *name;

        if (reader_bytes(&reader, 16, &variable.guid) < 0 || reader_le64(&reader, &name_size) < 0 ||
            reader_le64(&reader, &data_size) < 0)
                return -EBADMSG;
        if (name_size > reader.left / 2 || reader_bytes(&reader, 2 * name_size, &name) < 0 || data_size != reader.left)
                return -EBADMSG;
        for (size_t i = 0; i < MIN(name_size, sizeof variable.name - 1); i++)
                variable.name[i] = name[2 * i + 1] == 0 && name[2 * i] > ' ' && name[2 * i] < 0x7f ? (char) name[2 * i] : '?';
        variable.data = reader.data;
        variable.size = reader.left;
        *ret = variable;
        return 0;
}

static const char *signature_kind(const uint8_t *guid, size_t size) {
        static const uint8_t x509[16] = { 0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                          0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72 };
        static const uint8_t sha256[16] = { 0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                            0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28 };

        if (memcmp(guid, x509, sizeof x509) == 0)
                return "x509";
        if (memcmp(guid, sha256, sizeof sha256) == 0 && size == 16 + SHA256_SIZE)
                return "sha256";
        return "other";
}

/* EFI_SIGNATURE_LIST (UEFI, 32.4.1): type, sizes of the list, of a header, of one signature; then these. */
static int next_list(struct eventlog_signatures *signatures) {
        const uint8_t *fixed, *header, *entries;
        uint32_t list_size, header_size, size;

        if (reader_bytes(&signatures->lists, 28, &fixed) < 0)
                return -EBADMSG;
        list_size = le32(fixed + 16);
        header_size = le32(fixed + 20);
        size = le32(fixed + 24);
        if (list_size < 28 || size <= 16 || header_size > list_size - 28 || (list_size - 28 - header_size) % size != 0)
                return -EBADMSG;
        if (reader_bytes(&signatures->lists, header_size, &header) < 0 ||
            reader_bytes(&signatures->lists, list_size - 28 - header_size, &entries) < 0)
                return -EBADMSG;
        signatures->entries = (struct reader){ entries, list_size - 28 - header_size };
        signatures->entry_size = size;
        signatures->kind = signature_kind(fixed, size);
        return 0;
}

int eventlog_signature_next(struct eventlog_signatures *signatures, const uint8_t **ret, size_t *ret_size) {
        const uint8_t *entry;

        while (signatures->entries.left == 0) {
                int r;

                if (signatures->lists.left == 0)
                        return 0;
                r = next_list(signatures);
                if (r < 0)
                        return r;
        }
        if (reader_bytes(&signatures->entries, signatures->entry_size, &entry) < 0)
                return -EBADMSG;
        *ret = entry + 16; /* SignatureOwner */
        *ret_size = signatures->entry_size - 16;
        return 1;
}

static void append_utf8(struct buffer *text, uint32_t c) {
        if (c < 0x80)
                buffer_u8(text, (uint8_t) c);
        else if (c < 0x800) {
                buffer_u8(text, (uint8_t) (0xc0 | c >> 6));
                buffer_u8(text, (uint8_t) (0x80 | (c & 0x3f)));
        } else if (c < 0x10000) {
                buffer_u8(text, (uint8_t) (0xe0 | c >> 12));
                buffer_u8(text, (uint8_t) (0x80 | (c >> 6 & 0x3f)));
                buffer_u8(text, (uint8_t) (0x80 | (c & 0x3f)));
        } else {
                buffer_u8(text, (uint8_t) (0xf0 | c >> 18));
                buffer_u8(text, (uint8_t) (0x80 | (c >> 12 & 0x3f)));
                buffer_u8(text, (uint8_t) (0x80 | (c >> 6 & 0x3f)));
                buffer_u8(text, (uint8_t) (0x80 | (c & 0x3f)));
        }
}

int utf16_to_utf8(const void *data, size_t size, char **ret) {
        _cleanup_(buffer_done) struct buffer text = {};
        struct reader reader = { data, size };
        int r;

        if (size % 2 != 0)
                return -EBADMSG;
        while (reader.left > 0) {
                uint16_t high, low;

                (void) reader_le16(&reader, &high);
                if (high == 0 && reader.left == 0)
                        break;
                if (high == 0 || (high >= 0xdc00 && high <= 0xdfff))
                        return -EBADMSG;
                if (high < 0xd800 || high > 0xdbff) {
                        append_utf8(&text, high);
                        continue;
                }
                if (reader_le16(&reader, &low) < 0 || low < 0xdc00 || low > 0xdfff)
                        return -EBADMSG;
                append_utf8(&text, 0x10000 + ((uint32_t) (high - 0xd800) << 10 | (uint32_t) (low - 0xdc00)));
        }
        buffer_u8(&text, 0);
        r = buffer_ok(&text);
        if (r < 0)
                return r;
        *ret = (char *) text.data;
        text = (struct buffer){};
        return 0;
}

/* One character of UTF-8: 1 to 4 bytes read, or -EINVAL. */
static int utf8_next(const uint8_t *p, uint32_t *ret) {
        static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        int n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
        uint32_t c = n == 1 ? p[0] : p[0] & (0x7f >> n);

        if (n == 0)
                return -EINVAL;
        for (int i = 1; i < n; i++) {
                if (p[i] >> 6 != 2) /* the NUL at the end, too */
                        return -EINVAL;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < lowest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return -EINVAL;
        *ret = c;
        return n;
}

static void append_utf16(struct buffer *buffer, uint32_t unit) {
        buffer_u8(buffer, (uint8_t) unit);
        buffer_u8(buffer, (uint8_t) (unit >> 8));
}

int utf8_to_utf16(const char *text, struct buffer *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        const uint8_t *p = (const uint8_t *) text;
        int r;

        while (*p) {
                uint32_t c;
                int n = utf8_next(p, &c);

                if (n < 0)
                        return n;
                p += n;
                if (c >= 0x10000) {
                        append_utf16(&buffer, 0xd800 + ((c - 0x10000) >> 10));
                        append_utf16(&buffer, 0xdc00 + ((c - 0x10000) & 0x3ff));
                } else
                        append_utf16(&buffer, c);
        }
        append_utf16(&buffer, 0);
        r = buffer_ok(&buffer);
        if (r < 0)
                return r;
        *ret = buffer;
        buffer = (struct buffer){};
        return 0;
}
