/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/ini.h"
#include "keystore/keystore.h"
#include "pkcs11/pkcs11.h"
#include "tpm/seal.h"

enum { CACHE_MAX_S = 7 * 24 * 3600, CACHE_DEFAULT_S = 300 };

struct option {
        const char *name;
        int (*set)(struct keystore_options *options, const char *directory, const char *value, char *error, size_t error_size);
};

static char *resolve(const char *directory, const char *path) {
        return path[0] == '/' ? strdup(path) : path_join(directory, path);
}

static int set_source(struct keystore_source *source, const char *directory, const char *value, char *error, size_t error_size) {
        int r;

        source->text = strdup(value);
        if (!source->text)
                return -ENOMEM;

        if (strncmp(value, "file:", 5) == 0 && value[5]) {
                source->kind = KEYSTORE_FILE;
                source->path = resolve(directory, value + 5);
                return source->path ? 0 : -ENOMEM;
        }
        if (strcmp(value, "tpm") == 0) {
                source->kind = KEYSTORE_TPM;
                return 0;
        }
        if (strncmp(value, "pkcs11:", 7) == 0) {
                r = pkcs11_uri_check(value, NULL, error, error_size);
                if (r < 0)
                        return r;
                source->kind = KEYSTORE_PKCS11;
                source->uri = strdup(value);
                return source->uri ? 0 : -ENOMEM;
        }
        (void) snprintf(error, error_size, "a master key is file:/path, tpm, or a PKCS#11 URI (pkcs11:...), not '%s'", value);
        return -EINVAL;
}

static int set_path(char **target, const char *directory, const char *value) {
        *target = resolve(directory, value);
        return *target ? 0 : -ENOMEM;
}

static int set_pin(char **target, const char *directory, const char *value, char *error, size_t error_size) {
        _cleanup_(freep) char *path = NULL;

        if (strncmp(value, "file:", 5) == 0 && value[5]) {
                path = resolve(directory, value + 5);
                *target = path ? format("file:%s", path) : NULL;
                return *target ? 0 : -ENOMEM;
        }
        if (strncmp(value, "credential:", 11) == 0 && value[11] && !strchr(value + 11, '/')) {
                *target = strdup(value);
                return *target ? 0 : -ENOMEM;
        }
        /* what is wrong is not shown: it may be the PIN */
        (void) snprintf(error, error_size,
                        "a PIN is named by file:/path or credential:NAME; it never is in the configuration itself");
        return -EINVAL;
}

static int set_text(char **target, const char *value) {
        *target = strdup(value);
        return *target ? 0 : -ENOMEM;
}

static int set_flag(bool *target, const char *value, const char *name, char *error, size_t error_size) {
        int r = parse_bool(value, target);

        if (r < 0)
                (void) snprintf(error, error_size, "%s must be yes or no", name);
        return r;
}

#define SETTER(name)                                                                                                  \
        static int name(_unused_ struct keystore_options *options, _unused_ const char *directory, const char *value, \
                        _unused_ char *error, _unused_ size_t error_size)

SETTER(set_master) {
        return set_source(&options->master, directory, value, error, error_size);
}

SETTER(set_old_master) {
        return set_source(&options->old, directory, value, error, error_size);
}

SETTER(set_module) {
        return set_path(&options->master.module, directory, value);
}

SETTER(set_old_module) {
        return set_path(&options->old.module, directory, value);
}

SETTER(set_master_pin) {
        return set_pin(&options->master.pin, directory, value, error, error_size);
}

SETTER(set_old_pin) {
        return set_pin(&options->old.pin, directory, value, error, error_size);
}

SETTER(set_mac_key) {
        return set_text(&options->master.mac_key, value);
}

SETTER(set_old_mac_key) {
        return set_text(&options->old.mac_key, value);
}

static int set_where(bool *in_process, const char *value, const char *name, char *error, size_t error_size) {
        bool apart;
        int r = set_flag(&apart, value, name, error, error_size);

        if (r >= 0)
                *in_process = !apart;
        return r;
}

SETTER(set_apart) {
        return set_where(&options->master.in_process, value, "module-apart", error, error_size);
}

SETTER(set_old_apart) {
        return set_where(&options->old.in_process, value, "old-module-apart", error, error_size);
}

SETTER(set_mechanism) {
        enum wrap_mechanism mechanism;

        if (wrap_mechanism_from_string(value, &mechanism) >= 0 && mechanism <= WRAP_CBC_PAD) {
                options->mechanism = mechanism;
                return 0;
        }
        (void) snprintf(error, error_size, "mechanism must be kwp, key-wrap-pad, gcm or cbc-pad");
        return -EINVAL;
}

static int set_mac_named(enum wrap_mac *mac, const char *name, const char *value, char *error, size_t error_size) {
        if (wrap_mac_from_string(value, mac) >= 0 && *mac != WRAP_MAC_NONE)
                return 0;
        (void) snprintf(error, error_size, "%s must be sha256-hmac or aes-cmac%s", name,
                        strcmp(value, "aes-mac") == 0
                                ? "; CKM_AES_MAC has 64 bits only: where nothing better is to be had, say aes-mac-64"
                                : " (or aes-mac-64, which has 64 bits only)");
        return -EINVAL;
}

