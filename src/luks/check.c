/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "luks/internal.h"

#define REFUSE(...)                                               \
        ({                                                        \
                if (error && error_size > 0)                      \
                        snprintf(error, error_size, __VA_ARGS__); \
                -EUCLEAN;                                         \
        })

/* The numbers that decide how long an open takes come first and get their own words: 400,000,000 rounds hang for ever. */
static int check_iterations(const json_t *found, const char *expected, const char *what, char *error, size_t error_size) {
        json_auto_t *wanted = luks_json_parse(expected, strlen(expected));
        json_t *a = json_object_get(found, "iterations"), *b = json_object_get(wanted, "iterations");

        if (!wanted)
                return -EBADMSG;
        if (!a && !b)
                return 0; /* an argon2 slot counts in other ways; the texts are compared below */
        if (!json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) != json_integer_value(b))
                return REFUSE("%s asks for %lld iterations, the manifest says %lld", what, (long long) json_integer_value(a),
                              (long long) json_integer_value(b));
        return 0;
}

static int check_keyslot_iterations(const json_t *keyslot, const char *expected, char *error, size_t error_size) {
        json_auto_t *wanted = luks_json_parse(expected, strlen(expected));
        _cleanup_(freep) char *kdf = NULL;

        kdf = wanted ? luks_json_canonical(json_object_get(wanted, "kdf")) : NULL;
        if (!kdf)
                return -EBADMSG;
        return check_iterations(json_object_get(keyslot, "kdf"), kdf, "the keyslot", error, error_size);
}

static int check_segment(const struct luks_view *view, const struct luks_expected *expected, char *error, size_t error_size) {
        if (strcmp(view->cipher, expected->cipher) != 0)
                return REFUSE("the header's cipher is %.64s, the manifest says %s", view->cipher, expected->cipher);
        if (view->key_size != expected->key_size)
                return REFUSE("the header's key has %u bytes, the manifest says %u", view->key_size, expected->key_size);
        if (view->sector_size != expected->sector_size)
                return REFUSE("the header's sectors have %u bytes, the manifest says %u", view->sector_size,
                              expected->sector_size);
        if (strcmp(view->integrity, expected->integrity) != 0)
                return REFUSE("the header's integrity is \"%.64s\", the manifest says \"%s\"", view->integrity,
                              expected->integrity);
        return 0;
}

static int check_text(char *found, const char *expected, const char *what, char *error, size_t error_size) {
        _cleanup_(freep) char *text = found;

        if (!text)
                return -ENOMEM;
        return strcmp(text, expected) == 0 ? 0 : REFUSE("the header's %s not what the manifest says", what);
}

static int check_area(const struct luks_area *area, const uint8_t expected[static 32], char *error, size_t error_size) {
        uint8_t digest[32];
        int r;

        if (!area->data)
                return REFUSE("the area of our keyslot cannot be read");
        r = sha256(area->data, area->size, digest);
        if (r < 0)
                return r;
        return memcmp(digest, expected, sizeof(digest)) == 0 ? 0 : REFUSE("the area of our keyslot was changed");
}

int luks_check(const struct luks_header *header, const struct luks_expected *expected, char *error, size_t error_size) {
        struct luks_view view;
        int r;

        if (expected->keyslot < 0 || expected->keyslot >= LUKS_KEYSLOTS)
                return -EINVAL;
        if (strcmp(header->uuid, expected->uuid) != 0)
                return REFUSE("the volume's UUID is %s, the manifest says %s", header->uuid, expected->uuid);
        r = luks_view(header, expected->keyslot, &view, error, error_size);
        if (r >= 0)
                r = check_segment(&view, expected, error, error_size);
        if (r >= 0)
                r = check_iterations(view.digest, expected->digest, "the digest of the volume key", error, error_size);
        if (r >= 0)
                r = check_keyslot_iterations(view.keyslot, expected->keyslot_json, error, error_size);
        if (r >= 0)
                r = check_text(luks_json_canonical(view.segments), expected->segments, "segment (its place, size or flags) is",
                               error, error_size);
        if (r >= 0)
                r = check_text(luks_digest_canonical(view.digest), expected->digest, "digest of the volume key is", error,
                               error_size);
        if (r >= 0)
                r = check_text(luks_json_canonical(view.keyslot), expected->keyslot_json, "description of our keyslot is", error,
                               error_size);
        if (r >= 0)
                r = check_area(header->areas + expected->keyslot, expected->keyslot_area_sha256, error, error_size);
        return r;
}

int luks_describe_again(const struct luks_header *header, const struct luks_expected *opened, int keyslot,
                        const struct secret *volume_key, struct luks_expected *ret) {
        struct luks_view view;
        int64_t iterations;
        int r;

        r = luks_check(header, opened, NULL, 0);
        if (r >= 0)
                r = luks_view(header, keyslot, &view, NULL, 0);
        if (r < 0)
                return r;
        if (luks_json_int(json_object_get(view.keyslot, "kdf"), "iterations", LUKS_SLOT_ITERATIONS, LUKS_SLOT_ITERATIONS,
                          &iterations) < 0 ||
            !luks_fingerprint_is(volume_key, header->uuid, opened->fingerprint))
                return -EUCLEAN;
        return luks_describe(header, keyslot, volume_key, opened->name, opened->root, ret);
}
