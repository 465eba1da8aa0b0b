/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* luks-enroll PASSPHRASE NODE KEY GENERATION K_B DEVICE:NAME:root|other...: gives LUKS2 files a slot of this generation of a key,
 * token and all, and prints the manifest. K_B in hexadecimal: this is for tests, where a K_b is no secret. */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "crypto/split.h"
#include "luks/luks.h"

static int enroll(struct manifest *manifest, const struct secret *k_b, const struct secret *passphrase, char *argument) {
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        _cleanup_(secret_freep) struct secret *volume_key = NULL, *key = NULL;
        struct luks_token token = { .number = -1, .generation = manifest->generation, .live = true };
        char *path = strtok(argument, ":"), *name = strtok(NULL, ":"), *role = strtok(NULL, ":");
        char error[256] = "";
        int r, slot;

        if (!path || !name || !role)
                return -EINVAL;
        memcpy(token.node_id, manifest->node_id, sizeof token.node_id);
        memcpy(token.key_id, manifest->key_id, sizeof token.key_id);
        r = luks_device_open(path, &device, error, sizeof error);
        if (r >= 0)
                r = luks_unlock_passphrase(device, passphrase, &slot, &volume_key);
        if (r >= 0)
                r = derive_volume_key(k_b, manifest->node_id, manifest->generation, luks_device_uuid(device), &key);
        if (r >= 0)
                r = luks_slot_add(device, volume_key, key, -1, &token.slot);
        if (r >= 0)
                r = luks_token_write(device, &token, true);
        if (r >= 0)
                r = luks_header_read(path, &header);
        if (r >= 0)
                r = luks_describe(header, token.slot, volume_key, name, strcmp(role, "root") == 0,
                                  manifest->volumes + manifest->n);
        if (r < 0)
                fprintf(stderr, "%s: %s %s\n", path, error, strerror(-r));
        else
                manifest->n++;
        return r;
}

int main(int argc, char *argv[]) {
        _cleanup_(secret_freep) struct secret *k_b = NULL, *passphrase = NULL;
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(freep) char *text = NULL;

        if (argc < 7 || !node_id_is_valid(argv[2]) || !key_id_is_valid(argv[3]) || secret_new(HALF_SIZE, &k_b) < 0 ||
            hex_decode(argv[5], k_b->data, HALF_SIZE) < 0 || secret_copy(argv[1], strlen(argv[1]), &passphrase) < 0)
                return 2;
        strcpy(manifest.node_id, argv[2]);
        strcpy(manifest.key_id, argv[3]);
        manifest.generation = (uint32_t) atoi(argv[4]);
        manifest.volumes = calloc((size_t) argc, sizeof *manifest.volumes);
        for (int i = 6; i < argc; i++)
                if (!manifest.volumes || enroll(&manifest, k_b, passphrase, argv[i]) < 0)
                        return 1;
        text = manifest_format(&manifest);
        if (!text)
                return 1;
        fputs(text, stdout);
        return 0;
}
