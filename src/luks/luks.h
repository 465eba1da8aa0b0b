/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"
#include "crypto/crypto.h"

/* LUKS2 volumes, over libcryptsetup. Errors: -EMEDIUMTYPE not LUKS2 (LUKS1, or no LUKS at all), -EBADMSG header damaged, -ENOKEY
 * no slot opens with that, -EBUSY in use by that name, -EUCLEAN header is not what the manifest says (with words in error). */

enum { LUKS_UUID_LENGTH = 36, LUKS_KEYSLOTS = 32, LUKS_NAME_MAX = 128 };

/* What the manifest says of one volume (docs/protocol.md, 8); texts are NUL-terminated, malloc'ed ones freed by _done. */
struct luks_expected {
        bool root; /* role */
        char name[LUKS_NAME_MAX];
        char uuid[LUKS_UUID_LENGTH + 1];
        uint8_t fingerprint[32];
        char cipher[64];
        unsigned key_size;    /* bytes */
        unsigned sector_size; /* bytes */
        char integrity[64];   /* "" none */
        int keyslot;
        uint8_t keyslot_area_sha256[32];
        char *digest, *segments, *keyslot_json; /* canonical JSON */
};
void luks_expected_done(struct luks_expected *expected);

/* The manifest: "volumes" of one key and generation. */
struct manifest {
        char node_id[NODE_ID_LENGTH + 1];
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        struct luks_expected *volumes;
        size_t n;
};
int manifest_parse(const void *text, size_t size, struct manifest *ret); /* strict; at most 32 volumes, 64 KiB */
char *manifest_format(const struct manifest *manifest);
void manifest_done(struct manifest *manifest);

/* The header of a device, read once and bounded: both copies' binary headers and JSON, and the keyslot areas asked for. Never
 * goes back to the disk. */
struct luks_header;
int luks_header_read(const char *device, struct luks_header **ret);
struct luks_header *luks_header_free(struct luks_header *header);
DEFINE_CLEANUP(struct luks_header *, luks_header_free)
const char *luks_header_uuid(const struct luks_header *header);

/* What the header says, for a new manifest entry of slot keyslot. volume_key: the dm-crypt key, for the fingerprint. */
int luks_describe(const struct luks_header *header, int keyslot, const struct secret *volume_key, const char *name, bool root,
                  struct luks_expected *ret);
/* The same for a further slot of ours, of a volume that was opened as its manifest says: -EUCLEAN where the header, read again
 * since, is another one. Else whoever changes it in between would have her own described, and vouched for. */
int luks_describe_again(const struct luks_header *header, const struct luks_expected *opened, int keyslot,
                        const struct secret *volume_key, struct luks_expected *ret);
/* Holds the header against what the manifest says. -EUCLEAN with what differs, in words, in error; iteration counts, cipher,
 * sizes, segments, digest, requirements, re-encryption: nothing is opened before this. */
int luks_check(const struct luks_header *header, const struct luks_expected *expected, char *error, size_t error_size);

struct luks_options { /* of crypttab and the command line */
        bool discard, readonly, no_read_workqueue, no_write_workqueue, same_cpu_crypt, submit_from_crypt_cpus;
        const char *header; /* detached header device, or NULL */
};
/* Opens the volume from the checked copy of the header (sealed memfd; docs/boot: activation), by keyslot number, after
 * luks_check(), and compares the fingerprint of the volume key. name NULL: tests the key, maps nothing. */
int luks_open_checked(const struct luks_header *header, const struct luks_expected *expected, const char *device,
                      const struct secret *key, const char *name, const struct luks_options *options, char *error,
                      size_t error_size);
int luks_close(const char *name);

/* Enrollment: works on the living device. */
struct luks_device;
int luks_device_open(const char *device, struct luks_device **ret, char *error, size_t error_size);
struct luks_device *luks_device_free(struct luks_device *device);
DEFINE_CLEANUP(struct luks_device *, luks_device_free)
const char *luks_device_uuid(const struct luks_device *device);
/* The volume key by an existing passphrase; tries all slots of another origin. ret_slot: which one opened. -ENOKEY: none. */
int luks_unlock_passphrase(struct luks_device *device, const struct secret *passphrase, int *ret_slot,
                           struct secret **ret_volume_key);
/* The volume key by one slot's key. -ENOKEY. */
int luks_unlock_slot(struct luks_device *device, int slot, const struct secret *key, struct secret **ret_volume_key);
/* Adds our slot (pbkdf2, 1,000 iterations, sha256, priority normal) into the number given or any (-1). -ENOSPC: no slot free. */
int luks_slot_add(struct luks_device *device, const struct secret *volume_key, const struct secret *key, int slot, int *ret_slot);
/* A passphrase, with the header's default (argon2id) parameters; or, recovery, a recovery key of 256 bits, which needs no
 * stretching, as systemd-cryptenroll makes it: pbkdf2, 1,000 iterations, and a systemd-recovery token. */
