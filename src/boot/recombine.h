/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/converse.h"
#include "luks/luks.h"

/* Where the halves meet: pairs of one key id, kind and generation (docs/protocol.md, 2 and 8). */
struct pair {
        const struct half *u, *v;                 /* not owned: of the outcomes */
        const struct wire_key *tenant, *verifier; /* what each party says about it */
        bool confirm;                             /* the verifier still calls it staged */
        bool supersedes;                          /* an older live generation is still kept by one of them */
};

struct pairs {
        struct pair *items; /* newest generation of a key first */
        size_t n;
        size_t n_single; /* live halves of one party without the other's */
};

/* Pure. All pairs that may be used: the tenant calls them live, the verifier live or staged. -ENOKEY: none. */
int recombine_pairs(const struct outcome outcomes[static 2], struct pairs *ret);
void pairs_done(struct pairs *pairs);

/* Pure. What K_b vouches for: the MAC under the manifest key is right, and the manifest speaks of this node, key and generation.
 * -EKEYREJECTED with words in error. */
struct recombine_claim {
        const char *node_id, *key_id;
        uint32_t generation;
        const struct blob *manifest;
        const uint8_t *mac; /* 32 bytes */
};
int recombine_claimed_manifest(const struct recombine_claim *claim, const struct secret *k_b, struct manifest *ret, char *error,
                               size_t error_size);

/* The manifest of a pair of kind volumes, if its MAC under K_b and the verifier's digest are right and it speaks of this node,
 * key and generation. -EKEYREJECTED with words in error. */
int recombine_manifest(const struct pair *pair, const char *node_id, const struct secret *k_b, struct manifest *ret, char *error,
                       size_t error_size);
