/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/converse.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "boot/answers.h"

/* The pure parts of a conversation: what the parties' answers mean. */

/* docs/protocol.md, 11. */
static const struct problem {
        const char *name;
        int error;
        int retry; /* s; RETRY_* */
        const char *advice;
} problems[] = {
        { "malformed", -EBADMSG, RETRY_NEVER, "the programs on node and server do not fit together: compare their versions" },
        { "too-large", -EBADMSG, RETRY_NEVER, "the programs on node and server do not fit together: compare their versions" },
        { "unauthorized", -EPERM, RETRY_NEVER, "the server wants another certificate or ticket" },
        { "not-found", -EBADMSG, RETRY_NEVER, "check the address in tallyboot.conf: another service may answer there" },
        { "unknown-node", -EACCES, 60, "run \"tallyboot enroll\" on the running node" },
        { "pending-approval", -EACCES, 60, "an operator must say: tallyctl node approve" },
        { "pending-policy", -EACCES, 60, "no policy fits this boot yet, an operator may say: tallyctl node approve --capture" },
        { "policy-refused", -EACCES, 300, "the measured state is not allowed; tallyctl log names the PCRs" },
        { "gate-closed", -EACCES, RETRY_NEVER, "the gate of this boot is closed; only a reboot opens it" },
        { "another-nk", -EACCES, 300, "this boot has asked with another key before; reboot" },
        { "rolled-back", -EACCES, 300, "the TPM's counters went back; tallyctl node accept-reset, if you know why" },
        { "suspended", -EACCES, 300, "an operator suspended this node; tallyctl node resume" },
        { "revoked", -EACCES, 300, "an operator revoked this node" },
        { "bad-evidence", -EACCES, 300, "the evidence was refused; tallyctl log says why" },
        { "stale-nonce", -ESTALE, RETRY_NOW, "" },
        { "logs-wanted", -EAGAIN, 60, "it was sent the logs and goes on asking: compare the versions of node and server" },
        { "conflict", -EEXIST, RETRY_NEVER, "tallyctl log says with what" },
        { "rate-limited", -EAGAIN, RETRY_BACKOFF, "" },
        { "unavailable", -EAGAIN, RETRY_BACKOFF, "" },
        { "internal", -EIO, RETRY_BACKOFF, "look into the service's journal" },
};

static const struct problem *problem_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(problems); i++)
                if (strcmp(problems[i].name, name) == 0)
                        return problems + i;
        return NULL;
}

int problem_retry(const char *name) {
        const struct problem *problem = problem_find(name);

        return problem ? problem->retry : RETRY_BACKOFF;
}

int problem_error(const char *name) {
        const struct problem *problem = problem_find(name);

        return problem ? problem->error : -EIO;
}

static int error_from_status(int status) {
        if (status == 429 || status == 503 || status == 502 || status == 504)
                return -EAGAIN;
        return status >= 500 ? -EIO : -EBADMSG;
}

void outcome_from_answer(enum party party, int status, const struct blob *answer, unsigned retry_after, const char *incident,
                         struct outcome *outcome) {
        const char *who = party_to_string(party);
        struct wire_problem problem = {};
        const struct problem *known;
        char title[128];

        outcome->retry_after = retry_after;
        outcome->problem[0] = '\0';
        if (wire_problem_parse((const char *) answer->data, answer->size, &problem) < 0) {
                outcome->result = error_from_status(status);
                snprintf(outcome->error, sizeof outcome->error,
                         "%s: HTTP status %d without an explanation; is its address right?", who, status);
                return;
        }
        known = problem_find(problem.name);
        outcome->result = known ? known->error : error_from_status(status);
        snprintf(outcome->problem, sizeof outcome->problem, "%s", known ? known->name : "");
        text_sanitize(problem.title[0] ? problem.title : problem.name, title, sizeof title);
        snprintf(outcome->error, sizeof outcome->error, "%s: %s (%s%s%s), incident %s", who, title, known ? known->name : "?",
                 known && known->advice[0] ? ": " : "", known ? known->advice : "", incident);
}

