/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/log.h"
#include "enroll/internal.h"

static int remove_token(struct volume_work *work, const struct luks_token *token) {
        int r = 0;

        if (luks_token_owns_slot(work->luks, token))
                r = luks_slot_wipe(work->luks, token->slot);
        if (r >= 0)
                r = luks_token_remove(work->luks, token->number);
        if (r < 0)
                return log_error_errno(r, "%s: slot %d could not be removed: %m.", work->target.device, token->slot);
        say("%s: removed slot %d of node %s.", work->target.device, token->slot, token->node_id);
        return 0;
}

static int remove_kept(struct volume_work *work, bool alone) {
        size_t kept = 0;
        int r = offline_remove_others(work, &kept);

        if (r < 0)
                return log_error_errno(r, "%s: what was kept for the offline way cannot be removed: %m.", work->target.device);
        if (kept > 0)
                say("%s: removed what was kept for the offline way.", work->target.device);
        else if (alone)
                say("%s carries nothing of ours: nothing to do.", work->target.device);
        return 0;
}

static int unenroll_volume(struct volume_work *work, const char *argument, const struct enroll_options *options,
                           struct known_keys *known, int cancel_fd) {
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n;
        int r;

        r = volume_begin(work, argument, options);
        if (r < 0)
                return r;
        r = luks_token_list(work->luks, tokens, &n);
        if (r < 0)
                return r;
        if (n == 0)
                return remove_kept(work, true);
        if (!options->without_other_key) {
                if (luks_slots_other(work->luks) == 0)
                        return log_error_errno(-ENOKEY,
                                               "%s has no other keyslot: without ours its data is lost. Add a passphrase first "
                                               "(tallyboot enroll --again --recovery-key yes), or say --without-other-key.",
                                               work->target.device);
                r = volume_unlock(work, options, known, cancel_fd);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < n && r >= 0; i++)
                r = remove_token(work, tokens + i);
        if (r >= 0)
                r = remove_kept(work, false);
        if (r >= 0)
                say("The services still know the node. If it is not to boot by itself any more: tallyctl node revoke %s",
                    tokens[0].node_id);
        return r;
}

int unenroll_run(int argc, char *argv[]) {
        _cleanup_(known_keys_done) struct known_keys known = {};
        _cleanup_(closep) int cancel_fd = -1;
        struct enroll_options options;
        int code, r;

        code = unenroll_options_parse(argc, argv, &options);
        if (code != EXIT_OK)
                return code;
        secret_require_lock();
        r = cancel_new(&cancel_fd);
        for (size_t i = 0; r >= 0 && i < options.n_devices; i++) {
                _cleanup_(volume_work_done) struct volume_work work = {};

                r = unenroll_volume(&work, options.devices[i], &options, &known, cancel_fd);
        }
        if (r == -ECANCELED)
                log_notice("Interrupted; what was not named as removed is as it was.");
        return r == -ECANCELED ? EXIT_INTERRUPTED : r < 0 ? EXIT_VOLUME : EXIT_OK;
}