int luks_slot_add_passphrase(struct luks_device *device, const struct secret *volume_key, const struct secret *passphrase,
                             bool recovery, int *ret_slot);
/* Whether a volume key is the one of which a manifest has the fingerprint. */
bool luks_fingerprint_is(const struct secret *volume_key, const char *uuid, const uint8_t fingerprint[static 32]);
int luks_slot_test(struct luks_device *device, int slot, const struct secret *key); /* 0, -ENOKEY */
int luks_slot_wipe(struct luks_device *device, int slot);
int luks_slot_first_free(struct luks_device *device); /* number or -ENOSPC */
/* Slots that are active and not a tallyboot token's own (luks_token_owns_slot()); mask. */
uint32_t luks_slots_other(struct luks_device *device);
uint32_t luks_slots_active(struct luks_device *device);

/* The token:
 * {"type":"tallyboot","keyslots":["N"],"version":1,"node":id,"key":hex,"generation":N,"state":"staged"|"live","slot":N}.
 * "keyslots" is empty until the slot exists. For people and inventory: nothing is decided by it. */
struct luks_token {
        int number; /* LUKS2 token number; -1: new */
        char node_id[NODE_ID_LENGTH + 1];
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        int slot;
        bool assigned; /* "keyslots" names the slot */
        bool live;
};
int luks_token_parse(const char *json, struct luks_token *ret, char *error, size_t error_size); /* strict; used by the plugin */
int luks_token_write(struct luks_device *device, struct luks_token *token,
                     bool assign); /* sets number; assign: "keyslots" names slot */
int luks_token_list(struct luks_device *device, struct luks_token ret[static LUKS_KEYSLOTS], size_t *ret_n);
int luks_token_remove(struct luks_device *device, int number);
/* The number of the first token that says it is ours and is not as it has to be, with why; -ENOENT: none. */
int luks_token_malformed(struct luks_device *device, char *error, size_t error_size);
/* Whether the token's slot is there and is one that we made: assigned to this token and to no other, or (a run that was cut
 * between slot and token) assigned to nobody, and made with our parameters. Only such a slot is ever wiped. */
bool luks_token_owns_slot(struct luks_device *device, const struct luks_token *token);
/* Whether a device carries a tallyboot token (a live one first), and its UUID, read cheaply; for `wait`. 0, -ENOENT,
 * -EMEDIUMTYPE. */
int luks_probe_token(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_token *ret);
/* All of them, as cheaply. 0 with none too. */
int luks_probe_tokens(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_token ret[static LUKS_KEYSLOTS],
                      size_t *ret_n);

/* A second token beside it, of the node's offline way (docs/protocol.md, 14):
 * {"type":"tallyboot-offline","keyslots":[],"version":1,"node":id,
 * "key":hex,"generation":N,"mechanism":text,"group_key":bin,"sealed":bin,"signature":bin or left out}. What it says is a claim
 * until it is opened; "keyslots" is empty, so that nothing else takes it for a way to open a slot. */
enum { LUKS_OFFLINE_MAX = 8 };
struct luks_offline {
        int number; /* LUKS2 token number; -1: new */
        char node_id[NODE_ID_LENGTH + 1];
        char key_id[KEY_ID_LENGTH + 1];
        uint32_t generation;
        char mechanism[16];
        struct blob group_key, sealed, signature; /* owned; signature {}: none */
};
struct luks_offline_list {
        struct luks_offline items[LUKS_OFFLINE_MAX];
        size_t n;
        size_t n_malformed; /* that say they are ours, and are not as they have to be */
};
void luks_offline_done(struct luks_offline *offline);
void luks_offline_list_done(struct luks_offline_list *list);
/* Strict. -EBADMSG with why. */
int luks_offline_parse(const char *json, struct luks_offline *ret, char *error, size_t error_size);
/* Whether a token's JSON says that it is of this type, well formed or not. */
bool luks_offline_is_called(const char *json);
/* Sets number. The header changes as a whole: libcryptsetup writes one copy after the other. -ENOSPC: no room for it in the
 * header. */
int luks_offline_write(struct luks_device *device, struct luks_offline *offline);
int luks_offline_list(struct luks_device *device, struct luks_offline_list *ret);
/* Of a device that is not open yet, read cheaply. 0 with none too; -EMEDIUMTYPE. */
int luks_offline_probe(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_offline_list *ret);
/* Those of a key that are of a generation below. */
int luks_offline_remove_older(struct luks_device *device, const char *key_id, uint32_t generation);
/* All of them but the one of that number (-1: all), malformed ones too. ret_removed: how many there were. */
int luks_offline_remove_others(struct luks_device *device, int number, size_t *ret_removed);
