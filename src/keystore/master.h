/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"

/* A master key makes and opens the blobs of KEKs. One file a kind: master-file.c, master-tpm.c, master-pkcs11.c. The kinds whose
 * key is in this process' memory once it is there (file, tpm) only say how it comes there; master.c does the rest. */
struct master;

/* A KEK that stays where the master is: its blob, and the encoded fields that it is bound to. */
struct master_inside {
        int64_t id; /* of the master */
        struct blob blob, binding;
};

struct master_ops {
        const char *name; /* "file", "tpm", "pkcs11" */

        /* The key ceremony. ret_parameters: what the database's row of this master keeps, the sealed object of a TPM for example;
         * left empty where there is nothing. -EEXIST: there is one already. */
        int (*create)(const struct keystore_options *options, const char *party, struct blob *ret_parameters, char *error,
                      size_t error_size);
        /* Comes to the key. source: options->master or options->old. parameters: of the row that is tried (the rows of this kind
         * are tried one after the other, the newest first, while it is -EKEYREJECTED); empty where there is no row yet, or it has
         * none. In-memory kinds set master->secret (32 bytes); the others master->data. */
        int (*open)(struct master *master, const struct keystore_options *options, const struct keystore_source *source,
                    const struct blob *parameters, char *error, size_t error_size);
        /* Kinds with the key elsewhere (NULL: in memory). id: the master's generation. key NULL: a new one of 32 bytes. -ENOLINK:
         * not to be reached now. */
        int (*wrap)(struct master *master, int64_t id, const struct field *binding, size_t n, const struct secret *key,
                    struct blob *ret, struct secret **ret_key);
        int (*unwrap)(struct master *master, int64_t id, const struct field *binding, size_t n, const void *data, size_t size,
                      struct secret **ret);
        /* Kinds that can keep a KEK where the master is; NULL: none. use: as box_seal() (data is the secret, ret nonce || sealed)
         * and box_open(). */
        int (*make_inside)(struct master *master, int64_t id, const struct field *binding, size_t n, struct blob *ret);
        int (*seal_inside)(struct master *master, const struct master_inside *key, const struct field *fields, size_t n,
                           const struct secret *secret, uint8_t *ret);
        int (*open_inside)(struct master *master, const struct master_inside *key, const struct field *fields, size_t n,
                           const void *data, size_t size, struct secret **ret);
        /* Kinds that can be away: from now on whoever comes back must open this. */
        int (*expect)(struct master *master, int64_t id, const struct field *binding, size_t n, const struct blob *proof);
        bool (*tick)(struct master *master, char *words, size_t size); /* true: words say something new. May be NULL */
        const char *(*serial)(const struct master *master);            /* of the token; may be NULL */
        void (*close)(struct master *master);                          /* frees master->data; may be NULL */
};

extern const struct master_ops master_file, master_tpm, master_pkcs11;

struct master {
        const struct master_ops *ops;
        char *party;
        struct secret *secret; /* in-memory kinds: wiped as soon as it is known that it is the right one; key, derived, remains */
        struct secret *key;
        void *data;
};

const struct master_ops *master_ops_of(enum keystore_kind kind);
int master_open(const struct keystore_options *options, const struct keystore_source *source, const char *party,
                const struct blob *parameters, struct master **ret, char *error, size_t error_size);
struct master *master_close(struct master *master);
DEFINE_CLEANUP(struct master *, master_close)

/* The KEK's blob. Of the in-memory kinds: "tbk1", 8 bytes master id, nonce, AES-256-GCM with the first 12 bytes and the binding
 * as additional data, under a key derived from the secret for this alone. */
int master_wrap(struct master *master, int64_t id, const struct field *binding, size_t n, const struct secret *key,
                struct blob *ret, struct secret **ret_key);
/* -EKEYREJECTED: changed, cut, of another master or binding. */
int master_unwrap(struct master *master, int64_t id, const struct field *binding, size_t n, const void *data, size_t size,
                  struct secret **ret);

/* It is the right one: what it was made of is wiped. */
int master_expect(struct master *master, int64_t id, const struct field *binding, size_t n, const struct blob *proof);

/* Keys derived from an in-memory master. Databases of before the generations were wrapped by them directly. */
int master_derive(const struct master *master, const char *use, struct secret **ret);
