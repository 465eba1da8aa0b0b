/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/fields.h"
#include "pkcs11/wrap.h"

/* What goes between a program and the process that a module runs in: a 32-bit length and that many bytes, the fields of a call
 * or of its answer. Neither side believes the other: every read is bounded, and checked. Locked memory, for PINs and keys are
 * in it. */
enum message_kind {
        MESSAGE_OPEN = 1,
        MESSAGE_PIN,
        MESSAGE_LOGIN,
        MESSAGE_FIND,
        MESSAGE_PUBLIC,
        MESSAGE_SIGN,
        MESSAGE_GENERATE,
        MESSAGE_MECHANISMS,
        MESSAGE_URI,
        MESSAGE_CHECK,
        MESSAGE_MAKE,
        MESSAGE_UNWRAP,
        MESSAGE_MAKE_INSIDE,
        MESSAGE_USE_INSIDE,
};

enum { MESSAGE_MAX = 512 * 1024, MESSAGE_BINDING_MAX = 32 };

struct message {
        struct secret *bytes;
        size_t size;          /* written */
        struct reader reader; /* of a message that was received */
        bool failed;          /* a write had no memory, or a read found nonsense */
};

void message_done(struct message *message);

/* Writing; a failure is remembered. text and data may be NULL: none. */
void message_put_number(struct message *message, uint64_t number);
void message_put_bytes(struct message *message, const void *data, size_t size);
void message_put_text(struct message *message, const char *text);
void message_append(struct message *message, const struct message *other);
void message_put_key(struct message *message, const struct pkcs11_key *key);
void message_put_how(struct message *message, const struct wrap_how *how);
void message_put_binding(struct message *message, const struct field *binding, size_t n);

/* Reading; after a failure everything reads as zero or none. What is returned points into the message. */
uint64_t message_number(struct message *message, uint64_t max);
const void *message_bytes(struct message *message, size_t *ret_size);
const char *message_text(struct message *message);
void message_key(struct message *message, struct pkcs11_key *ret);
void message_how(struct message *message, struct wrap_how *ret);
/* A number of L() is its eight bytes here, which is the same list. */
size_t message_binding(struct message *message, struct field ret[static MESSAGE_BINDING_MAX]);
/* The last of the reads: 0, or -EBADMSG where one failed or something is left. */
int message_end(struct message *message);

/* A message that was written is sent and forgotten. -EPIPE: the other side ended. */
int message_send(int fd, struct message *message);
/* timeout_ms -1: for ever. -EPIPE: the other side ended; -ETIMEDOUT; -EBADMSG. */
int message_receive(int fd, int timeout_ms, struct message *ret);
