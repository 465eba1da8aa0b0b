/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "luks/internal.h"

/* docs/protocol.md, 14: the token of type tallyboot-offline. */

#define TYPE "tallyboot-offline"
enum { GROUP_KEY_MAX = 4096, SEALED_MAX = 98304, SIGNATURE_MAX_SIZE = 512 };

static int refuse(char *error, size_t error_size, const char *words) {
        if (error && error_size > 0)
                snprintf(error, error_size, "%s", words);
        return -EBADMSG;
}

void luks_offline_done(struct luks_offline *offline) {
        blob_done(&offline->group_key);
        blob_done(&offline->sealed);
        blob_done(&offline->signature);
}

void luks_offline_list_done(struct luks_offline_list *list) {
        for (size_t i = 0; i < list->n; i++)
                luks_offline_done(list->items + i);
        list->n = 0;
}

static int get_bytes(const json_t *json, const char *name, size_t max, struct blob *ret) {
        const char *text = json_string_value(json_object_get(json, name));
        size_t length = text ? strlen(text) : 0;

        if (length == 0 || length > (max + 2) / 3 * 4)
                return -EBADMSG;
        return base64url_decode(text, length, ret);
}

static bool mechanism_is_valid(const char *text) {
        return text[0] != '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == strlen(text);
}

static const char *parse_names(const json_t *json, struct luks_offline *offline) {
        int64_t version, generation;
        char type[sizeof(TYPE)];

        if (luks_json_text(json, "type", type, sizeof(type)) < 0 || strcmp(type, TYPE) != 0)
                return "\"type\" is not " TYPE;
        if (luks_json_int(json, "version", 1, 1, &version) < 0)
                return "\"version\" is not 1";
        if (!json_is_array(json_object_get(json, "keyslots")) || json_array_size(json_object_get(json, "keyslots")) > 0)
                return "\"keyslots\" is not an empty list";
        if (luks_json_text(json, "node", offline->node_id, sizeof(offline->node_id)) < 0 || !node_id_is_valid(offline->node_id))
                return "\"node\" is not a node id (52 characters of base32)";
        if (luks_json_text(json, "key", offline->key_id, sizeof(offline->key_id)) < 0 || !key_id_is_valid(offline->key_id))
                return "\"key\" is not a key id (32 hexadecimal digits)";
        if (luks_json_int(json, "generation", 1, UINT32_MAX, &generation) < 0)
                return "\"generation\" is not a number from 1";
        if (luks_json_text(json, "mechanism", offline->mechanism, sizeof(offline->mechanism)) < 0 ||
            !mechanism_is_valid(offline->mechanism))
                return "\"mechanism\" is not the name of one";
        offline->generation = (uint32_t) generation;
        return NULL;
}

static const char *parse_blobs(const json_t *json, struct luks_offline *offline) {
        if (get_bytes(json, "group_key", GROUP_KEY_MAX, &offline->group_key) < 0)
                return "\"group_key\" is not base64url of 1 to 4096 bytes";
        if (get_bytes(json, "sealed", SEALED_MAX, &offline->sealed) < 0)
                return "\"sealed\" is not base64url of 1 to 98304 bytes";
        if (json_object_get(json, "signature") && get_bytes(json, "signature", SIGNATURE_MAX_SIZE, &offline->signature) < 0)
                return "\"signature\" is not base64url of 1 to 512 bytes";
        return NULL;
}

static int parse(const json_t *json, struct luks_offline *ret, char *error, size_t error_size) {
        _cleanup_(luks_offline_done) struct luks_offline offline = { .number = -1 };
        const char *wrong = parse_names(json, &offline);

        if (!wrong)
                wrong = parse_blobs(json, &offline);
        if (wrong)
                return refuse(error, error_size, wrong);
        *ret = offline;
        offline = (struct luks_offline){};
        return 0;
}

int luks_offline_parse(const char *text, struct luks_offline *ret, char *error, size_t error_size) {
        json_auto_t *json = luks_json_parse(text, strlen(text));

        if (!json)
                return refuse(error, error_size, "not a JSON object, or a name in it is there twice");
        return parse(json, ret, error, error_size);
}

static bool is_called(const json_t *json) {
        const char *type = json_string_value(json_object_get(json, "type"));

        return type && strcmp(type, TYPE) == 0;
}

