/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy.h"
#include "service/party.h"

/* The rows behind a decision: nodes, groups, keys and their generations, evidence that is held for an operator. */

enum node_state { NODE_PENDING, NODE_APPROVED, NODE_SUSPENDED, NODE_REVOKED };
const char *node_state_to_string(enum node_state state);
int node_state_from_string(const char *text, enum node_state *ret);

/* What the EK certificate said at enrollment (tpm-rows.c). */
struct node_tpm {
        bool known; /* false: enrolled before this was kept */
        enum ek_proof proof;
        struct ek_identity identity;
        struct blob certificates; /* of a new node: ek_certificates_pack(); empty: none */
};

struct node {
        char id[NODE_ID_LENGTH + 1];
        char ek_sha256[65];
        char code[CODE_LENGTH + 1];
        struct blob ek_public, ak_public; /* pinned: never written again */
        struct blob token_public;         /* the same, of a node with a token; the two above are empty then, here they are not */
        enum node_state state;
        char group[65];
        uint16_t bank;         /* pinned when the node was approved */
        int64_t registered;    /* seconds; so are the others */
        int64_t seen;          /* last accepted release; 0: never */
        int64_t boots;         /* accepted first releases of a boot */
        bool has_boot, has_nk; /* the highest boot that was released to, and its NK */
        bool has_refused;      /* the boot that was refused as rolled back */
        struct boot_counters boot, refused;
        uint8_t nk[32];
        int64_t boot_time;   /* milliseconds: the first release of that boot; with a token, to that NK */
        bool pardoned;       /* that boot was let through by next_boot: the same NK is answered again */
        int64_t next_boot;   /* seconds: until then the next boot is, whatever its values; 0: not */
        int64_t welcomed;    /* an operator last approved or resumed it */
        char set[64];        /* of the policy, that last matched; "": none */
        struct node_tpm tpm; /* set for a new node; else node_tpm_load() */
        int64_t revision;    /* counts what an operator or an enrollment changed: a decision on another one is made again */
};
static inline bool node_has_token(const struct node *node) {
        return node->token_public.size > 0;
}
void node_done(struct node *node);
int node_load(struct store_txn *txn, const char *id, struct node *ret); /* -ENOENT */
int node_tpm_insert(struct store_txn *txn, const char *node, const struct node_tpm *tpm);
int node_tpm_load(struct store_txn *txn, const char *node, struct node_tpm *ret); /* not known: 0 too */
/* As they were at the enrollment; ret, empty, stays so where there are none: not certified, or enrolled before they were kept. */
int node_tpm_certificates(struct store_txn *txn, const char *node, struct blob *ret);
json_t *node_tpm_object(const struct node_tpm *tpm);             /* null where not known */
json_t *node_token_object(const struct node *node);              /* the key's type, "P-256"; null: a TPM */
int node_insert(struct store_txn *txn, const struct node *node); /* -EEXIST: the id, or its EK */
/* All but who it is; with a new revision where touch. */
int node_save(struct store_txn *txn, struct node *node, bool touch);
int node_object(struct party_service *party, struct store_txn *txn, const struct node *node, json_t **ret);
/* The node with this EK under whatever id; false where there is none. */
int ek_is_taken(struct store_txn *txn, const char *ek_sha256, const char *but_id, bool *ret);
int ek_is_revoked(struct store_txn *txn, const char *ek_sha256, bool *ret);

enum { GROUP_WARNING_SIZE = 256 };
struct group {
        char name[65];
        uint16_t bank;
        unsigned gate;
        bool accept_first_boot;
        int64_t policy_version; /* 0: none */
        int64_t changed;        /* milliseconds */
        int64_t revision;
};
int group_load(struct store_txn *txn, const char *name, struct group *ret);         /* -ENOENT */
int group_of_ek(struct store_txn *txn, const char *ek_sha256, char ret[static 65]); /* allow list; -ENOENT */
/* What an operator should know of this policy for the nodes that the group has, "" or a sentence. */
int group_warning(struct store_txn *txn, const char *group, const struct policy *policy, char ret[static GROUP_WARNING_SIZE]);
/* The current policy; one without sets where there is none. */
int policy_load(struct store_txn *txn, const struct group *group, struct policy *ret);
/* A new version that replaces the current one; group is changed too. */
int policy_store(struct store_txn *txn, struct group *group, const char *text, const char *who);
/* PCRs to quote: for enroll and confirm those that do not move in a running system; for boot and rotate what the policy reads, or
 * all that count, and the gate. */
uint32_t group_pcrs(const struct group *group, const struct policy *policy, uint16_t bank, enum purpose purpose);

struct generation {
        char key[KEY_ID_LENGTH + 1];
        enum key_kind kind;
        bool dealt, rotate;
        uint32_t generation;
        enum generation_state state;
        int64_t handle; /* keystore; 0: destroyed */
        int64_t created;
        bool has_public, has_nk;
        uint8_t public[POINT_SIZE];
        uint8_t nk[32]; /* purpose enroll: SHA-256 of the NK that it was made for */
};
struct generations {
        struct generation *items;
        size_t n;
};
enum { KEYS_MAX = 16, GENERATIONS_MAX = 8 /* not retired, of one key */, ROTATE_AHEAD_MAX = 16 };
void generations_done(struct generations *generations);
int generations_load(struct store_txn *txn, const char *node, struct generations *ret); /* ordered by key and generation */
const struct generation *generations_find(const struct generations *generations, const char *key, uint32_t generation);
uint32_t generations_highest(const struct generations *generations, const char *key); /* 0: no such key */
/* Unwraps what is live or staged. */
/* Outside of a transaction, before one that wraps halves of this node or, given, moves them to a group: the KEKs are asked of the
 * HSM here, and not with the database's lock held. */
int keys_warm(struct party_service *party, const char *node, const char *group);
int generations_halves(struct party_service *party, struct store_txn *txn, const char *node,
                       const struct generations *generations, struct halves **ret);
int generation_half(struct party_service *party, struct store_txn *txn, const char *node, const struct generation *generation,
                    struct secret **ret);
/* Stores a half, wrapped; makes the key's row where it is missing. half NULL: a new random one.
 * -E2BIG: no release could carry one more. */
int generation_create(struct party_service *party, struct store_txn *txn, const struct node *node, const struct generation *what,
                      const struct secret *half, struct secret **ret);
int generation_set_live(struct store_txn *txn, const char *node, const struct generation *what);
int generation_retire(struct party_service *party, struct store_txn *txn, const char *node, const struct generation *what);
/* All older ones that are not retired. */
int generations_retire_before(struct party_service *party, struct store_txn *txn, const char *node, const char *key,
                              uint32_t generation);
int key_delete(struct party_service *party, struct store_txn *txn, const char *node, const char *key);
int key_mark(struct store_txn *txn, const char *node, const char *key, bool rotate);
/* Wrapped anew under another group's key. */
int generations_rewrap(struct party_service *party, struct store_txn *txn, const char *node, const char *group);

struct held {
        char reason[32], incident[17];
        int64_t time;
        uint16_t bank;
        struct pcr_values pcrs; /* of that bank alone; none for a boot that was rolled back */
        struct boot_counters boot;
        json_t *differences, *findings;
};
void held_done(struct held *held);
int held_load(struct store_txn *txn, const char *node, struct held *ret); /* -ENOENT */
int held_store(struct store_txn *txn, const char *node, const struct held *held);
int held_delete(struct store_txn *txn, const char *node);
json_t *held_object(const struct held *held);
json_t *differences_object(const struct policy_decision *decision);
json_t *findings_object(const struct policy_decision *decision); /* rules that failed */
