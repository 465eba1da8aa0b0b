/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "enroll/internal.h"

enum { TRIES = 3 };

void volume_work_done(struct volume_work *work) {
        target_done(&work->target);
        luks_device_free(work->luks);
        secret_free(work->volume_key);
        secret_free(work->slot_key);
        luks_expected_done(&work->expected);
        *work = (struct volume_work){};
}

void known_keys_done(struct known_keys *known) {
        for (size_t i = 0; i < known->n; i++)
                secret_free(known->items[i]);
        known->n = 0;
}

static const char *volume_metadata(const struct volume_work *work) {
        return work->target.header ?: work->target.device;
}

/* The UUID finds the volume in crypttab; the header may be on another device, which crypttab may say. */
static int find_target(struct volume_work *work, const char *argument, const struct enroll_options *options) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(freep) char *path = NULL;
        int r;

        r = target_resolve(options->header ?: argument, &path);
        if (r < 0)
                return r;
        r = luks_header_read(path, &header);
        if (r < 0 && r != -EMEDIUMTYPE && r != -EBADMSG)
                return r;
        return target_find(argument, options, header ? luks_header_uuid(header) : "", &work->target);
}

/* Not ours to remove: nobody knows which slot it meant. */
static void warn_of_malformed_token(const struct volume_work *work) {
        char error[256] = "";
        int number = luks_token_malformed(work->luks, error, sizeof(error));

        if (number >= 0)
                log_warning(
                        "%s: token %d says that it is tallyboot's, but %s. It is left as it is; to remove it: cryptsetup token remove "
                        "--token-id %d %s",
                        volume_metadata(work), number, error, number, volume_metadata(work));
}

int volume_begin(struct volume_work *work, const char *argument, const struct enroll_options *options) {
        char error[256] = "";
        int r;

        work->other_slot = -1;
        work->token.number = -1;
        work->offline_number = -1;
        r = find_target(work, argument, options);
        if (r < 0)
                return log_error_errno(r, "%s: cannot be read: %m.", argument);
        r = luks_device_open(volume_metadata(work), &work->luks, error, sizeof(error));
        if (r < 0)
                return log_error_errno(r, "%s: %s.", volume_metadata(work), error);
        if (work->target.name[0] == '\0' || strcmp(work->target.name, "luks-") == 0)
                snprintf(work->target.name, sizeof(work->target.name), "luks-%s", luks_device_uuid(work->luks));
        warn_of_malformed_token(work);
        return 0;
}

static int try_key(struct volume_work *work, const struct secret *key) {
        int slot, r;

        if (key->size == 0)
                return -ENOKEY;
        r = luks_unlock_passphrase(work->luks, key, &slot, &work->volume_key);
        if (r < 0)
                return r;
        work->other_slot = slot;
        return 0;
}

/* Takes key. */
static int try_and_keep(struct volume_work *work, struct known_keys *known, struct secret *key) {
        int r;

        r = try_key(work, key);
        if (r < 0 || known->n == ELEMENTSOF(known->items)) {
                secret_free(key);
                return r;
        }
        known->items[known->n++] = key;
        return 0;
}

static int unlock_given(struct volume_work *work, const struct enroll_options *options, struct known_keys *known) {
        static const char *const credentials[] = { "tallyboot.passphrase", "cryptsetup.passphrase" };
        struct secret *key = NULL;
        int r = -ENOKEY;

        if (options->key_file) {
                if (known->n > 0)
                        return -ENOKEY; /* read already, and tried by the caller */
                r = ask_read_file(options->key_file, &key);
                if (r < 0)
                        return log_error_errno(r, "%s: cannot be read: %m.", options->key_file);
                return try_and_keep(work, known, key);
        }
        for (size_t i = 0; i < ELEMENTSOF(credentials); i++) {
                if (ask_credential(credentials[i], &key) < 0)
                        continue;
                r = try_and_keep(work, known, key);
                if (r != -ENOKEY)
                        return r;
        }
        return -ENOKEY;
}

static int unlock_asking(struct volume_work *work, struct known_keys *known, int cancel_fd) {
        for (unsigned i = 0; i < TRIES; i++) {
                struct secret *key = NULL;
                char prompt[256];
                int r;

                snprintf(prompt, sizeof(prompt), "Existing passphrase of %s (%s): ", work->target.device, work->target.name);
                r = ask_secret(cancel_fd, prompt, &key);
                if (r == -ENXIO)
                        return log_error_errno(-ENOKEY,
                                               "%s: an existing key is needed, and there is no terminal to ask for it: use "
                                               "--key-file.",
                                               work->target.device);
                if (r < 0)
                        return r;
                r = try_and_keep(work, known, key);
                if (r >= 0)
                        return r;
                if (r != -ENOKEY)
                        return log_error_errno(r, "%s: the header or a keyslot cannot be used: %m.", work->target.device);
                log_warning("That opens no keyslot of %s.", work->target.device);
        }
        return -ENOKEY;
}

