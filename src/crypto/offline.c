/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/offline.h"

#include <string.h>

void offline_group_fields(const struct offline_binding *binding, struct field ret[static OFFLINE_GROUP_FIELDS]) {
        ret[0] = field_text("tallyboot offline group v1");
        ret[1] = field_text(binding->node_id);
        ret[2] = field_text(binding->key_id);
        ret[3] = field_number(binding->generation);
}

static int make_aad(const struct offline_binding *binding, struct blob *ret) {
        return fields_encode(FIELDS(field_text("tallyboot offline v1"), field_text(binding->node_id), field_text(binding->key_id),
                                    field_number(binding->generation), field_text(binding->luks_uuid)),
                             ret);
}

int offline_seal(const struct secret *group_key, const struct offline_binding *binding, const struct secret *k_b,
                 const void *manifest, size_t size, const uint8_t mac[static 32], struct blob *ret) {
        _cleanup_(secret_freep) struct secret *plain = NULL;
        _cleanup_(blob_done) struct blob aad = {}, sealed = {};
        int r;

        if (group_key->size != OFFLINE_KEY_SIZE || k_b->size != HALF_SIZE || size == 0 || size > OFFLINE_MANIFEST_MAX)
                return -EINVAL;
        r = make_aad(binding, &aad);
        if (r < 0)
                return r;
        r = secret_new(HALF_SIZE + size + 32, &plain);
        if (r < 0)
                return r;
        memcpy(plain->data, k_b->data, HALF_SIZE);
        memcpy(plain->data + HALF_SIZE, manifest, size);
        memcpy(plain->data + HALF_SIZE + size, mac, 32);

        sealed.size = AEAD_NONCE_SIZE + plain->size + AEAD_TAG_SIZE;
        sealed.data = malloc(sealed.size);
        if (!sealed.data)
                return -ENOMEM;
        r = random_bytes(sealed.data, AEAD_NONCE_SIZE);
        if (r >= 0)
                r = aead_seal(group_key->data, sealed.data, aad.data, aad.size, plain->data, plain->size,
                              sealed.data + AEAD_NONCE_SIZE);
        if (r < 0)
                return r;
        *ret = sealed;
        sealed = (struct blob){};
        return 0;
}

int offline_open(const struct secret *group_key, const struct offline_binding *binding, const void *sealed, size_t size,
                 struct secret **ret_k_b, struct blob *ret_manifest, uint8_t ret_mac[static 32]) {
        _cleanup_(secret_freep) struct secret *plain = NULL, *k_b = NULL;
        _cleanup_(blob_done) struct blob aad = {}, manifest = {};
        const uint8_t *data = sealed;
        int r;

        if (group_key->size != OFFLINE_KEY_SIZE || size < OFFLINE_SEALED_MIN || size > OFFLINE_SEALED_MIN + OFFLINE_MANIFEST_MAX)
                return -EKEYREJECTED;
        r = make_aad(binding, &aad);
        if (r < 0)
                return r;
        r = secret_new(size - AEAD_NONCE_SIZE - AEAD_TAG_SIZE, &plain);
        if (r < 0)
                return r;
        r = aead_open(group_key->data, data, aad.data, aad.size, data + AEAD_NONCE_SIZE, size - AEAD_NONCE_SIZE, plain->data);
        if (r < 0)
                return r == -EBADMSG ? -EKEYREJECTED : r;
        r = secret_copy(plain->data, HALF_SIZE, &k_b);
        if (r >= 0)
                r = blob_copy(plain->data + HALF_SIZE, plain->size - HALF_SIZE - 32, &manifest);
        if (r < 0)
                return r;
        memcpy(ret_mac, plain->data + plain->size - 32, 32);
        *ret_k_b = TAKE_PTR(k_b);
        *ret_manifest = manifest;
        manifest = (struct blob){};
        return 0;
}

int offline_message(const struct offline_binding *binding, const char *mechanism, const struct blob *wrapped,
                    const struct blob *sealed, struct blob *ret) {
        _cleanup_(blob_done) struct blob list = {};
        int r;

        r = fields_encode(FIELDS(field_text("tallyboot offline signature v1"), field_text(binding->node_id),
                                 field_text(binding->key_id), field_number(binding->generation), field_text(binding->luks_uuid),
                                 field_text(mechanism), field_bytes(wrapped->data, wrapped->size),
                                 field_bytes(sealed->data, sealed->size)),
                          &list);
        return r < 0 ? r : fields_token_message(&list, ret);
}