bool conversation_nonce_is_fresh(const struct conversation_nonce *nonce, uint64_t now_ms) {
        return nonce->has && nonce->fresh && now_ms >= nonce->got_ms &&
               now_ms - nonce->got_ms < (uint64_t) nonce->challenge.ttl * 1000 / 2;
}

int conversation_selection(const struct wire_challenge challenges[static 2], uint16_t *ret_bank, uint32_t *ret_mask) {
        if (challenges[0].bank != challenges[1].bank)
                return -EBADMSG;
        *ret_bank = challenges[0].bank;
        *ret_mask = challenges[0].pcrs | challenges[1].pcrs;
        return 0;
}

/* Every half must be described, and as what it is: U of kind payload must not be used for volumes because the details say so. */
static int check_details(const struct halves *halves, const struct wire_details *details) {
        for (size_t i = 0; i < halves->n; i++) {
                const struct half *half = halves->items + i;
                bool found = false;

                for (size_t j = 0; j < details->n_keys && !found; j++) {
                        const struct wire_key *key = details->keys + j;

                        found = strcmp(key->id, half->key_id) == 0 && key->generation == half->generation &&
                                key->kind == half->kind && key->state == half->state;
                }
                if (!found)
                        return -EBADMSG;
        }
        return 0;
}

static int open_messages(struct hpke *hpke, const struct wire_sealed *sealed, const uint8_t aad[static 32],
                         struct halves **ret_halves, struct wire_details *ret_details) {
        _cleanup_(secret_freep) struct secret *plain = NULL, *text = NULL;
        _cleanup_(halves_freep) struct halves *halves = NULL;
        _cleanup_(wire_details_done) struct wire_details details = {};
        int r;

        r = hpke_open(hpke, aad, 32, sealed->halves.data, sealed->halves.size, &plain);
        if (r < 0)
                return r;
        r = halves_decode(plain, &halves);
        if (r < 0)
                return r;
        r = hpke_open(hpke, aad, 32, sealed->details.data, sealed->details.size, &text);
        if (r < 0)
                return r;
        r = wire_details_parse((const char *) text->data, text->size, &details);
        if (r < 0)
                return r;
        r = check_details(halves, &details);
        if (r < 0)
                return r;

        *ret_halves = TAKE_PTR(halves);
        *ret_details = details;
        details = (struct wire_details){};
        return 0;
}

int conversation_open(const struct node *node, enum purpose purpose, enum party party, const struct wire_sealed *sealed,
                      const struct blob *proven, const struct secret *credential, struct halves **ret_halves,
                      struct wire_details *ret_details) {
        _cleanup_(blob_done) struct blob info = {}, psk_id = {};
        _cleanup_(hpke_freep) struct hpke *hpke = NULL;
        struct hpke_psk psk = {};
        uint8_t aad[32];
        int r;

        r = fields_encode(FIELDS(field_text("tallyboot half v1"), field_text(party_to_string(party)), field_text(node->id),
                                 field_text(purpose_to_string(purpose))),
                          &info);
        if (r < 0)
                return r;
        r = fields_encode(FIELDS(field_text("tallyboot credential v1"), field_text(party_to_string(party)), field_text(node->id)),
                          &psk_id);
        if (r < 0)
                return r;
        if (credential)
                psk = (struct hpke_psk){ credential->data, credential->size, psk_id.data, psk_id.size };
        r = sha256(proven->data, proven->size, aad);
        if (r < 0)
                return r;
        r = hpke_receiver(node->nk, sealed->enc, info.data, info.size, credential ? &psk : NULL, &hpke);
        if (r < 0)
                return r;
        return open_messages(hpke, sealed, aad, ret_halves, ret_details);
}
