/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/keypair.h"
#include "pkcs11/wrap.h"
#include "store/store.h"

/* Halves at rest (docs/keys.md): master key (in a file, sealed by this machine's TPM, or in an HSM) -> one key a group, the KEK
 * -> a key for each half -> half. The service itself has a KEK of its own, the group "", over its MAC keys and key pairs. What
 * the database holds is wrapped; a copy of it alone opens nothing. Destroying a half is deleting the row of the key that wraps it
 * (and overwriting: secure_delete). Thread-safe. Two processes may work on one database; each reads the row before it uses what
 * it has in memory. */
struct keystore;

/* The tables, each migration once and in order: number 2 of every service; after the role's own, the second one. Rows of before
 * the second one are wrapped anew by the first keystore_open() that has their master key. */
extern const struct store_migration keystore_migration;
extern const char keystore_migration_generations[];

/* Configuration: the section [keystore] of a service (and the old key master-key of [service]). */
enum keystore_kind { KEYSTORE_NONE, KEYSTORE_FILE, KEYSTORE_TPM, KEYSTORE_PKCS11 };

/* One master key, and how to come to it. */
struct keystore_source {
        enum keystore_kind kind;
        char *text;        /* as it was configured, for messages */
        char *path;        /* file: 32 bytes, raw or base64url, mode 0600 or refused */
        char *uri;         /* pkcs11 */
        char *module;      /* pkcs11: path; NULL: the URI's, else p11-kit's configuration */
        char *pin;         /* "file:/path", "credential:NAME"; NULL: the URI's pin-source, else no login */
        char *mac_key;     /* pkcs11: URI or label; NULL: without a MAC */
        enum wrap_mac mac; /* pkcs11: what mac_key is for */
        bool in_process;   /* pkcs11: the module is loaded into the service; default: a process of its own */
};

struct keystore_options {
        struct keystore_source master;
        struct keystore_source old;    /* KEYSTORE_NONE, but while a rewrap goes on: rows under it are opened, too */
        enum wrap_mechanism mechanism; /* 0: what the token has */
        bool iv_by_token, always_sensitive;
        char *tpm;         /* a TCTI; NULL until keystore_options_check(): device:/dev/tpmrm0 */
        uint32_t pcrs;     /* mask of those that a new master key is sealed to; PCR 7 */
        unsigned gate_pcr; /* closed once the master key was unsealed; 14 */
        uint32_t seen;     /* keystore_option()'s */
        unsigned cache;    /* seconds that the KEK of a group stays in locked memory; 0: every use asks the HSM. Default: 300
                            * (pkcs11), for ever (file, tpm: their master is in memory, too) */
};

/* One key of [keystore]: "master", "old-master", "module", ... directory: of the configuration file, for relative paths. -ENOENT:
 * no such key; -EEXIST: twice; -EINVAL with words: not a value of it. */
int keystore_option(struct keystore_options *options, const char *directory, const char *name, const char *value, char *error,
                    size_t error_size);
bool keystore_option_given(const struct keystore_options *options, const char *name);
/* After the last one: what belongs together. -EBADMSG with words. */
int keystore_options_check(struct keystore_options *options, char *error, size_t error_size);
bool keystore_options_equal(const struct keystore_options *a, const struct keystore_options *b);
void keystore_options_done(struct keystore_options *options);

/* party: "tenant", "verifier" or "registrar". Finds the database's master (row) that the configured key is, checks that it is,
 * opens the service's KEK and what hangs off it. A database without a master takes the configured one. With old: where the new
 * one is not known to the database, it becomes known; KEKs are made under it from then on. -EKEYREJECTED: the key is not the one
 * of this database; -ENOKEY, -EOPNOTSUPP: the token lacks the key, a mechanism; -ENODEV: no token (now); -EPERM: PIN locked, or
 * its last try; all with words. */
int keystore_open(const struct keystore_options *options, struct store *store, const char *party, struct keystore **ret,
                  char *error, size_t error_size);
struct keystore *keystore_close(struct keystore *keystore);
DEFINE_CLEANUP(struct keystore *, keystore_close)
/* Changed options, while others use the keystore: on failure the old ones stay. */
int keystore_reload(struct keystore *keystore, const struct keystore_options *options, char *error, size_t error_size);
/* Wipes what is past its time, and looks for a token that was away. About once a second. True: words has something for the
 * journal. */
bool keystore_tick(struct keystore *keystore, char *words, size_t size);
/* Why the last call of this thread failed, naming party, group and generation. */
const char *keystore_error(void);

/* A new master key file (0600, never overwrites: -EEXIST). */
int keystore_create_master(const char *path);

/* Makes the KEKs of a group ready in memory (and makes one, where the group has none), so that the write that comes next need not
 * wait for the HSM with the database's lock. uses: of each, where nothing is cached. Not inside a transaction. -ENOLINK: the HSM
 * does not answer; it is tried again by itself. */
int keystore_warm(struct keystore *keystore, const char *group, unsigned uses);

/* Wrap a secret (at most 64 bytes) of a node under its group's key; context binds it (node, key id, generation, what). In a write
 * transaction. ret_handle: the row that must be there to unwrap. -ENOLINK as above. */
int keystore_wrap(struct keystore *keystore, struct store_txn *txn, const char *group, const struct field *context,
                  size_t n_context, const struct secret *secret, int64_t *ret_handle);
/* -ENOENT: destroyed, or never there. -EKEYREJECTED: not wrapped with this context, or rows were changed or exchanged, or older
 * ones put back. -ENOLINK. */
int keystore_unwrap(struct keystore *keystore, struct store_txn *txn, int64_t handle, const struct field *context,
                    size_t n_context, struct secret **ret);
int keystore_destroy(struct keystore *keystore, struct store_txn *txn, int64_t handle);
/* Moves a half when its node changes groups: unwraps, wraps under the new group's key, destroys the old row. */
int keystore_move(struct keystore *keystore, struct store_txn *txn, int64_t handle, const char *group,
                  const struct field *context, size_t n_context, int64_t *ret_handle);
/* The context of a party's half; keystore_verify() opens halves with it. */
#define KEYSTORE_HALF_CONTEXT(node, key, generation) \
        FIELDS(field_text("tallyboot half at rest v1"), field_text(node), field_text(key), field_number(generation))

/* MAC keys shared by the party's replicas: for nonces, tickets, credentials; 32 bytes. number: which one. Cached; they live as
 * long as the keystore, which makes the first one when it is opened. May be called from inside a write. */
int keystore_mac_current(struct keystore *keystore, uint32_t *ret_number, const struct secret **ret);
int keystore_mac_get(struct keystore *keystore, uint32_t number, const struct secret **ret); /* -ENOENT */
/* The party's inbox key pair (dealt halves are sealed to it). */
int keystore_inbox(struct keystore *keystore, const struct keypair **ret);
/* The key pair that this service signs the heads of its audit log with: made with the database, the same for all processes on
 * it, and not the certificate's, which is renewed, and which lies outside of the keystore's wrapping. Lives as long as the
 * keystore. */
const struct keypair *keystore_audit_key(const struct keystore *keystore);
