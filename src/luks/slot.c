/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "luks/internal.h"

/* Rounds of nothing but HMAC: the passphrase of these slots has 256 random bits, stretching adds nothing and costs every boot. */
static const struct crypt_pbkdf_type cheap = {
        .type = CRYPT_KDF_PBKDF2,
        .hash = "sha256",
        .iterations = LUKS_SLOT_ITERATIONS,
        .flags = CRYPT_PBKDF_NO_BENCHMARK,
};

static bool slot_is_used(struct luks_device *device, int slot) {
        crypt_keyslot_info info = crypt_keyslot_status(device->cd, slot);

        return info == CRYPT_SLOT_ACTIVE || info == CRYPT_SLOT_ACTIVE_LAST;
}

uint32_t luks_slots_active(struct luks_device *device) {
        uint32_t mask = 0;

        for (int i = 0; i < LUKS_KEYSLOTS; i++)
                if (slot_is_used(device, i))
                        mask |= UINT32_C(1) << i;
        return mask;
}

static bool slot_has_our_parameters(struct luks_device *device, int slot) {
        struct crypt_pbkdf_type pbkdf = {};

        return crypt_keyslot_get_pbkdf(device->cd, slot, &pbkdf) >= 0 && pbkdf.type &&
               strcmp(pbkdf.type, CRYPT_KDF_PBKDF2) == 0 && pbkdf.iterations == LUKS_SLOT_ITERATIONS;
}

static bool another_token_names(struct luks_device *device, int token, int slot) {
        int max = crypt_token_max(CRYPT_LUKS2);

        for (int i = 0; i < max; i++)
                if (i != token && crypt_token_is_assigned(device->cd, i, slot) == 0)
                        return true;
        return false;
}

bool luks_token_owns_slot(struct luks_device *device, const struct luks_token *token) {
        return slot_is_used(device, token->slot) && (token->assigned || !token->live) &&
               slot_has_our_parameters(device, token->slot) && !another_token_names(device, token->number, token->slot);
}

