/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/crypto.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/encode.h"

static const char *const party_names[] = { [PARTY_TENANT] = "tenant", [PARTY_VERIFIER] = "verifier" };
static const char *const purpose_names[] = {
        [PURPOSE_BOOT] = "boot", [PURPOSE_ENROLL] = "enroll", [PURPOSE_ROTATE] = "rotate", [PURPOSE_CONFIRM] = "confirm"
};
static const char *const kind_names[] = { [KEY_VOLUMES] = "volumes", [KEY_PAYLOAD] = "payload" };
static const char *const state_names[] = {
        [GENERATION_STAGED] = "staged", [GENERATION_LIVE] = "live", [GENERATION_RETIRED] = "retired"
};

static const char *name_of(const char *const *names, size_t n, unsigned value) {
        return value < n ? names[value] : NULL;
}

static int value_of(const char *const *names, size_t n, const char *text) {
        for (size_t i = 0; i < n; i++)
                if (names[i] && strcmp(names[i], text) == 0)
                        return (int) i;

        return -EINVAL;
}

#define DEFINE_NAMES(type, prefix, names)                                   \
        const char *prefix##_to_string(type value) {                        \
                return name_of(names, ELEMENTSOF(names), (unsigned) value); \
        }                                                                   \
        int prefix##_from_string(const char *text, type *ret) {             \
                int value = value_of(names, ELEMENTSOF(names), text);       \
                                                                            \
                if (value < 0)                                              \
                        return value;                                       \
                *ret = (type) value;                                        \
                return 0;                                                   \
        }

DEFINE_NAMES(enum party, party, party_names)
DEFINE_NAMES(enum purpose, purpose, purpose_names)
DEFINE_NAMES(enum key_kind, key_kind, kind_names)
DEFINE_NAMES(enum generation_state, generation_state, state_names)

/* base32 to a buffer of the caller's; size: with the NUL. */
static int base32_write(const void *data, size_t n, char *ret, size_t size) {
        _cleanup_(freep) char *text = base32_encode(data, n);

        if (!text)
                return -ENOMEM;

        assert(strlen(text) < size);
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

int node_id_from_digest(const uint8_t name_digest[static 32], char ret[static NODE_ID_LENGTH + 1]) {
        return base32_write(name_digest, 32, ret, NODE_ID_LENGTH + 1);
}

bool node_id_is_valid(const char *text) {
        uint8_t digest[32];

        return base32_decode(text, digest, sizeof(digest)) == 0;
}

static bool is_lower_hex(const char *text, size_t length) {
        return strspn(text, "0123456789abcdef") == length && text[length] == '\0';
}

bool key_id_is_valid(const char *text) {
        return is_lower_hex(text, KEY_ID_LENGTH);
}

bool incident_is_valid(const char *text) {
        return is_lower_hex(text, 16);
}

/* Not from OpenSSL: a node makes it while libcurl is being loaded, and OpenSSL starts beside that. */
int incident_new(char ret[static 17]) {
        uint8_t random[8];

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -errno;

        hex_write(random, sizeof(random), ret);
        return 0;
}

int node_code(const uint8_t ek_digest[static 32], const char *node_id, char ret[static CODE_LENGTH + 1]) {
        char text[NODE_ID_LENGTH + 1];
        uint8_t digest[32];
        int r;

        r = fields_sha256(FIELDS(field_text("tallyboot code v1"), field_bytes(ek_digest, 32), field_text(node_id)), digest);
        if (r < 0)
                return r;
        r = base32_write(digest, sizeof(digest), text, sizeof(text));
        if (r < 0)
                return r;

        (void) snprintf(ret, CODE_LENGTH + 1, "%.4s-%.4s", text, text + 4);
        return 0;
}

enum { JOIN_SECRET_SIZE = 20 };
static const char JOIN_PREFIX[] = "tj1-";

int join_token_new(char ret[static 37]) {
        uint8_t random[JOIN_SECRET_SIZE];
        int r;

        r = random_bytes(random, sizeof(random));
        if (r < 0)
                return r;

        memcpy(ret, JOIN_PREFIX, 4);
        r = base32_write(random, sizeof(random), ret + 4, 33);
        memory_wipe(random, sizeof(random));
        return r;
}

int join_token_id_new(char ret[static 2 * JOIN_TOKEN_ID_SIZE + 1]) {
        uint8_t random[JOIN_TOKEN_ID_SIZE];
        int r;

        r = random_bytes(random, sizeof(random));
        if (r < 0)
                return r;

        hex_write(random, sizeof(random), ret);
        return 0;
}

bool join_token_id_is_valid(const char *text) {
        size_t length = strlen(text);

        return length > 0 && length <= JOIN_TOKEN_ID_MAX &&
               strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

int join_token_for_party(const char *token, enum party party, uint8_t ret[static 32]) {
        uint8_t random[JOIN_SECRET_SIZE];
        int r;

        if (strncmp(token, JOIN_PREFIX, 4) != 0 || base32_decode(token + 4, random, sizeof(random)) < 0)
                return -EINVAL;

        r = fields_sha256(
                FIELDS(field_text("tallyboot join v1"), field_text(party_to_string(party)), field_bytes(random, sizeof(random))),
                ret);
        memory_wipe(random, sizeof(random));
        return r;
}
