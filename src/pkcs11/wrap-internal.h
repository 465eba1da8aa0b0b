/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files about wrapped keys share; nobody else includes it but their tests. */

#include "crypto/crypto.h"
#include "pkcs11/internal.h"
#include "pkcs11/wrap.h"

/* A wrapped key (docs/protocol.md, "Wrapped keys"), big endian:
 *      4 bytes "tbwk", u8 version 1, u8 mechanism, u8 MAC, u8 variant, u32 generation,
 *      u8 size, IV (or the ephemeral point); u16 size, wrapped bytes; u8 size, check (MAC or confirmation). */
enum {
        WRAP_VERSION = 1,
        WRAP_HEADER_SIZE = 12,
        WRAP_IV_MAX = 97,
        WRAP_DATA_MAX = 512,
        WRAP_CHECK_MAX = 32,
        GCM_IV_SIZE = 12,
        CBC_IV_SIZE = 16,
        TOKEN_KEY_SIZE = 32, /* of a key that is made here or by the token */
};

enum oaep_hash { OAEP_SHA1 = 1, OAEP_SHA256 = 2 };

struct wrap_blob {
        struct wrap_info info;
        uint8_t variant; /* RSA_OAEP: enum oaep_hash; else 0 */
        uint8_t iv[WRAP_IV_MAX], data[WRAP_DATA_MAX], check[WRAP_CHECK_MAX];
        size_t iv_size, data_size, check_size;
};

/* Strict: every size is one that the mechanism has, and nothing follows. Pure. -EBADMSG. */
int wrap_parse(const void *data, size_t size, struct wrap_blob *ret);
/* with_check: all of it, else what the check covers. */
int wrap_format(const struct wrap_blob *blob, bool with_check, struct blob *ret);
/* Whether it makes sense at all; words are set. */
int wrap_check_how(const struct wrap_how *how);
bool wrap_is_aes(enum wrap_mechanism mechanism);
size_t wrap_mac_size(enum wrap_mac mac);

/* What a call is about. */
struct wrap_task {
        struct pkcs11 *pkcs11;
        const struct wrap_how *how;
        const struct field *binding;
        size_t n;
        struct wrap_blob blob;
};

int wrap_check_info(const struct wrap_how *how, const struct wrap_info *info);

/* L(label, bytes, binding...) */
int wrap_context(const struct wrap_task *task, const char *label, const void *data, size_t size, struct blob *ret);
/* L("tallyboot wrap v1", first 12 bytes of the blob, binding...): additional data of GCM and ECDH */
int wrap_aad(const struct wrap_task *task, struct blob *ret);

/* wrap-aes.c. key NULL: the token makes one. Fills task->blob's iv and data. */
int wrap_aes_make(struct wrap_task *task, const struct secret *key);
int wrap_aes_open(struct wrap_task *task, struct secret **ret);
/* The same with a key that stays in the token; the object is the caller's to destroy. */
int wrap_aes_make_inside(struct wrap_task *task);
int wrap_aes_open_inside(struct wrap_task *task, CK_OBJECT_HANDLE *ret);
CK_MECHANISM_TYPE wrap_aes_mechanism(enum wrap_mechanism mechanism);
/* Of the CKF_ENCRYPT, DECRYPT, WRAP, UNWRAP that both the mechanism and the key have. */
CK_FLAGS wrap_abilities(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_MECHANISM_TYPE type);

/* wrap-public.c. Likewise; key is never NULL. */
int wrap_rsa_make(struct wrap_task *task, const struct secret *key, enum oaep_hash hash);
int wrap_rsa_open(struct wrap_task *task, struct secret **ret);
int wrap_ecdh_make(struct wrap_task *task, const struct secret *key);
int wrap_ecdh_open(struct wrap_task *task, struct secret **ret);

/* wrap-mac.c. The check of task->blob's other parts: a MAC by the token, or by the wrapped key itself; none where the mechanism
 * has additional data. wrap_mac_check() needs no key where the blob has a MAC, wrap_confirm_check() comes after opening. */
int wrap_check_make(struct wrap_task *task, const struct secret *key);
int wrap_mac_check(struct wrap_task *task);
int wrap_confirm_check(struct wrap_task *task, const struct secret *key);
CK_MECHANISM_TYPE wrap_mac_mechanism(enum wrap_mac mac);

/* What C_Decrypt and C_UnwrapKey said: -EKEYREJECTED where it is the blob's fault. Tokens differ in how they say so. */
int wrap_refused(struct pkcs11 *pkcs11, CK_RV rv, const char *what);
/* Into an object that can be read. Tokens differ in which attributes they want, and in which they refuse: fewer are tried. */
CK_RV wrap_unwrap_key(struct wrap_task *task, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE *ret);
/* The value of a session object, which is destroyed. */
int wrap_take_value(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, size_t max, struct secret **ret);
