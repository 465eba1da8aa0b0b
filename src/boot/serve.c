/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/askpassword.h"
#include "boot/offline.h"
#include "boot/pid1.h"
#include "boot/unlock.h"

/* Opening, from the moment that the halves are there and the gate is closed. */

enum { LOOK_MS = 300, RESTART_PAUSE_MS = 4000 };

static int prepare_pair(struct unlocker *unlocker, const struct pair *pair) {
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        struct manifest manifest = {};
        char error[256] = "";
        int r;

        if (pair->u->kind != KEY_VOLUMES)
                return 0;
        r = split_join(pair->u, pair->v, &k_b);
        if (r < 0)
                return r;
        r = recombine_manifest(pair, unlocker->node->id, k_b, &manifest, error, sizeof error);
        if (r < 0) {
                unlocker_say(unlocker, "%s", error[0] ? error : strerror(-r));
                return r == -ENOMEM ? r : 0; /* another pair may do */
        }
        r = volumes_add(&unlocker->volumes, VOLUMES_BY_HALVES, &manifest, unlocker->node->id, k_b);
        manifest_done(&manifest);
        return r;
}

int serve_prepare(struct unlocker *unlocker) {
        int r = recombine_pairs(unlocker->conversation->outcomes, &unlocker->pairs);

        if (r == -ENOKEY) {
                unlocker_say(unlocker, "tenant and verifier know no key in common for this node; look at tallyctl node show");
                return r;
        }
        for (size_t i = 0; r >= 0 && i < unlocker->pairs.n; i++)
                r = prepare_pair(unlocker, unlocker->pairs.items + i);
        return r;
}

static int open_found(struct unlocker *unlocker, struct volume *volume, const struct found *found, const char *name) {
        const struct luks_options none = {}, *options = found->entry ? &found->entry->options : &none;
        int r = volume_remove_half_made(name);

        if (r >= 0 && volume_is_active(name))
                r = -EBUSY;
        if (r < 0) {
                snprintf(volume->error, sizeof volume->error, "%s is in use", name);
                return r;
        }
        r = volume_open(volume, found->device, name, options, unlocker->run_dir);
        if (r < 0) {
                volume->state = VOLUME_FAILED;
                unlocker_say(unlocker, "%s: not opened, a passphrase is needed: %s", name, volume->error);
                return r;
        }
        snprintf(volume->name, sizeof volume->name, "%s", name);
        log_info("%s: opened %s (generation %u, keyslot %d).", name,
                 unlocker->offline ? "offline, by the token" : "with both halves", volume->opened_by->generation,
                 volume->opened_by->expected.keyslot);
        return 0;
}

/* A prompt is up for it: the unit starts anew, and its first command waits for us while no passphrase can be asked. Only as long
 * as the question stands and nobody has answered it; an answer means that a person has taken over. */
static void call_back(struct volume *volume, struct pid1 *pid1, const struct pid1_unit *state, const struct found *found,
                      const char *unit) {
        if (!ask_is_pending(ASK_DIRECTORY, state->main_pid, found->device))
                return;
        if (volume->called_back_ms > 0 && clock_monotonic_ms() - volume->called_back_ms < RESTART_PAUSE_MS)
                return;
        volume->called_back_ms = clock_monotonic_ms();
        (void) pid1_restart(pid1, unit);
}

/* Nobody waits for it yet: open it if no systemd-cryptsetup can be at it at the same time. */
static void try_unclaimed(struct unlocker *unlocker, struct volume *volume, const struct found *found) {
        _cleanup_(pid1_freep) struct pid1 *pid1 = NULL;
        const char *name = found->entry ? found->entry->name : volume->name;
        char escaped[4 * LUKS_NAME_MAX + 1];
        _cleanup_(freep) char *unit = NULL;
        struct pid1_unit state = {};

        unit_escape(name, escaped);
        unit = format("systemd-cryptsetup@%s.service", escaped);
        if (!unit || pid1_open(&pid1) < 0 || pid1_unit(pid1, unit, &state) < 0 || !state.loaded ||
            strcmp(state.active, "inactive") == 0) {
                (void) open_found(unlocker, volume, found, name);
                return;
        }
        if (strcmp(state.active, "activating") == 0 && strcmp(state.sub, "start") == 0)
                call_back(volume, pid1, &state, found, unit);
}

