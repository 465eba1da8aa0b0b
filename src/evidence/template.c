/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/secret.h"
#include "crypto/credential.h"
#include "evidence/evidence-internal.h"

/* TPMT_PUBLIC of the AK up to its point (docs/protocol.md, 2; TPM 2.0 Library, Part 2, 12.2.4): the rest is two sized numbers. */
static const uint8_t template[] = {
        0x00, 0x23,             /* type: TPM_ALG_ECC */
        0x00, 0x0b,             /* nameAlg: TPM_ALG_SHA256 */
        0x00, 0x05, 0x04, 0x72, /* fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign */
        0x00, 0x00,             /* authPolicy: empty */
        0x00, 0x10,             /* symmetric: TPM_ALG_NULL */
        0x00, 0x18, 0x00, 0x0b, /* scheme: TPM_ALG_ECDSA with TPM_ALG_SHA256 */
        0x00, 0x03,             /* curve: TPM_ECC_NIST_P256 */
        0x00, 0x10,             /* kdf: TPM_ALG_NULL */
};

/* A coordinate: 32 bytes, or shorter by the zeros that it starts with. One key has one encoding of each length only. */
static int read_coordinate(struct reader *reader) {
        const uint8_t *bytes;
        uint16_t size;

        if (reader_be16(reader, &size) < 0 || size == 0 || size > 32 || reader_bytes(reader, size, &bytes) < 0)
                return -EKEYREJECTED;
        return size < 32 && bytes[0] == 0 ? -EKEYREJECTED : 0;
}

int ak_check_template(const void *public, size_t size) {
        struct reader reader = { .data = public, .left = size };
        const uint8_t *start;

        if (reader_bytes(&reader, sizeof(template), &start) < 0 || memcmp(start, template, sizeof(template)) != 0)
                return -EKEYREJECTED;
        if (read_coordinate(&reader) < 0 || read_coordinate(&reader) < 0 || reader.left != 0)
                return -EKEYREJECTED;
        return 0;
}

int ak_node_id(const void *public, size_t size, char ret[static NODE_ID_LENGTH + 1]) {
        uint8_t digest[SHA256_SIZE];
        int r;

        r = tpmt_name_digest(public, size, digest);
        if (r < 0)
                return r;

        return node_id_from_digest(digest, ret);
}
