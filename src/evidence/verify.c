/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/evp.h>

#include "base/secret.h"
#include "crypto/credential.h"
#include "evidence/evidence-internal.h"
#include "evidence/token.h"

DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)

const char *evidence_fault_to_string(enum evidence_fault fault) {
        static const char *const names[] = {
                [EVIDENCE_OK] = "ok",
                [EVIDENCE_KIND] = "kind",
                [EVIDENCE_SIGNATURE] = "signature",
                [EVIDENCE_MALFORMED] = "malformed",
                [EVIDENCE_MAGIC] = "magic",
                [EVIDENCE_TYPE] = "type",
                [EVIDENCE_BINDING] = "binding",
                [EVIDENCE_TEMPLATE] = "template",
                [EVIDENCE_COUNTERS] = "counters",
                [EVIDENCE_SELECTION] = "selection",
                [EVIDENCE_DIGEST] = "digest",
                [EVIDENCE_GATE] = "gate",
                [EVIDENCE_PCR_CONSTANT] = "pcr-constant",
        };

        return (size_t) fault < ELEMENTSOF(names) ? names[fault] : "unknown";
}

/* Purposes that open something in this boot. */
static bool is_boot(enum purpose purpose) {
        return purpose == PURPOSE_BOOT || purpose == PURPOSE_ROTATE;
}

/* Step 4. Anything but a good signature is EVIDENCE_SIGNATURE or EVIDENCE_MALFORMED: nothing of the attest structure is looked
 * at. */
static int check_signature(const struct wire_evidence *evidence, const struct blob *ak_public, enum evidence_fault *ret) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        struct ecdsa_signature signature;
        int r;

        r = pubkey_from_tpmt(ak_public->data, ak_public->size, &key);
        if (r == -EBADMSG || r == -EOPNOTSUPP) {
                *ret = EVIDENCE_SIGNATURE;
                return 0;
        }
        if (r < 0)
                return r;

        if (signature_parse(evidence->signature.data, evidence->signature.size, &signature) < 0) {
                *ret = EVIDENCE_MALFORMED;
                return 0;
        }

        r = signature_verify(key, &signature, evidence->attest.data, evidence->attest.size);
        if (r < 0 && r != -EKEYREJECTED)
                return r;

        *ret = r < 0 ? EVIDENCE_SIGNATURE : EVIDENCE_OK;
        return 0;
}

/* Step 5. What the quote is about: this node, purpose, NK, both nonces, this body. */
static int check_binding(const struct wire_evidence *evidence, const char *node_id, const struct attest *attest,
                         enum evidence_fault *ret) {
        bool confirm = evidence->purpose == PURPOSE_CONFIRM;
        uint8_t expected[SHA256_SIZE];
        int r;

        *ret = EVIDENCE_BINDING;

        /* An NK that the quote does not bind must not be used, and a boot has no body. */
        if (evidence->has_nk == confirm || (evidence->purpose == PURPOSE_BOOT && evidence->body.size > 0))
                return 0;

        r = wire_qualifying_data(node_id, evidence->purpose, confirm ? NULL : evidence->nk, evidence->nonce, &evidence->body,
                                 expected);
        if (r < 0)
                return r;

        if (attest->extra_data_size == sizeof(expected) && bytes_equal_ct(attest->extra_data, expected, sizeof(expected)))
                *ret = EVIDENCE_OK;
        return 0;
}

/* Step 6. */
static bool template_is_right(const struct evidence_expected *expected) {
        char node_id[NODE_ID_LENGTH + 1];

        return ak_check_template(expected->ak_public->data, expected->ak_public->size) >= 0 &&
               ak_node_id(expected->ak_public->data, expected->ak_public->size, node_id) >= 0 &&
               strcmp(node_id, expected->node_id) == 0;
}

