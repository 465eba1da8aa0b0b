/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tpm/sealed.h"

#include <string.h>

#include <tss2/tss2_mu.h>

#include "tpm/tpm-internal.h"

static const char magic[8] = "tbseal1";

static uint32_t all_pcrs(const struct tpm_seal *seal) {
        return seal->mask | UINT32_C(1) << seal->gate;
}

void sealed_selection(const struct tpm_seal *seal, TPML_PCR_SELECTION *ret) {
        uint32_t mask = all_pcrs(seal);

        *ret = (TPML_PCR_SELECTION){
                .count = 1,
                .pcrSelections[0] = {
                        .hash = seal->bank,
                        .sizeofSelect = 3,
                        .pcrSelect = { (uint8_t) mask, (uint8_t) (mask >> 8), (uint8_t) (mask >> 16) },
                },
        };
}

/* Part 3, 23.7: H(0 || TPM_CC_PolicyPCR || selection || H(values)). By the values that are wanted and not by those that the TPM
 * has: the gate may be closed when this is made. */
static int policy_digest(const struct sealed *sealed, TPM2B_DIGEST *ret) {
        _cleanup_(buffer_done) struct buffer values = {}, policy = {};
        uint8_t marshalled[64], digest[SHA256_SIZE] = {};
        TPML_PCR_SELECTION selection;
        size_t size = 0;
        int r;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (all_pcrs(&sealed->seal) & 1U << pcr)
                        buffer_append(&values, sealed->values[pcr], sealed->value_size);

        sealed_selection(&sealed->seal, &selection);
        if (Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, marshalled, sizeof(marshalled), &size) != TSS2_RC_SUCCESS)
                return -EINVAL;

        buffer_append(&policy, digest, sizeof(digest));
        buffer_be32(&policy, TPM2_CC_PolicyPCR);
        buffer_append(&policy, marshalled, size);
        r = buffer_ok(&values);
        if (r >= 0)
                r = sha256(values.data, values.size, digest);
        buffer_append(&policy, digest, sizeof(digest));
        if (r >= 0)
                r = buffer_ok(&policy);
        if (r >= 0)
                r = sha256(policy.data, policy.size, ret->buffer);
        if (r < 0)
                return r;
        ret->size = SHA256_SIZE;
        return 0;
}

/* Neither USERWITHAUTH nor an authorization value: only the policy opens it. */
int sealed_template(const struct sealed *sealed, TPM2B_PUBLIC *ret) {
        TPM2B_PUBLIC template = {
                .publicArea = {
                        .type = TPM2_ALG_KEYEDHASH,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA |
                                            TPMA_OBJECT_ADMINWITHPOLICY,
                        .parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL,
                },
        };
        int r;

        r = policy_digest(sealed, &template.publicArea.authPolicy);
        if (r < 0)
                return r;
        *ret = template;
        return 0;
}

static int marshal_public(const TPM2B_PUBLIC *public, struct buffer *buffer) {
        uint8_t data[sizeof(TPM2B_PUBLIC)];
        size_t size = 0;

        if (Tss2_MU_TPM2B_PUBLIC_Marshal(public, data, sizeof(data), &size) != TSS2_RC_SUCCESS)
                return -EINVAL;
        buffer_append(buffer, data, size);
        return 0;
}

int sealed_primary_digest(const TPM2B_PUBLIC *public, uint8_t ret[static SHA256_SIZE]) {
        uint8_t data[sizeof(TPMT_PUBLIC)];
        size_t size = 0;

        if (Tss2_MU_TPMT_PUBLIC_Marshal(&public->publicArea, data, sizeof(data), &size) != TSS2_RC_SUCCESS)
                return -EINVAL;
        return sha256(data, size, ret);
}

