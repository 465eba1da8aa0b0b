/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence-attack.h"

struct attack *attack_new(void) {
        struct attack *attack = test_calloc(1, sizeof(*attack));

        soft_ak_new(&attack->ak);
        soft_evidence(&attack->evidence, &attack->quote);
        attack->expected = (struct evidence_expected){
                .node_id = attack->ak.id,
                .ak_public = &attack->ak.public,
                .bank = 0x0b,
                .pcrs = 0xfbff,
                .gate = 15,
                .has_boot = true,
                .boot = { 7, 2 },
        };
        return attack;
}

void attack_free(struct attack **attack) {
        wire_evidence_done(&(*attack)->evidence);
        blob_done(&(*attack)->quote.tail);
        soft_ak_done(&(*attack)->ak);
        test_free(*attack);
}

struct evidence_verdict judge_as_it_is(struct attack *attack) {
        struct evidence_verdict verdict;

        assert_int_equal(evidence_verify(&attack->evidence, &attack->expected, &verdict), 0);
        return verdict;
}

struct evidence_verdict judge(struct attack *attack) {
        soft_attest(&attack->ak, &attack->quote, &attack->evidence);
        soft_sign(&attack->ak, &attack->evidence);
        return judge_as_it_is(attack);
}

void expect(struct attack *attack, enum evidence_fault fault) {
        struct evidence_verdict verdict = judge(attack);

        assert_string_equal(evidence_fault_to_string(verdict.fault), evidence_fault_to_string(fault));
        assert_int_equal(verdict.proven, fault != EVIDENCE_SIGNATURE);
}

struct pcr_bank *add_bank(struct attack *attack, uint16_t alg, uint32_t mask) {
        struct pcr_bank *bank = attack->evidence.pcrs.banks + attack->evidence.pcrs.n++;

        *bank = (struct pcr_bank){ .alg = alg, .mask = mask };
        for (unsigned pcr = 0; pcr < 15; pcr++)
                memset(bank->values[pcr], (int) (pcr + 1), pcr_alg_size(alg));
        attack->quote.selections[attack->quote.n_selections].alg = alg;
        attack->quote.selections[attack->quote.n_selections++].mask = mask;
        return bank;
}

void use_purpose(struct attack *attack, enum purpose purpose) {
        attack->evidence.purpose = purpose;
        attack->evidence.has_nk = purpose != PURPOSE_CONFIRM;
        blob_done(&attack->evidence.body);
        attack->evidence.body = (struct blob){};
        if (purpose != PURPOSE_BOOT)
                assert_int_equal(blob_copy("{}", 2, &attack->evidence.body), 0);
}
