/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/evidence-internal.h"

int boot_counters_compare(struct boot_counters a, struct boot_counters b) {
        if (a.reset != b.reset)
                return a.reset < b.reset ? -1 : 1;
        if (a.restart != b.restart)
                return a.restart < b.restart ? -1 : 1;
        return 0;
}

/* A TPM2B: two bytes of size, then so many. */
static int read_sized(struct reader *reader, size_t max, const uint8_t **ret, size_t *ret_size) {
        uint16_t size;
        int r;

        r = reader_be16(reader, &size);
        if (r < 0)
                return r;
        if (size > max)
                return -EBADMSG;

        r = reader_bytes(reader, size, ret);
        if (r < 0)
                return r;

        *ret_size = size;
        return 0;
}

/* TPMS_CLOCK_INFO (Part 2, 10.11.1). */
static int read_clock(struct reader *reader, struct attest *attest) {
        uint8_t safe;
        int r;

        if ((r = reader_be64(reader, &attest->clock)) < 0 || (r = reader_be32(reader, &attest->boot.reset)) < 0 ||
            (r = reader_be32(reader, &attest->boot.restart)) < 0 || (r = reader_u8(reader, &safe)) < 0)
                return r;
        if (safe > 1) /* TPMI_YES_NO */
                return -EBADMSG;

        attest->safe = safe;
        return 0;
}

/* TPMS_PCR_SELECTION (Part 2, 10.6.1): bit i of byte n is PCR 8 n + i. */
static int read_selection(struct reader *reader, uint16_t *ret_alg, uint32_t *ret_mask) {
        const uint8_t *bitmap;
        uint32_t mask = 0;
        uint8_t size;
        int r;

        if ((r = reader_be16(reader, ret_alg)) < 0 || (r = reader_u8(reader, &size)) < 0)
                return r;
        if (size > sizeof(mask))
                return -EBADMSG;

        r = reader_bytes(reader, size, &bitmap);
        if (r < 0)
                return r;

        for (size_t i = 0; i < size; i++)
                mask |= (uint32_t) bitmap[i] << (8 * i);
        *ret_mask = mask;
        return 0;
}

/* TPMS_QUOTE_INFO (Part 2, 10.12.1). */
static int read_quote(struct reader *reader, struct attest *attest) {
        const uint8_t *digest;
        uint32_t n;
        int r;

        r = reader_be32(reader, &n);
        if (r < 0)
                return r;
        if (n > ELEMENTSOF(attest->selections))
                return -EBADMSG;

        for (size_t i = 0; i < n; i++) {
                r = read_selection(reader, &attest->selections[i].alg, &attest->selections[i].mask);
                if (r < 0)
                        return r;
        }
        attest->n_selections = n;

        r = read_sized(reader, sizeof(attest->pcr_digest), &digest, &attest->pcr_digest_size);
        if (r < 0)
                return r;
        memcpy(attest->pcr_digest, digest, attest->pcr_digest_size);
        return 0;
}

/* TPMS_ATTEST (Part 2, 10.12.12). Structures of other types end where the types part: what follows is of no interest, for they
 * are refused by their type. */
int attest_parse(const void *data, size_t size, struct attest *ret) {
        struct reader reader = { .data = data, .left = size };
        struct attest attest = {};
        const uint8_t *signer, *extra;
        size_t signer_size;
        int r;

        if ((r = reader_be32(&reader, &attest.magic)) < 0 || (r = reader_be16(&reader, &attest.type)) < 0)
                return r;

        /* qualifiedSigner: a Name, of a hash algorithm and a digest */
        if ((r = read_sized(&reader, 2 + WIRE_DIGEST_MAX, &signer, &signer_size)) < 0 ||
            (r = read_sized(&reader, sizeof(attest.extra_data), &extra, &attest.extra_data_size)) < 0)
                return r;
        memcpy(attest.extra_data, extra, attest.extra_data_size);

        if ((r = read_clock(&reader, &attest)) < 0 || (r = reader_be64(&reader, &attest.firmware_version)) < 0)
                return r;

        if (attest.magic == ATTEST_MAGIC && attest.type == ATTEST_TYPE_QUOTE) {
                r = read_quote(&reader, &attest);
                if (r < 0)
                        return r;
                if (reader.left != 0)
                        return -EBADMSG;
        }

        *ret = attest;
        return 0;
}