int sealed_write(const struct sealed *sealed, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        uint8_t private[sizeof(TPM2B_PRIVATE)];
        size_t size = 0;
        int r;

        buffer_append(&buffer, magic, sizeof(magic));
        buffer_be16(&buffer, sealed->seal.bank);
        buffer_be32(&buffer, sealed->seal.mask);
        buffer_u8(&buffer, (uint8_t) sealed->seal.gate);
        buffer_append(&buffer, sealed->primary, sizeof(sealed->primary));
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (sealed->seal.mask & 1U << pcr)
                        buffer_append(&buffer, sealed->values[pcr], sealed->value_size);

        r = marshal_public(&sealed->public, &buffer);
        if (r >= 0 && Tss2_MU_TPM2B_PRIVATE_Marshal(&sealed->private, private, sizeof(private), &size) != TSS2_RC_SUCCESS)
                r = -EINVAL;
        if (r < 0)
                return r;
        buffer_append(&buffer, private, size);
        r = buffer_ok(&buffer);
        if (r < 0)
                return r;

        *ret = (struct blob){ .data = TAKE_PTR(buffer.data), .size = buffer.size };
        return 0;
}

static int parse_head(struct reader *reader, struct sealed *sealed) {
        const uint8_t *start;
        uint8_t gate;
        int r;

        r = reader_bytes(reader, sizeof(magic), &start);
        if (r < 0 || memcmp(start, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        r = reader_be16(reader, &sealed->seal.bank);
        if (r >= 0)
                r = reader_be32(reader, &sealed->seal.mask);
        if (r >= 0)
                r = reader_u8(reader, &gate);
        if (r >= 0)
                r = reader_copy(reader, sealed->primary, sizeof(sealed->primary));
        if (r < 0)
                return r;

        sealed->seal.gate = gate;
        sealed->value_size = pcr_alg_size(sealed->seal.bank);
        if (!tpm_seal_is_valid(&sealed->seal) || sealed->value_size == 0 || sealed->value_size > WIRE_DIGEST_MAX)
                return -EBADMSG;
        for (unsigned pcr = 0; pcr < WIRE_PCRS && r >= 0; pcr++)
                if (sealed->seal.mask & 1U << pcr)
                        r = reader_copy(reader, sealed->values[pcr], sealed->value_size);
        return r;
}

static int parse_object(const struct reader *reader, struct sealed *sealed) {
        size_t offset = 0;

        if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(reader->data, reader->left, &offset, &sealed->public) != TSS2_RC_SUCCESS)
                return -EBADMSG;
        if (Tss2_MU_TPM2B_PRIVATE_Unmarshal(reader->data, reader->left, &offset, &sealed->private) != TSS2_RC_SUCCESS)
                return -EBADMSG;
        return 0;
}

/* One way to write it: what a lax reader would overlook is refused. */
static int check_canonical(const struct sealed *sealed, const void *data, size_t size) {
        _cleanup_(blob_done) struct blob again = {};
        int r;

        r = sealed_write(sealed, &again);
        if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        return again.size == size && memcmp(again.data, data, size) == 0 ? 0 : -EBADMSG;
}

/* Byte for byte but for what the TPM filled in. */
static int check_object(const struct sealed *sealed) {
        _cleanup_(buffer_done) struct buffer expected = {}, found = {};
        TPM2B_PUBLIC template;
        int r;

        if (sealed->public.publicArea.type != TPM2_ALG_KEYEDHASH)
                return -EBADMSG;
        r = sealed_template(sealed, &template);
        if (r < 0)
                return r;
        template.publicArea.unique.keyedHash = sealed->public.publicArea.unique.keyedHash;
        template.size = sealed->public.size;
        r = marshal_public(&template, &expected);
        if (r >= 0)
                r = marshal_public(&sealed->public, &found);
        if (r < 0 || buffer_ok(&expected) < 0 || buffer_ok(&found) < 0)
                return r < 0 ? -EBADMSG : -ENOMEM;
        return expected.size == found.size && memcmp(expected.data, found.data, found.size) == 0 ? 0 : -EBADMSG;
}

int sealed_parse(const void *data, size_t size, struct sealed *ret) {
        struct reader reader = { .data = data, .left = size };
        struct sealed sealed = {};
        int r;

        if (size > SEALED_MAX)
                return -EBADMSG;
        r = parse_head(&reader, &sealed);
        if (r >= 0)
                r = parse_object(&reader, &sealed);
        if (r >= 0)
                r = check_object(&sealed);
        if (r >= 0)
                r = check_canonical(&sealed, data, size);
        if (r < 0)
                return r;
        *ret = sealed;
        return 0;
}