SETTER(set_mac) {
        return set_mac_named(&options->master.mac, "mac", value, error, error_size);
}

SETTER(set_old_mac) {
        return set_mac_named(&options->old.mac, "old-mac", value, error, error_size);
}

SETTER(set_iv) {
        options->iv_by_token = strcmp(value, "token") == 0;
        if (options->iv_by_token || strcmp(value, "ours") == 0)
                return 0;
        (void) snprintf(error, error_size, "iv must be ours or token: who chooses it");
        return -EINVAL;
}

SETTER(set_always_sensitive) {
        return set_flag(&options->always_sensitive, value, "always-sensitive", error, error_size);
}

SETTER(set_cache) {
        uint64_t seconds;

        if (parse_seconds(value, CACHE_MAX_S, &seconds) < 0) {
                (void) snprintf(error, error_size, "cache must be 0 to %d seconds", CACHE_MAX_S);
                return -EINVAL;
        }
        options->cache = (unsigned) seconds;
        return 0;
}

SETTER(set_tpm) {
        return set_text(&options->tpm, value);
}

/* "7" or "0,2,7" or "4 7" */
SETTER(set_pcrs) {
        uint32_t mask = 0;
        char *end;

        for (const char *p = value; *p; p = end) {
                unsigned long pcr;

                p += strspn(p, ", ");
                if (!*p)
                        break;
                pcr = *p >= '0' && *p <= '9' ? strtoul(p, &end, 10) : ULONG_MAX;
                if (pcr > 22 || (*end && *end != ',' && *end != ' ')) {
                        mask = 0;
                        break;
                }
                mask |= UINT32_C(1) << pcr;
        }
        if (mask == 0 || mask & 1U << 16) {
                (void) snprintf(
                        error, error_size,
                        "pcrs are numbers from 0 to 22, not 16 (which any program may reset), separated by commas: 7, or 4,7");
                return -EINVAL;
        }
        options->pcrs = mask;
        return 0;
}

SETTER(set_gate_pcr) {
        uint64_t pcr;

        if (parse_u64(value, 0, 23, &pcr) < 0 || !tpm_seal_gate_is_valid((unsigned) pcr)) {
                (void) snprintf(error, error_size, "gate-pcr must be 8 to 15, and not 10 (which the kernel's IMA extends)");
                return -EINVAL;
        }
        options->gate_pcr = (unsigned) pcr;
        return 0;
}

static const struct option option_table[] = {
        { "master", set_master },
        { "module", set_module },
        { "module-apart", set_apart },
        { "pin", set_master_pin },
        { "mac-key", set_mac_key },
        { "old-master", set_old_master },
        { "old-module", set_old_module },
        { "old-module-apart", set_old_apart },
        { "old-pin", set_old_pin },
        { "old-mac-key", set_old_mac_key },
        { "mechanism", set_mechanism },
        { "mac", set_mac },
        { "old-mac", set_old_mac },
        { "iv", set_iv },
        { "always-sensitive", set_always_sensitive },
        { "cache", set_cache },
        { "tpm", set_tpm },
        { "pcrs", set_pcrs },
        { "gate-pcr", set_gate_pcr },
};

int keystore_option(struct keystore_options *options, const char *directory, const char *name, const char *value, char *error,
                    size_t error_size) {
        for (size_t i = 0; i < ELEMENTSOF(option_table); i++) {
                if (strcmp(option_table[i].name, name) != 0)
                        continue;
                if (options->seen & 1U << i)
                        return -EEXIST;
                options->seen |= 1U << i;
                if (!value[0]) {
                        (void) snprintf(error, error_size, "%s must not be empty", name);
                        return -EINVAL;
                }
                return option_table[i].set(options, directory, value, error, error_size);
        }
        return -ENOENT;
}

bool keystore_option_given(const struct keystore_options *options, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(option_table); i++)
                if (strcmp(option_table[i].name, name) == 0)
                        return options->seen & 1U << i;
        return false;
}

static bool tokens_only_given(const struct keystore_options *options, const char **ret) {
        static const char *const names[] = { "module",    "module-apart", "pin", "mac-key",
                                             "mechanism", "mac",          "iv",  "always-sensitive" };
        static const char *const old[] = { "old-module", "old-module-apart", "old-pin", "old-mac", "old-mac-key" };

        if (options->master.kind != KEYSTORE_PKCS11)
                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        if (keystore_option_given(options, *ret = names[i]))
                                return true;
        if (options->old.kind != KEYSTORE_PKCS11)
                for (size_t i = 0; i < ELEMENTSOF(old); i++)
                        if (keystore_option_given(options, *ret = old[i]))
                                return true;
        return false;
}

/* -EBADMSG, words for it in error. */
static int wrong(char *error, size_t error_size, const char *words) {
        (void) snprintf(error, error_size, "%s", words);
        return -EBADMSG;
}

