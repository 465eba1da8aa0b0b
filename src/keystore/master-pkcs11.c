/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "keystore/box.h"
#include "keystore/hsm.h"
#include "keystore/master.h"
#include "keystore/pin.h"

enum { LABEL_MAX = 127 };

/* The configuration's texts, kept: it may be read anew meanwhile. */
struct token {
        struct hsm *hsm;
        char *uri, *module, *pin, *mac_key;
};

static struct token *token_free(struct token *token) {
        if (!token)
                return NULL;
        (void) hsm_close(token->hsm);
        free(token->uri);
        free(token->module);
        free(token->pin);
        free(token->mac_key);
        free(token);
        return NULL;
}
DEFINE_CLEANUP(struct token *, token_free)

static int hex(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The attribute "object" of a URI that pkcs11_uri_check() has passed. -ENOENT. */
static int label_of(const char *uri, char ret[static LABEL_MAX + 1]) {
        const char *p = strstr(uri, ":object="), *q = strstr(uri, ";object=");
        size_t n = 0;

        if (!p && !q)
                return -ENOENT;
        for (p = (p ?: q) + strlen(":object="); *p && *p != ';' && *p != '?'; p++) {
                int c = *p;

                if (c == '%') {
                        if (hex(p[1]) < 0 || hex(p[2]) < 0)
                                return -EINVAL;
                        c = hex(p[1]) << 4 | hex(p[2]);
                        p += 2;
                }
                if (n >= LABEL_MAX || c == 0)
                        return -EINVAL;
                ret[n++] = (char) c;
        }
        ret[n] = 0;
        return n > 0 ? 0 : -ENOENT;
}

/* A URI for what may be a label. */
static char *uri_of(const char *text) {
        static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        char escaped[3 * LABEL_MAX + 1] = "";
        size_t n = 0;

        if (strncmp(text, "pkcs11:", 7) == 0)
                return strdup(text);
        if (strlen(text) > LABEL_MAX)
                return NULL;
        for (; *text; text++)
                n += (size_t) snprintf(escaped + n, sizeof(escaped) - n, strchr(unreserved, *text) ? "%c" : "%%%02X",
                                       (unsigned char) *text);
        return format("pkcs11:object=%s", escaped);
}

static int token_new(const struct keystore_source *source, struct token **ret, char *error, size_t error_size) {
        _cleanup_(token_freep) struct token *token = calloc(1, sizeof(*token));
        int r;

        if (!token)
                return -ENOMEM;
        token->uri = strdup(source->uri);
        token->module = source->module ? strdup(source->module) : NULL;
        token->mac_key = source->mac_key ? uri_of(source->mac_key) : NULL;
        if (source->pin)
                token->pin = strdup(source->pin);
        else {
                r = pkcs11_uri_check(source->uri, &token->pin, error, error_size);
                if (r < 0)
                        return r;
        }
        if (!token->uri || (source->module && !token->module) || (source->mac_key && !token->mac_key) ||
            (source->pin && !token->pin))
                return -ENOMEM;
        *ret = TAKE_PTR(token);
        return 0;
}

static struct hsm_options hsm_options_of(const struct keystore_options *options, const struct keystore_source *source,
                                         const struct token *token) {
        return (struct hsm_options){
                .where = { .uri = token->uri, .module = token->module, .apart = !source->in_process },
                .pin = token->pin,
                /* the old one only opens, by what its blobs say */
                .choose = options->mechanism == 0 || source == &options->old,
                .how = { .mechanism = options->mechanism ?: WRAP_KWP,
                         .mac = source->mac,
                         .key = token->uri,
                         .mac_key = token->mac_key,
                         .iv_by_token = options->iv_by_token,
                         .always_sensitive = options->always_sensitive && source == &options->master },
        };
}

static int token_open(struct master *master, const struct keystore_options *options, const struct keystore_source *source,
                      const struct blob *parameters, char *error, size_t error_size) {
        _cleanup_(token_freep) struct token *token = NULL;
        struct hsm_options hsm;
        char words[512] = "";
        int r;

        (void) parameters;
        r = token_new(source, &token, error, error_size);
        if (r < 0)
                return r;
        hsm = hsm_options_of(options, source, token);
        r = hsm_open(&hsm, &token->hsm, words, sizeof(words));
        if (r < 0) {
                (void) snprintf(error, error_size, "%s: %s", source->text, words);
                /* a wrong PIN is not a wrong master key */
                return r == -EKEYREJECTED ? -EACCES : r;
        }
        master->data = TAKE_PTR(token);
        return 0;
}

static int token_wrap(struct master *master, int64_t id, const struct field *binding, size_t n, const struct secret *key,
                      struct blob *ret, struct secret **ret_key) {
        _cleanup_(blob_done) struct blob encoded = {};
        struct token *token = master->data;
        int r;

        r = fields_encode(binding, n, &encoded);
        return r < 0 ? r : hsm_wrap(token->hsm, (uint32_t) id, &encoded, key, ret, ret_key);
}

static int token_unwrap(struct master *master, int64_t id, const struct field *binding, size_t n, const void *data, size_t size,
                        struct secret **ret) {
        _cleanup_(blob_done) struct blob encoded = {};
        struct token *token = master->data;
        int r;

        r = fields_encode(binding, n, &encoded);
        return r < 0 ? r : hsm_unwrap(token->hsm, (uint32_t) id, &encoded, data, size, ret);
}

static int token_make_inside(struct master *master, int64_t id, const struct field *binding, size_t n, struct blob *ret) {
        _cleanup_(blob_done) struct blob encoded = {};
        struct token *token = master->data;
        int r;

        r = fields_encode(binding, n, &encoded);
        return r < 0 ? r : hsm_make_inside(token->hsm, (uint32_t) id, &encoded, ret);
}

static int token_seal_inside(struct master *master, const struct master_inside *key, const struct field *fields, size_t n,
                             const struct secret *secret, uint8_t *ret) {
        _cleanup_(secret_freep) struct secret *sealed = NULL;
        _cleanup_(blob_done) struct blob aad = {};
        struct token *token = master->data;
        struct wrap_use use;
        int r;

        r = fields_encode(fields, n, &aad);
        if (r >= 0)
                r = random_bytes(ret, AEAD_NONCE_SIZE);
        if (r < 0)
                return r;
        use = (struct wrap_use){ true, ret, aad.data, aad.size, secret->data, secret->size };
        r = hsm_use_inside(token->hsm, (uint32_t) key->id, &key->binding, &key->blob, &use, &sealed);
        if (r < 0)
                return r;
        if (sealed->size != secret->size + AEAD_TAG_SIZE)
                return -EIO;
        memcpy(ret + AEAD_NONCE_SIZE, sealed->data, sealed->size);
        return 0;
}

static int token_open_inside(struct master *master, const struct master_inside *key, const struct field *fields, size_t n,
                             const void *data, size_t size, struct secret **ret) {
        _cleanup_(blob_done) struct blob aad = {};
        struct token *token = master->data;
        const uint8_t *bytes = data;
        struct wrap_use use;
        int r;

        if (size <= BOX_OVERHEAD || size > BOX_OVERHEAD + BOX_SECRET_MAX)
                return -EKEYREJECTED;
        r = fields_encode(fields, n, &aad);
        if (r < 0)
                return r;
        use = (struct wrap_use){ false, bytes, aad.data, aad.size, bytes + AEAD_NONCE_SIZE, size - AEAD_NONCE_SIZE };
        return hsm_use_inside(token->hsm, (uint32_t) key->id, &key->binding, &key->blob, &use, ret);
}

static int token_expect(struct master *master, int64_t id, const struct field *binding, size_t n, const struct blob *proof) {
        _cleanup_(blob_done) struct blob encoded = {};
        struct token *token = master->data;
        int r;

        r = fields_encode(binding, n, &encoded);
        return r < 0 ? r : hsm_expect(token->hsm, (uint32_t) id, &encoded, proof);
}

static bool token_tick(struct master *master, char *words, size_t size) {
        struct token *token = master->data;

        return hsm_tick(token->hsm, words, size);
}

static const char *token_serial(const struct master *master) {
        const struct token *token = master->data;

        return hsm_serial(token->hsm);
}

static void token_close(struct master *master) {
        master->data = token_free(master->data);
}

/* The key ceremony. */

static int log_in(struct pkcs11 *pkcs11, const char *source, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        int r;

        if (!source)
                return 0;
        r = keystore_pin_read(source, &pin, error, error_size);
        if (r < 0)
                return r;
        r = pkcs11_login_unattended(pkcs11, pin);
        if (r < 0)
                (void) snprintf(error, error_size, "%s", pkcs11_error(pkcs11));
        return r;
}

static int generate(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_type type, enum pkcs11_use use, char *error,
                    size_t error_size) {
        struct pkcs11_new new = { .type = type, .use = use };
        char label[LABEL_MAX + 1];
        struct pkcs11_key key;
        int r;

        r = label_of(uri, label);
        if (r < 0) {
                (void) snprintf(error, error_size, "%s: a key that is to be made needs a label: object=NAME in its URI", uri);
                return -EINVAL;
        }
        new.label = label;
        r = pkcs11_generate(pkcs11, &new, &key);
        if (r == -EEXIST)
                (void) snprintf(error, error_size, "the token \"%s\" has a key \"%s\" already, which stays as it is",
                                pkcs11_label(pkcs11), label);
        else if (r < 0)
                (void) snprintf(error, error_size, "%s", pkcs11_error(pkcs11));
        return r;
}

static int token_create(const struct keystore_options *options, const char *party, struct blob *ret_parameters, char *error,
                        size_t error_size) {
        const struct keystore_source *source = &options->master;
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        _cleanup_(token_freep) struct token *token = NULL;
        struct pkcs11_key key;
        int r;

        (void) party;
        (void) ret_parameters;
        r = token_new(source, &token, error, error_size);
        if (r >= 0)
                r = pkcs11_open(&(struct pkcs11_where){ token->uri, token->module, !source->in_process }, &pkcs11, error,
                                error_size);
        if (r >= 0)
                r = log_in(pkcs11, token->pin, error, error_size);
        if (r < 0)
                return r;

        /* a second run after a first that was cut off makes what is missing; the master key last, which says that all is there */
        if (token->mac_key && pkcs11_find(pkcs11, token->mac_key, PKCS11_SECRET, &key) == -ENOKEY) {
                r = generate(pkcs11, token->mac_key, source->mac == WRAP_MAC_SHA256_HMAC ? PKCS11_GENERIC : PKCS11_AES,
                             PKCS11_USE_MAC, error, error_size);
                if (r < 0)
                        return r;
        }
        return generate(pkcs11, token->uri, PKCS11_AES, PKCS11_USE_WRAP, error, error_size);
}

const struct master_ops master_pkcs11 = {
        .name = "pkcs11",
        .create = token_create,
        .open = token_open,
        .wrap = token_wrap,
        .unwrap = token_unwrap,
        .make_inside = token_make_inside,
        .seal_inside = token_seal_inside,
        .open_inside = token_open_inside,
        .expect = token_expect,
        .tick = token_tick,
        .serial = token_serial,
        .close = token_close,
};
