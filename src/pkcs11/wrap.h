/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/fields.h"
#include "pkcs11/pkcs11.h"

/* Keys wrapped by a key that never leaves its token (docs/keys.md). A wrapped key is a blob that says how it was made, and is
 * bound to what the caller says that it is for: who opens it must say the same.
 *
 * How the binding holds: GCM: as additional data. With a MAC key: the MAC covers all of it and is checked before anything is
 * unwrapped. KWP and KEY_WRAP_PAD without a MAC key: by a value HMAC(key, binding), so that a blob in another's place is found
 * out, but who knows one wrapped key in the clear can make it pass for another: give a MAC key where that counts. RSA_OAEP and
 * ECDH: the same value, or additional data; anyone can wrap to a public key, so the caller signs the blob where that matters. */

enum wrap_mechanism {
        WRAP_KWP = 1,          /* CKM_AES_KEY_WRAP_KWP, RFC 5649 */
        WRAP_KEY_WRAP_PAD = 2, /* CKM_AES_KEY_WRAP_PAD: RFC 5649 in SoftHSM, something else elsewhere; keys of 8 n bytes */
        WRAP_GCM = 3,          /* CKM_AES_GCM */
        WRAP_CBC_PAD = 4,      /* CKM_AES_CBC_PAD, a MAC is required */
        WRAP_RSA_OAEP = 5,     /* SHA-256, or SHA-1 where the token has only that: the blob says which */
        WRAP_ECDH = 6,         /* CKM_ECDH1_DERIVE, X9.63 KDF with SHA-256, then AES-256-GCM */
};

enum wrap_mac {
        WRAP_MAC_NONE = 0,
        WRAP_MAC_SHA256_HMAC = 1,
        WRAP_MAC_AES_CMAC = 2,
        WRAP_MAC_AES_MAC_64 = 3, /* CKM_AES_MAC gives 64 bits: opened only by who asks for it by name, whatever the blob says */
};

struct wrap_how {
        enum wrap_mechanism mechanism;
        enum wrap_mac mac;
        const char *key;       /* URI or "pkcs11:object=LABEL" of the AES key, or of the private RSA or EC key */
        const char *mac_key;   /* AES key (CMAC, MAC) or generic secret (HMAC); NULL without a MAC */
        uint32_t generation;   /* of the wrapping key; in the blob */
        bool iv_by_token;      /* GCM: the token chooses the IV; CBC_PAD: C_GenerateRandom. Else ours */
        bool always_sensitive; /* a key that the token makes is CKA_SENSITIVE, too, while it is being wrapped */
};

enum { WRAP_KEY_MIN = 16, WRAP_KEY_MAX = 128, WRAP_BLOB_MAX = 2048 };

/* How a blob says that it was made. */
struct wrap_info {
        enum wrap_mechanism mechanism;
        enum wrap_mac mac;
        uint32_t generation;
};

const char *
wrap_mechanism_to_string(enum wrap_mechanism mechanism); /* "kwp", "key-wrap-pad", "gcm", "cbc-pad", "rsa-oaep", "ecdh" */
int wrap_mechanism_from_string(const char *text, enum wrap_mechanism *ret);
const char *wrap_mac_to_string(enum wrap_mac mac); /* "none", "sha256-hmac", "aes-cmac", "aes-mac-64" */
int wrap_mac_from_string(const char *text, enum wrap_mac *ret);

/* Whether the token has all that how asks for: keys, their types and uses, mechanisms. At start, so that not the first release
 * finds out. -EOPNOTSUPP, -ENOKEY, -EINVAL (CBC_PAD without MAC, a key of another type) with words in pkcs11_error(). Needs
 * login. */
int wrap_check(struct pkcs11 *pkcs11, const struct wrap_how *how);

/* Words to put behind what wrap_check() found missing: "; it has CKM_AES_GCM CKM_AES_CMAC", of all that could be asked for. */
void wrap_offered(struct pkcs11 *pkcs11, char *ret, size_t size);

/* key: WRAP_KEY_MIN to WRAP_KEY_MAX bytes; NULL: the token makes one of 32 bytes. ret_key: a copy of the key; may be NULL.
 * RSA_OAEP and ECDH need no login where the token shows the public key or a certificate without. */
int wrap_make(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const struct secret *key,
              struct blob *ret, struct secret **ret_key);
/* By the mechanism that the blob names, with the keys of how. -EBADMSG: not a blob of ours (cut, unknown mechanism); -ESTALE: of
 * another generation of the wrapping key than how's; -EKEYREJECTED: changed, made for another binding or by another key. */
int wrap_open(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const void *blob,
              size_t size, struct secret **ret);

/* A key that never is in anybody's memory: made by the token, wrapped, and used by the token. It needs a MAC key, which alone can
 * bind it, and a mechanism by which the token wraps keys (not GCM where that only encrypts). wrap_open() opens such a blob too,
 * into our memory: what keeps whoever may use the wrapping key from doing so is the token's own policy (CKA_UNWRAP_TEMPLATE). */
struct wrap_use {
        bool seal;         /* else open */
        const uint8_t *iv; /* of AES-256-GCM, 12 bytes */
        const void *aad;
        size_t aad_size;
        const void *data; /* WRAP_KEY_MIN to WRAP_KEY_MAX - 16 bytes; open: and 16 of the tag behind it */
        size_t size;
};
int wrap_make_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, struct blob *ret);
/* -EKEYREJECTED: the blob, or what is to be opened, was changed. */
int wrap_use_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                    const struct blob *blob, const struct wrap_use *use, struct secret **ret);

/* As wrap_check(), for the two. */
int wrap_check_inside(struct pkcs11 *pkcs11, const struct wrap_how *how);

/* Pure. -EBADMSG. */
int wrap_describe(const void *blob, size_t size, struct wrap_info *ret);
