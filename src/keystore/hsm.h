/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"
#include "pkcs11/wrap.h"

/* A token, and one thread that asks it: a token that hangs holds up this thread and nobody else, for those who wait give up. It
 * is opened again by itself when it was away. */
struct hsm;

struct hsm_options {
        struct pkcs11_where where;
        char *pin;           /* as in struct keystore_source */
        struct wrap_how how; /* of new keys, and where the keys are; without generation */
        bool choose;         /* no mechanism is configured: the first one that the token has */
};

/* Opens the token, logs in, finds the keys, looks for the mechanisms; words. options' texts must stay. */
int hsm_open(const struct hsm_options *options, struct hsm **ret, char *error, size_t error_size);
struct hsm *hsm_close(struct hsm *hsm);
DEFINE_CLEANUP(struct hsm *, hsm_close)
const char *hsm_serial(const struct hsm *hsm);

/* Of wrap.h, with the binding as one field. -ENOLINK, with words by keystore_fail(): the token is away, busy, or does not answer.
 * -EKEYREJECTED: the blob. -EOPNOTSUPP: the token cannot. */
int hsm_wrap(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct secret *key, struct blob *ret,
             struct secret **ret_key);
int hsm_unwrap(struct hsm *hsm, uint32_t generation, const struct blob *binding, const void *data, size_t size,
               struct secret **ret);
/* The same for a key that stays in the token. */
int hsm_make_inside(struct hsm *hsm, uint32_t generation, const struct blob *binding, struct blob *ret);
int hsm_use_inside(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct blob *blob,
                   const struct wrap_use *use, struct secret **ret);
/* The token is the right one if it opens this. */
int hsm_expect(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct blob *proof);
/* Looks for a token that was away. True: there is something new to say about it. */
bool hsm_tick(struct hsm *hsm, char *words, size_t size);
