/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/fields.h"

#include <string.h>

#include "crypto/crypto.h"

struct field field_text(const char *text) {
        return field_bytes(text, strlen(text));
}

struct field field_bytes(const void *data, size_t size) {
        return (struct field){ .data = data, .size = size };
}

struct field field_number(uint64_t number) {
        struct field field = { .size = 8, .is_number = true };

        for (unsigned i = 0; i < 8; i++)
                field.number[i] = (uint8_t) (number >> (56 - 8 * i));

        return field;
}

int fields_encode(const struct field *fields, size_t n, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        int r;

        for (size_t i = 0; i < n; i++) {
                if (fields[i].size > UINT32_MAX)
                        return -EINVAL;
                buffer_be32(&buffer, (uint32_t) fields[i].size);
                buffer_append(&buffer, fields[i].is_number ? fields[i].number : fields[i].data, fields[i].size);
        }

        r = buffer_ok(&buffer);
        if (r < 0)
                return r;

        *ret = (struct blob){ .data = TAKE_PTR(buffer.data), .size = buffer.size };
        return 0;
}

/* Fields may be secret (a join token): wipe the list. */
static void list_done(struct blob *list) {
        memory_wipe(list->data, list->size);
        blob_done(list);
}

int fields_sha256(const struct field *fields, size_t n, uint8_t ret[static 32]) {
        _cleanup_(list_done) struct blob list = {};
        int r;

        r = fields_encode(fields, n, &list);
        if (r < 0)
                return r;

        return sha256(list.data, list.size, ret);
}

int fields_hmac(const void *key, size_t key_size, const struct field *fields, size_t n, uint8_t ret[static 32]) {
        _cleanup_(list_done) struct blob list = {};
        int r;

        r = fields_encode(fields, n, &list);
        if (r < 0)
                return r;

        return hmac_sha256(key, key_size, list.data, list.size, ret);
}

/* A key that also signs what somebody else words must never be led to sign these bytes: no certificate, CMS, TLS or SSH signature
 * begins like this, and the text says to whoever looks what it is. */
int fields_token_message(const struct blob *list, struct blob *ret) {
        static const char text[] = "tallyboot token signature v1";
        _cleanup_(buffer_done) struct buffer message = {};
        char prefix[TOKEN_PREFIX_SIZE];
        int r;

        memset(prefix, ' ', sizeof prefix);
        memcpy(prefix, text, sizeof text - 1);
        prefix[sizeof prefix - 1] = '\0';
        buffer_append(&message, prefix, sizeof prefix);
        buffer_append(&message, list->data, list->size);
        r = buffer_ok(&message);
        if (r < 0)
                return r;

        *ret = (struct blob){ .data = TAKE_PTR(message.data), .size = message.size };
        return 0;
}