bool luks_offline_is_called(const char *text) {
        json_auto_t *json = luks_json_parse(text, strlen(text));

        return json && is_called(json);
}

static char *format_token(const struct luks_offline *offline) {
        _cleanup_(freep) char *group_key = base64url_encode(offline->group_key.data, offline->group_key.size);
        _cleanup_(freep) char *sealed = base64url_encode(offline->sealed.data, offline->sealed.size);
        _cleanup_(freep) char *signature = NULL;
        json_auto_t *json = NULL;

        if (offline->signature.size > 0) {
                signature = base64url_encode(offline->signature.data, offline->signature.size);
                if (!signature)
                        return NULL;
        }
        if (!group_key || !sealed)
                return NULL;
        json = json_pack("{s:s, s:[], s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:s*}", "type", TYPE, "keyslots", "version", 1, "node",
                         offline->node_id, "key", offline->key_id, "generation", (json_int_t) offline->generation, "mechanism",
                         offline->mechanism, "group_key", group_key, "sealed", sealed, "signature", signature);
        return json ? luks_json_canonical(json) : NULL;
}

int luks_offline_write(struct luks_device *device, struct luks_offline *offline) {
        _cleanup_(freep) char *text = format_token(offline);
        _cleanup_(luks_offline_done) struct luks_offline back = {};
        int r;

        if (!text)
                return -ENOMEM;
        if (luks_offline_parse(text, &back, NULL, 0) < 0)
                return -EINVAL; /* never write what we would not read */
        luks_library_error_clear();
        r = crypt_token_json_set(device->cd, offline->number < 0 ? CRYPT_ANY_TOKEN : offline->number, text);
        if (r < 0) /* no token number, or no room in the header's JSON area */
                return r == -EINVAL || r == -ENOMEM ? -ENOSPC : r;
        offline->number = r;
        return 0;
}

/* Those past the room that the list has are counted as malformed: nobody makes so many. */
static void list_add(struct luks_offline_list *list, const json_t *json, int number) {
        struct luks_offline *offline = list->items + list->n;

        if (!is_called(json))
                return;
        if (list->n >= LUKS_OFFLINE_MAX || parse(json, offline, NULL, 0) < 0) {
                list->n_malformed++;
                return;
        }
        offline->number = number;
        list->n++;
}

int luks_offline_list(struct luks_device *device, struct luks_offline_list *ret) {
        struct luks_offline_list list = {};
        int max = crypt_token_max(CRYPT_LUKS2);

        for (int i = 0; i < max; i++) {
                json_auto_t *json = NULL;
                const char *text = NULL;

                if (crypt_token_json_get(device->cd, i, &text) < 0 || !text)
                        continue;
                json = luks_json_parse(text, strlen(text));
                if (json)
                        list_add(&list, json, i);
        }
        *ret = list;
        return 0;
}

int luks_offline_probe(const char *device, char ret_uuid[static LUKS_UUID_LENGTH + 1], struct luks_offline_list *ret) {
        _cleanup_(luks_header_freep) struct luks_header *header = NULL;
        struct luks_offline_list list = {};
        const char *name;
        json_t *json;
        int r;

        r = luks_header_probe(device, &header);
        if (r < 0)
                return r;
        json_object_foreach (json_object_get(header->json, "tokens"), name, json)
                list_add(&list, json, atoi(name));
        memcpy(ret_uuid, header->uuid, LUKS_UUID_LENGTH + 1);
        *ret = list;
        return 0;
}

int luks_offline_remove_older(struct luks_device *device, const char *key_id, uint32_t generation) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        int r = luks_offline_list(device, &list);

        for (size_t i = 0; r >= 0 && i < list.n; i++)
                if (strcmp(list.items[i].key_id, key_id) == 0 && list.items[i].generation < generation)
                        r = luks_token_remove(device, list.items[i].number);
        return r;
}

int luks_offline_remove_others(struct luks_device *device, int number, size_t *ret_removed) {
        int max = crypt_token_max(CRYPT_LUKS2);
        size_t removed = 0;

        for (int i = 0; i < max; i++) {
                const char *text = NULL;
                int r;

                if (i == number || crypt_token_json_get(device->cd, i, &text) < 0 || !text || !luks_offline_is_called(text))
                        continue;
                r = luks_token_remove(device, i);
                if (r < 0)
                        return r;
                removed++;
        }
        *ret_removed = removed;
        return 0;
}