/* Step 8, first half. The signed selection and the values sent are the same PCRs of the same banks, and hold what is wanted. */
static bool selection_is_right(const struct attest *attest, const struct pcr_values *values, uint16_t bank, uint32_t wanted) {
        bool covered = false;

        if (attest->n_selections == 0 || attest->n_selections != values->n)
                return false;

        for (size_t i = 0; i < attest->n_selections; i++) {
                uint16_t alg = attest->selections[i].alg;
                uint32_t mask = attest->selections[i].mask;
                const struct pcr_bank *sent = pcr_values_bank(values, alg);

                if (pcr_alg_size(alg) == 0 || mask == 0 || mask >> WIRE_PCRS != 0 || !sent || sent->mask != mask)
                        return false;
                for (size_t k = 0; k < i; k++)
                        if (attest->selections[k].alg == alg)
                                return false;
                if (alg == bank)
                        covered = (mask & wanted) == wanted;
        }
        return covered;
}

/* Step 8, second half (Part 3, 18.4): banks in the order of the selection, PCRs from low to high. */
static int check_digest(const struct attest *attest, const struct pcr_values *values, enum evidence_fault *ret) {
        uint8_t data[WIRE_BANKS_MAX * WIRE_PCRS * WIRE_DIGEST_MAX], digest[SHA256_SIZE];
        size_t size = 0;
        int r;

        for (size_t i = 0; i < attest->n_selections; i++) {
                const struct pcr_bank *bank = pcr_values_bank(values, attest->selections[i].alg);
                size_t digest_size = pcr_alg_size(bank->alg);

                for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                        if (attest->selections[i].mask & (1U << pcr)) {
                                memcpy(data + size, bank->values[pcr], digest_size);
                                size += digest_size;
                        }
        }

        r = sha256(data, size, digest);
        if (r < 0)
                return r;

        *ret = attest->pcr_digest_size == sizeof(digest) && bytes_equal_ct(attest->pcr_digest, digest, sizeof(digest))
                       ? EVIDENCE_OK
                       : EVIDENCE_DIGEST;
        return 0;
}

static bool all_bytes_are(const uint8_t *data, size_t size, uint8_t value) {
        for (size_t i = 0; i < size; i++)
                if (data[i] != value)
                        return false;
        return true;
}

/* Step 9: zero, in every bank that was quoted. A bank that was quoted without it may hide an extended one. */
static bool gate_is_open(const struct pcr_values *values, unsigned gate) {
        if (gate >= WIRE_PCRS)
                return false;

        for (size_t i = 0; i < values->n; i++)
                if (!(values->banks[i].mask & (1U << gate)) ||
                    !all_bytes_are(values->banks[i].values[gate], pcr_alg_size(values->banks[i].alg), 0))
                        return false;
        return values->n > 0;
}

/* Step 9: the firmware's PCRs were measured into, and by a TPM that was reset with the machine. */
static bool firmware_measured(const struct pcr_values *values) {
        for (size_t i = 0; i < values->n; i++)
                for (unsigned pcr = 0; pcr < 8; pcr++) {
                        size_t size = pcr_alg_size(values->banks[i].alg);
                        const uint8_t *value = values->banks[i].values[pcr];

                        if (values->banks[i].mask & (1U << pcr) &&
                            (all_bytes_are(value, size, 0) || all_bytes_are(value, size, 0xff)))
                                return false;
                }
        return true;
}

/* Steps 7 to 9, after the quote is known to be this AK's answer to these nonces. */
static int check_state(const struct wire_evidence *evidence, const struct evidence_expected *expected,
                       const struct attest *attest, enum evidence_fault *ret) {
        bool boot = is_boot(evidence->purpose);
        int r;

        *ret = EVIDENCE_COUNTERS;
        if (boot && expected->has_boot && boot_counters_compare(attest->boot, expected->boot) < 0)
                return 0;

        *ret = EVIDENCE_SELECTION;
        if (!selection_is_right(attest, &evidence->pcrs, expected->bank, expected->pcrs))
                return 0;

        r = check_digest(attest, &evidence->pcrs, ret);
        if (r < 0 || *ret != EVIDENCE_OK)
                return r;

        *ret = EVIDENCE_GATE;
        if (boot && !gate_is_open(&evidence->pcrs, expected->gate))
                return 0;

        *ret = firmware_measured(&evidence->pcrs) ? EVIDENCE_OK : EVIDENCE_PCR_CONSTANT;
        return 0;
}