int volume_unlock(struct volume_work *work, const struct enroll_options *options, struct known_keys *known, int cancel_fd) {
        int r = -ENOKEY;

        for (size_t i = 0; i < known->n && r == -ENOKEY; i++)
                r = try_key(work, known->items[i]);
        if (r == -ENOKEY)
                r = unlock_given(work, options, known);
        if (r == -ENOKEY && !options->key_file)
                return unlock_asking(work, known, cancel_fd);
        if (r == -ENOKEY)
                log_error("%s: no keyslot opens with %s.", work->target.device, options->key_file);
        return r;
}

/* The header is on the disk before we go on; libcryptsetup has written past the page cache where it can. */
static void flush(const struct volume_work *work) {
        _cleanup_(closep) int fd = open(volume_metadata(work), O_RDONLY | O_CLOEXEC);

        if (fd < 0 || fsync(fd) < 0)
                log_debug("%s: not flushed.", volume_metadata(work));
}

/* Slot first: a token without its slot is found and removed by the next run, a slot without its token is nobody's. */
static int remove_enrollment(struct volume_work *work, const struct luks_token *token) {
        int r;

        if (luks_token_owns_slot(work->luks, token)) {
                r = luks_slot_wipe(work->luks, token->slot);
                if (r < 0)
                        return r;
        }
        return luks_token_remove(work->luks, token->number);
}

/* Enrolled; what it is without may have been asked for since. */
static int look_at_enrolled(struct volume_work *work, const struct luks_token *token, enum unlock_choice unlock) {
        size_t removed = 0;
        int r;

        if (unlock != UNLOCK_ONLINE && !offline_is_kept(work, token)) {
                say("%s is enrolled already, but nothing is kept for unlock = %s: it is enrolled anew.", work->target.device,
                    unlock_choice_to_string(unlock));
                return 0;
        }
        work->skip = true;
        r = unlock == UNLOCK_ONLINE ? offline_remove_others(work, &removed) : 0;
        if (r < 0)
                return log_error_errno(r, "%s: what was kept for the offline way cannot be removed: %m.", work->target.device);
        if (removed > 0)
                say("%s: removed what was kept for the offline way, as unlock = online says.", work->target.device);
        say("%s is enrolled already: slot %d, key %s, generation %u. %s; --again replaces it.", work->target.device, token->slot,
            token->key_id, token->generation, removed > 0 ? "Nothing else was done" : "Nothing was done");
        return 0;
}

int volume_find_enrolled(struct volume_work *work, const char *node_id, bool again, enum unlock_choice unlock) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n;
        int r;

        r = luks_token_list(work->luks, tokens, &n);
        for (size_t i = 0; r >= 0 && i < n && !again && !work->skip; i++)
                if (tokens[i].live && tokens[i].assigned && strcmp(tokens[i].node_id, node_id) == 0)
                        r = look_at_enrolled(work, tokens + i, unlock);
        return r;
}

/* What earlier runs left that were cut before they knew of their confirmation. Only where there is no room: one of them may be
 * live at the parties, and then it opens the volume until the new one is confirmed. */
static int remove_leftovers(struct volume_work *work) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n;
        int r;

        r = luks_token_list(work->luks, tokens, &n);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (!tokens[i].live)
                        r = remove_enrollment(work, tokens + i);
        return r;
}

static int stage(struct volume_work *work) {
        int slot, r;

        slot = luks_slot_first_free(work->luks);
        if (slot < 0)
                return slot;
        work->token.slot = slot;
        r = luks_token_write(work->luks, &work->token, false);
        if (r < 0)
                return r;
        work->has_token = true;
        flush(work);
        r = luks_slot_add(work->luks, work->volume_key, work->slot_key, slot, &slot);
        if (r < 0)
                return r;
        work->has_slot = true;
        r = luks_token_write(work->luks, &work->token, true);
        if (r < 0)
                return r;
        flush(work);
        return luks_slot_test(work->luks, slot, work->slot_key);
}

int volume_stage(struct volume_work *work, const char *node_id, const char *key_id) {
        int r;

        assert(work->other_slot >= 0); /* invariant 11: another key has opened it in this run */
        snprintf(work->token.node_id, sizeof(work->token.node_id), "%s", node_id);
        snprintf(work->token.key_id, sizeof(work->token.key_id), "%s", key_id);
        work->token.generation = 1;
        r = stage(work);
        if (r == -ENOSPC && remove_leftovers(work) >= 0)
                r = stage(work);
        if (r == -ENOSPC)
                return log_error_errno(r, "%s: all 32 keyslots are taken; free one with cryptsetup luksKillSlot.",
                                       work->target.device);
        if (r < 0)
                return log_error_errno(r, "%s: the new keyslot could not be made: %m.", work->target.device);
        return 0;
}

