/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/apart.h"

#include <string.h>

#include "crypto/crypto.h"
#include "pkcs11/message.h"

/* The other end of apart.c: each function reads a call, makes it, and writes what it returned. Everything is read before it is
 * made. */

struct server {
        struct pkcs11 *pkcs11;
        struct message *in;
        struct message out; /* what comes after the error and its words */
};

static int serve_open(struct server *server) {
        struct pkcs11_where where = { .uri = message_text(server->in) };
        uint64_t base;
        char error[512];
        int r;

        where.module = message_text(server->in);
        base = message_number(server->in, UINT64_MAX);
        if (message_end(server->in) < 0 || !where.uri || server->pkcs11)
                return -EBADMSG;
        r = pkcs11_open(&where, &server->pkcs11, error, sizeof(error));
        if (r < 0)
                return r;
        server->pkcs11->number += base;
        message_put_text(&server->out, pkcs11_label(server->pkcs11));
        message_put_text(&server->out, pkcs11_serial(server->pkcs11));
        return 0;
}

static int serve_pin(struct server *server) {
        struct pkcs11_pin pin;
        int r;

        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = pkcs11_pin(server->pkcs11, &pin);
        if (r < 0)
                return r;
        message_put_number(&server->out, pin.needed);
        message_put_number(&server->out, pin.keypad);
        message_put_number(&server->out, pin.low);
        message_put_number(&server->out, pin.last);
        message_put_number(&server->out, pin.locked);
        return 0;
}

static int read_secret(struct message *message, struct secret **ret) {
        size_t size;
        const void *data = message_bytes(message, &size);

        if (!data)
                return 0;
        return size == 0 ? -EINVAL : secret_copy(data, size, ret);
}

static int serve_login(struct server *server) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        bool unattended = message_number(server->in, 1);
        int r;

        r = read_secret(server->in, &pin);
        if (r < 0)
                return r;
        if (message_end(server->in) < 0)
                return -EBADMSG;
        return unattended ? pkcs11_login_unattended(server->pkcs11, pin) : pkcs11_login(server->pkcs11, pin);
}

static int serve_find(struct server *server) {
        const char *uri = message_text(server->in);
        enum pkcs11_class class = message_number(server->in, PKCS11_SECRET);
        struct pkcs11_key key;
        int r;

        if (message_end(server->in) < 0 || !uri || class < PKCS11_PRIVATE)
                return -EBADMSG;
        r = pkcs11_find(server->pkcs11, uri, class, &key);
        if (r >= 0)
                message_put_key(&server->out, &key);
        return r;
}

static int serve_public(struct server *server) {
        _cleanup_(blob_done) struct blob spki = {};
        struct pkcs11_key key = {};
        int r;

        message_key(server->in, &key);
        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = pkcs11_public(server->pkcs11, &key, &spki);
        if (r >= 0)
                message_put_bytes(&server->out, spki.data, spki.size);
        return r;
}

static int serve_sign(struct server *server) {
        _cleanup_(blob_done) struct blob signature = {};
        struct pkcs11_key key = {};
        const void *data;
        size_t size;
        int r;

        message_key(server->in, &key);
        data = message_bytes(server->in, &size);
        if (message_end(server->in) < 0 || !data)
                return -EBADMSG;
        r = pkcs11_sign(server->pkcs11, &key, data, size, &signature);
        if (r >= 0)
                message_put_bytes(&server->out, signature.data, signature.size);
        return r;
}

static int serve_generate(struct server *server) {
        struct pkcs11_new new = {};
        struct pkcs11_key key;
        int r;

        new.type = message_number(server->in, PKCS11_OTHER);
        new.bits = (unsigned) message_number(server->in, UINT16_MAX);
        new.use = message_number(server->in, PKCS11_USE_MAC);
        new.label = message_text(server->in);
        new.id = message_bytes(server->in, &new.id_size);
        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = pkcs11_generate(server->pkcs11, &new, &key);
        if (r >= 0)
                message_put_key(&server->out, &key);
        return r;
}

static int serve_mechanisms(struct server *server) {
        _cleanup_(freep) char *names = NULL;
        int r;

        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = pkcs11_mechanisms(server->pkcs11, &names);
        if (r >= 0)
                message_put_text(&server->out, names);
        return r;
}

static int serve_uri(struct server *server) {
        _cleanup_(freep) char *uri = NULL;
        struct pkcs11_key key = {};
        bool has_key = message_number(server->in, 1);
        int r;

        if (has_key)
                message_key(server->in, &key);
        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = pkcs11_uri(server->pkcs11, has_key ? &key : NULL, &uri);
        if (r >= 0)
                message_put_text(&server->out, uri);
        return r;
}

static int serve_check(struct server *server) {
        struct wrap_how how;

        message_how(server->in, &how);
        return message_end(server->in) < 0 ? -EBADMSG : wrap_check(server->pkcs11, &how);
}

