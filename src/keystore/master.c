/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/master.h"

#include <string.h>

#include "keystore/box.h"

static const char magic[] = "tbk1";
enum { MAGIC_SIZE = 4, HEAD_SIZE = MAGIC_SIZE + 8, FIELDS_MAX = 16 };

const struct master_ops *master_ops_of(enum keystore_kind kind) {
        switch (kind) {
        case KEYSTORE_FILE:
                return &master_file;
        case KEYSTORE_TPM:
                return &master_tpm;
        case KEYSTORE_PKCS11:
                return &master_pkcs11;
        default:
                return NULL;
        }
}

int master_open(const struct keystore_options *options, const struct keystore_source *source, const char *party,
                const struct blob *parameters, struct master **ret, char *error, size_t error_size) {
        _cleanup_(master_closep) struct master *master = NULL;
        int r;

        master = calloc(1, sizeof(*master));
        if (!master)
                return -ENOMEM;
        master->ops = master_ops_of(source->kind);
        if (!master->ops)
                return -EINVAL;
        master->party = strdup(party);
        if (!master->party)
                return -ENOMEM;

        r = master->ops->open(master, options, source, parameters, error, error_size);
        if (r >= 0 && master->secret)
                r = master_derive(master, "kek", &master->key);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(master);
        return 0;
}

struct master *master_close(struct master *master) {
        if (!master)
                return NULL;

        if (master->ops && master->ops->close)
                master->ops->close(master);
        (void) secret_free(master->secret);
        (void) secret_free(master->key);
        free(master->party);
        free(master);
        return NULL;
}

int master_expect(struct master *master, int64_t id, const struct field *binding, size_t n, const struct blob *proof) {
        master->secret = secret_free(master->secret);
        return master->ops->expect ? master->ops->expect(master, id, binding, n, proof) : 0;
}

int master_derive(const struct master *master, const char *use, struct secret **ret) {
        _cleanup_(blob_done) struct blob info = {};
        int r;

        if (!master->secret)
                return -EOPNOTSUPP;

        r = fields_encode(FIELDS(field_text("tallyboot keystore v1"), field_text(master->party), field_text(use)), &info);
        return r < 0 ? r : hkdf_sha256(master->secret, NULL, 0, info.data, info.size, AEAD_KEY_SIZE, ret);
}

/* Magic and generation are bound by what AES-GCM covers: as two fields in front of the caller's. */
static int bind_head(const uint8_t head[static HEAD_SIZE], const struct field *binding, size_t n,
                     struct field ret[static FIELDS_MAX]) {
        if (n + 1 > FIELDS_MAX)
                return -EINVAL;

        ret[0] = field_bytes(head, HEAD_SIZE);
        if (n > 0)
                memcpy(ret + 1, binding, n * sizeof(*binding));
        return 0;
}

static int memory_wrap(const struct master *master, int64_t id, const struct field *binding, size_t n, const struct secret *key,
                       struct blob *ret, struct secret **ret_key) {
        _cleanup_(secret_freep) struct secret *made = NULL;
        uint8_t data[HEAD_SIZE + AEAD_KEY_SIZE + BOX_OVERHEAD];
        struct field fields[FIELDS_MAX];
        int r;

        memcpy(data, magic, MAGIC_SIZE);
        for (size_t i = 0; i < 8; i++)
                data[MAGIC_SIZE + i] = (uint8_t) ((uint64_t) id >> (56 - 8 * i));

        r = bind_head(data, binding, n, fields);
        if (r >= 0)
                r = key ? secret_copy(key->data, key->size, &made) : secret_random(AEAD_KEY_SIZE, &made);
        if (r >= 0 && made->size != AEAD_KEY_SIZE)
                r = -EINVAL;
        if (r >= 0)
                r = box_seal(master->key, fields, n + 1, made, data + HEAD_SIZE);
        if (r >= 0)
                r = blob_copy(data, sizeof(data), ret);
        if (r >= 0 && ret_key)
                *ret_key = TAKE_PTR(made);
        return r;
}

static int memory_unwrap(const struct master *master, int64_t id, const struct field *binding, size_t n, const uint8_t *data,
                         size_t size, struct secret **ret) {
        struct field fields[FIELDS_MAX];
        uint64_t found = 0;
        int r;

        if (size != HEAD_SIZE + AEAD_KEY_SIZE + BOX_OVERHEAD || memcmp(data, magic, MAGIC_SIZE) != 0)
                return -EKEYREJECTED;
        for (size_t i = 0; i < 8; i++)
                found = found << 8 | data[MAGIC_SIZE + i];
        if (found != (uint64_t) id)
                return -EKEYREJECTED;

        r = bind_head(data, binding, n, fields);
        return r < 0 ? r : box_open(master->key, fields, n + 1, data + HEAD_SIZE, size - HEAD_SIZE, ret);
}

int master_wrap(struct master *master, int64_t id, const struct field *binding, size_t n, const struct secret *key,
                struct blob *ret, struct secret **ret_key) {
        return master->ops->wrap ? master->ops->wrap(master, id, binding, n, key, ret, ret_key)
                                 : memory_wrap(master, id, binding, n, key, ret, ret_key);
}

int master_unwrap(struct master *master, int64_t id, const struct field *binding, size_t n, const void *data, size_t size,
                  struct secret **ret) {
        return master->ops->unwrap ? master->ops->unwrap(master, id, binding, n, data, size, ret)
                                   : memory_unwrap(master, id, binding, n, data, size, ret);
}
