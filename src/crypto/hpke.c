/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/hpke.h"

#include <string.h>

/* RFC 9180. Its names: DHKEM is 4.1, KeySchedule 5.1, ContextS.Seal and ContextR.Open 5.2. */

enum { KEM_ID = 0x0010, KDF_ID = 0x0001, AEAD_128 = 0x0001, AEAD_256 = 0x0002, MODE_BASE = 0, MODE_PSK = 1 };

static const uint8_t KEM_SUITE[5] = { 'K', 'E', 'M', KEM_ID >> 8, KEM_ID & 0xff };

struct hpke {
        struct secret *keys; /* key, then base nonce */
        size_t key_size;
        uint64_t sequence;
};

struct suite {
        const uint8_t *id;
        size_t size;
};

static int labeled_extract(const struct suite *suite, const struct part *salt, const char *label, const struct part *ikm,
                           uint8_t ret[static 32]) {
        return hmac_parts(HASH_SHA256, salt->data, salt->size,
                          PARTS(TEXT_PART("HPKE-v1"), { suite->id, suite->size }, TEXT_PART(label), *ikm), ret);
}

static int labeled_expand(const struct suite *suite, const uint8_t prk[static 32], const char *label, const struct part *info,
                          uint8_t *ret, size_t size) {
        const uint8_t length[2] = { (uint8_t) (size >> 8), (uint8_t) size };

        return hkdf_expand(prk, PARTS({ length, 2 }, TEXT_PART("HPKE-v1"), { suite->id, suite->size }, TEXT_PART(label), *info),
                           ret, size);
}

static const struct suite kem_suite = { KEM_SUITE, sizeof(KEM_SUITE) };

int kem_extract(const void *salt, size_t salt_size, const char *label, const struct part *ikm, uint8_t ret[static 32]) {
        return labeled_extract(&kem_suite, &(struct part){ salt, salt_size }, label, ikm, ret);
}

int kem_expand(const uint8_t prk[static 32], const char *label, const struct part *info, uint8_t *ret, size_t size) {
        return labeled_expand(&kem_suite, prk, label, info, ret, size);
}

/* ExtractAndExpand(dh, enc || pkRm) */
static int kem_shared_secret(const uint8_t dh[static 32], const uint8_t enc[static POINT_SIZE],
                             const uint8_t recipient[static POINT_SIZE], uint8_t ret[static 32]) {
        uint8_t context[2 * POINT_SIZE];
        _cleanup_(wipe_32) uint8_t prk[32];
        int r;

        memcpy(context, enc, POINT_SIZE);
        memcpy(context + POINT_SIZE, recipient, POINT_SIZE);

        r = kem_extract(NULL, 0, "eae_prk", &(struct part){ dh, 32 }, prk);
        if (r < 0)
                return r;

        return kem_expand(prk, "shared_secret", &(struct part){ context, sizeof(context) }, ret, 32);
}

/* key_schedule_context = mode || psk_id_hash || info_hash */
static int schedule_context(const struct suite *suite, const struct part *info, const struct hpke_psk *psk,
                            uint8_t ret[static 65]) {
        const struct part none = {}, psk_id = psk ? (struct part){ psk->id, psk->id_size } : none;
        int r;

        ret[0] = psk ? MODE_PSK : MODE_BASE;
        r = labeled_extract(suite, &none, "psk_id_hash", &psk_id, ret + 1);
        if (r < 0)
                return r;

        return labeled_extract(suite, &none, "info_hash", info, ret + 33);
}

static int key_schedule(const uint8_t shared[static 32], size_t key_size, const struct part *info, const struct hpke_psk *psk,
                        struct hpke **ret) {
        const uint8_t suite_id[] = { 'H',           'P',         'K',           'E', KEM_ID >> 8,
                                     KEM_ID & 0xff, KDF_ID >> 8, KDF_ID & 0xff, 0,   key_size == 16 ? AEAD_128 : AEAD_256 };
        const struct suite suite = { suite_id, sizeof(suite_id) };
        const struct part psk_part = psk ? (struct part){ psk->psk, psk->psk_size } : (struct part){};
        _cleanup_(hpke_freep) struct hpke *hpke = NULL;
        _cleanup_(wipe_32) uint8_t secret[32];
        uint8_t context[65];
        int r;

        if (psk && (psk->psk_size < 32 || psk->id_size == 0))
                return -EINVAL;
        hpke = calloc(1, sizeof(*hpke));
        if (!hpke)
                return -ENOMEM;

        hpke->key_size = key_size;
        r = secret_new(key_size + AEAD_NONCE_SIZE, &hpke->keys);
        if (r < 0)
                return r;
        r = schedule_context(&suite, info, psk, context);
        if (r < 0)
                return r;
        r = labeled_extract(&suite, &(struct part){ shared, 32 }, "secret", &psk_part, secret);
        if (r < 0)
                return r;
        r = labeled_expand(&suite, secret, "key", &(struct part){ context, sizeof(context) }, hpke->keys->data, key_size);
        if (r < 0)
                return r;
        r = labeled_expand(&suite, secret, "base_nonce", &(struct part){ context, sizeof(context) }, hpke->keys->data + key_size,
                           AEAD_NONCE_SIZE);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(hpke);
        return 0;
}

