/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "boot/converse.h"
#include "boot/crypttab.h"
#include "enroll/enroll.h"
#include "luks/luks.h"

/* One run: SIGINT, SIGTERM and SIGHUP are blocked for all of it, and looked for only where we wait (network, approval, terminal).
 * So no header is ever left half written by a key press. */

enum recovery_choice { RECOVERY_ASK, RECOVERY_YES, RECOVERY_NO };
enum role_choice { ROLE_LOOK, ROLE_ROOT, ROLE_OTHER };

struct enroll_options {
        const char *key_file, *join_token_file, *name, *header;
        enum recovery_choice recovery;
        enum role_choice role;
        bool no_wait, payload, again, rebuild, without_other_key;
        char **devices;
        size_t n_devices;
};
/* 0, or the exit code (said already). */
int enroll_options_parse(int argc, char *argv[], struct enroll_options *ret);
int unenroll_options_parse(int argc, char *argv[], struct enroll_options *ret);

/* cancel.c */
int cancel_new(int *ret_fd);
bool cancel_asked(int cancel_fd);
int cancel_wait(int cancel_fd, uint64_t ms); /* -ECANCELED */

/* ask.c: the terminal (/dev/tty), and where else a secret can come from. */
bool ask_has_terminal(void);
int ask_secret(int cancel_fd, const char *prompt, struct secret **ret); /* no echo; -ENXIO no terminal, -ECANCELED */
/* node_waiting.ask, on the terminal. */
int ask_pin(struct node *node, const char *prompt, int (*check)(void *userdata), void *userdata, struct secret **ret);
int ask_yes(int cancel_fd, const char *question, bool *ret);
int ask_tell(const char *text, const struct secret *secret, const char *after); /* on the terminal and nowhere else */
int ask_read_file(const char *path, struct secret **ret);                       /* "-": standard input */
int ask_credential(const char *name, struct secret **ret);                      /* -ENOENT */

/* recovery.c: systemd's form (systemd-cryptenroll(1)): 32 random bytes, modhex, 8 groups of 8. */
enum { RECOVERY_LENGTH = 71 };
int recovery_new(struct secret **ret);
void recovery_format(const uint8_t bytes[static 32], char ret[static RECOVERY_LENGTH]); /* no NUL */

/* target.c: which volume is meant. sysfs: "/sys", or a test's tree. */
struct target {
        char *device, *header; /* header NULL: on the device */
        char name[LUKS_NAME_MAX];
        bool root;
};
int target_find(const char *argument, const struct enroll_options *options, const char *luks_uuid, struct target *ret);
int target_resolve(const char *argument, char **ret); /* UUID=..., paths; realpath */
void target_done(struct target *target);
bool target_rests_on(const char *sysfs, dev_t top, dev_t wanted);
int target_active_name(const char *sysfs, dev_t device, char *ret, size_t size); /* -ENOENT: no mapping on it */
int target_mount_device(const char *mountinfo, const char *mount_point, char *ret_source, size_t size, dev_t *ret);

/* volume.c: one volume on its way. */
struct volume_work {
        struct target target;
        struct luks_device *luks;
        int other_slot;                       /* opened by another key in this run; -1: not yet */
        struct secret *volume_key, *slot_key; /* dm-crypt's key; our slot's passphrase */
        struct luks_token token;
        bool has_token, has_slot, skip; /* skip: enrolled already */
        int offline_number;             /* LUKS2 token of the offline way, made in this run; -1: none */
        struct luks_expected expected;
};
void volume_work_done(struct volume_work *work);
int volume_begin(struct volume_work *work, const char *argument, const struct enroll_options *options);
/* Existing key: tried on all, asked for where it does not open. known: keys that opened something in this run. */
struct known_keys {
        struct secret *items[8];
        size_t n;
};
void known_keys_done(struct known_keys *known);
int volume_unlock(struct volume_work *work, const struct enroll_options *options, struct known_keys *known, int cancel_fd);
int volume_stage(struct volume_work *work, const char *node_id, const char *key_id);
int volume_describe(struct volume_work *work); /* reads the header again, and opens our slot the way that a boot does */
/* What it will look like in the manifest, but for the slot: of the one that a person has. */
int volume_foresee(const struct volume_work *work, struct luks_expected *ret);
int volume_undo(struct volume_work *work);
int volume_finish(struct volume_work *work, const char *node_id); /* live; slots of earlier enrollments go */
int volume_recovery(struct volume_work *work, enum recovery_choice choice, int cancel_fd);
int volume_find_enrolled(struct volume_work *work, const char *node_id, bool again, enum unlock_choice unlock);

/* The whole. */
struct enroll {
        struct enroll_options options;
        struct config *config;
        struct node *node;
        int cancel_fd;
        struct volume_work *volumes;
        size_t n_volumes;
        bool payload;
        char volumes_key[KEY_ID_LENGTH + 1], payload_key[KEY_ID_LENGTH + 1];
        char code[CODE_LENGTH + 1];
        struct secret *join_token; /* with its NUL */
        struct conversation *conversation;
        struct enroll_offline *offline; /* NULL: not wanted */
        bool registered;
        unsigned approval_said; /* mask of parties */
        unsigned unreached;
};

void say(const char *format, ...) _printf_(1, 2); /* progress, on standard output */
/* A node for a command of root's: what it proves itself with is what is there now, and a PIN is asked on the terminal. */
int living_node_new(struct config *config, int cancel_fd, struct node **ret);
/* 0 with both halves in e->conversation, else an exit code, said. */
int approval_fetch(struct enroll *e);
/* The passphrase of our slot on the volume of that UUID; -EBADMSG where the halves do not belong together. */
int halves_volume_key(const struct enroll *e, const char *uuid, struct secret **ret);
/* ret_undo: the tenant has refused, nothing became live: the slots can go. */
int confirm_volumes(struct enroll *e, bool *ret_undo); /* exit code */
/* Whether so many volumes fit into one confirmation. Before anything is written; exit code, said. */
int confirm_fits(const struct enroll *e);
int confirm_payload(struct enroll *e);

/* offline.c: what the headers keep for the offline way (tallyboot.conf, unlock =). */
struct enroll_offline *enroll_offline_free(struct enroll_offline *offline);
int offline_begin(struct enroll *e); /* exit code, said */
struct recombine_claim;
int offline_write(struct enroll *e, const struct recombine_claim *claim, const struct secret *k_b); /* said */
int offline_undo(struct volume_work *work);
/* Whether something is kept of this enrollment; after a rotation of an older generation, until the next boot. */
bool offline_is_kept(const struct volume_work *work, const struct luks_token *token);
int offline_remove_others(struct volume_work *work, size_t *ret_removed); /* but what this run has made */
