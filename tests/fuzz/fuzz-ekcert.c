/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/evidence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is pieces, each behind two bytes of size: EK public area, EK certificate, a certificate of the TPM's chain, a root. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct reader reader = { .data = data, .left = size };
        struct wire_registration registration = { .n_ek_chain = 1 };
        struct blob root = {},
                    *pieces[] = { &registration.ek_public, &registration.ek_certificate, registration.ek_chain, &root };
        struct ek_roots *roots;
        uint8_t digest[32];
        char error[64] = "";
        size_t loaded;

        for (size_t i = 0; i < ELEMENTSOF(pieces); i++) {
                const uint8_t *bytes;
                uint16_t length;

                if (reader_be16(&reader, &length) >= 0 && reader_bytes(&reader, length, &bytes) >= 0)
                        (void) blob_copy(bytes, length, pieces[i]);
        }
        if (ek_roots_from_blobs(&root, 1, &roots, &loaded) >= 0) {
                (void) ek_check(roots, &registration, 1800000000, digest, error, sizeof(error));
                if (strnlen(error, sizeof(error)) == sizeof(error))
                        abort();
                ek_roots_free(roots);
        }
        blob_done(&root);
        wire_registration_done(&registration);
        return 0;
}
