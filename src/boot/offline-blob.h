/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/converse.h"
#include "boot/recombine.h"
#include "boot/token.h"
#include "pkcs11/wrap.h"

/* What the header of a volume keeps for the offline way (docs/protocol.md, 14), and what the node's PKCS#11 token makes of it. */

/* The token that wraps, and what else is needed to make and to judge blobs. */
struct offline_token {
        struct pkcs11 *pkcs11, *owned; /* logged in; owned: the same, where it is not the token of the node's identity */
        struct wrap_how how;           /* its URIs are the configuration's */
        const struct token *signer;    /* the node's signing key; of a boot and an enrollment never NULL */
        struct token *own_signer;      /* the same, where the node's identity is its TPM; its pkcs11 is NULL where that is ours */
        struct secret *group_key;      /* the one made or opened last: the volumes of a key and generation share it */
        char group_of[KEY_ID_LENGTH + 1];
        uint32_t group_generation;
        struct blob wrapped;
};
void offline_token_done(struct offline_token *token);
/* Connects to the token of offline-key and to that of token-key, as token_connect(), with its errors; the words in node->error. A
 * node whose identity is a token is attached to it already; of any other the configuration has to say whose key signs
 * (token-key-sha256): -EPERM. */
int offline_token_open(struct node *node, struct offline_token *ret);
/* Pure: whether two PKCS#11 URIs name the same token: all that they say but for the key. */
bool offline_same_token(const char *uri, const char *other);
/* Whether uri names the token that was opened by another URI: as above, or by attributes that this token has. */
bool offline_is_token(struct pkcs11 *pkcs11, const char *opened_by, const char *uri);
/* Before something is wrapped: which mechanism (the configuration's, else the first that the token has for this type of key), and
 * that the token has all of it. -EOPNOTSUPP, -ENOKEY, -EINVAL with words; -EINVAL too for RSA and ECDH without a signing key. */
int offline_token_decide(struct offline_token *token, const struct config *config, char *error, size_t error_size);

/* What one blob gives. */
struct offline_opened {
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        struct secret *k_b;
        struct blob manifest; /* as it was MACed */
        uint8_t mac[32];
        struct manifest volumes; /* the same, parsed; names the volume that it was found on */
};
void offline_opened_done(struct offline_opened *opened);

/* uuid: of the header that it was found in. -EKEYREJECTED with words: not ours, changed, another node's, key's, generation's or
 * volume's; -EACCES nobody vouches for it; errors of pkcs11.h and wrap.h where the token fails. */
int offline_blob_open(struct offline_token *token, const struct config *config, const char *node_id, const char *uuid,
                      const struct luks_offline *blob, struct offline_opened *ret, char *error, size_t error_size);
/* Whether the volume's own tokens say that this generation was replaced: a live one of the same key is newer, and none has it.
 * For words: nothing vouches for those tokens, and a slot that is gone opens with nothing. */
bool offline_is_retired(const struct luks_offline *blob, const struct luks_token *tokens, size_t n);
/* What is kept of one generation, for the volume of that UUID. Needs offline_token_decide(). */
int offline_blob_make(struct offline_token *token, const char *uuid, const struct recombine_claim *claim,
                      const struct secret *k_b, struct luks_offline *ret, char *error, size_t error_size);
