/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/split.h"

#include <string.h>

/* HKDF(K_b, node id, L(fields), 32) */
static int derive(const struct secret *k_b, const char *node_id, const struct field *fields, size_t n, struct secret **ret) {
        _cleanup_(blob_done) struct blob info = {};
        int r;

        if (k_b->size != HALF_SIZE || !node_id_is_valid(node_id))
                return -EINVAL;

        r = fields_encode(fields, n, &info);
        if (r < 0)
                return r;

        return hkdf_sha256(k_b, node_id, NODE_ID_LENGTH, info.data, info.size, 32, ret);
}

static bool uuid_is_valid(const char *text) {
        for (unsigned i = 0; i < 36; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? text[i] != '-' : !((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
                        return false;
        }

        return text[36] == '\0';
}

int derive_volume_key(const struct secret *k_b, const char *node_id, uint32_t generation, const char *luks_uuid,
                      struct secret **ret) {
        if (!uuid_is_valid(luks_uuid))
                return -EINVAL;

        return derive(k_b, node_id, FIELDS(field_text("tallyboot luks2 v1"), field_number(generation), field_text(luks_uuid)),
                      ret);
}

int derive_payload_keypair(const struct secret *k_b, const char *node_id, uint32_t generation, struct keypair **ret) {
        _cleanup_(secret_freep) struct secret *ikm = NULL;
        int r;

        r = derive(k_b, node_id, FIELDS(field_text("tallyboot payload v1"), field_number(generation)), &ikm);
        if (r < 0)
                return r;

        return keypair_derive(ikm, ret);
}

int derive_manifest_key(const struct secret *k_b, const char *node_id, uint32_t generation, struct secret **ret) {
        return derive(k_b, node_id, FIELDS(field_text("tallyboot manifest v1"), field_number(generation)), ret);
}

int manifest_mac(const struct secret *manifest_key, const void *manifest, size_t size, uint8_t ret[static 32]) {
        return fields_hmac(manifest_key->data, manifest_key->size,
                           FIELDS(field_text("tallyboot manifest v1"), field_bytes(manifest, size)), ret);
}
