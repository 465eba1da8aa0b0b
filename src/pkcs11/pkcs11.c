/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "pkcs11/apart.h"

static int open_here(const struct pkcs11_where *where, struct pkcs11 *pkcs11) {
        int r;

        r = uri_parse(where->uri, &pkcs11->uri);
        if (r < 0)
                return r;
        r = modules_load(where, pkcs11->uri, &pkcs11->modules);
        if (r < 0)
                return r;
        r = slot_find(pkcs11);
        return r < 0 ? r : session_open(pkcs11);
}

/* What is wrong with the URI is found here, where the words are. */
static int open_apart(const struct pkcs11_where *where, struct pkcs11 *pkcs11) {
        _cleanup_(p11_uri_freep) P11KitUri *uri = NULL;
        int r = uri_parse(where->uri, &uri);

        return r < 0 ? r : apart_open(pkcs11, where);
}

int pkcs11_prepare(void) {
        return apart_prepare();
}

int pkcs11_open(const struct pkcs11_where *where, struct pkcs11 **ret, char *error, size_t error_size) {
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        int r;

        words_clear();
        pkcs11 = calloc(1, sizeof(*pkcs11));
        if (!pkcs11)
                return fail(ENOMEM, "out of memory");
        (void) pthread_mutex_init(&pkcs11->lock, NULL);
        r = where->apart ? open_apart(where, pkcs11) : open_here(where, pkcs11);
        if (r < 0) {
                (void) snprintf(error, error_size, "%s", words_get());
                return r;
        }
        *ret = TAKE_PTR(pkcs11);
        return 0;
}

/* Without C_Logout: others in this process may use the token too, and it forgets the login with their last session. */
struct pkcs11 *pkcs11_close(struct pkcs11 *pkcs11) {
        if (!pkcs11)
                return NULL;
        if (pkcs11->apart)
                apart_close(pkcs11);
        session_close(pkcs11);
        modules_done(&pkcs11->modules);
        p11_kit_uri_free(pkcs11->uri);
        secret_free(pkcs11->pin);
        (void) pthread_mutex_destroy(&pkcs11->lock);
        free(pkcs11);
        return NULL;
}

bool pkcs11_interrupt(struct pkcs11 *pkcs11) {
        return pkcs11->apart && apart_interrupt(pkcs11);
}

const char *pkcs11_label(const struct pkcs11 *pkcs11) {
        return pkcs11->label;
}

const char *pkcs11_serial(const struct pkcs11 *pkcs11) {
        return pkcs11->serial;
}

const char *pkcs11_error(const struct pkcs11 *pkcs11) {
        (void) pkcs11;
        return words_get();
}

int pkcs11_pin(struct pkcs11 *pkcs11, struct pkcs11_pin *ret) {
        if (pkcs11->apart)
                return apart_pin(pkcs11, ret);
        return WITH_SESSION(pkcs11, login_state(pkcs11, ret));
}

/* Not made twice, whatever happens. */
static int log_in_here(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended) {
        int r = session_begin(pkcs11);

        if (r >= 0)
                r = login_user(pkcs11, pin, unattended);
        session_end(pkcs11, r);
        return r;
}

/* A PIN that was wrong is not made right by another try. */
static int log_in(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended) {
        int r;

        if (pin && refused_has(pkcs11, pin))
                return fail(EKEYREJECTED, "PIN: the token \"%s\" refused this PIN before: not tried again by this process",
                            pkcs11->label);
        r = pkcs11->apart ? apart_login(pkcs11, pin, unattended) : log_in_here(pkcs11, pin, unattended);
        if (r == -EKEYREJECTED && pin)
                refused_add(pkcs11, pin);
        if (r >= 0)
                refused_clear(pkcs11);
        return r;
}

int pkcs11_login(struct pkcs11 *pkcs11, const struct secret *pin) {
        return log_in(pkcs11, pin, false);
}

int pkcs11_login_unattended(struct pkcs11 *pkcs11, const struct secret *pin) {
        return log_in(pkcs11, pin, true);
}

int pkcs11_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret) {
        if (pkcs11->apart)
                return apart_find(pkcs11, uri, class, ret);
        return WITH_SESSION(pkcs11, key_find(pkcs11, uri, class, ret));
}

int pkcs11_public(struct pkcs11 *pkcs11, const struct pkcs11_key *private_key, struct blob *ret) {
        if (pkcs11->apart)
                return apart_public(pkcs11, private_key, ret);
        return WITH_SESSION(pkcs11, key_public(pkcs11, private_key, ret));
}

int pkcs11_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret) {
        if (pkcs11->apart)
                return apart_sign(pkcs11, key, message, size, ret);
        return WITH_SESSION(pkcs11, key_sign(pkcs11, key, message, size, ret));
}

int pkcs11_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret) {
        if (pkcs11->apart)
                return apart_generate(pkcs11, new, ret);
        return WITH_SESSION(pkcs11, key_generate(pkcs11, new, ret));
}

static int mechanisms(struct pkcs11 *pkcs11, char **ret) {
        _cleanup_(freep) CK_MECHANISM_TYPE *list = NULL;
        _cleanup_(buffer_done) struct buffer text = {};
        char number[32];
        size_t n = 0;
        int r;

        r = mechanism_list(pkcs11, &list, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                buffer_printf(&text, "%s%s", i > 0 ? " " : "", mechanism_name(list[i], number));
        buffer_u8(&text, '\0');
        if (buffer_ok(&text) < 0)
                return fail(ENOMEM, "out of memory");
        *ret = (char *) TAKE_PTR(text.data);
        return 0;
}

int pkcs11_mechanisms(struct pkcs11 *pkcs11, char **ret) {
        if (pkcs11->apart)
                return apart_mechanisms(pkcs11, ret);
        return WITH_SESSION(pkcs11, mechanisms(pkcs11, ret));
}

static int uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret) {
        _cleanup_(p11_uri_freep) P11KitUri *made = p11_kit_uri_new();
        char *text = NULL, *copy;
        int r = P11_KIT_URI_OK;

        if (!made)
                return fail(ENOMEM, "out of memory");
        *p11_kit_uri_get_token_info(made) = pkcs11->token;
        if (key && key->id_size > 0) {
                CK_ATTRIBUTE id = { CKA_ID, (void *) key->id, key->id_size };

                r = p11_kit_uri_set_attribute(made, &id);
        }
        if (r == P11_KIT_URI_OK && key && key->label[0] != '\0') {
                CK_ATTRIBUTE label = { CKA_LABEL, (void *) key->label, strlen(key->label) };

                r = p11_kit_uri_set_attribute(made, &label);
        }
        if (r == P11_KIT_URI_OK)
                r = p11_kit_uri_format(made, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &text);
        copy = r == P11_KIT_URI_OK ? strdup(text) : NULL;
        free(text);
        if (!copy)
                return fail(ENOMEM, "out of memory");
        *ret = copy;
        return 0;
}

int pkcs11_uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret) {
        if (pkcs11->apart)
                return apart_uri(pkcs11, key, ret);
        return WITH_SESSION(pkcs11, uri(pkcs11, key, ret));
}
