/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>
#include <libcryptsetup.h>

#include "luks/luks.h"

/* What the files of luks/ share. The numbers are those of the LUKS2 On-Disk Format Specification 1.1.3, sections 2 and 3. */
enum {
        LUKS_BINARY_SIZE = 4096,
        LUKS_JSON_MAX = 262144,           /* text that we read; cryptsetup's default area is 12 KiB */
        LUKS_KEYSLOTS_SIZE_MAX = 1 << 27, /* 128 MiB: the format's */
        LUKS_AREA_MAX = 1 << 20,          /* one keyslot area; 258,048 bytes for a key of 64 bytes */
        LUKS_SLOT_ITERATIONS = 1000,      /* of our slot: its passphrase has 256 bits already */
};

struct luks_area {
        uint64_t offset;
        size_t size;
        uint8_t *data; /* NULL: there is no such slot, or it could not be read */
};

struct luks_header {
        uint64_t hdr_size; /* of one copy */
        uint64_t seqid;
        uint8_t binary[LUKS_BINARY_SIZE]; /* of the copy that was chosen */
        char uuid[LUKS_UUID_LENGTH + 1];
        json_t *json;
        struct luks_area areas[LUKS_KEYSLOTS];
};

/* The parts of a header that concern one keyslot; borrowed from header->json. */
struct luks_view {
        const json_t *keyslot, *segments, *segment, *digest;
        const char *cipher, *integrity;
        unsigned key_size, sector_size;
        uint64_t keyslots_size;
};
/* Finds them and refuses what is never opened unattended: requirements, re-encryption, null ciphers, more than one segment, a
 * slot or segment that more than one digest claims. -EUCLEAN with words in error. */
int luks_view(const struct luks_header *header, int keyslot, struct luks_view *ret, char *error, size_t error_size);

/* -EUCLEAN where the header asks for anything (re-encryption above all). */
int luks_check_requirements(const struct luks_header *header, char *error, size_t error_size);

/* The JSON of the header that a volume is opened from: what was held against the manifest, and nothing else that is on the disk
 * but flags that weaken nothing. A new string. */
int luks_compose_json(const struct luks_header *header, const struct luks_expected *expected, char **ret);

/* The header alone, without the areas of its keyslots. */
int luks_header_probe(const char *device, struct luks_header **ret);

/* The same reader over bytes instead of a device, for the fuzzer. */
int luks_header_parse(const void *data, size_t size, struct luks_header **ret);

/* Names sorted by bytes, no white space; a new string, NULL when out of memory. */
char *luks_json_canonical(const json_t *json);
/* The digest without its list of keyslots: people add passphrases. */
char *luks_digest_canonical(const json_t *digest);
/* Rejects duplicate names and bounds the size; NULL where it is not an object. */
json_t *luks_json_parse(const char *text, size_t size);
/* LUKS2 writes 64-bit numbers as strings of decimal digits. -EBADMSG. */
int luks_json_u64(const json_t *object, const char *name, uint64_t *ret);
int luks_json_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret);
/* fits with its NUL, else -EBADMSG */
int luks_json_text(const json_t *object, const char *name, char *ret, size_t size);
bool luks_json_array_has(const json_t *array, const char *text);
bool luks_uuid_is_valid(const char *text);
bool luks_name_is_valid(const char *text);

int luks_fingerprint(const void *volume_key, size_t size, const char *uuid, uint8_t ret[static 32]);

/* libcryptsetup's words go to the debug log, the last of its errors is kept for ours. External token plugins are switched off:
 * which of them is loaded is said by the header, which anyone with the disk can write. */
void luks_library_setup(struct crypt_device *cd);
const char *luks_library_error(void); /* the last one, "" where there was none */
void luks_library_error_clear(void);

struct luks_device {
        struct crypt_device *cd;
        char uuid[LUKS_UUID_LENGTH + 1];
};

static inline void luks_crypt_freep(struct crypt_device **cd) {
        if (*cd)
                crypt_free(*cd);
}