/* docs/protocol.md, 13. The message is made here, of what this node, purpose, NK, nonces and body are: nothing of it is the
 * node's to say. */
static int verify_token(const struct wire_evidence *evidence, const struct evidence_expected *expected,
                        struct evidence_verdict *ret) {
        const uint8_t *nk = evidence->has_nk ? evidence->nk : NULL;
        _cleanup_(blob_done) struct blob message = {};
        char node_id[NODE_ID_LENGTH + 1];
        uint8_t digest[SHA256_SIZE];
        int r;

        *ret = (struct evidence_verdict){ .fault = EVIDENCE_BINDING };
        if (evidence->purpose == PURPOSE_BOOT && evidence->body.size > 0)
                return 0;
        r = wire_token_evidence_message(expected->node_id, evidence->purpose, nk, evidence->nonce, &evidence->body, &message);
        if (r == -EINVAL) /* an NK where there is none, or none where there has to be one */
                return 0;
        if (r < 0)
                return r;

        r = token_verify(expected->token_public, &message, &evidence->token_signature);
        if (r == -ENOMEM)
                return r;
        *ret = (struct evidence_verdict){ .fault = EVIDENCE_SIGNATURE };
        if (r < 0)
                return 0;

        r = token_node_id(expected->token_public->data, expected->token_public->size, digest, node_id);
        if (r < 0)
                return r;
        ret->fault = strcmp(node_id, expected->node_id) == 0 ? EVIDENCE_OK : EVIDENCE_TEMPLATE;
        ret->proven = true;
        return 0;
}

static int verify_quote(const struct wire_evidence *evidence, const struct evidence_expected *expected,
                        struct evidence_verdict *ret) {
        struct evidence_verdict verdict = {};
        struct attest attest;
        int r;

        r = check_signature(evidence, expected->ak_public, &verdict.fault);
        if (r < 0)
                return r;
        if (verdict.fault != EVIDENCE_OK)
                goto finish;
        verdict.proven = true;

        verdict.fault = EVIDENCE_MALFORMED;
        if (attest_parse(evidence->attest.data, evidence->attest.size, &attest) < 0)
                goto finish;
        verdict.fault = EVIDENCE_MAGIC;
        if (attest.magic != ATTEST_MAGIC)
                goto finish;
        verdict.fault = EVIDENCE_TYPE;
        if (attest.type != ATTEST_TYPE_QUOTE)
                goto finish;
        verdict.boot = attest.boot;
        verdict.firmware = attest.firmware_version;

        r = check_binding(evidence, expected->node_id, &attest, &verdict.fault);
        if (r < 0)
                return r;
        if (verdict.fault != EVIDENCE_OK)
                goto finish;

        verdict.fault = EVIDENCE_TEMPLATE;
        if (!template_is_right(expected))
                goto finish;

        r = check_state(evidence, expected, &attest, &verdict.fault);
        if (r < 0)
                return r;

finish:
        *ret = verdict;
        return 0;
}

int evidence_verify(const struct wire_evidence *evidence, const struct evidence_expected *expected,
                    struct evidence_verdict *ret) {
        bool token = expected->token_public && expected->token_public->size > 0;

        /* What a node is was settled when it was enrolled: no policy and no message makes a token's word do where a TPM is. */
        if (token != (evidence->token_signature.size > 0)) {
                *ret = (struct evidence_verdict){ .fault = EVIDENCE_KIND };
                return 0;
        }
        return token ? verify_token(evidence, expected, ret) : verify_quote(evidence, expected, ret);
}
