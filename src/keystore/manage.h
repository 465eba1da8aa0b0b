/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"

/* What `tallyctl keystore` does, beside a running service or without one. Every step is one transaction of bounded size: killed
 * between any two (or in one), everything still opens, and the same calls go on where they were. */

/* The key ceremony. Makes the key that options->master names (file: the file; pkcs11: the AES key, and the MAC key where one is
 * configured, in the token; tpm: a sealed object, which the database keeps). store NULL: only that. With a store: the database
 * knows it from then on (its first master, or one more beside that of options->old). -EEXIST: there is such a key already (the
 * file, the label): nothing was changed. */
int keystore_init(const struct keystore_options *options, struct store *store, const char *party, char *error, size_t error_size);

struct keystore_master {
        int64_t id;      /* generation of the master: 1, 2, ... */
        char kind[8];    /* file, tpm, pkcs11 */
        char name[256];  /* path or URI; what it was made with */
        char serial[64]; /* of the token; "" */
        int64_t created; /* s */
        int64_t keks;    /* how many are wrapped by it */
        bool is_open;    /* configured, and it is the one */
};
struct keystore_kek {
        char group[65];     /* "": the service's own */
        int64_t generation; /* 1, 2, ... */
        int64_t master;
        char mechanism[32], mac[16]; /* how the blob says that it was wrapped */
        int64_t created;             /* s */
        int64_t rows;                /* halves under it; of the service's: MAC keys and key pairs */
        bool is_newest;
};
/* Arrays for free(). Without any master key: keystore NULL is allowed, is_open is then false. */
int keystore_masters(struct keystore *keystore, struct store *store, struct keystore_master **ret, size_t *ret_n);
int keystore_keks(struct store *store, struct keystore_kek **ret, size_t *ret_n);

struct keystore_progress {
        int64_t done; /* rows, in this call */
        int64_t left;
};
/* A new generation of a group's KEK ("": the service's), made by the current master. -EALREADY: rows are left under an older one;
 * go on with steps. -ENOENT: no such group. */
int keystore_rotate(struct keystore *keystore, const char *group, int64_t *ret_generation);
/* Wraps at most max rows under the newest KEK. 1: more are left. 0: none are, the older KEKs are destroyed, and are accepted
 * nowhere any more. */
int keystore_rotate_step(struct keystore *keystore, const char *group, unsigned max, struct keystore_progress *ret);
/* Wraps at most max KEKs under the current master. 1: more are left. 0: none are, and the database has forgotten the other
 * masters. KEKs go through this process' memory, those of always-sensitive, too: rotate afterwards where they should never have
 * been outside. */
int keystore_rewrap_step(struct keystore *keystore, unsigned max, struct keystore_progress *ret);
/* What was deleted is in no file of the database any more. -EBUSY: a reader was in the way for all of ten seconds. */
int keystore_scrub(struct store *store);

enum keystore_problem {
        KEYSTORE_UNDER_OLD_MASTER,     /* rewrap */
        KEYSTORE_UNDER_OLD_GENERATION, /* rotate_step */
        KEYSTORE_DOES_NOT_OPEN,        /* changed, exchanged, put back */
        KEYSTORE_MASTER_NOT_OPEN,      /* under a master that is not configured, or not there: not tried */
        KEYSTORE_ORPHAN,               /* a row that no half of a node belongs to */
        KEYSTORE_MISSING,              /* a half of a node without its row */
};
struct keystore_finding {
        enum keystore_problem problem;
        const char *what; /* "master", "kek", "half", "mac", "pair", "floor" */
        const char *party, *group;
        const char *node, *key; /* half; "" where not known */
        int64_t generation;     /* of the half, or of the KEK, or number of the MAC key */
        int64_t kek, master;    /* generation of the KEK, of the master that the row names */
        const char *words;      /* one line that names all of this */
};
struct keystore_verified {
        int64_t masters, keks, halves, service_keys; /* that open */
        int64_t findings;                            /* of which fine, but not finished (the first two problems): */
        int64_t unfinished;
};
/* Opens everything. found is called for each finding; a return that is not 0 ends it. The transactions are short. */
typedef int (*keystore_found)(const struct keystore_finding *finding, void *userdata);
int keystore_verify(struct keystore *keystore, keystore_found found, void *userdata, struct keystore_verified *ret);
