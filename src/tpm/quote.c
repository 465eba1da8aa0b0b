/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <tss2/tss2_mu.h>

#include "base/log.h"
#include "tpm/tpm-internal.h"

enum { QUOTE_TRIES = 5 };

/* The digest that the quote must have for these values (Part 3, 18.4): of the values one after the other, by the key's hash. */
static int values_digest(const struct pcr_bank *bank, uint8_t ret[static SHA256_SIZE]) {
        uint8_t data[WIRE_PCRS * WIRE_DIGEST_MAX];
        size_t digest_size = pcr_alg_size(bank->alg), size = 0;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (bank->mask & (1U << pcr)) {
                        memcpy(data + size, bank->values[pcr], digest_size);
                        size += digest_size;
                }
        return sha256(data, size, ret);
}

/* Whether the quote is over these values. A PCR may have been extended between the two commands. */
static int quote_covers(struct tpm *tpm, const TPM2B_ATTEST *quoted, const struct pcr_values *values) {
        uint8_t digest[SHA256_SIZE];
        TPMS_ATTEST attest;
        const TPM2B_DIGEST *got = &attest.attested.quote.pcrDigest;
        size_t offset = 0;
        TSS2_RC rc;
        int r;

        rc = Tss2_MU_TPMS_ATTEST_Unmarshal(quoted->attestationData, quoted->size, &offset, &attest);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "reading the quote");
        if (attest.type != TPM2_ST_ATTEST_QUOTE)
                return tpm_fail_words(tpm, EIO, "the TPM's quote is not one");

        r = values_digest(values->banks, digest);
        if (r < 0)
                return r;

        return got->size == sizeof(digest) && memcmp(got->buffer, digest, sizeof(digest)) == 0 ? 0 : -EAGAIN;
}

static int quote_to_blobs(struct tpm *tpm, const TPM2B_ATTEST *quoted, const TPMT_SIGNATURE *signature, struct blob *ret_attest,
                          struct blob *ret_signature) {
        _cleanup_(blob_done) struct blob attest = {};
        uint8_t data[sizeof(TPMT_SIGNATURE)];
        size_t size = 0;
        TSS2_RC rc;
        int r;

        rc = Tss2_MU_TPMT_SIGNATURE_Marshal(signature, data, sizeof(data), &size);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "writing the signature");

        r = blob_copy(quoted->attestationData, quoted->size, &attest);
        if (r < 0)
                return r;
        r = blob_copy(data, size, ret_signature);
        if (r < 0)
                return r;

        *ret_attest = attest;
        attest = (struct blob){};
        return 0;
}

int tpm_quote(struct tpm *tpm, uint16_t bank, uint32_t mask, const uint8_t qualifying_data[static 32], struct blob *ret_attest,
              struct blob *ret_signature, struct pcr_values *ret_pcrs) {
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
        TPM2B_DATA qualifying = { .size = SHA256_SIZE };
        TPML_PCR_SELECTION selection = {
                .count = 1,
                .pcrSelections[0] = {
                        .hash = bank,
                        .sizeofSelect = 3,
                        .pcrSelect = { (uint8_t) mask, (uint8_t) (mask >> 8), (uint8_t) (mask >> 16) },
                },
        };
        int gone = 0;

        if (mask == 0 || mask >> WIRE_PCRS != 0 || pcr_alg_size(bank) == 0 || tpm->ak == ESYS_TR_NONE)
                return tpm_fail_words(tpm, EINVAL, "a quote needs the attestation key, a known bank and at least one PCR");
        memcpy(qualifying.buffer, qualifying_data, SHA256_SIZE);

        for (unsigned i = 0; i < QUOTE_TRIES; i++) {
                _cleanup_(esys_freep) TPM2B_ATTEST *quoted = NULL;
                _cleanup_(esys_freep) TPMT_SIGNATURE *signature = NULL;
                struct pcr_values values;
                TSS2_RC rc;
                int r;

                rc = TPM_CALL(Esys_Quote(tpm->esys, tpm->ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &qualifying, &scheme,
                                         &selection, &quoted, &signature));
                if (tpm_is_gone(rc)) {
                        gone = tpm_fail(tpm, rc, "quoting");
                        ak_forget(tpm);
                        r = ak_load(tpm);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(tpm, rc, "quoting");

                r = tpm_read_pcrs(tpm, bank, mask, &values);
                if (r < 0)
                        return r;

                r = quote_covers(tpm, quoted, &values);
                if (r == -EAGAIN) {
                        log_debug("TPM: a PCR changed during the quote, again.");
                        continue;
                }
                if (r < 0)
                        return r;

                r = quote_to_blobs(tpm, quoted, signature, ret_attest, ret_signature);
                if (r < 0)
                        return r;
                *ret_pcrs = values;
                return 0;
        }

        return gone < 0 ? gone : tpm_fail_words(tpm, EBUSY, "quoting: PCRs keep changing");
}
