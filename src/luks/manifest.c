/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/encode.h"
#include "luks/internal.h"

/* docs/protocol.md, 8. The bytes are authenticated before they come here; the parser is strict all the same. */
enum { MANIFEST_MAX = 65536, VOLUMES_MAX = 32, KEY_SIZE_MAX = 512, SECTOR_MIN = 512, SECTOR_MAX = 4096 };

void luks_expected_done(struct luks_expected *expected) {
        free(expected->digest);
        free(expected->segments);
        free(expected->keyslot_json);
        expected->digest = expected->segments = expected->keyslot_json = NULL;
}

void manifest_done(struct manifest *manifest) {
        for (size_t i = 0; i < manifest->n; i++)
                luks_expected_done(manifest->volumes + i);
        free(manifest->volumes);
        manifest->volumes = NULL;
        manifest->n = 0;
}

static int get_hex_32(const json_t *json, const char *name, uint8_t ret[static 32]) {
        char text[65];
        int r;

        r = luks_json_text(json, name, text, sizeof(text));
        return r < 0 ? r : hex_decode(text, ret, 32) < 0 ? -EBADMSG : 0;
}

/* A JSON object as text, which is compared as text: it must be in canonical form. */
static int get_canonical(const json_t *json, const char *name, char **ret) {
        json_auto_t *object = NULL;
        _cleanup_(freep) char *canonical = NULL;
        const char *text = json_string_value(json_object_get(json, name));

        if (!text)
                return -EBADMSG;
        object = luks_json_parse(text, strlen(text));
        if (!object)
                return -EBADMSG;
        canonical = luks_json_canonical(object);
        if (!canonical)
                return -ENOMEM;
        if (strcmp(canonical, text) != 0)
                return -EBADMSG;
        *ret = TAKE_PTR(canonical);
        return 0;
}

static int parse_numbers(const json_t *json, struct luks_expected *volume) {
        int64_t key_size, sector_size, keyslot;

        if (luks_json_int(json, "key_size", 1, KEY_SIZE_MAX, &key_size) < 0 ||
            luks_json_int(json, "sector_size", SECTOR_MIN, SECTOR_MAX, &sector_size) < 0 ||
            luks_json_int(json, "keyslot", 0, LUKS_KEYSLOTS - 1, &keyslot) < 0)
                return -EBADMSG;
        volume->key_size = (unsigned) key_size;
        volume->sector_size = (unsigned) sector_size;
        volume->keyslot = (int) keyslot;
        return 0;
}

static int parse_names(const json_t *json, struct luks_expected *volume) {
        char role[8];

        if (luks_json_text(json, "role", role, sizeof(role)) < 0 || (strcmp(role, "root") != 0 && strcmp(role, "other") != 0))
                return -EBADMSG;
        volume->root = strcmp(role, "root") == 0;
        if (luks_json_text(json, "name", volume->name, sizeof(volume->name)) < 0 || !luks_name_is_valid(volume->name))
                return -EBADMSG;
        if (luks_json_text(json, "uuid", volume->uuid, sizeof(volume->uuid)) < 0 || !luks_uuid_is_valid(volume->uuid))
                return -EBADMSG;
        if (luks_json_text(json, "cipher", volume->cipher, sizeof(volume->cipher)) < 0 || volume->cipher[0] == '\0')
                return -EBADMSG;
        return luks_json_text(json, "integrity", volume->integrity, sizeof(volume->integrity));
}

/* What volume owns after a failure is freed by the caller. */
static int parse_volume(const json_t *json, struct luks_expected *volume) {
        int r;

        if (!json_is_object(json))
                return -EBADMSG;
        r = parse_names(json, volume);
        if (r >= 0)
                r = parse_numbers(json, volume);
        if (r >= 0)
                r = get_hex_32(json, "fingerprint", volume->fingerprint);
        if (r >= 0)
                r = get_hex_32(json, "keyslot_area_sha256", volume->keyslot_area_sha256);
        if (r >= 0)
                r = get_canonical(json, "digest", &volume->digest);
        if (r >= 0)
                r = get_canonical(json, "segments", &volume->segments);
        if (r >= 0)
                r = get_canonical(json, "keyslot_json", &volume->keyslot_json);
        return r;
}

static bool volume_is_twice(const struct manifest *manifest, const struct luks_expected *volume) {
        for (const struct luks_expected *v = manifest->volumes; v < volume; v++)
                if (strcmp(v->uuid, volume->uuid) == 0 || strcmp(v->name, volume->name) == 0)
                        return true;
        return false;
}

static int parse_volumes(const json_t *array, struct manifest *manifest) {
        size_t n = json_array_size(array);

        if (!json_is_array(array) || n == 0 || n > VOLUMES_MAX)
                return -EBADMSG;
        manifest->volumes = calloc(n, sizeof(*manifest->volumes));
        if (!manifest->volumes)
                return -ENOMEM;
        manifest->n = n;
        for (size_t i = 0; i < n; i++) {
                int r = parse_volume(json_array_get(array, i), manifest->volumes + i);

                if (r < 0)
                        return r;
                if (volume_is_twice(manifest, manifest->volumes + i))
                        return -EBADMSG;
        }
        return 0;
}

int manifest_parse(const void *text, size_t size, struct manifest *ret) {
        _cleanup_(manifest_done) struct manifest manifest = {};
        json_auto_t *json = NULL;
        int64_t version, generation;
        int r;

        json = size > MANIFEST_MAX ? NULL : luks_json_parse(text, size);
        if (!json || luks_json_int(json, "version", 1, 1, &version) < 0 ||
            luks_json_int(json, "generation", 1, UINT32_MAX, &generation) < 0 ||
            luks_json_text(json, "node", manifest.node_id, sizeof(manifest.node_id)) < 0 || !node_id_is_valid(manifest.node_id) ||
            luks_json_text(json, "key", manifest.key_id, sizeof(manifest.key_id)) < 0 || !key_id_is_valid(manifest.key_id))
                return -EBADMSG;
        manifest.generation = (uint32_t) generation;
        r = parse_volumes(json_object_get(json, "volumes"), &manifest);
        if (r < 0)
                return r;
        *ret = manifest;
        manifest = (struct manifest){};
        return 0;
}

static json_t *volume_to_json(const struct luks_expected *volume) {
        char fingerprint[65], area[65];

        hex_write(volume->fingerprint, sizeof(volume->fingerprint), fingerprint);
        hex_write(volume->keyslot_area_sha256, sizeof(volume->keyslot_area_sha256), area);
        return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:i, s:s, s:s, s:s, s:s}", "role",
                         volume->root ? "root" : "other", "name", volume->name, "uuid", volume->uuid, "fingerprint", fingerprint,
                         "cipher", volume->cipher, "key_size", (json_int_t) volume->key_size, "sector_size",
                         (json_int_t) volume->sector_size, "integrity", volume->integrity, "keyslot", volume->keyslot,
                         "keyslot_area_sha256", area, "digest", volume->digest, "segments", volume->segments, "keyslot_json",
                         volume->keyslot_json);
}

char *manifest_format(const struct manifest *manifest) {
        json_auto_t *volumes = json_array(), *json = NULL;

        if (!volumes)
                return NULL;
        for (size_t i = 0; i < manifest->n; i++)
                if (json_array_append_new(volumes, volume_to_json(manifest->volumes + i)) < 0)
                        return NULL;
        json = json_pack("{s:i, s:s, s:s, s:I, s:O}", "version", 1, "node", manifest->node_id, "key", manifest->key_id,
                         "generation", (json_int_t) manifest->generation, "volumes", volumes);
        return json ? luks_json_canonical(json) : NULL;
}
