/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/message.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

void message_done(struct message *message) {
        secret_free(message->bytes);
        *message = (struct message){};
}

static void append(struct message *message, const void *data, size_t size) {
        if (message->failed || size == 0)
                return;
        if (size > MESSAGE_MAX - message->size) {
                message->failed = true;
                return;
        }
        if (!message->bytes || message->bytes->size - message->size < size) {
                struct secret *bigger = NULL;
                size_t wanted = MIN(2 * (message->size + size) + 1024, MESSAGE_MAX);

                if (secret_new(wanted, &bigger) < 0) {
                        message->failed = true;
                        return;
                }
                if (message->bytes)
                        memcpy(bigger->data, message->bytes->data, message->size);
                secret_free(message->bytes);
                message->bytes = bigger;
        }
        memcpy(message->bytes->data + message->size, data, size);
        message->size += size;
}

void message_put_number(struct message *message, uint64_t number) {
        append(message, &number, sizeof(number));
}

/* A byte that says whether there is something, its size, and it. */
void message_put_bytes(struct message *message, const void *data, size_t size) {
        message_put_number(message, data != NULL);
        if (!data)
                return;
        message_put_number(message, size);
        append(message, data, size);
}

void message_put_text(struct message *message, const char *text) {
        message_put_bytes(message, text, text ? strlen(text) + 1 : 0);
}

void message_append(struct message *message, const struct message *other) {
        message->failed = message->failed || other->failed;
        append(message, other->bytes ? other->bytes->data : NULL, other->size);
}

void message_put_key(struct message *message, const struct pkcs11_key *key) {
        message_put_number(message, key->class);
        message_put_number(message, key->type);
        message_put_number(message, key->bits);
        message_put_number(message, key->signs);
        message_put_number(message, key->decrypts);
        message_put_number(message, key->always_pin);
        message_put_number(message, key->handle);
        message_put_number(message, key->session);
        message_put_bytes(message, key->id, key->id_size);
        message_put_text(message, key->label);
        message_put_text(message, key->made_for);
}

void message_put_how(struct message *message, const struct wrap_how *how) {
        message_put_number(message, how->mechanism);
        message_put_number(message, how->mac);
        message_put_text(message, how->key);
        message_put_text(message, how->mac_key);
        message_put_number(message, how->generation);
        message_put_number(message, how->iv_by_token);
        message_put_number(message, how->always_sensitive);
}

void message_put_binding(struct message *message, const struct field *binding, size_t n) {
        if (n > MESSAGE_BINDING_MAX)
                message->failed = true;
        message_put_number(message, n);
        for (size_t i = 0; i < n; i++) {
                const void *data = binding[i].is_number ? binding[i].number : binding[i].data;

                message_put_bytes(message, data ?: "", binding[i].size);
        }
}

uint64_t message_number(struct message *message, uint64_t max) {
        uint64_t number = 0;

        if (message->failed || reader_copy(&message->reader, &number, sizeof(number)) < 0 || number > max) {
                message->failed = true;
                return 0;
        }
        return number;
}

const void *message_bytes(struct message *message, size_t *ret_size) {
        const uint8_t *data = NULL;
        size_t size = 0;

        *ret_size = 0;
        if (message_number(message, 1) == 0)
                return NULL;
        size = message_number(message, MESSAGE_MAX);
        if (message->failed || reader_bytes(&message->reader, size, &data) < 0) {
                message->failed = true;
                return NULL;
        }
        *ret_size = size;
        return data;
}

const char *message_text(struct message *message) {
        size_t size;
        const char *text = message_bytes(message, &size);

        if (text && (size == 0 || memchr(text, '\0', size) != text + size - 1)) {
                message->failed = true;
                return NULL;
        }
        return text;
}

