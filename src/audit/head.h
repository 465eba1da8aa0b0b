/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/audit.h"
#include "crypto/keypair.h"

/* What a service says of its own chain, signed: how long it is, and the last hash. Whoever recorded a head can show later that
 * the chain was cut, or written anew (docs/protocol.md, 12). */

struct audit_head {
        char role[16]; /* whose chain: "tenant" ... */
        uint8_t public[POINT_SIZE];
        int64_t seq; /* 0: there is no record yet, hash zero */
        uint8_t hash[32];
        int64_t from_seq; /* a record before, that the receiver says it knows; 0: none */
        uint8_t from_hash[32];
        int64_t time; /* ms */
        uint8_t signature[SIGNATURE_MAX];
        size_t signature_size;
};

/* The newest head of this store's chain, not yet signed. from: a seq; one that is not in the chain becomes 0. */
int audit_head_read(struct store_txn *txn, const char *role, int64_t from, struct audit_head *ret);
/* Fills public, time and signature. */
int audit_head_sign(struct audit_head *head, const struct keypair *key);
int audit_head_verify(const struct audit_head *head); /* -EKEYREJECTED */
json_t *audit_head_to_json(const struct audit_head *head);
int audit_head_from_json(const json_t *json, struct audit_head *ret); /* -EBADMSG */

/* What is known of another service's chain. */
struct audit_peer {
        char role[16];
        uint8_t public[POINT_SIZE]; /* the key of its first head, until an operator accepts another */
        int64_t seq;
        uint8_t hash[32];
        int64_t time, recorded; /* ms: by its clock, by ours */
        char alarm[32];         /* why its last head was refused, "" */
        int64_t alarmed;        /* ms */
};
enum audit_taken {
        AUDIT_RECORDED,
        AUDIT_SAME,     /* nothing new */
        AUDIT_NOT_FROM, /* grown, but not shown to be from what is known: ask with from = peer->seq */
        AUDIT_ALARM,    /* peer->alarm: behind, forked, another key, not signed, not shown to follow */
};
enum { AUDIT_NOT_ASKED = -1 };
extern const char audit_peers_migration[]; /* SQL; the number is the role's */
/* Holds a head against what is known of its chain, and records it: as what is known now, and, as record "audit-head" or
 * "audit-alarm", in our own chain (an alarm that goes on: once an hour). asked: the seq that it was to be from. Whoever has that
 * record can say so; where it is the one that is known here, a longer head from another is an alarm too, for else a log that was
 * written anew had only never to answer. In a write transaction. ret_peer: what is known after it; seq 0: nothing. */
int audit_peer_take(struct store_txn *txn, const struct audit_head *head, int64_t asked, enum audit_taken *ret,
                    struct audit_peer *ret_peer);
int audit_peer_load(struct store_txn *txn, const char *role, struct audit_peer *ret); /* -ENOENT */
/* The newest head that was recorded of it, as it was signed. -ENOENT */
int audit_peer_recorded(struct store_txn *txn, const struct audit_peer *peer, struct audit_head *ret);
/* After an operator's word: the next head is the first again. -ENOENT */
int audit_peer_forget(struct store_txn *txn, const char *role);
json_t *audit_peer_to_json(const struct audit_peer *peer);
/* How many records there are behind seq that are not themselves about heads, at most limit. */
int audit_news(struct store_txn *txn, int64_t seq, int64_t limit, int64_t *ret);
