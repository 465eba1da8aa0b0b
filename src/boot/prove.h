/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/converse.h"

/* What one quote or one signature of a token is, sent to both parties (docs/protocol.md, 4). */
struct evidence {
        struct blob proven; /* what is signed: TPMS_ATTEST, or the message to a token */
        struct blob signature;
        struct pcr_values pcrs; /* of a quote */
        uint8_t nonces[2][WIRE_NONCE_SIZE];
};
void evidence_done(struct evidence *evidence);

/* Over both nonces of the conversation, its purpose and its body; node->nk for every purpose but confirm. Errors of tpm.h or
 * token_sign(), -EBADMSG where the parties want different banks; the words in node->error. */
int evidence_make(struct node *node, const struct conversation *conversation, struct evidence *ret);
/* The JSON of a request to party. For purpose enroll with the proof that its credential was opened, and its half of the join
 * token. */
int evidence_encode(const struct node *node, const struct conversation *conversation, enum party party,
                    const struct evidence *evidence, char **ret);
