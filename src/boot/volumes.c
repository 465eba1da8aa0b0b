/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/volumes.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

struct volume *volumes_find(struct volumes *volumes, const char *uuid) {
        for (size_t i = 0; i < volumes->n; i++)
                if (strcmp(volumes->items[i].uuid, uuid) == 0)
                        return volumes->items + i;
        return NULL;
}

struct volume *volumes_find_name(struct volumes *volumes, const char *name) {
        struct volume *found = NULL;

        for (size_t i = 0; i < volumes->n; i++) {
                struct volume *volume = volumes->items + i;

                if (strcmp(volume->name, name) == 0 && (!found || volume->state == VOLUME_OPEN))
                        found = volume;
        }
        return found;
}

bool volumes_all_open(const struct volumes *volumes) {
        for (size_t i = 0; i < volumes->n; i++)
                if (volumes->items[i].state != VOLUME_OPEN)
                        return false;
        return true;
}

void volumes_wipe_keys(struct volumes *volumes) {
        for (size_t i = 0; i < volumes->n; i++) {
                struct volume *volume = volumes->items + i;

                for (size_t j = 0; j < volume->n_keys; j++) {
                        secret_free(volume->keys[j].key);
                        luks_expected_done(&volume->keys[j].expected);
                }
                volume->n_keys = 0;
                volume->opened_by = NULL;
        }
}

void volumes_done(struct volumes *volumes) {
        volumes_wipe_keys(volumes);
        free(volumes->items);
        *volumes = (struct volumes){};
}

static struct volume *volumes_new(struct volumes *volumes, const struct luks_expected *expected) {
        struct volume *items = reallocarray(volumes->items, volumes->n + 1, sizeof *items), *volume;

        if (!items)
                return NULL;
        volumes->items = items;
        volume = items + volumes->n++;
        *volume = (struct volume){ .root = expected->root };
        memcpy(volume->uuid, expected->uuid, sizeof volume->uuid);
        memcpy(volume->name, expected->name, sizeof volume->name);
        return volume;
}

int volumes_add(struct volumes *volumes, enum volumes_source source, struct manifest *manifest, const char *node_id,
                const struct secret *k_b) {
        if (volumes->source && volumes->source != source)
                return -EXDEV;
        volumes->source = source;
        for (size_t i = 0; i < manifest->n; i++) {
                struct luks_expected *expected = manifest->volumes + i;
                struct volume *volume = volumes_find(volumes, expected->uuid);
                _cleanup_(secret_freep) struct secret *key = NULL;
                struct volume_key *slot;
                int r;

                if (!volume)
                        volume = volumes_new(volumes, expected);
                if (!volume)
                        return -ENOMEM;
                if (volume->n_keys >= ELEMENTSOF(volume->keys))
                        continue;
                r = derive_volume_key(k_b, node_id, manifest->generation, expected->uuid, &key);
                if (r < 0)
                        return r;
                slot = volume->keys + volume->n_keys++;
                *slot = (struct volume_key){ .generation = manifest->generation, .expected = *expected, .key = TAKE_PTR(key) };
                memcpy(slot->key_id, manifest->key_id, sizeof slot->key_id);
                *expected = (struct luks_expected){};
        }
        return 0;
}

/* The note is there before the mapping is, so that a mapping whose maker was killed is closed like any other; a root it is only
 * when we know that we have opened it. */
static int note_open(struct volume *volume, const char *name, bool is_open, const char *run_dir) {
        struct opened opened = { .root = is_open && volume->root };
        int r;

        snprintf(opened.name, sizeof opened.name, "%s", name);
        memcpy(opened.uuid, volume->uuid, sizeof opened.uuid);
        r = opened_note(run_dir, &opened);
        if (r < 0)
                snprintf(volume->error, sizeof volume->error, "%s/opened/%s cannot be written: %s", run_dir, name, strerror(-r));
        return r;
}

int volume_open(struct volume *volume, const char *device, const char *name, const struct luks_options *options,
                const char *run_dir) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        int r;

        volume->error[0] = '\0';
        r = luks_header_read(options && options->header ? options->header : device, &header);
        if (r < 0) {
                snprintf(volume->error, sizeof volume->error, "%s: its LUKS2 header cannot be used: %s", device, strerror(-r));
                return r;
        }
        r = name ? note_open(volume, name, false, run_dir) : 0;
        if (r < 0)
                return r;
        r = -ENOKEY;
        for (size_t i = 0; i < volume->n_keys; i++) {
                const struct volume_key *key = volume->keys + i;

                r = luks_open_checked(header, &key->expected, device, key->key, name, options, volume->error,
                                      sizeof volume->error);
                if (r < 0) {
                        log_debug_errno(r, "%s, generation %u: %s: %m", device, key->generation, volume->error);
                        continue;
                }
                volume->opened_by = key;
                volume->root = key->expected.root;
                volume->error[0] = '\0';
                r = name ? note_open(volume, name, true, run_dir) : 0;
                if (r < 0) {
                        (void) luks_close(name);
                        return r;
                }
                volume->state = VOLUME_OPEN;
                return 0;
        }
        if (name)
                opened_forget(run_dir, name);
        if (!volume->error[0])
                snprintf(volume->error, sizeof volume->error, "%s: %s", device, strerror(-r));
        return r;
}
