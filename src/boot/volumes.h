/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/crypttab.h"
#include "boot/recombine.h"

enum volume_state { VOLUME_WAITING, VOLUME_OPEN, VOLUME_FAILED };

/* One way to open a volume: a generation of a key. Newest first. */
struct volume_key {
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        struct luks_expected expected; /* owned */
        struct secret *key;            /* passphrase of the slot */
};

struct volume {
        char uuid[LUKS_UUID_LENGTH + 1];
        char name[LUKS_NAME_MAX]; /* of the mapping: crypttab's where it has the volume, else the manifest's */
        bool root;
        enum volume_state state;
        struct volume_key keys[WIRE_KEYS_MAX]; /* each enrollment of it is a key of its own, and stays live */
        size_t n_keys;
        const struct volume_key *opened_by;
        uint64_t called_back_ms; /* when its unit was started anew for us */
        char error[320];
};

/* Who vouches for a manifest: both parties, or a token. */
enum volumes_source { VOLUMES_BY_HALVES = 1, VOLUMES_BY_TOKEN };

struct volumes {
        struct volume *items;
        size_t n;
        enum volumes_source source; /* of the first manifest, and so of all; 0: none yet */
};

/* Adds what a manifest names, each volume with its key derived from K_b. Call with the newest generation of a key first. Takes
 * the entries out of the manifest. -EXDEV: the volumes so far have another source. One boot has one: else a root that a token
 * opened would come to stand beside data volumes that the halves opened. */
int volumes_add(struct volumes *volumes, enum volumes_source source, struct manifest *manifest, const char *node_id,
                const struct secret *k_b);
struct volume *volumes_find(struct volumes *volumes, const char *uuid);
/* Manifests of several enrollments may name two alike; there is one mapping, and that is the open one's. */
struct volume *volumes_find_name(struct volumes *volumes, const char *name);
bool volumes_all_open(const struct volumes *volumes);
void volumes_wipe_keys(struct volumes *volumes); /* what they are called and whether they are open stays */
void volumes_done(struct volumes *volumes);

/* Opens one volume from device; name NULL: only tests. On success noted in the run directory (opened/NAME). The header must be
 * what one of the manifests says. -EUCLEAN, -ENOKEY, -EMEDIUMTYPE ..., words in volume->error. */
int volume_open(struct volume *volume, const char *device, const char *name, const struct luks_options *options,
                const char *run_dir);

/* What this boot's unlocker opened, for the check of the root and for closing again. */
struct opened {
        char name[LUKS_NAME_MAX];
        char uuid[LUKS_UUID_LENGTH + 1];
        bool root;
};
int opened_list(const char *run_dir, struct opened **ret, size_t *ret_n);
int opened_note(const char *run_dir, const struct opened *opened);
void opened_forget(const char *run_dir, const char *name);
/* Closes all that the unlocker opened; goes on after a failure, returns the first. */
int opened_close_all(const char *run_dir);

/* A mapping by that name with an empty table, left by a race between two programs that open: removed. 0: none, or gone. */
int volume_remove_half_made(const char *name);
bool volume_is_active(const char *name);
