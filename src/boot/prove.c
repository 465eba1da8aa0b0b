/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/prove.h"

#include <stdio.h>
#include <string.h>

#include "boot/token.h"

void evidence_done(struct evidence *evidence) {
        blob_done(&evidence->proven);
        blob_done(&evidence->signature);
}

static int make_quote(struct node *node, const struct conversation *conversation, const uint8_t *nk, struct evidence *ret) {
        const struct wire_challenge challenges[2] = { conversation->nonces[0].challenge, conversation->nonces[1].challenge };
        const uint8_t(*nonces)[WIRE_NONCE_SIZE] = ret->nonces;
        uint8_t qualifying_data[32];
        uint32_t mask;
        uint16_t bank;
        int r;

        r = conversation_selection(challenges, &bank, &mask);
        if (r < 0) {
                snprintf(node->error, sizeof node->error,
                         "tenant and verifier want different PCR banks (%s, %s); set the same bank "
                         "for this node's group at both",
                         pcr_alg_to_string(challenges[0].bank), pcr_alg_to_string(challenges[1].bank));
                return r;
        }
        if (conversation->purpose == PURPOSE_BOOT || conversation->purpose == PURPOSE_ROTATE)
                mask |= 1U << node->config->gate_pcr;
        r = wire_qualifying_data(node->id, conversation->purpose, nk, nonces,
                                 conversation->body.size > 0 ? &conversation->body : NULL, qualifying_data);
        if (r < 0)
                return r;
        r = tpm_quote(node->tpm, bank, mask, qualifying_data, &ret->proven, &ret->signature, &ret->pcrs);
        if (r < 0)
                snprintf(node->error, sizeof node->error, "TPM: the quote failed: %s", tpm_last_error(node->tpm));
        return r;
}

static int make_signature(struct node *node, const struct conversation *conversation, const uint8_t *nk, struct evidence *ret) {
        const uint8_t(*nonces)[WIRE_NONCE_SIZE] = ret->nonces;
        int r = wire_token_evidence_message(node->id, conversation->purpose, nk, nonces,
                                            conversation->body.size > 0 ? &conversation->body : NULL, &ret->proven);

        return r < 0 ? r : token_sign(node, &ret->proven, &ret->signature);
}

int evidence_make(struct node *node, const struct conversation *conversation, struct evidence *ret) {
        const uint8_t *nk = conversation->purpose != PURPOSE_CONFIRM ? node->nk->public : NULL;

        for (size_t i = 0; i < 2; i++)
                memcpy(ret->nonces + i, conversation->nonces[i].challenge.nonce, WIRE_NONCE_SIZE);
        return node->kind == NODE_TOKEN ? make_signature(node, conversation, nk, ret) : make_quote(node, conversation, nk, ret);
}

/* For purpose enroll: proof that the credential was opened. */
static int add_proof(const struct node *node, const struct conversation *conversation, enum party party,
                     const struct evidence *evidence, struct wire_evidence *wire) {
        const struct secret *credential = conversation->nonces[party].credential;
        uint8_t digest[32];
        int r;

        r = sha256(evidence->proven.data, evidence->proven.size, digest);
        if (r < 0)
                return r;
        r = fields_hmac(credential->data, credential->size,
                        FIELDS(field_text("tallyboot proof v1"), field_text(party_to_string(party)), field_text(node->id),
                               field_bytes(evidence->nonces[party], WIRE_NONCE_SIZE), field_bytes(digest, sizeof digest)),
                        wire->proof);
        wire->has_proof = r >= 0;
        return r;
}

static int add_join(const struct conversation *conversation, enum party party, struct wire_evidence *wire) {
        int r = join_token_for_party(conversation->join_token, party, wire->join);

        wire->has_join = r >= 0;
        return r;
}

int evidence_encode(const struct node *node, const struct conversation *conversation, enum party party,
                    const struct evidence *evidence, char **ret) {
        struct wire_evidence wire = { .purpose = conversation->purpose, .body = conversation->body };
        int r = 0;

        if (node->kind == NODE_TOKEN)
                wire.token_signature = evidence->signature;
        else {
                wire.attest = evidence->proven;
                wire.signature = evidence->signature;
                wire.pcrs = evidence->pcrs;
        }
        memcpy(wire.nonce, evidence->nonces, sizeof wire.nonce);
        if (conversation->purpose != PURPOSE_CONFIRM) {
                wire.has_nk = true;
                memcpy(wire.nk, node->nk->public, POINT_SIZE);
        }
        if (conversation->purpose == PURPOSE_ENROLL && node->kind == NODE_TPM)
                r = add_proof(node, conversation, party, evidence, &wire);
        if (r >= 0 && conversation->purpose == PURPOSE_ENROLL && conversation->join_token)
                r = add_join(conversation, party, &wire);
        if (r < 0)
                return r;
        *ret = wire_evidence_encode(&wire);
        return *ret ? 0 : -ENOMEM;
}
