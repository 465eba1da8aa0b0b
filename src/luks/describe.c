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

int luks_fingerprint(const void *volume_key, size_t size, const char *uuid, uint8_t ret[static 32]) {
        return fields_hmac(volume_key, size, FIELDS(field_text("tallyboot volume v1"), field_text(uuid)), ret);
}

bool luks_fingerprint_is(const struct secret *volume_key, const char *uuid, const uint8_t fingerprint[static 32]) {
        uint8_t own[32];

        return luks_fingerprint(volume_key->data, volume_key->size, uuid, own) >= 0 &&
               bytes_equal_ct(own, fingerprint, sizeof(own));
}

/* libcryptsetup opens a null-cipher segment without a word (2.6.1): the disk would be read as plain text that anyone can
 * write. */
static bool cipher_is_null(const char *cipher) {
        return strncmp(cipher, "cipher_null", 11) == 0 || strncmp(cipher, "null", 4) == 0 ||
               strstr(cipher, "cipher_null") != NULL;
}

int luks_check_requirements(const struct luks_header *header, char *error, size_t error_size) {
        const json_t *requirements = json_object_get(json_object_get(header->json, "config"), "requirements");
        const char *first;

        if (!requirements || (json_is_object(requirements) && json_object_size(requirements) == 0))
                return 0;
        first = json_string_value(json_array_get(json_object_get(requirements, "mandatory"), 0));
        return REFUSE("the header asks for \"%.64s\"%s", first ?: "a requirement that is not known",
                      first && strncmp(first, "online-reencrypt", 16) == 0
                              ? ": a re-encryption is under way, finish it with cryptsetup reencrypt"
                              : "");
}

static int view_config(const struct luks_header *header, struct luks_view *view, char *error, size_t error_size) {
        int r;

        r = luks_check_requirements(header, error, error_size);
        if (r < 0)
                return r;
        if (luks_json_u64(json_object_get(header->json, "config"), "keyslots_size", &view->keyslots_size) < 0 ||
            view->keyslots_size > LUKS_KEYSLOTS_SIZE_MAX)
                return REFUSE("the header has no size of its keyslot area");
        return 0;
}

static int view_segments(const json_t *root, struct luks_view *view, char *error, size_t error_size) {
        int64_t sector_size;

        view->segments = json_object_get(root, "segments");
        view->segment = json_object_get(view->segments, "0");
        if (json_object_size(view->segments) != 1 || !view->segment)
                return REFUSE(
                        "the header has %zu segments instead of the one, numbered 0, that a volume has when no re-encryption is "
                        "under way",
                        json_object_size(view->segments));
        if (json_object_get(view->segment, "flags"))
                return REFUSE("the segment has flags: a re-encryption is under way");
        if (strcmp(json_string_value(json_object_get(view->segment, "type")) ?: "", "crypt") != 0)
                return REFUSE("the segment is not encrypted");
        view->cipher = json_string_value(json_object_get(view->segment, "encryption"));
        if (!view->cipher)
                return REFUSE("the segment names no cipher");
        if (cipher_is_null(view->cipher))
                return REFUSE("the segment's cipher is %.64s, which encrypts nothing", view->cipher);
        if (luks_json_int(view->segment, "sector_size", 512, 4096, &sector_size) < 0)
                return REFUSE("the segment has no sector size");
        view->sector_size = (unsigned) sector_size;
        view->integrity = "";
        if (json_object_get(view->segment, "integrity"))
                view->integrity = json_string_value(json_object_get(json_object_get(view->segment, "integrity"), "type"));
        return view->integrity ? 0 : REFUSE("the segment's integrity has no type");
}

