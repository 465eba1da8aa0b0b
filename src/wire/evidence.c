/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "wire/json.h"

enum {
        ATTEST_MAX = 2304,
        SIGNATURE_MAX = 1024,
};

void wire_evidence_done(struct wire_evidence *evidence) {
        blob_done(&evidence->attest);
        blob_done(&evidence->signature);
        blob_done(&evidence->token_signature);
        blob_done(&evidence->body);
        *evidence = (struct wire_evidence){};
}

static void put_quote(struct put *put, const struct wire_evidence *evidence) {
        put_blob(put, "attest", &evidence->attest);
        put_blob(put, "signature", &evidence->signature);
        put_json(put, "pcrs", pcr_values_to_json(&evidence->pcrs));
}

char *wire_evidence_encode(const struct wire_evidence *evidence) {
        struct put put = put_new();

        put_string(&put, "purpose", purpose_to_string(evidence->purpose));
        put_bin(&put, "nonce_tenant", evidence->nonce[PARTY_TENANT], WIRE_NONCE_SIZE);
        put_bin(&put, "nonce_verifier", evidence->nonce[PARTY_VERIFIER], WIRE_NONCE_SIZE);
        if (evidence->has_nk)
                put_bin(&put, "nk", evidence->nk, sizeof evidence->nk);
        if (evidence->token_signature.size > 0)
                put_blob(&put, "token_signature", &evidence->token_signature);
        else
                put_quote(&put, evidence);
        if (evidence->body.size > 0)
                put_blob(&put, "body", &evidence->body);
        if (evidence->has_proof)
                put_bin(&put, "proof", evidence->proof, sizeof evidence->proof);
        if (evidence->has_join)
                put_bin(&put, "join", evidence->join, sizeof evidence->join);
        return put_text(&put);
}

static enum purpose take_purpose(struct take *take, const char *name) {
        enum purpose purpose = PURPOSE_BOOT;
        char text[16];

        take_string(take, name, text, sizeof text);
        take_check(take, purpose_from_string(text, &purpose) >= 0);
        return purpose;
}

static void take_quote(struct take *take, struct wire_evidence *evidence) {
        const json_t *pcrs;

        take_bin(take, "attest", 1, ATTEST_MAX, &evidence->attest);
        take_bin(take, "signature", 1, SIGNATURE_MAX, &evidence->signature);
        pcrs = take_object(take, "pcrs");
        take_check(take, pcr_values_from_json(pcrs, &evidence->pcrs) >= 0);
}

static bool has_quote(const json_t *json) {
        return json_object_get(json, "attest") || json_object_get(json, "signature") || json_object_get(json, "pcrs");
}

/* Each purpose has exactly its members (docs/protocol.md, 4 and 6); no credential was made for a token (13). */
static bool members_fit(const struct wire_evidence *evidence) {
        bool enroll = evidence->purpose == PURPOSE_ENROLL, token = evidence->token_signature.size > 0;

        return evidence->has_nk == (evidence->purpose != PURPOSE_CONFIRM) &&
               (evidence->body.size > 0) == (evidence->purpose != PURPOSE_BOOT) && evidence->has_proof == (enroll && !token) &&
               (!evidence->has_join || enroll);
}

int wire_evidence_parse(const char *text, size_t size, struct wire_evidence *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = size <= WIRE_REQUEST_MAX ? wire_json_parse(text, size) : NULL;
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        evidence.purpose = take_purpose(&take, "purpose");
        take_bin_fixed(&take, "nonce_tenant", evidence.nonce[PARTY_TENANT], WIRE_NONCE_SIZE);
        take_bin_fixed(&take, "nonce_verifier", evidence.nonce[PARTY_VERIFIER], WIRE_NONCE_SIZE);
        evidence.has_nk = take_bin_fixed_optional(&take, "nk", evidence.nk, sizeof evidence.nk);
        if (take_bin_optional(&take, "token_signature", 1, WIRE_TOKEN_SIGNATURE_MAX, &evidence.token_signature))
                take_check(&take, !has_quote(json));
        else
                take_quote(&take, &evidence);
        (void) take_bin_optional(&take, "body", 1, WIRE_REQUEST_MAX, &evidence.body);
        evidence.has_proof = take_bin_fixed_optional(&take, "proof", evidence.proof, sizeof evidence.proof);
        evidence.has_join = take_bin_fixed_optional(&take, "join", evidence.join, sizeof evidence.join);
        take_check(&take, members_fit(&evidence));
        if (take.error < 0)
                return take.error;

        *ret = evidence;
        evidence = (struct wire_evidence){};
        return 0;
}

/* The fields that quote and token alike sign. */
static int evidence_fields(const char *node_id, enum purpose purpose, const uint8_t *nk,
                           const uint8_t nonces[static 2][WIRE_NONCE_SIZE], const struct blob *body, struct blob *ret) {
        uint8_t nk_hash[SHA256_SIZE], body_hash[SHA256_SIZE];
        bool has_body = body && body->size > 0;
        int r;

        if ((nk != NULL) != (purpose != PURPOSE_CONFIRM))
                return -EINVAL;

        if (nk) {
                r = sha256(nk, POINT_SIZE, nk_hash);
                if (r < 0)
                        return r;
        }
        if (has_body) {
                r = sha256(body->data, body->size, body_hash);
                if (r < 0)
                        return r;
        }

        return fields_encode(FIELDS(field_text("tallyboot quote v1"), field_text(node_id), field_text(purpose_to_string(purpose)),
                                    field_bytes(nk_hash, nk ? sizeof nk_hash : 0),
                                    field_bytes(nonces[PARTY_TENANT], WIRE_NONCE_SIZE),
                                    field_bytes(nonces[PARTY_VERIFIER], WIRE_NONCE_SIZE),
                                    field_bytes(body_hash, has_body ? sizeof body_hash : 0)),
                             ret);
}

int wire_qualifying_data(const char *node_id, enum purpose purpose, const uint8_t *nk,
                         const uint8_t nonces[static 2][WIRE_NONCE_SIZE], const struct blob *body, uint8_t ret[static 32]) {
        _cleanup_(blob_done) struct blob fields = {};
        int r;

        r = evidence_fields(node_id, purpose, nk, nonces, body, &fields);
        if (r < 0)
                return r;
        return sha256(fields.data, fields.size, ret);
}

int wire_token_register_message(const char *node_id, const struct blob *challenge, struct blob *ret) {
        _cleanup_(blob_done) struct blob fields = {};
        int r;

        r = fields_encode(FIELDS(field_text("tallyboot token register v1"), field_text(node_id),
                                 field_bytes(challenge->data, challenge->size)),
                          &fields);
        if (r < 0)
                return r;
        return fields_token_message(&fields, ret);
}

int wire_token_evidence_message(const char *node_id, enum purpose purpose, const uint8_t *nk,
                                const uint8_t nonces[static 2][WIRE_NONCE_SIZE], const struct blob *body, struct blob *ret) {
        _cleanup_(blob_done) struct blob fields = {};
        int r;

        r = evidence_fields(node_id, purpose, nk, nonces, body, &fields);
        if (r < 0)
                return r;
        return fields_token_message(&fields, ret);
}
