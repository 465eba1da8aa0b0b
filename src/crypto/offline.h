/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/crypto.h"

/* What the offline way keeps of one generation of one key for one volume (docs/protocol.md, 14): K_b and the manifest of that
 * volume, sealed under a group key that only the node's PKCS#11 token gives back. Pure. */
enum {
        OFFLINE_KEY_SIZE = 32,
        OFFLINE_MANIFEST_MAX = 65536,
        OFFLINE_SEALED_MIN = AEAD_NONCE_SIZE + HALF_SIZE + 1 + 32 + AEAD_TAG_SIZE
};

/* What a blob belongs to; texts are valid ones (node_id_is_valid() ...). */
struct offline_binding {
        const char *node_id, *key_id, *luks_uuid;
        uint32_t generation;
};

/* The fields that a group key is wrapped with: L("tallyboot offline group v1", node id, key id, generation). */
enum { OFFLINE_GROUP_FIELDS = 4 };
void offline_group_fields(const struct offline_binding *binding, struct field ret[static OFFLINE_GROUP_FIELDS]);

/* sealed = nonce (12) || AES-256-GCM(group key, nonce, aad = L("tallyboot offline v1", node id, key id, generation, LUKS UUID),
 * K_b || manifest || mac). group_key: 32 bytes. */
int offline_seal(const struct secret *group_key, const struct offline_binding *binding, const struct secret *k_b,
                 const void *manifest, size_t size, const uint8_t mac[static 32], struct blob *ret);
/* -EKEYREJECTED: another key, another binding, changed, cut. */
int offline_open(const struct secret *group_key, const struct offline_binding *binding, const void *sealed, size_t size,
                 struct secret **ret_k_b, struct blob *ret_manifest, uint8_t ret_mac[static 32]);

/* What the node's signing key signs, where there is one (with RSA and ECDH there has to be: anybody can wrap to a public key):
 * the 64-byte prefix of all token signatures and L("tallyboot offline signature v1", node id, key id, generation, LUKS UUID,
 * mechanism, group key as wrapped, sealed). */
int offline_message(const struct offline_binding *binding, const char *mechanism, const struct blob *wrapped,
                    const struct blob *sealed, struct blob *ret);
