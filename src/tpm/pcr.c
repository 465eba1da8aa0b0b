/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "tpm/tpm-internal.h"

static void select_pcrs(uint16_t bank, uint32_t mask, TPMS_PCR_SELECTION *ret) {
        *ret = (TPMS_PCR_SELECTION){
                .hash = bank,
                .sizeofSelect = 3,
                .pcrSelect = { (uint8_t) mask, (uint8_t) (mask >> 8), (uint8_t) (mask >> 16) },
        };
}

static uint32_t selected_pcrs(const TPMS_PCR_SELECTION *selection) {
        uint32_t mask = 0;

        for (size_t i = 0; i < selection->sizeofSelect && i < 3; i++)
                mask |= (uint32_t) selection->pcrSelect[i] << (8 * i);
        return mask;
}

/* Takes one answer of TPM2_PCR_Read into ret: digests come in the order of the selection (Part 3, 22.4). */
static int take_values(const TPML_PCR_SELECTION *selection, const TPML_DIGEST *digests, struct pcr_values *ret) {
        size_t next = 0;

        for (size_t i = 0; i < selection->count && i < ret->n; i++) {
                uint32_t mask = selected_pcrs(selection->pcrSelections + i);
                struct pcr_bank *bank = ret->banks + i;

                if (selection->pcrSelections[i].hash != bank->alg)
                        return -EBADMSG;

                for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                        if (!(mask & (1U << pcr)))
                                continue;
                        if (next >= digests->count || digests->digests[next].size > WIRE_DIGEST_MAX)
                                return -EBADMSG;
                        memcpy(bank->values[pcr], digests->digests[next].buffer, digests->digests[next].size);
                        bank->mask |= 1U << pcr;
                        next++;
                }
        }
        return next > 0 && next == digests->count ? 0 : -EOPNOTSUPP;
}

/* The PCRs of each mask in each bank of ret (alg is set, mask is empty): a TPM gives eight at a time. */
static int read_pcrs(struct tpm *tpm, const uint32_t masks[static WIRE_BANKS_MAX], struct pcr_values *ret) {
        for (unsigned i = 0; i <= WIRE_BANKS_MAX * WIRE_PCRS; i++) { /* each answer has one value at the least */
                _cleanup_(esys_freep) TPML_PCR_SELECTION *got = NULL;
                _cleanup_(esys_freep) TPML_DIGEST *digests = NULL;
                TPML_PCR_SELECTION want = { .count = ret->n };
                bool missing = false;
                TSS2_RC rc;
                int r;

                for (size_t k = 0; k < ret->n; k++) {
                        uint32_t left = masks[k] & ~ret->banks[k].mask;

                        select_pcrs(ret->banks[k].alg, left, want.pcrSelections + k);
                        missing |= left != 0;
                }
                if (!missing)
                        return 0;

                rc = TPM_CALL(Esys_PCR_Read(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &want, NULL, &got, &digests));
                if (rc != TSS2_RC_SUCCESS)
                        return tpm_fail(tpm, rc, "reading PCRs");

                r = take_values(got, digests, ret);
                if (r == -EOPNOTSUPP)
                        return tpm_fail_words(tpm, r,
                                              "reading PCRs: the TPM does not keep this PCR bank; choose another in the group, "
                                              "or switch the bank on in the firmware's setup");
                if (r < 0)
                        return tpm_fail_words(tpm, EIO, "reading PCRs: the TPM's answer makes no sense");
        }
        return tpm_fail_words(tpm, EIO, "reading PCRs: the TPM does not give those that it was asked for");
}

int tpm_read_pcrs(struct tpm *tpm, uint16_t bank, uint32_t mask, struct pcr_values *ret) {
        const uint32_t masks[WIRE_BANKS_MAX] = { mask };
        struct pcr_values values = { .n = 1, .banks[0].alg = bank };
        int r;

        r = read_pcrs(tpm, masks, &values);
        if (r < 0)
                return r;

        *ret = values;
        return 0;
}

/* Part 2, 10.9.7: allocated banks, those without a PCR included. */
static int ask_banks(struct tpm *tpm) {
        _cleanup_(esys_freep) TPMS_CAPABILITY_DATA *data = NULL;
        const TPML_PCR_SELECTION *pcrs;
        TPMI_YES_NO more;
        size_t n = 0;
        TSS2_RC rc;

        rc = TPM_CALL(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS, 0, TPM2_MAX_PCRS,
                                         &more, &data));
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(tpm, rc, "asking for the PCR banks");

        pcrs = &data->data.assignedPCR;
        for (size_t i = 0; i < pcrs->count && i < TPM2_NUM_PCR_BANKS; i++) {
                if (selected_pcrs(pcrs->pcrSelections + i) == 0)
                        continue;
                if (n >= WIRE_BANKS_MAX)
                        return tpm_fail_words(tpm, EOPNOTSUPP, "the TPM has more than four active PCR banks: switch some off");
                tpm->banks[n++] = pcrs->pcrSelections[i].hash;
        }
        if (n == 0)
                return tpm_fail_words(tpm, EOPNOTSUPP,
                                      "the TPM has no active PCR bank: switch SHA-256 on in the firmware's setup");

        tpm->n_banks = n;
        return 0;
}

int tpm_active_banks(struct tpm *tpm, uint16_t ret_algs[static WIRE_BANKS_MAX], size_t *ret_n) {
        int r;

        if (tpm->n_banks == 0) {
                r = ask_banks(tpm);
                if (r < 0)
                        return r;
        }

        memcpy(ret_algs, tpm->banks, sizeof(tpm->banks));
        *ret_n = tpm->n_banks;
        return 0;
}

int tpm_read_pcr_all_banks(struct tpm *tpm, unsigned pcr, struct pcr_values *ret) {
        uint16_t algs[WIRE_BANKS_MAX];
        uint32_t masks[WIRE_BANKS_MAX] = {};
        struct pcr_values values = {};
        int r;

        if (pcr >= WIRE_PCRS)
                return -EINVAL;

        r = tpm_active_banks(tpm, algs, &values.n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < values.n; i++) {
                values.banks[i].alg = algs[i];
                masks[i] = 1U << pcr;
        }

        r = read_pcrs(tpm, masks, &values);
        if (r < 0)
                return r;

        *ret = values;
        return 0;
}

int tpm_pcr_event(struct tpm *tpm, unsigned pcr, const void *data, size_t size) {
        TPM2B_EVENT event = { .size = size };
        TSS2_RC rc;

        if (pcr >= WIRE_PCRS || size > sizeof(event.buffer))
                return -EINVAL;

        memcpy(event.buffer, data, size);
        rc = TPM_CALL(Esys_PCR_Event(tpm->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &event, NULL));
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_fail(tpm, rc, "extending the gate PCR");
}
