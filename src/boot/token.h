/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/node.h"
#include "evidence/token.h"
#include "pkcs11/pkcs11.h"

/* Tokens as people have them: they come late, have PINs, are pulled out. */

/* Waits for the token that uri names (node->waiting), and logs in. -ENODEV: it did not come in time; -EPERM: it is there and
 * cannot be used (PIN, module, two of them); -ECANCELED, -ENOMEM. Words in node->error. */
int token_connect(struct node *node, const char *uri, struct pkcs11 **ret);

/* The node's identity: the token of token-key, logged in, and the key. */
struct token {
        struct pkcs11 *pkcs11;
        struct pkcs11_key key;
        struct blob public;         /* DER SubjectPublicKeyInfo */
        uint8_t sha256[32];         /* of it: the node id */
        char type[TOKEN_NAME_SIZE]; /* "P-256", "RSA-2048" */
};
/* Connects, finds the key, fills node->token and node->id. As token_connect(); -EPERM too where the key is not one for evidence,
 * or not that of the node that this process has begun as. */
int token_attach(struct node *node);
struct token *token_free(struct token *token);
DEFINE_CLEANUP(struct token *, token_free)
/* Whether token-key-sha256 has it, or says nothing. -EPERM with words in node->error. */
int token_check_pinned(struct node *node, const uint8_t sha256[static 32]);
/* By the node's key. -ENODEV: it was removed, node->token is NULL then, node_attach() waits for it; -EPERM. Words in
 * node->error. */
int token_sign(struct node *node, const struct blob *message, struct blob *ret);
/* Before a node is registered with it: whether the key was made for evidence alone. A signature that it makes for something else
 * could be taken for evidence only where its first 64 bytes were ours, which no sane format has; but who asks a card to sign
 * anything, as mail and login programs do, gets that, too. -EPERM with words in node->error, unless token-key-shared = yes. ret:
 * a warning, or "". */
int token_check_key(struct node *node, char *ret, size_t size);
