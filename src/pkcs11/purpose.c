/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* RFC 5280, 4.2.1.12, in the words of OpenSSL's table: "TLS Web Client Authentication". */
static void add_usage(const ASN1_OBJECT *usage, char *words, size_t size) {
        char name[80], clean[80];
        size_t used = strlen(words);

        if (OBJ_obj2txt(name, sizeof(name), usage, 0) <= 0)
                return;
        text_sanitize(name, clean, sizeof(clean));
        (void) snprintf(words + used, size - used, "%s%s", used > 0 ? ", " : "", clean);
}

/* Pure. ret: usages of a DER certificate in words, cut where they do not fit. -EBADMSG. */
static int purpose_of_certificate(const void *der, size_t der_size, char *ret, size_t size) {
        const uint8_t *p = der;
        X509 *x509 = d2i_X509(NULL, &p, (long) der_size);
        EXTENDED_KEY_USAGE *usages;

        ret[0] = '\0';
        if (!x509)
                return -EBADMSG;
        /* Not whether it is a CA's: on a card a certificate that signs itself is often there only to carry the public key. */
        if (X509_get_key_usage(x509) != UINT32_MAX && X509_get_key_usage(x509) & KU_KEY_CERT_SIGN)
                (void) snprintf(ret, size, "signing certificates");
        usages = X509_get_ext_d2i(x509, NID_ext_key_usage, NULL, NULL);
        for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++) /* -1 of none */
                add_usage(sk_ASN1_OBJECT_value(usages, i), ret, size);
        EXTENDED_KEY_USAGE_free(usages);
        X509_free(x509);
        return 0;
}

void purpose_read(struct pkcs11 *pkcs11, struct pkcs11_key *key) {
        CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        CK_ATTRIBUTE wanted[2] = { { CKA_CLASS, &class, sizeof(class) }, { CKA_ID, key->id, key->id_size } };
        _cleanup_(freep) uint8_t *der = NULL;
        CK_OBJECT_HANDLE handle;
        size_t found = 0, size = 0;

        if (key->id_size == 0 || objects_find(pkcs11, wanted, ELEMENTSOF(wanted), &handle, 1, &found) < 0 || found == 0)
                return;
        der = malloc(CERTIFICATE_MAX);
        if (der && attribute_get(pkcs11, handle, CKA_VALUE, der, CERTIFICATE_MAX, &size) >= 0)
                (void) purpose_of_certificate(der, size, key->made_for, sizeof(key->made_for));
}
