/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "boot/unlock.h"

enum { TPM_PAUSE_MS = 50 };

int discover_tpm(struct unlocker *unlocker) {
        const char *device = config_tpm_device(unlocker->config);
        uint64_t end = clock_monotonic_ms() + unlocker->config->tpm_timeout * 1000;

        while (device && access(device, F_OK) < 0) {
                int r;

                if (clock_monotonic_ms() >= end)
                        return -ENODEV;
                r = unlocker_sleep(unlocker, TPM_PAUSE_MS);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool hint_from(struct unlocker *unlocker, const char *device) {
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        if (luks_probe_token(device, uuid, &token) < 0)
                return false;
        memcpy(unlocker->hint, token.node_id, sizeof unlocker->hint);
        return true;
}

/* The node id that a token on one of our volumes gives: good enough to ask for a nonce with while the TPM makes the AK. */
void discover_hint(struct unlocker *unlocker) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};

        for (size_t i = 0; i < unlocker->n_devices; i++)
                if (hint_from(unlocker, unlocker->devices[i]))
                        return;
        if (unlocker->test || crypttab_load_all(&crypttab) < 0)
                return;
        for (size_t i = 0; i < crypttab.n; i++) {
                const struct crypttab_entry *entry = crypttab.items + i;

                if (!entry->not_luks && hint_from(unlocker, entry->header ? entry->header : entry->device))
                        return;
        }
}

static bool same_file(const char *a, const char *b) {
        struct stat x, y;

        if (stat(a, &x) < 0 || stat(b, &y) < 0)
                return false;
        return S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode) ? x.st_rdev == y.st_rdev : x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool device_has_uuid(const char *device, const char *uuid) {
        char found[LUKS_UUID_LENGTH + 1];
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        struct luks_token token;

        if (luks_probe_token(device, found, &token) >= 0)
                return strcmp(found, uuid) == 0;
        return luks_header_read(device, &header) >= 0 && strcmp(luks_header_uuid(header), uuid) == 0;
}

static bool entry_is(const struct crypttab_entry *entry, const char *by_uuid, const char *uuid) {
        if (entry->not_luks)
                return false;
        if (entry->header)
                return device_has_uuid(entry->header, uuid);
        return strcmp(entry->device, by_uuid) == 0 || same_file(entry->device, by_uuid);
}

void found_done(struct found *found) {
        free(found->device);
        crypttab_done(&found->crypttab);
        *found = (struct found){};
}

static int discover_given(const struct unlocker *unlocker, const char *uuid, struct found *ret) {
        for (size_t i = 0; i < unlocker->n_devices; i++)
                if (device_has_uuid(unlocker->devices[i], uuid)) {
                        ret->device = strdup(unlocker->devices[i]);
                        return ret->device ? 0 : -ENOMEM;
                }
        return -ENOENT;
}

int discover_volume(const struct unlocker *unlocker, const struct volume *volume, struct found *ret) {
        _cleanup_(found_done) struct found found = {};
        _cleanup_(freep) char *by_uuid = format("/dev/disk/by-uuid/%s", volume->uuid);
        int r;

        if (!by_uuid)
                return -ENOMEM;
        r = discover_given(unlocker, volume->uuid, &found);
        if (r == -ENOENT && unlocker->n_devices == 0) {
                r = crypttab_load_all(&found.crypttab);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < found.crypttab.n && !found.entry; i++)
                        if (entry_is(found.crypttab.items + i, by_uuid, volume->uuid))
                                found.entry = found.crypttab.items + i;
                found.device = strdup(found.entry ? found.entry->device : by_uuid);
                r = !found.device ? -ENOMEM : access(found.device, F_OK) < 0 ? -ENOENT : 0;
        }
        if (r < 0)
                return r;
        *ret = found;
        found = (struct found){};
        return 0;
}
