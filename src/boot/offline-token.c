/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "boot/offline-blob.h"
#include "crypto/crypto.h"

/* RFC 7512: path attributes are separated by ';', query attributes come after '?' and are separated by '&'. */

struct attribute {
        const char *text;
        size_t size;
};

static bool next_attribute(const char **at, struct attribute *ret) {
        while (**at && strchr(";&?", **at))
                (*at)++;
        if (!**at)
                return false;
        *ret = (struct attribute){ *at, strcspn(*at, ";&?") };
        *at += ret->size;
        return true;
}

/* What says which key, and how the PIN comes: nothing about the token. */
static bool is_of_key(const struct attribute *attribute) {
        static const char *const names[] = { "object=", "id=", "type=", "pin-source=" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (attribute->size >= strlen(names[i]) && strncmp(attribute->text, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

static const char *skip_scheme(const char *uri) {
        return strncmp(uri, "pkcs11:", 7) == 0 ? uri + 7 : uri;
}

/* Every attribute of the token that uri names stands in other too. */
static bool is_covered(const char *uri, const char *other) {
        const char *at = skip_scheme(uri);
        struct attribute attribute, seen;

        while (next_attribute(&at, &attribute)) {
                const char *there = skip_scheme(other);
                bool found = is_of_key(&attribute);

                while (!found && next_attribute(&there, &seen))
                        found = seen.size == attribute.size && memcmp(seen.text, attribute.text, seen.size) == 0;
                if (!found)
                        return false;
        }
        return true;
}

bool offline_same_token(const char *uri, const char *other) {
        return is_covered(uri, other) && is_covered(other, uri);
}

/* A person who has given one PIN is not asked for it again, only because two keys of one token were named in two ways. */
bool offline_is_token(struct pkcs11 *pkcs11, const char *opened_by, const char *uri) {
        _cleanup_(freep) char *whole = NULL;

        return offline_same_token(opened_by, uri) || (pkcs11_uri(pkcs11, NULL, &whole) >= 0 && is_covered(uri, whole));
}

/* A label is the token's own word. The key of a node that proves itself by its token is its id, which is in each blob; for any
 * other the configuration, which is measured, has to say whose key has signed. */
static int check_vouched(struct node *node, const struct token *signer) {
        char hex[65];

        if (node->config->token_key_sha256.n > 0)
                return token_check_pinned(node, signer->sha256);
        hex_write(signer->sha256, sizeof signer->sha256, hex);
        snprintf(
                node->error, sizeof node->error,
                "unlock = %s needs token-key-sha256 = in tallyboot.conf on a machine with a TPM: else any token by the name of ours "
                "would be believed. If the one that is here now is yours: token-key-sha256 = %s",
                unlock_choice_to_string(node->config->unlock), hex);
        return -EPERM;
}

/* The signing key of a node that proves itself by its TPM: it signs what is kept in the headers, and nothing else. */
static int open_signer(struct node *node, const struct offline_token *token, struct token **ret) {
        _cleanup_(token_freep) struct token *signer = calloc(1, sizeof *signer);
        struct pkcs11 *pkcs11;
        int r;

        if (!signer)
                return -ENOMEM;
        if (!offline_is_token(token->pkcs11, node->config->offline_key, node->config->token_key)) {
                r = token_connect(node, node->config->token_key, &signer->pkcs11);
                if (r < 0)
                        return r;
        }
        pkcs11 = signer->pkcs11 ? signer->pkcs11 : token->pkcs11;
        r = pkcs11_find(pkcs11, node->config->token_key, PKCS11_PRIVATE, &signer->key);
        if (r >= 0)
                r = pkcs11_public(pkcs11, &signer->key, &signer->public);
        if (r >= 0)
                r = sha256(signer->public.data, signer->public.size, signer->sha256);
        if (r < 0) {
                snprintf(node->error, sizeof node->error, "token-key: %s", pkcs11_error(pkcs11));
                return r;
        }
        r = check_vouched(node, signer);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(signer);
        return 0;
}

int offline_token_open(struct node *node, struct offline_token *ret) {
        _cleanup_(offline_token_done) struct offline_token token = {};
        const struct config *config = node->config;
        int r;

        if (!node->token && !config->token_key) {
                snprintf(
                        node->error, sizeof node->error,
                        "unlock = %s needs token-key = and token-key-sha256 = in tallyboot.conf on a machine with a TPM: nothing else "
                        "says whose token it is that opens (tallyboot token make-key)",
                        unlock_choice_to_string(config->unlock));
                return -EPERM;
        }
        if (node->token && offline_is_token(node->token->pkcs11, config->token_key, config->offline_key))
                token.pkcs11 = node->token->pkcs11;
        else {
                r = token_connect(node, config->offline_key, &token.owned);
                if (r < 0)
                        return r;
                token.pkcs11 = token.owned;
        }
        if (node->token)
                token.signer = node->token;
        else {
                r = open_signer(node, &token, &token.own_signer);
                if (r < 0)
                        return r;
                token.signer = token.own_signer;
        }
        *ret = token;
        token = (struct offline_token){};
        return 0;
}
