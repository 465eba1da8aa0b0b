/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "boot/offline-blob.h"
#include "crypto/offline.h"
#include "evidence/token.h"

static bool is_asymmetric(enum wrap_mechanism mechanism) {
        return mechanism == WRAP_RSA_OAEP || mechanism == WRAP_ECDH;
}

static void forget_group_key(struct offline_token *token) {
        token->group_key = secret_free(token->group_key);
        blob_done(&token->wrapped);
        token->wrapped = (struct blob){};
}

void offline_token_done(struct offline_token *token) {
        forget_group_key(token);
        token->own_signer = token_free(token->own_signer);
        token->owned = pkcs11_close(token->owned);
        token->pkcs11 = NULL;
        token->signer = NULL;
}

bool offline_is_retired(const struct luks_offline *blob, const struct luks_token *tokens, size_t n) {
        bool newer = false;

        for (size_t i = 0; i < n; i++) {
                if (strcmp(tokens[i].key_id, blob->key_id) != 0)
                        continue;
                if (tokens[i].generation == blob->generation)
                        return false;
                newer = newer || (tokens[i].live && tokens[i].generation > blob->generation);
        }
        return newer;
}

void offline_opened_done(struct offline_opened *opened) {
        opened->k_b = secret_free(opened->k_b);
        blob_done(&opened->manifest);
        manifest_done(&opened->volumes);
        opened->manifest = (struct blob){};
}

static const char *token_words(const struct offline_token *token, int r) {
        const char *words = pkcs11_error(token->pkcs11);

        return words && words[0] ? words : strerror(-r);
}

/* A MAC key says by its type what it is for. 64 bits are not enough here. */
static int decide_mac(struct offline_token *token, char *error, size_t error_size) {
        struct pkcs11_key key;
        int r;

        if (!token->how.mac_key)
                return 0;
        r = pkcs11_find(token->pkcs11, token->how.mac_key, PKCS11_SECRET, &key);
        if (r < 0) {
                snprintf(error, error_size, "offline-mac-key: %s", token_words(token, r));
                return r;
        }
        token->how.mac = key.type == PKCS11_AES ? WRAP_MAC_AES_CMAC : WRAP_MAC_SHA256_HMAC;
        return 0;
}

static void use_config(struct offline_token *token, const struct config *config) {
        token->how.key = config->offline_key;
        token->how.mac_key = config->offline_mac_key;
        token->how.generation = 1;
}

/* The type of the key decides which mechanisms there are to try. */
static int candidates(struct offline_token *token, enum wrap_mechanism ret[static 3], char *error, size_t error_size) {
        struct pkcs11_key key;
        int r = pkcs11_find(token->pkcs11, token->how.key, PKCS11_SECRET, &key);

        ret[0] = ret[1] = ret[2] = 0;
        if (r >= 0) {
                ret[0] = WRAP_KWP;
                ret[1] = WRAP_KEY_WRAP_PAD;
                ret[2] = WRAP_GCM;
                return 0;
        }
        if (r == -ENOKEY)
                r = pkcs11_find(token->pkcs11, token->how.key, PKCS11_PRIVATE, &key);
        if (r < 0) {
                snprintf(error, error_size, "offline-key: %s", token_words(token, r));
                return r;
        }
        ret[0] = key.type == PKCS11_RSA ? WRAP_RSA_OAEP : WRAP_ECDH;
        return 0;
}

int offline_token_decide(struct offline_token *token, const struct config *config, char *error, size_t error_size) {
        enum wrap_mechanism tried[3] = { config->offline_mechanism };
        int r;

        use_config(token, config);
        r = decide_mac(token, error, error_size);
        if (r >= 0 && !config->offline_mechanism)
                r = candidates(token, tried, error, error_size);
        if (r < 0)
                return r;
        r = -EOPNOTSUPP;
        for (size_t i = 0; i < ELEMENTSOF(tried) && tried[i] && r == -EOPNOTSUPP; i++) {
                token->how.mechanism = tried[i];
                r = wrap_check(token->pkcs11, &token->how);
        }
        if (r < 0) {
                size_t n = (size_t) snprintf(error, error_size, "offline-key: %s", token_words(token, r));

                if (r == -EOPNOTSUPP && n < error_size)
                        wrap_offered(token->pkcs11, error + n, error_size - n);
                return r;
        }
        if (is_asymmetric(token->how.mechanism) && !token->signer) {
                snprintf(
                        error, error_size,
                        "%s needs token-key = too: anybody can wrap to a public key, so that what is kept in the header must be signed",
                        wrap_mechanism_to_string(token->how.mechanism));
                return -EINVAL;
        }
        return 0;
}

static struct offline_binding binding_of(const struct luks_offline *blob, const char *uuid) {
        return (struct offline_binding){
                .node_id = blob->node_id, .key_id = blob->key_id, .luks_uuid = uuid, .generation = blob->generation
        };
}

