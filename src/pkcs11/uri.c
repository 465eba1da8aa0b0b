/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <stdio.h>
#include <string.h>

enum { URI_MAX = 4096 };

/* RFC 7512. Stricter than p11-kit: what it does not know would match more than the operator meant, so it is refused; so is an
 * object that cannot be a key, and a PIN in a file that is no secret. */
int uri_parse(const char *text, P11KitUri **ret) {
        _cleanup_(p11_uri_freep) P11KitUri *uri = NULL;
        CK_ATTRIBUTE *class;
        int r;

        if (strnlen(text, URI_MAX + 1) > URI_MAX)
                return fail(EINVAL, "a PKCS#11 URI of more than %d characters", URI_MAX);
        uri = p11_kit_uri_new();
        if (!uri)
                return fail(ENOMEM, "out of memory");
        r = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
        if (r == P11_KIT_URI_NO_MEMORY)
                return fail(ENOMEM, "out of memory");
        if (r != P11_KIT_URI_OK)
                return fail(EINVAL, "not a PKCS#11 URI (RFC 7512): \"%s\": %s", text, p11_kit_uri_message(r));
        if (p11_kit_uri_get_pin_value(uri))
                return fail(EINVAL, "the PKCS#11 URI has a PIN in it (pin-value): a PIN belongs in a file or a credential");
        if (p11_kit_uri_any_unrecognized(uri))
                return fail(EINVAL, "the PKCS#11 URI has an attribute that is not in RFC 7512: \"%s\"", text);
        class = p11_kit_uri_get_attribute(uri, CKA_CLASS);
        if (class) {
                CK_OBJECT_CLASS value = *(CK_OBJECT_CLASS *) class->pValue;

                if (value != CKO_PRIVATE_KEY && value != CKO_PUBLIC_KEY && value != CKO_SECRET_KEY)
                        return fail(EINVAL, "the PKCS#11 URI names something else than a key: \"%s\"", text);
        }
        *ret = TAKE_PTR(uri);
        return 0;
}

static int check(const char *text, char **ret_pin_source) {
        _cleanup_(p11_uri_freep) P11KitUri *uri = NULL;
        char *copy = NULL;
        int r;

        r = uri_parse(text, &uri);
        if (r < 0)
                return r;
        if (ret_pin_source && p11_kit_uri_get_pin_source(uri)) {
                copy = strdup(p11_kit_uri_get_pin_source(uri));
                if (!copy)
                        return fail(ENOMEM, "out of memory");
        }
        if (ret_pin_source)
                *ret_pin_source = copy;
        return 0;
}

int pkcs11_uri_check(const char *uri, char **ret_pin_source, char *error, size_t error_size) {
        int r = check(uri, ret_pin_source);

        if (r < 0)
                (void) snprintf(error, error_size, "%s", words_get());
        return r;
}
