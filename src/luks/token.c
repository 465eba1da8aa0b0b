/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "luks/internal.h"

static int refuse(char *error, size_t error_size, const char *words) {
        if (error && error_size > 0)
                snprintf(error, error_size, "%s", words);
        return -EBADMSG;
}

/* "keyslots" is empty (the slot is not there yet) or names exactly the slot that "slot" names: libcryptsetup keeps the former in
 * step with the header (it drops a slot that is killed), the latter is what enrollment meant to use. */
static bool keyslots_are_right(const json_t *json, int64_t slot) {
        const json_t *keyslots = json_object_get(json, "keyslots");
        char text[24];

        if (!json_is_array(keyslots) || json_array_size(keyslots) > 1)
                return false;
        snprintf(text, sizeof(text), "%lld", (long long) slot);
        return json_array_size(keyslots) == 0 || luks_json_array_has(keyslots, text);
}

static int parse(const json_t *json, struct luks_token *ret, char *error, size_t error_size) {
        struct luks_token token = { .number = -1 };
        int64_t version, generation, slot;
        char text[16];

        if (luks_json_text(json, "type", text, sizeof(text)) < 0 || strcmp(text, "tallyboot") != 0)
                return refuse(error, error_size, "\"type\" is not tallyboot");
        if (luks_json_int(json, "version", 1, 1, &version) < 0)
                return refuse(error, error_size, "\"version\" is not 1");
        if (luks_json_text(json, "node", token.node_id, sizeof(token.node_id)) < 0 || !node_id_is_valid(token.node_id))
                return refuse(error, error_size, "\"node\" is not a node id (52 characters of base32)");
        if (luks_json_text(json, "key", token.key_id, sizeof(token.key_id)) < 0 || !key_id_is_valid(token.key_id))
                return refuse(error, error_size, "\"key\" is not a key id (32 hexadecimal digits)");
        if (luks_json_int(json, "generation", 1, UINT32_MAX, &generation) < 0)
                return refuse(error, error_size, "\"generation\" is not a number from 1");
        if (luks_json_text(json, "state", text, sizeof(text)) < 0 || (strcmp(text, "staged") != 0 && strcmp(text, "live") != 0))
                return refuse(error, error_size, "\"state\" is neither staged nor live");
        if (luks_json_int(json, "slot", 0, LUKS_KEYSLOTS - 1, &slot) < 0)
                return refuse(error, error_size, "\"slot\" is not a number from 0 to 31");
        if (!keyslots_are_right(json, slot))
                return refuse(error, error_size, "\"keyslots\" is neither empty nor the one slot that \"slot\" names");
        token.generation = (uint32_t) generation;
        token.slot = (int) slot;
        token.assigned = json_array_size(json_object_get(json, "keyslots")) == 1;
        token.live = strcmp(text, "live") == 0;
        *ret = token;
        return 0;
}

int luks_token_parse(const char *text, struct luks_token *ret, char *error, size_t error_size) {
        json_auto_t *json = luks_json_parse(text, strlen(text));

        if (!json)
                return refuse(error, error_size, "not a JSON object, or a name in it is there twice");
        return parse(json, ret, error, error_size);
}