static int view_keyslot(const json_t *root, int keyslot, struct luks_view *view, char *error, size_t error_size) {
        const char *encryption;
        int64_t key_size;
        char name[12];

        snprintf(name, sizeof(name), "%d", keyslot);
        view->keyslot = json_object_get(json_object_get(root, "keyslots"), name);
        if (!view->keyslot)
                return REFUSE("keyslot %d, which is ours, is not there any more", keyslot);
        if (strcmp(json_string_value(json_object_get(view->keyslot, "type")) ?: "", "luks2") != 0)
                return REFUSE("keyslot %d is not of type luks2", keyslot);
        if (luks_json_int(view->keyslot, "key_size", 1, 512, &key_size) < 0)
                return REFUSE("keyslot %d has no key size", keyslot);
        encryption = json_string_value(json_object_get(json_object_get(view->keyslot, "area"), "encryption"));
        if (!encryption || cipher_is_null(encryption))
                return REFUSE("the area of keyslot %d is not encrypted", keyslot);
        view->key_size = (unsigned) key_size;
        return 0;
}

/* Exactly one digest may claim the segment, and exactly one the keyslot, and they are the same: else libcryptsetup could hold the
 * key of our slot against a digest that nobody checked. */
static int view_digest(const json_t *root, int keyslot, struct luks_view *view, char *error, size_t error_size) {
        json_t *digests = json_object_get(root, "digests"), *digest;
        const char *id;
        char name[12];
        unsigned n = 0;

        snprintf(name, sizeof(name), "%d", keyslot);
        json_object_foreach (digests, id, digest) {
                bool slot = luks_json_array_has(json_object_get(digest, "keyslots"), name);
                bool segment = luks_json_array_has(json_object_get(digest, "segments"), "0");

                if (!slot && !segment)
                        continue;
                if (!slot)
                        return REFUSE("keyslot %d does not belong to the segment's key", keyslot);
                if (!segment)
                        return REFUSE("keyslot %d holds another key than the segment's", keyslot);
                view->digest = digest;
                n++;
        }
        return n == 1 ? 0 : REFUSE("%u digests instead of one belong to keyslot %d", n, keyslot);
}

int luks_view(const struct luks_header *header, int keyslot, struct luks_view *ret, char *error, size_t error_size) {
        struct luks_view view = {};
        int r;

        r = view_config(header, &view, error, error_size);
        if (r >= 0)
                r = view_segments(header->json, &view, error, error_size);
        if (r >= 0)
                r = view_keyslot(header->json, keyslot, &view, error, error_size);
        if (r >= 0)
                r = view_digest(header->json, keyslot, &view, error, error_size);
        if (r < 0)
                return r;
        *ret = view;
        return 0;
}

static int describe_texts(const struct luks_view *view, struct luks_expected *ret) {
        ret->digest = luks_digest_canonical(view->digest);
        ret->segments = luks_json_canonical(view->segments);
        ret->keyslot_json = luks_json_canonical(view->keyslot);
        if (!ret->digest || !ret->segments || !ret->keyslot_json)
                return -ENOMEM;
        if (strlen(view->cipher) >= sizeof(ret->cipher) || strlen(view->integrity) >= sizeof(ret->integrity))
                return -EBADMSG;
        strcpy(ret->cipher, view->cipher);
        strcpy(ret->integrity, view->integrity);
        return 0;
}

int luks_describe(const struct luks_header *header, int keyslot, const struct secret *volume_key, const char *name, bool root,
                  struct luks_expected *ret) {
        _cleanup_(luks_expected_done) struct luks_expected expected = { .root = root, .keyslot = keyslot };
        struct luks_view view;
        int r;

        if (keyslot < 0 || keyslot >= LUKS_KEYSLOTS || !luks_name_is_valid(name))
                return -EINVAL;
        r = luks_view(header, keyslot, &view, NULL, 0);
        if (r < 0)
                return r;
        if (!header->areas[keyslot].data)
                return -EBADMSG;
        if (volume_key->size != view.key_size)
                return -EINVAL;
        strcpy(expected.name, name);
        strcpy(expected.uuid, header->uuid);
        expected.key_size = view.key_size;
        expected.sector_size = view.sector_size;
        r = describe_texts(&view, &expected);
        if (r >= 0)
                r = luks_fingerprint(volume_key->data, volume_key->size, header->uuid, expected.fingerprint);
        if (r >= 0)
                r = sha256(header->areas[keyslot].data, header->areas[keyslot].size, expected.keyslot_area_sha256);
        if (r < 0)
                return r;
        *ret = expected;
        expected = (struct luks_expected){};
        return 0;
}