static int refuse(int r, const char *why, char *error, size_t error_size) {
        snprintf(error, error_size, "%s", why);
        return r;
}

/* What can be said before the token is asked. */
static int look_at(struct offline_token *token, const struct config *config, const char *node_id, const struct luks_offline *blob,
                   char *error, size_t error_size) {
        struct wrap_info info;

        if (strcmp(blob->node_id, node_id) != 0) {
                snprintf(error, error_size, "what is kept for the offline way is node %.8s's, this is node %.8s", blob->node_id,
                         node_id);
                return -EKEYREJECTED;
        }
        if (wrap_describe(blob->group_key.data, blob->group_key.size, &info) < 0 ||
            strcmp(wrap_mechanism_to_string(info.mechanism), blob->mechanism) != 0)
                return refuse(-EKEYREJECTED, "what is kept for the offline way is malformed", error, error_size);
        if (config->offline_mechanism && config->offline_mechanism != info.mechanism) {
                snprintf(error, error_size,
                         "what is kept for the offline way was made with %s, offline-mechanism = %s is configured",
                         blob->mechanism, wrap_mechanism_to_string(config->offline_mechanism));
                return -EKEYREJECTED;
        }
        if (is_asymmetric(info.mechanism) && !token->signer)
                return refuse(-EACCES,
                              "anybody could have made what is kept for the offline way (it was wrapped to a public key), and no "
                              "token-key is configured that has signed it",
                              error, error_size);
        token->how.mechanism = info.mechanism;
        return 0;
}

static int check_signature(const struct offline_token *token, const struct luks_offline *blob,
                           const struct offline_binding *binding, char *error, size_t error_size) {
        _cleanup_(blob_done) struct blob message = {};
        int r;

        if (!token->signer)
                return 0;
        if (blob->signature.size == 0)
                return refuse(
                        -EACCES,
                        "what is kept for the offline way is not signed by this node's token-key; if that was configured since: "
                        "tallyboot enroll --again",
                        error, error_size);
        r = offline_message(binding, blob->mechanism, &blob->group_key, &blob->sealed, &message);
        if (r < 0)
                return r;
        r = token_verify(&token->signer->public, &message, &blob->signature);
        if (r == -EKEYREJECTED || r == -EBADMSG)
                return refuse(
                        -EKEYREJECTED,
                        "the signature of what is kept for the offline way is wrong: somebody else made it, or it was changed",
                        error, error_size);
        return r;
}

static void keep_group_key(struct offline_token *token, const struct offline_binding *binding, struct secret *group_key,
                           struct blob *wrapped) {
        forget_group_key(token);
        token->group_key = group_key;
        token->wrapped = *wrapped;
        *wrapped = (struct blob){};
        snprintf(token->group_of, sizeof token->group_of, "%s", binding->key_id);
        token->group_generation = binding->generation;
}

static bool has_group_key(const struct offline_token *token, const struct offline_binding *binding) {
        return token->group_key && strcmp(token->group_of, binding->key_id) == 0 &&
               token->group_generation == binding->generation;
}

/* The volumes of a key and generation have the same group key: a smart card takes its time with each. */
static int unwrap(struct offline_token *token, const struct luks_offline *blob, const struct offline_binding *binding,
                  char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *group_key = NULL;
        _cleanup_(blob_done) struct blob wrapped = {};
        struct field fields[OFFLINE_GROUP_FIELDS];
        int r;

        if (has_group_key(token, binding) && token->wrapped.size == blob->group_key.size &&
            memcmp(token->wrapped.data, blob->group_key.data, blob->group_key.size) == 0)
                return 0;
        r = decide_mac(token, error, error_size);
        if (r < 0)
                return r;
        offline_group_fields(binding, fields);
        r = wrap_open(token->pkcs11, &token->how, fields, ELEMENTSOF(fields), blob->group_key.data, blob->group_key.size,
                      &group_key);
        if (r == -EKEYREJECTED || r == -EBADMSG || r == -ESTALE)
                return refuse(
                        -EKEYREJECTED,
                        "the token does not open what is kept for the offline way: it was changed, or made by another token, or is "
                        "another node's, key's or generation's",
                        error, error_size);
        if (r < 0) {
                snprintf(error, error_size, "the token does not open what is kept for the offline way: %s",
                         token_words(token, r));
                return r;
        }
        r = blob_copy(blob->group_key.data, blob->group_key.size, &wrapped);
        if (r < 0)
                return r;
        keep_group_key(token, binding, TAKE_PTR(group_key), &wrapped);
        return 0;
}

static bool names_volume(const struct manifest *manifest, const char *uuid) {
        for (size_t i = 0; i < manifest->n; i++)
                if (strcmp(manifest->volumes[i].uuid, uuid) == 0)
                        return true;
        return false;
}

