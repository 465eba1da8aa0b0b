/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/keypair.h"
#include "store/store.h"

/* Halves at rest: master key (a file for now; TPM and PKCS#11 later) -> per-group key -> a key for each half -> half. What the database holds is
 * wrapped; a copy of it alone opens nothing. Destroying a half is deleting the row of the key that wraps it (and overwriting: secure_delete). Thread-safe. */
struct keystore;
extern const struct store_migration keystore_migration; /* number 2 */

/* master_file: 32 bytes, base64url or raw 32, mode 0600 or refused (-EPERM); made by tallyctl init. party: "tenant" or "verifier" or "registrar".
 * -EKEYREJECTED with words where the master key is not the one this store was made with. */
int keystore_open(const char *master_file, struct store *store, const char *party, struct keystore **ret, char *error,
                  size_t error_size);
struct keystore *keystore_close(struct keystore *keystore);
DEFINE_CLEANUP(struct keystore *, keystore_close)
/* A new master key file (0600, never overwrites: -EEXIST). */
int keystore_create_master(const char *path);

/* Wrap a secret (at most 64 bytes) of a node under its group's key; context binds it (node, key id, generation, what). In a write
 * transaction. ret_handle: the row that must be there to unwrap. */
int keystore_wrap(struct keystore *keystore, struct store_txn *txn, const char *group, const struct field *context,
                  size_t n_context, const struct secret *secret, int64_t *ret_handle);
/* -ENOENT: destroyed, or never there. -EKEYREJECTED: not wrapped with this context, or rows were changed or exchanged. */
int keystore_unwrap(struct keystore *keystore, struct store_txn *txn, int64_t handle, const struct field *context,
                    size_t n_context, struct secret **ret);
int keystore_destroy(struct keystore *keystore, struct store_txn *txn, int64_t handle);
/* Moves a half when its node changes groups: unwraps, wraps under the new group's key, destroys the old row. */
int keystore_rewrap(struct keystore *keystore, struct store_txn *txn, int64_t handle, const char *group,
                    const struct field *context, size_t n_context, int64_t *ret_handle);

/* MAC keys shared by the party's replicas: for nonces, tickets, credentials; 32 bytes. number: which one. Cached; they live as long as the
 * keystore, which makes the first one when it is opened. May be called from inside a write. */
int keystore_mac_current(struct keystore *keystore, uint32_t *ret_number, const struct secret **ret);
int keystore_mac_get(struct keystore *keystore, uint32_t number, const struct secret **ret); /* -ENOENT */
/* The party's inbox key pair (dealt halves are sealed to it). */
int keystore_inbox(struct keystore *keystore, const struct keypair **ret);
/* The key pair that this service signs the heads of its audit log with: made with the database, the same for all processes on it, and
 * not the certificate's, which is renewed, and which lies outside of the keystore's wrapping. Lives as long as the keystore. */
const struct keypair *keystore_audit_key(const struct keystore *keystore);