static int serve_make(struct server *server) {
        _cleanup_(secret_freep) struct secret *key = NULL, *made = NULL;
        _cleanup_(blob_done) struct blob blob = {};
        struct field binding[MESSAGE_BINDING_MAX];
        struct wrap_how how;
        size_t n;
        int r;

        message_how(server->in, &how);
        n = message_binding(server->in, binding);
        r = read_secret(server->in, &key);
        if (r < 0)
                return r;
        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = wrap_make(server->pkcs11, &how, binding, n, key, &blob, &made);
        if (r < 0)
                return r;
        message_put_bytes(&server->out, blob.data, blob.size);
        message_put_bytes(&server->out, made->data, made->size);
        return 0;
}

static int serve_unwrap(struct server *server) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        struct field binding[MESSAGE_BINDING_MAX];
        struct wrap_how how;
        const void *blob;
        size_t n, size;
        int r;

        message_how(server->in, &how);
        n = message_binding(server->in, binding);
        blob = message_bytes(server->in, &size);
        if (message_end(server->in) < 0 || !blob)
                return -EBADMSG;
        r = wrap_open(server->pkcs11, &how, binding, n, blob, size, &key);
        if (r >= 0)
                message_put_bytes(&server->out, key->data, key->size);
        return r;
}

static int serve_make_inside(struct server *server) {
        _cleanup_(blob_done) struct blob blob = {};
        struct field binding[MESSAGE_BINDING_MAX];
        struct wrap_how how;
        size_t n;
        int r;

        message_how(server->in, &how);
        n = message_binding(server->in, binding);
        if (message_end(server->in) < 0)
                return -EBADMSG;
        r = wrap_make_inside(server->pkcs11, &how, binding, n, &blob);
        if (r >= 0)
                message_put_bytes(&server->out, blob.data, blob.size);
        return r;
}

static int serve_use_inside(struct server *server) {
        _cleanup_(secret_freep) struct secret *out = NULL;
        struct field binding[MESSAGE_BINDING_MAX];
        struct wrap_use use = {};
        struct wrap_how how;
        size_t n, size, iv_size;
        const void *blob;
        int r;

        message_how(server->in, &how);
        n = message_binding(server->in, binding);
        blob = message_bytes(server->in, &size);
        use.seal = message_number(server->in, 1);
        use.iv = message_bytes(server->in, &iv_size);
        use.aad = message_bytes(server->in, &use.aad_size);
        use.data = message_bytes(server->in, &use.size);
        if (message_end(server->in) < 0 || !blob || !use.iv || iv_size != AEAD_NONCE_SIZE || !use.data)
                return -EBADMSG;
        r = wrap_use_inside(server->pkcs11, &how, binding, n, &(struct blob){ (uint8_t *) blob, size }, &use, &out);
        if (r >= 0)
                message_put_bytes(&server->out, out->data, out->size);
        return r;
}

static int serve(struct server *server) {
        static int (*const calls[])(struct server *) = {
                [MESSAGE_OPEN] = serve_open,
                [MESSAGE_PIN] = serve_pin,
                [MESSAGE_LOGIN] = serve_login,
                [MESSAGE_FIND] = serve_find,
                [MESSAGE_PUBLIC] = serve_public,
                [MESSAGE_SIGN] = serve_sign,
                [MESSAGE_GENERATE] = serve_generate,
                [MESSAGE_MECHANISMS] = serve_mechanisms,
                [MESSAGE_URI] = serve_uri,
                [MESSAGE_CHECK] = serve_check,
                [MESSAGE_MAKE] = serve_make,
                [MESSAGE_UNWRAP] = serve_unwrap,
                [MESSAGE_MAKE_INSIDE] = serve_make_inside,
                [MESSAGE_USE_INSIDE] = serve_use_inside,
        };
        uint64_t kind = message_number(server->in, MESSAGE_USE_INSIDE);
        int r;

        if (kind < MESSAGE_OPEN || (kind != MESSAGE_OPEN && !server->pkcs11))
                return -EBADMSG;
        words_clear();
        r = calls[kind](server);
        if (r < 0 && server->pkcs11 && server->pkcs11->pin_refused) {
                server->pkcs11->pin_refused = false;
                return APART_PIN_REFUSED;
        }
        return r;
}

static int answer(int fd, int r, struct message *out) {
        _cleanup_(message_done) struct message message = {};

        message_put_number(&message, (uint64_t) -MIN(r, 0));
        message_put_text(&message, words_get());
        message_append(&message, out);
        return message_send(fd, &message);
}

void apart_serve(int fd) {
        struct server server = {};
        int r = 0;

        while (r >= 0) {
                _cleanup_(message_done) struct message in = {};

                if (message_receive(fd, -1, &in) < 0)
                        break;
                server.in = &in;
                r = answer(fd, serve(&server), &server.out);
                message_done(&server.out);
        }
        pkcs11_close(server.pkcs11);
}