void message_key(struct message *message, struct pkcs11_key *ret) {
        struct pkcs11_key key = {};
        const char *label, *made_for;
        const void *id;

        key.class = message_number(message, PKCS11_SECRET);
        key.type = message_number(message, PKCS11_OTHER);
        key.bits = (unsigned) message_number(message, UINT16_MAX);
        key.signs = message_number(message, 1);
        key.decrypts = message_number(message, 1);
        key.always_pin = message_number(message, 1);
        key.handle = message_number(message, UINT64_MAX);
        key.session = message_number(message, UINT64_MAX);
        id = message_bytes(message, &key.id_size);
        label = message_text(message);
        made_for = message_text(message);
        if (key.class < PKCS11_PRIVATE || key.type < PKCS11_EC_P256 || !id || key.id_size > sizeof(key.id) || !label ||
            strlen(label) >= sizeof(key.label) || !made_for || strlen(made_for) >= sizeof(key.made_for))
                message->failed = true;
        if (message->failed)
                return;
        memcpy(key.id, id, key.id_size);
        memcpy(key.label, label, strlen(label) + 1);
        memcpy(key.made_for, made_for, strlen(made_for) + 1);
        *ret = key;
}

void message_how(struct message *message, struct wrap_how *ret) {
        *ret = (struct wrap_how){};
        ret->mechanism = message_number(message, WRAP_ECDH);
        ret->mac = message_number(message, WRAP_MAC_AES_MAC_64);
        ret->key = message_text(message);
        ret->mac_key = message_text(message);
        ret->generation = (uint32_t) message_number(message, UINT32_MAX);
        ret->iv_by_token = message_number(message, 1);
        ret->always_sensitive = message_number(message, 1);
}

size_t message_binding(struct message *message, struct field ret[static MESSAGE_BINDING_MAX]) {
        size_t n = message_number(message, MESSAGE_BINDING_MAX);

        for (size_t i = 0; i < n && !message->failed; i++) {
                size_t size;
                const void *data = message_bytes(message, &size);

                message->failed = message->failed || !data;
                ret[i] = field_bytes(data, size);
        }
        return message->failed ? 0 : n;
}

int message_end(struct message *message) {
        return message->failed || message->reader.left != 0 ? -EBADMSG : 0;
}

static int send_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return -EPIPE;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

int message_send(int fd, struct message *message) {
        uint32_t size = (uint32_t) message->size;
        int r = message->failed ? -ENOMEM : 0;

        if (r == 0)
                r = send_all(fd, &size, sizeof(size));
        if (r == 0 && size > 0)
                r = send_all(fd, message->bytes->data, message->size);
        message_done(message);
        return r;
}

static int receive_all(int fd, int64_t until, void *ret, size_t size) {
        uint8_t *p = ret;

        while (size > 0) {
                struct pollfd pollfd = { fd, POLLIN, 0 };
                int64_t left = until < 0 ? -1 : until - (int64_t) clock_monotonic_ms();
                ssize_t n;
                int r;

                if (until >= 0 && left <= 0)
                        return -ETIMEDOUT;
                r = poll(&pollfd, 1, (int) left);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r <= 0)
                        continue;
                n = recv(fd, p, size, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return -EPIPE;
                p += n;
                size -= (size_t) n;
        }
        return 0;
}

int message_receive(int fd, int timeout_ms, struct message *ret) {
        int64_t until = timeout_ms < 0 ? -1 : (int64_t) clock_monotonic_ms() + timeout_ms;
        struct message message = {};
        uint32_t size = 0;
        int r;

        r = receive_all(fd, until, &size, sizeof(size));
        if (r < 0)
                return r;
        if (size == 0 || size > MESSAGE_MAX)
                return -EBADMSG;
        r = secret_new(size, &message.bytes);
        if (r < 0)
                return r;
        r = receive_all(fd, until, message.bytes->data, size);
        if (r < 0) {
                message_done(&message);
                return r;
        }
        message.size = size;
        message.reader = (struct reader){ message.bytes->data, size };
        *ret = message;
        return 0;
}