static int unseal(struct offline_token *token, const struct luks_offline *blob, const struct offline_binding *binding,
                  struct offline_opened *opened, char *error, size_t error_size) {
        struct recombine_claim claim = { .node_id = binding->node_id,
                                         .key_id = binding->key_id,
                                         .generation = binding->generation,
                                         .manifest = &opened->manifest,
                                         .mac = opened->mac };
        int r = offline_open(token->group_key, binding, blob->sealed.data, blob->sealed.size, &opened->k_b, &opened->manifest,
                             opened->mac);

        if (r == -EKEYREJECTED)
                return refuse(r, "what is kept for the offline way was changed, or is another volume's or generation's", error,
                              error_size);
        if (r >= 0)
                r = recombine_claimed_manifest(&claim, opened->k_b, &opened->volumes, error, error_size);
        if (r >= 0 && !names_volume(&opened->volumes, binding->luks_uuid))
                return refuse(-EKEYREJECTED, "the manifest that is kept for the offline way does not name this volume", error,
                              error_size);
        return r;
}

int offline_blob_open(struct offline_token *token, const struct config *config, const char *node_id, const char *uuid,
                      const struct luks_offline *blob, struct offline_opened *ret, char *error, size_t error_size) {
        _cleanup_(offline_opened_done) struct offline_opened opened = { .generation = blob->generation };
        struct offline_binding binding = binding_of(blob, uuid);
        int r;

        error[0] = '\0';
        use_config(token, config);
        r = look_at(token, config, node_id, blob, error, error_size);
        if (r >= 0)
                r = check_signature(token, blob, &binding, error, error_size);
        if (r >= 0)
                r = unwrap(token, blob, &binding, error, error_size);
        if (r >= 0)
                r = unseal(token, blob, &binding, &opened, error, error_size);
        if (r < 0) {
                if (!error[0])
                        snprintf(error, error_size, "%s", strerror(-r));
                return r;
        }
        memcpy(opened.key_id, blob->key_id, sizeof opened.key_id);
        *ret = opened;
        opened = (struct offline_opened){};
        return 0;
}

/* A new one for each generation, and the same for the volumes of one. */
static int make_group_key(struct offline_token *token, const struct offline_binding *binding) {
        _cleanup_(secret_freep) struct secret *group_key = NULL;
        _cleanup_(blob_done) struct blob wrapped = {};
        struct field fields[OFFLINE_GROUP_FIELDS];
        int r;

        if (has_group_key(token, binding))
                return 0;
        r = secret_random(OFFLINE_KEY_SIZE, &group_key);
        if (r < 0)
                return r;
        offline_group_fields(binding, fields);
        r = wrap_make(token->pkcs11, &token->how, fields, ELEMENTSOF(fields), group_key, &wrapped, NULL);
        if (r < 0)
                return r;
        keep_group_key(token, binding, TAKE_PTR(group_key), &wrapped);
        return 0;
}

static int sign(struct offline_token *token, const struct offline_binding *binding, struct luks_offline *blob) {
        struct pkcs11 *signer = token->signer && token->signer->pkcs11 ? token->signer->pkcs11 : token->pkcs11;
        _cleanup_(blob_done) struct blob message = {};
        int r;

        if (!token->signer)
                return 0;
        r = offline_message(binding, blob->mechanism, &blob->group_key, &blob->sealed, &message);
        return r < 0 ? r : pkcs11_sign(signer, &token->signer->key, message.data, message.size, &blob->signature);
}

int offline_blob_make(struct offline_token *token, const char *uuid, const struct recombine_claim *claim,
                      const struct secret *k_b, struct luks_offline *ret, char *error, size_t error_size) {
        _cleanup_(luks_offline_done) struct luks_offline blob = { .number = -1, .generation = claim->generation };
        struct offline_binding binding;
        int r;

        snprintf(blob.node_id, sizeof blob.node_id, "%s", claim->node_id);
        snprintf(blob.key_id, sizeof blob.key_id, "%s", claim->key_id);
        snprintf(blob.mechanism, sizeof blob.mechanism, "%s", wrap_mechanism_to_string(token->how.mechanism));
        binding = binding_of(&blob, uuid);
        r = make_group_key(token, &binding);
        if (r >= 0)
                r = blob_copy(token->wrapped.data, token->wrapped.size, &blob.group_key);
        if (r >= 0)
                r = offline_seal(token->group_key, &binding, k_b, claim->manifest->data, claim->manifest->size, claim->mac,
                                 &blob.sealed);
        if (r >= 0)
                r = sign(token, &binding, &blob);
        if (r < 0) {
                snprintf(error, error_size, "%s", token_words(token, r));
                return r;
        }
        *ret = blob;
        blob = (struct luks_offline){};
        return 0;
}
