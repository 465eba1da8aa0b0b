/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "pkcs11/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a call and an answer can have, in the order of the largest of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct message message = { .reader = { data, size } };
        struct field binding[MESSAGE_BINDING_MAX];
        struct pkcs11_key key = {};
        struct wrap_how how;
        const uint8_t *bytes;
        const char *text;
        size_t n, sum = 0;

        (void) message_number(&message, MESSAGE_UNWRAP);
        message_key(&message, &key);
        if (key.id_size > sizeof(key.id) || strnlen(key.label, sizeof(key.label)) == sizeof(key.label))
                abort();
        message_how(&message, &how);
        n = message_binding(&message, binding);
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < binding[i].size; j++)
                        sum += ((const uint8_t *) binding[i].data)[j];
        bytes = message_bytes(&message, &n);
        for (size_t i = 0; i < n; i++)
                sum += bytes[i];
        text = message_text(&message);
        sum += text ? strlen(text) : 0;
        (void) message_end(&message);
        return sum == SIZE_MAX ? -1 : 0;
}
