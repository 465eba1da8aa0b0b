/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/keypair.h"

/* One half as a party releases it (docs/protocol.md, 6). */
struct half {
        char key_id[KEY_ID_LENGTH + 1];
        enum key_kind kind;
        enum generation_state state; /* staged or live */
        uint32_t generation;
        struct secret *half; /* 32 bytes */
};

struct halves {
        struct half *items;
        size_t n;
};

void halves_free(struct halves *halves); /* frees the struct too; NULL is fine */
DEFINE_CLEANUP(struct halves *, halves_free)

/* The plaintext "TBH1..." of a release. At most 64 halves. -EBADMSG: malformed, or one (key id, generation) twice. */
int halves_encode(const struct halves *halves, struct secret **ret);
int halves_decode(const struct secret *plain, struct halves **ret);
const struct half *halves_find(const struct halves *halves, const char *key_id, uint32_t generation);

/* K_b = U xor V, constant time; halves of one key id, kind and generation only, else -EINVAL. */
int split_join(const struct half *u, const struct half *v, struct secret **ret);
/* Dealing: V = K_b xor U. */
int split_other(const struct secret *k_b, const struct secret *u, struct secret **ret);

/* What K_b becomes (docs/protocol.md, 2). */
int derive_volume_key(const struct secret *k_b, const char *node_id, uint32_t generation, const char *luks_uuid,
                      struct secret **ret);
int derive_payload_keypair(const struct secret *k_b, const char *node_id, uint32_t generation, struct keypair **ret);
int derive_manifest_key(const struct secret *k_b, const char *node_id, uint32_t generation, struct secret **ret);
/* HMAC(manifest key, L("tallyboot manifest v1", manifest)) */
int manifest_mac(const struct secret *manifest_key, const void *manifest, size_t size, uint8_t ret[static 32]);