int hpke_sender_with(const struct keypair *ephemeral, size_t key_size, const uint8_t recipient[static POINT_SIZE],
                     const struct part *info, const struct hpke_psk *psk, struct hpke **ret) {
        _cleanup_(wipe_32) uint8_t dh[32];
        _cleanup_(wipe_32) uint8_t shared[32];
        int r;

        r = keypair_ecdh(ephemeral, recipient, dh);
        if (r < 0)
                return r;
        r = kem_shared_secret(dh, ephemeral->public, recipient, shared);
        if (r < 0)
                return r;

        return key_schedule(shared, key_size, info, psk, ret);
}

int hpke_receiver_with(const struct keypair *keypair, size_t key_size, const uint8_t enc[static POINT_SIZE],
                       const struct part *info, const struct hpke_psk *psk, struct hpke **ret) {
        _cleanup_(wipe_32) uint8_t dh[32];
        _cleanup_(wipe_32) uint8_t shared[32];
        int r;

        r = keypair_ecdh(keypair, enc, dh);
        if (r < 0)
                return r;
        r = kem_shared_secret(dh, enc, keypair->public, shared);
        if (r < 0)
                return r;

        return key_schedule(shared, key_size, info, psk, ret);
}

int hpke_sender(const uint8_t recipient[static POINT_SIZE], const void *info, size_t info_size, const struct hpke_psk *psk,
                uint8_t ret_enc[static POINT_SIZE], struct hpke **ret) {
        _cleanup_(keypair_freep) struct keypair *ephemeral = NULL;
        int r;

        r = keypair_generate(&ephemeral);
        if (r < 0)
                return r;
        r = hpke_sender_with(ephemeral, AEAD_KEY_SIZE, recipient, &(struct part){ info, info_size }, psk, ret);
        if (r < 0)
                return r;

        memcpy(ret_enc, ephemeral->public, POINT_SIZE);
        return 0;
}

int hpke_receiver(const struct keypair *keypair, const uint8_t enc[static POINT_SIZE], const void *info, size_t info_size,
                  const struct hpke_psk *psk, struct hpke **ret) {
        return hpke_receiver_with(keypair, AEAD_KEY_SIZE, enc, &(struct part){ info, info_size }, psk, ret);
}

/* base_nonce xor sequence. The sequence number goes up after a success only; it cannot wrap in any life of a process. */
static void nonce_now(const struct hpke *hpke, uint8_t ret[static AEAD_NONCE_SIZE]) {
        memcpy(ret, hpke->keys->data + hpke->key_size, AEAD_NONCE_SIZE);
        for (unsigned i = 0; i < 8; i++)
                ret[AEAD_NONCE_SIZE - 1 - i] ^= (uint8_t) (hpke->sequence >> (8 * i));
}

int hpke_seal(struct hpke *hpke, const void *aad, size_t aad_size, const void *data, size_t size, struct blob *ret) {
        uint8_t nonce[AEAD_NONCE_SIZE];
        struct blob sealed;
        int r;

        if (size > SIZE_MAX - AEAD_TAG_SIZE)
                return -EINVAL;
        sealed = (struct blob){ .data = malloc(size + AEAD_TAG_SIZE), .size = size + AEAD_TAG_SIZE };
        if (!sealed.data)
                return -ENOMEM;

        nonce_now(hpke, nonce);
        r = gcm_seal(hpke->keys->data, hpke->key_size, nonce, &(struct part){ aad, aad_size }, data, size, sealed.data);
        if (r < 0) {
                blob_done(&sealed);
                return r;
        }

        hpke->sequence++;
        *ret = sealed;
        return 0;
}

int hpke_open(struct hpke *hpke, const void *aad, size_t aad_size, const void *data, size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        uint8_t nonce[AEAD_NONCE_SIZE];
        int r;

        if (size < AEAD_TAG_SIZE)
                return -EBADMSG;
        r = secret_new(MAX(size - AEAD_TAG_SIZE, (size_t) 1), &plain);
        if (r < 0)
                return r == -EINVAL ? -EBADMSG : r;

        nonce_now(hpke, nonce);
        r = gcm_open(hpke->keys->data, hpke->key_size, nonce, &(struct part){ aad, aad_size }, data, size, plain->data);
        if (r < 0)
                return r;

        plain->size = size - AEAD_TAG_SIZE;
        hpke->sequence++;
        *ret = TAKE_PTR(plain);
        return 0;
}

struct hpke *hpke_free(struct hpke *hpke) {
        if (!hpke)
                return NULL;

        secret_free(hpke->keys);
        free(hpke);
        return NULL;
}