/* One look at one volume. */
static void attempt(struct unlocker *unlocker, struct volume *volume) {
        _cleanup_(found_done) struct found found = {};
        char name[LUKS_NAME_MAX];

        if (volume->state == VOLUME_OPEN || volume->state == VOLUME_FAILED) {
                if (control_claim(unlocker->control, volume->uuid, name))
                        control_settle(unlocker->control, volume->uuid, volume->state == VOLUME_OPEN);
                return;
        }
        if (discover_volume(unlocker, volume, &found) < 0)
                return;
        if (!control_claim(unlocker->control, volume->uuid, name)) {
                try_unclaimed(unlocker, volume, &found);
                return;
        }
        if (!found.entry || strcmp(found.entry->name, name) != 0) {
                /* Another line of crypttab with the same volume: its options count. */
                const struct crypttab_entry *entry = crypttab_find(&found.crypttab, name);

                found.entry = entry ? entry : found.entry;
        }
        control_settle(unlocker->control, volume->uuid, open_found(unlocker, volume, &found, name) >= 0);
}

static bool is_in_a_manifest(const char *uuid, void *userdata) {
        return volumes_find(userdata, uuid) != NULL;
}

void serve_pass(struct unlocker *unlocker) {
        unlocker->looked_ms = clock_monotonic_ms();
        control_fail_unknown(unlocker->control, is_in_a_manifest, &unlocker->volumes);
        for (size_t i = 0; i < unlocker->volumes.n; i++)
                attempt(unlocker, unlocker->volumes.items + i);
}

static bool is_finished(const struct unlocker *unlocker) {
        for (size_t i = 0; i < unlocker->volumes.n; i++)
                if (unlocker->volumes.items[i].state == VOLUME_WAITING)
                        return false;
        return true;
}

int serve_volumes(struct unlocker *unlocker) {
        for (;;) {
                int r = unlocker_answer(unlocker);
                bool missing;

                if (r < 0)
                        return r;
                missing = offline_pass(unlocker);
                serve_pass(unlocker);
                if (is_finished(unlocker) && !missing)
                        return 0;
                r = unlocker_sleep(unlocker, LOOK_MS);
                if (r < 0)
                        return r;
        }
}

int serve_meanwhile(struct unlocker *unlocker) {
        int r = unlocker_answer(unlocker);

        if (r >= 0 && clock_monotonic_ms() - unlocker->looked_ms >= LOOK_MS)
                serve_pass(unlocker);
        return r;
}

int serve_sleep(struct unlocker *unlocker, uint64_t ms) {
        uint64_t now, end = clock_monotonic_ms() + ms;
        int r = serve_meanwhile(unlocker);

        while (r >= 0 && (now = clock_monotonic_ms()) < end) {
                r = unlocker_sleep(unlocker, MIN(end - now, (uint64_t) LOOK_MS));
                if (r >= 0)
                        r = serve_meanwhile(unlocker);
        }
        return r;
}

static int test_volume(struct unlocker *unlocker, struct volume *volume) {
        _cleanup_(found_done) struct found found = {};
        int r = discover_volume(unlocker, volume, &found);

        if (r < 0) {
                log_warning("%s (LUKS UUID %s): its device is not among those given.", volume->name, volume->uuid);
                return unlocker->n_devices == 0 ? r : 0;
        }
        r = volume_open(volume, found.device, NULL, found.entry ? &found.entry->options : NULL, unlocker->run_dir);
        if (r < 0)
                log_error("%s: %s would not open, a passphrase is needed: %s.", found.device, volume->name, volume->error);
        else
                log_info("%s: %s would open with generation %u, keyslot %d.", found.device, volume->name,
                         volume->opened_by->generation, volume->opened_by->expected.keyslot);
        return r;
}

/* Every device given is a volume of this node. */
static int test_given(struct unlocker *unlocker, const char *device) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        int r = luks_header_read(device, &header);

        if (r == -EMEDIUMTYPE || r == -EUCLEAN)
                log_error("%s: no LUKS2 header that can be used is there.", device);
        else if (r < 0)
                log_error_errno(r, "%s: %m.", device);
        else if (!volumes_find(&unlocker->volumes, luks_header_uuid(header))) {
                log_error("%s: not in any manifest of this node; is it enrolled? (tallyboot enroll %s)", device, device);
                r = -ENOKEY;
        }
        return r < 0 ? -ENOKEY : 0;
}

int serve_test(struct unlocker *unlocker) {
        int worst = 0;

        for (size_t i = 0; i < unlocker->volumes.n; i++) {
                int r = test_volume(unlocker, unlocker->volumes.items + i);

                worst = r < 0 ? r : worst;
        }
        for (size_t i = 0; i < unlocker->n_devices; i++) {
                int r = test_given(unlocker, unlocker->devices[i]);

                worst = worst == 0 ? r : worst;
        }
        return worst;
}
