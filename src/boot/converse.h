/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/node.h"
#include "crypto/split.h"
#include "wire/wire.h"

/* What came of one party. */
struct outcome {
        int result; /* 0; -ENOLINK not reached, -EKEYREJECTED its certificate, -EACCES refused (see problem), -EBADMSG its answer
                                * is not as the protocol says, -ESTALE nonce, -EAGAIN busy; -EINPROGRESS: not asked yet */
        char problem[32];             /* NAME of urn:tallyboot:problem:NAME, "" where it was not a problem document */
        unsigned retry_after;         /* s, 0: not said */
        struct wire_logs_wanted logs; /* problem logs-wanted */
        char error[320];              /* in words: which party, what, what to do */
        struct halves *halves;        /* result 0 */
        struct wire_details details;
        struct wire_confirmed confirmed; /* purpose confirm */
};

/* One conversation with both parties (docs/protocol.md 4 to 6): challenge both at once, quote, release both at once. What one
 * party answered stays while the other is asked again: call converse() until it returns 0. */
struct conversation {
        enum purpose purpose;
        struct blob body;       /* owned; empty: none */
        const char *join_token; /* "tj1-...", purpose enroll, or NULL; not owned */
        const char *id_hint;    /* a node id to ask with while the TPM still makes the AK, or NULL; checked afterwards */
        struct outcome outcomes[2];
        struct conversation_nonce {
                bool fresh; /* not yet used by us */
                uint64_t got_ms;
                struct wire_challenge challenge;
                bool has;
                struct secret *credential; /* purpose enroll: released by the TPM */
        } nonces[2];
};

int conversation_new(enum purpose purpose, const void *body, size_t body_size, struct conversation **ret);
struct conversation *conversation_free(struct conversation *conversation);
DEFINE_CLEANUP(struct conversation *, conversation_free)

/* One round. 0: both have answered with success. -EAGAIN: at least one has not, see outcomes. -ECANCELED. Otherwise our own side
 * failed (TPM: errors of tpm.h; -ENOMEM ...), words in node->error. Needs node->nk for every purpose but confirm. */
int converse(struct node *node, struct conversation *conversation);
/* Purpose confirm: the tenant first and, after its answer, the verifier, with one quote. As converse(). */
int converse_confirm(struct node *node, const struct wire_confirm_body *body, struct conversation **ret);

/* A POST of JSON to a party's servers, for http_client_perform(); path and body stay the caller's. */
struct http_exchange party_post(struct config *config, enum party party, const char *path, const char *body, size_t max_answer);

/* The pure parts. */
bool conversation_nonce_is_fresh(const struct conversation_nonce *nonce, uint64_t now_ms); /* not past half its time to live */
/* The selection of the quote: one bank for both (-EBADMSG where they differ), the union of the PCRs. */
int conversation_selection(const struct wire_challenge challenges[static 2], uint16_t *ret_bank, uint32_t *ret_mask);
/* Opens the sealed answer of a party: halves and details, each held against the other. proven: what was quoted (TPMS_ATTEST) or
 * signed. -EBADMSG. */
int conversation_open(const struct node *node, enum purpose purpose, enum party party, const struct wire_sealed *sealed,
                      const struct blob *proven, const struct secret *credential, struct halves **ret_halves,
                      struct wire_details *ret_details);
/* What an HTTP status and a problem document mean: fills result, problem, error, retry_after. */
void outcome_from_answer(enum party party, int status, const struct blob *answer, unsigned retry_after, const char *incident,
                         struct outcome *outcome);
