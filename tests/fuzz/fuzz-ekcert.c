/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void say(const char *line, void *userdata) {
        (void) userdata;
        if (strnlen(line, 4096) == 4096)
                abort();
}

static void judge(const struct wire_registration *registration, const struct blob *root, const struct blob *crl,
                  const struct blob *rules) {
        struct ek_trust *trust = ek_trust_new(&(struct ek_trust_options){ true, crl->size % 2 });
        struct ek_verdict verdict;
        char error[64] = "", text[256] = "";

        if (!trust)
                return;
        (void) ek_trust_add_roots(trust, root, error, sizeof(error));
        (void) ek_trust_add_crls(trust, crl, error, sizeof(error));
        (void) ek_trust_add_listed(trust, rules, error, sizeof(error));
        if (rules->size > 0 && rules->size < sizeof(text))
                memcpy(text, rules->data, rules->size);
        (void) ek_trust_refuse(trust, text, error, sizeof(error));
        ek_trust_review(trust, 1800000000, say, NULL);
        if (ek_check(trust, registration, 1800000000, &verdict, error, sizeof(error)) >= 0)
                (void) ek_firmware_refused(trust, &verdict.tpm, 0x700550000, error, sizeof(error));
        if (strnlen(error, sizeof(error)) == sizeof(error))
                abort();
        ek_trust_free(trust);
}

/* The input is pieces, each behind two bytes of size: EK public area, EK certificate, a certificate of the TPM's chain, a root, a
 * CRL, a list or rules. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct reader reader = { .data = data, .left = size };
        struct wire_registration registration = { .n_ek_chain = 1 };
        struct blob root = {}, crl = {}, rules = {},
                    *pieces[] = {
                            &registration.ek_public, &registration.ek_certificate, registration.ek_chain, &root, &crl, &rules
                    };

        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                const uint8_t *bytes;
                uint16_t length;

                if (reader_be16(&reader, &length) >= 0 && reader_bytes(&reader, length, &bytes) >= 0)
                        (void) blob_copy(bytes, length, pieces[i]);
        }
        judge(&registration, &root, &crl, &rules);
        blob_done(&root);
        blob_done(&crl);
        blob_done(&rules);
        wire_registration_done(&registration);
        return 0;
}
