/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/logs.h"
#include "service/nonce.h"
#include "service/policy-cache.h"

/* One release request on its way through docs/protocol.md, 5. admit.c does 1 to 9 (what evidence is); boot.c (rotate, too),
 * enroll.c and confirm.c do the rest, each for its purpose, and end in one write transaction in which everything that can have
 * changed since is looked at again. */

/* What a proven node is refused for: goes to the audit log, with more words than to the node. */
struct refusal {
        const char *problem; /* NULL: none */
        const char *title;
        json_t *detail;
        bool hold; /* keep the evidence for the operator */
        struct held held;
        bool rolled_back;     /* remember the boot, for accept-reset */
        bool absent;          /* not seen for too long: suspended from now on */
        unsigned retry_after; /* seconds; 0: as the problem has it */
};

/* 10, for purposes boot and rotate. */
struct decision {
        bool allowed;
        char set[64];                   /* of the policy, that matched; "": none */
        char captured[64];              /* a new set's name: the first boot is accepted unseen */
        bool pardoned;                  /* not allowed, but an operator said so of the next boot */
        json_t *differences, *findings; /* where not allowed */
};
void decision_done(struct decision *decision);

/* 11: how this release stands to the boot's earlier ones. */
struct boot_row {
        bool first;      /* of this boot */
        bool repeat;     /* the same NK again */
        bool another_nk; /* within the policy's window */
};

struct admission {
        const struct service_call *call;
        struct party_service *party;
        const char *id;
        struct nonce_scope scope;
        uint64_t now, ttl_ms;
        struct wire_evidence evidence;
        struct wire_enroll_body enroll;
        struct wire_rotate_body rotate;
        struct wire_confirm_body confirm;
        uint8_t attest_digest[32], nk_digest[32];
        struct secret *credential; /* enroll */

        bool known;       /* the node has a row; else node is what the registrar has, checked */
        struct node node; /* as decided on; the transaction compares its revision */
        struct group group;
        struct policy_ref *policy_ref;
        struct policy policy;       /* what policy_ref owns, or policy_taken */
        struct policy policy_taken; /* with a set that was captured unseen */
        struct evidence_verdict verdict;
        struct boot_logs logs;
        struct decision decision;
        struct boot_row row;
        struct refusal refusal;

        struct generations generations;
        struct halves *halves;
        struct wire_details details;
};
void admission_done(struct admission *a);

/* The whole way of a request that admit_begin() was called for, with what it returned. */
void release_run(struct admission *a, int begun, struct http_response *response);

/* Purposes: 0 when response is filled, -EAGAIN when the state moved meanwhile (the caller begins anew), or an error of ours. */
int release_boot(struct admission *a, struct http_response *response);
int release_enroll(struct admission *a, struct http_response *response);
int release_rotate(struct admission *a, struct http_response *response);
int release_confirm(struct admission *a, struct http_response *response);

/* 1 and 2, of the evidence's text. 0, or -ECANCELED with the problem in response, or an error of ours. late_ms: how much longer
 * than usual the nonce lives. */
int admit_begin(struct admission *a, const struct service_call *call, const struct wire_span *text, uint64_t late_ms,
                struct http_response *response);
/* 3 to 9: the same. 0: the quote is of the pinned AK, fresh and right; state and policy are the purpose's to look at. */
int admit_verify(struct admission *a, struct http_response *response);
/* Forgets what admit_verify() and a purpose found, to begin anew. */
void admit_again(struct admission *a);

/* Names the problem; the detail begins with purpose, problem and boot, and more can be added. */
int admit_refuse(struct admission *a, const char *problem, const char *title);
void admit_hold(struct admission *a, json_t *differences, json_t *findings); /* steals both */
int admit_keep_held(struct admission *a, struct store_txn *txn, const char *reason);
/* For a->refusal: rate limit, nonce, audit, held evidence in one transaction, then the problem. */
int admit_answer_refusal(struct admission *a, struct http_response *response);
/* The parts, in a transaction of the caller's. */
int admit_use_nonce(struct admission *a, struct store_txn *txn); /* -ESTALE: used before */
int admit_recheck(struct admission *a, struct store_txn *txn);   /* -EAGAIN: node or group changed since; a->node is fresh */
int admit_record_refusal(struct admission *a, struct store_txn *txn);
int admit_require_state(struct admission *a); /* approved; else a refusal is set */
/* One NK a boot, or with a token one in the policy's interval: sets a->refusal, or a->row and a->node's boot row (not yet
 * saved). */
int admit_boot_row(struct admission *a);
json_t *admit_detail(const struct admission *a); /* {"purpose", "boot"} */
/* What store_write() of such a transaction returned, as an answer: -ESTALE is the problem stale-nonce. */
int admit_written(struct admission *a, int r, struct http_response *response);
/* The transaction of a purpose that is answered to who does not ask too often, and what admit_written() makes of it. */
int admit_write(struct admission *a, store_fn txn, void *userdata, struct http_response *response);
/* 0, or -ECANCELED with rate-limited in response. */
int admit_rate(struct admission *a, struct http_response *response);

/* 10 (decide.c): sets a->refusal or a->decision. -ECANCELED: logs are wanted, response says so. */
int decide(struct admission *a, struct http_response *response);
bool decide_is_pardoned(const struct admission *a); /* an operator let this very boot, or the next one, pass */

/* answers of halves and details (seal.c). */
int release_describe(struct admission *a, struct store_txn *txn); /* a->generations -> a->details */
int release_halves_add(struct halves *halves, const struct generation *what, struct secret *take);
int release_answer(struct admission *a, struct http_response *response);
json_t *release_detail(const struct admission *a); /* admit_detail() and "keys" */

/* What the registrar knows of a node that this party does not, checked by this party (registrar-read.c). 0; -ENOENT; -EPERM:
 * revoked there; -EKEYREJECTED: the certificate or the key is not acceptable; -EBUSY: too many at once; -ENOLINK and the like. */
int registrar_read(struct party_service *party, const char *id, const char *incident, struct node *ret);
void registrar_problem(const struct service_call *call, struct http_response *response, int r);