static int check_token(const struct keystore_options *options, char *error, size_t error_size) {
        if (options->mechanism == WRAP_CBC_PAD && !options->master.mac)
                return wrong(error, error_size,
                             "mechanism = cbc-pad needs mac and mac-key: it does not find out what was changed");
        if (options->mechanism == WRAP_GCM && options->master.mac)
                return wrong(error, error_size,
                             "mechanism = gcm has its own authentication: mac and mac-key are not used with it");
        if (options->always_sensitive && !options->master.mac)
                return wrong(
                        error, error_size,
                        "always-sensitive = yes needs mac and mac-key: a key that never leaves the token is bound by nothing else");
        if (options->always_sensitive && keystore_option_given(options, "cache"))
                return wrong(error, error_size,
                             "always-sensitive = yes leaves nothing to cache: every half is opened by the token");
        if (options->iv_by_token && options->mechanism != WRAP_GCM && options->mechanism != WRAP_CBC_PAD)
                return wrong(error, error_size, "iv = token is for the mechanisms gcm and cbc-pad; the others have none");
        return 0;
}

/* The same key under another MAC is another master: what it wrapped with the old one is not accepted as if it had the new one. */
static bool is_same(const struct keystore_source *a, const struct keystore_source *b) {
        return a->kind == b->kind && a->kind != KEYSTORE_TPM && strcmp(a->text, b->text) == 0 && a->mac == b->mac;
}

static int check_tpm(struct keystore_options *options, char *error, size_t error_size) {
        static const char *const names[] = { "tpm", "pcrs", "gate-pcr" };

        if (options->master.kind != KEYSTORE_TPM && options->old.kind != KEYSTORE_TPM)
                for (size_t i = 0; i < ELEMENTSOF(names); i++)
                        if (keystore_option_given(options, names[i])) {
                                (void) snprintf(error, error_size, "%s is for a master key in the TPM (master = tpm)", names[i]);
                                return -EBADMSG;
                        }
        if (!options->tpm)
                options->tpm = strdup("device:/dev/tpmrm0");
        if (!options->tpm)
                return -ENOMEM;
        if (options->pcrs == 0)
                options->pcrs = 1U << 7;
        if (options->gate_pcr == 0)
                options->gate_pcr = 14;
        if (options->pcrs & UINT32_C(1) << options->gate_pcr)
                return wrong(error, error_size, "gate-pcr must not be one of pcrs: it changes once the master key was unsealed");
        return 0;
}

int keystore_options_check(struct keystore_options *options, char *error, size_t error_size) {
        const char *name;
        int r;

        if (options->master.kind == KEYSTORE_NONE)
                return wrong(error, error_size, "key 'master' is missing in section [keystore]");
        if (tokens_only_given(options, &name)) {
                (void) snprintf(error, error_size, "%s is for a master key in an HSM (%smaster = pkcs11:...)", name,
                                strncmp(name, "old-", 4) == 0 ? "old-" : "");
                return -EBADMSG;
        }
        if (!options->master.mac != !options->master.mac_key)
                return wrong(error, error_size, "mac and mac-key belong together: which one, and its key in the token");
        if (!options->old.mac != !options->old.mac_key)
                return wrong(error, error_size, "old-mac and old-mac-key belong together: which one, and its key in the token");
        if (is_same(&options->master, &options->old))
                return wrong(error, error_size, "master and old-master are the same");
        r = check_tpm(options, error, error_size);
        if (r < 0)
                return r;
        if (options->master.kind == KEYSTORE_PKCS11) {
                if (!keystore_option_given(options, "cache"))
                        options->cache = CACHE_DEFAULT_S;
                return check_token(options, error, error_size);
        }
        if (keystore_option_given(options, "cache"))
                return wrong(error, error_size, "cache is for a master key in an HSM: any other is in memory itself");
        return 0;
}

static bool texts_equal(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : !a && !b;
}

static bool sources_equal(const struct keystore_source *a, const struct keystore_source *b) {
        return a->kind == b->kind && texts_equal(a->text, b->text) && texts_equal(a->module, b->module) &&
               texts_equal(a->pin, b->pin) && texts_equal(a->mac_key, b->mac_key) && a->mac == b->mac &&
               a->in_process == b->in_process;
}

bool keystore_options_equal(const struct keystore_options *a, const struct keystore_options *b) {
        return sources_equal(&a->master, &b->master) && sources_equal(&a->old, &b->old) && a->mechanism == b->mechanism &&
               a->iv_by_token == b->iv_by_token && a->always_sensitive == b->always_sensitive && a->cache == b->cache;
}

static void source_done(struct keystore_source *source) {
        free(source->text);
        free(source->path);
        free(source->uri);
        free(source->module);
        free(source->pin);
        free(source->mac_key);
}

void keystore_options_done(struct keystore_options *options) {
        source_done(&options->master);
        source_done(&options->old);
        free(options->tpm);
        *options = (struct keystore_options){};
}