uint32_t luks_slots_other(struct luks_device *device) {
        uint32_t mask = luks_slots_active(device);
        struct luks_token tokens[LUKS_KEYSLOTS];
        size_t n = 0;

        if (luks_token_list(device, tokens, &n) < 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (luks_token_owns_slot(device, tokens + i))
                        mask &= ~(UINT32_C(1) << tokens[i].slot);
        return mask;
}

int luks_slot_first_free(struct luks_device *device) {
        for (int i = 0; i < LUKS_KEYSLOTS; i++)
                if (crypt_keyslot_status(device->cd, i) == CRYPT_SLOT_INACTIVE)
                        return i;
        return -ENOSPC;
}

static int get_volume_key(struct luks_device *device, int slot, const struct secret *passphrase, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *volume_key = NULL;
        int r, key_size = crypt_get_volume_key_size(device->cd);
        size_t size;

        if (key_size <= 0)
                return -EBADMSG;
        size = (size_t) key_size;
        r = secret_new(size, &volume_key);
        if (r < 0)
                return r;
        r = crypt_volume_key_get(device->cd, slot, (char *) volume_key->data, &size, (const char *) passphrase->data,
                                 passphrase->size);
        if (r < 0)
                return r == -EPERM || r == -ENOENT ? -ENOKEY : r;
        volume_key->size = size;
        *ret = TAKE_PTR(volume_key);
        return 0;
}

int luks_unlock_slot(struct luks_device *device, int slot, const struct secret *key, struct secret **ret_volume_key) {
        return get_volume_key(device, slot, key, ret_volume_key);
}

int luks_unlock_passphrase(struct luks_device *device, const struct secret *passphrase, int *ret_slot,
                           struct secret **ret_volume_key) {
        uint32_t mask = luks_slots_other(device);
        int result = -ENOKEY;

        for (int i = 0; i < LUKS_KEYSLOTS; i++) {
                int r;

                if (!(mask & UINT32_C(1) << i))
                        continue;
                r = get_volume_key(device, i, passphrase, ret_volume_key);
                if (r >= 0) {
                        *ret_slot = i;
                        return 0;
                }
                if (r != -ENOKEY)
                        result = r; /* another slot may still open; if none does, this says more than "wrong" */
        }
        return result;
}

/* crypt_set_pbkdf_type() holds for the context: it is put back to the header's default afterwards. */
static int slot_add(struct luks_device *device, const struct secret *volume_key, const struct secret *key, int slot,
                    bool is_cheap, int *ret_slot) {
        int r;

        if (slot < 0)
                slot = luks_slot_first_free(device);
        if (slot < 0)
                return slot;
        if (is_cheap) {
                r = crypt_set_pbkdf_type(device->cd, &cheap);
                if (r < 0)
                        return r;
        }
        r = crypt_keyslot_add_by_volume_key(device->cd, slot, (const char *) volume_key->data, volume_key->size,
                                            (const char *) key->data, key->size);
        if (is_cheap)
                (void) crypt_set_pbkdf_type(device->cd, NULL);
        if (r < 0)
                return r == -EINVAL && luks_slot_first_free(device) < 0 ? -ENOSPC : r;
        *ret_slot = r;
        return 0;
}

int luks_slot_add(struct luks_device *device, const struct secret *volume_key, const struct secret *key, int slot,
                  int *ret_slot) {
        return slot_add(device, volume_key, key, slot, true, ret_slot);
}

int luks_slot_add_passphrase(struct luks_device *device, const struct secret *volume_key, const struct secret *passphrase,
                             bool recovery, int *ret_slot) {
        char token[80];
        int slot, r;

        r = slot_add(device, volume_key, passphrase, -1, recovery, &slot);
        if (r < 0)
                return r;
        if (recovery) {
                snprintf(token, sizeof(token), "{\"type\":\"systemd-recovery\",\"keyslots\":[\"%d\"]}", slot);
                r = crypt_token_json_set(device->cd, CRYPT_ANY_TOKEN, token);
                if (r < 0) {
                        (void) crypt_keyslot_destroy(device->cd, slot);
                        return r;
                }
        }
        *ret_slot = slot;
        return 0;
}

int luks_slot_test(struct luks_device *device, int slot, const struct secret *key) {
        int r;

        r = crypt_activate_by_passphrase(device->cd, NULL, slot, (const char *) key->data, key->size, 0);
        return r >= 0 ? 0 : r == -EPERM || r == -ENOENT ? -ENOKEY : r;
}

int luks_slot_wipe(struct luks_device *device, int slot) {
        return crypt_keyslot_destroy(device->cd, slot);
}

int luks_token_write(struct luks_device *device, struct luks_token *token, bool assign) {
        json_auto_t *json = NULL;
        _cleanup_(freep) char *text = NULL;
        struct luks_token back;
        char slot[12];
        int r;

        snprintf(slot, sizeof(slot), "%d", token->slot);
        json = json_pack("{s:s, s:o, s:i, s:s, s:s, s:I, s:s, s:i}", "type", "tallyboot", "keyslots",
                         assign ? json_pack("[s]", slot) : json_array(), "version", 1, "node", token->node_id, "key",
                         token->key_id, "generation", (json_int_t) token->generation, "state", token->live ? "live" : "staged",
                         "slot", token->slot);
        text = json ? luks_json_canonical(json) : NULL;
        if (!text)
                return -ENOMEM;
        if (luks_token_parse(text, &back, NULL, 0) < 0)
                return -EINVAL; /* never write what we would not read */
        r = crypt_token_json_set(device->cd, token->number < 0 ? CRYPT_ANY_TOKEN : token->number, text);
        if (r < 0)
                return r;
        token->number = r;
        token->assigned = assign;
        return 0;
}

int luks_token_list(struct luks_device *device, struct luks_token ret[static LUKS_KEYSLOTS], size_t *ret_n) {
        int max = crypt_token_max(CRYPT_LUKS2);
        size_t n = 0;

        for (int i = 0; i < max && n < LUKS_KEYSLOTS; i++) {
                const char *json = NULL;

                if (crypt_token_json_get(device->cd, i, &json) < 0 || !json)
                        continue;
                if (luks_token_parse(json, ret + n, NULL, 0) < 0)
                        continue;
                ret[n++].number = i;
        }
        *ret_n = n;
        return 0;
}

static bool is_called_ours(const char *text) {
        json_auto_t *json = luks_json_parse(text, strlen(text));
        char type[16];

        return json && luks_json_text(json, "type", type, sizeof type) >= 0 && strcmp(type, "tallyboot") == 0;
}

int luks_token_malformed(struct luks_device *device, char *error, size_t error_size) {
        int max = crypt_token_max(CRYPT_LUKS2);

        for (int i = 0; i < max; i++) {
                const char *json = NULL;
                struct luks_token token;

                if (crypt_token_json_get(device->cd, i, &json) >= 0 && json && is_called_ours(json) &&
                    luks_token_parse(json, &token, error, error_size) < 0)
                        return i;
        }
        return -ENOENT;
}

int luks_token_remove(struct luks_device *device, int number) {
        int r;

        r = crypt_token_json_set(device->cd, number, NULL);
        return r < 0 ? r : 0;
}