int volume_describe(struct volume_work *work) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        char error[256] = "";
        int r;

        r = luks_header_read(volume_metadata(work), &header);
        if (r >= 0)
                r = luks_describe(header, work->token.slot, work->volume_key, work->target.name, work->target.root,
                                  &work->expected);
        if (r == -EINVAL)
                return log_error_errno(r, "%s: \"%s\" is not a name that device-mapper takes; give --name.", work->target.device,
                                       work->target.name);
        if (r < 0)
                return log_error_errno(r, "%s: the header cannot be described for the manifest: %m.", work->target.device);
        r = luks_open_checked(header, &work->expected, work->target.device, work->slot_key, NULL, NULL, error, sizeof(error));
        if (r < 0)
                return log_error_errno(r, "%s: the new keyslot does not open as it will at boot: %s.", work->target.device,
                                       error);
        return 0;
}

int volume_foresee(const struct volume_work *work, struct luks_expected *ret) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        int r = luks_header_read(volume_metadata(work), &header);

        return r < 0 ? r : luks_describe(header, work->other_slot, work->volume_key, work->target.name, work->target.root, ret);
}

int volume_undo(struct volume_work *work) {
        int r = offline_undo(work);

        if (r >= 0 && work->has_slot)
                r = luks_slot_wipe(work->luks, work->token.slot);
        if (r >= 0 && work->has_token)
                r = luks_token_remove(work->luks, work->token.number);
        if (r < 0)
                return log_error_errno(r, "%s: slot %d, which is of no use, could not be removed: %m. Run enroll again.",
                                       work->target.device, work->token.slot);
        work->has_slot = work->has_token = false;
        flush(work);
        return 0;
}

/* Enrollments before this one: not finished, replaced by --again, or of an earlier mainboard (another node id). They are not
 * needed any more, now that this one is confirmed. */
static int remove_earlier(struct volume_work *work, const char *node_id) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n;
        int r;

        r = luks_token_list(work->luks, tokens, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (tokens[i].number == work->token.number)
                        continue;
                r = remove_enrollment(work, tokens + i);
                if (r < 0)
                        break;
                if (strcmp(tokens[i].node_id, node_id) == 0)
                        say("%s: removed slot %d of %s.", work->target.device, tokens[i].slot,
                            tokens[i].live ? "the earlier enrollment" : "an enrollment that was not finished");
                else
                        say("%s: removed slot %d of an earlier mainboard, node %s. Revoke it: tallyctl node revoke %s; and set the "
                            "payload again, if it had one.",
                            work->target.device, tokens[i].slot, tokens[i].node_id, tokens[i].node_id);
        }
        return r;
}

int volume_finish(struct volume_work *work, const char *node_id) {
        int r;

        work->token.live = true;
        r = luks_token_write(work->luks, &work->token, true);
        if (r < 0)
                return log_error_errno(r, "%s: the token could not be marked live: %m. The volume opens at boot all the same.",
                                       work->target.device);
        flush(work);
        r = remove_earlier(work, node_id);
        if (r >= 0)
                r = offline_remove_others(work, &(size_t){ 0 });
        if (r < 0)
                return log_error_errno(r, "%s: the slot of an earlier enrollment could not be removed: %m.", work->target.device);
        flush(work);
        return 0;
}

static int make_recovery(struct volume_work *work) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        int slot, r;

        r = recovery_new(&key);
        if (r < 0)
                return r;
        r = luks_slot_add_passphrase(work->luks, work->volume_key, key, true, &slot);
        if (r < 0)
                return r;
        flush(work);
        r = luks_slot_test(work->luks, slot, key);
        if (r >= 0)
                r = ask_tell("\nRecovery key. Write it down; it is not shown again, and not stored anywhere:\n\n    ", key,
                             "\n\n");
        if (r < 0)
                (void) luks_slot_wipe(work->luks, slot);
        else
                say("%s: the recovery key is in slot %d.", work->target.device, slot);
        return r;
}

int volume_recovery(struct volume_work *work, enum recovery_choice choice, int cancel_fd) {
        char question[256];
        bool yes = choice == RECOVERY_YES;
        int r;

        if (choice == RECOVERY_ASK && ask_has_terminal()) {
                snprintf(question, sizeof(question), "Make a recovery key for %s, to be written down? [y/N] ",
                         work->target.device);
                r = ask_yes(cancel_fd, question, &yes);
                if (r < 0)
                        return r;
        }
        if (!yes)
                return 0;
        r = make_recovery(work);
        if (r < 0)
                return log_error_errno(r, "%s: no recovery key was made: %m. The enrollment is complete without it.",
                                       work->target.device);
        return 0;
}
