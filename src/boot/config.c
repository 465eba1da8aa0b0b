/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/config.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/ini.h"
#include "boot/crypttab.h"

enum { CONFIG_SIZE_MAX = 65536, SECONDS_MAX = 7 * 24 * 3600 };

/* A key of [node]: how it is parsed, and where it goes. */
struct setting {
        const char *key;
        int (*parse)(const char *value, void *ret);
        size_t offset;
        const char *wanted; /* what the value must be, for the message */
};

static int set_servers(const char *value, void *ret) {
        struct http_server_list list = {};
        int r = http_server_list_parse(value, &list);

        if (r < 0)
                return r;
        http_server_list_done(ret);
        memcpy(ret, &list, sizeof list);
        return 0;
}

static int set_text(const char *value, void *ret) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*(char **) ret);
        *(char **) ret = copy;
        return 0;
}

static int set_path(const char *value, void *ret) {
        return value[0] == '/' ? set_text(value, ret) : -EINVAL;
}

static int set_tcti(const char *value, void *ret) {
        return strchr(value, ':') && !strpbrk(value, " \t") ? set_text(value, ret) : -EINVAL;
}

static int set_gate_pcr(const char *value, void *ret) {
        uint64_t number;
        int r = parse_u64(value, 8, 15, &number);

        if (r < 0)
                return r;
        if (number == 10) /* the kernel's IMA extends it */
                return -EINVAL;
        *(unsigned *) ret = number;
        return 0;
}

static int set_seconds(const char *value, void *ret) {
        return parse_seconds(value, SECONDS_MAX, ret);
}

static int set_mebibytes(const char *value, void *ret) {
        return parse_u64(value, 1, 65536, ret);
}

static int set_bool(const char *value, void *ret) {
        return parse_bool(value, ret);
}

/* One of names, by its index. */
static int set_name(const char *value, const char *const *names, size_t n, unsigned *ret) {
        for (size_t i = 0; i < n; i++)
                if (names[i] && strcmp(value, names[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        return -EINVAL;
}

static int set_action(const char *value, void *ret) {
        static const char *const names[] = {
                [PAYLOAD_CONTINUE] = "continue",
                [PAYLOAD_POWEROFF] = "poweroff",
                [PAYLOAD_EMERGENCY] = "emergency",
        };

        return set_name(value, names, ELEMENTSOF(names), ret);
}

static int set_evidence(const char *value, void *ret) {
        static const char *const names[] = { [EVIDENCE_AUTO] = "auto", [EVIDENCE_TPM] = "tpm", [EVIDENCE_TOKEN] = "token" };

        return set_name(value, names, ELEMENTSOF(names), ret);
}

static const char *const unlock_names[] = {
        [UNLOCK_ONLINE] = "online", [UNLOCK_OFFLINE] = "offline", [UNLOCK_ONLINE_THEN_OFFLINE] = "online-then-offline"
};

static int set_unlock(const char *value, void *ret) {
        return set_name(value, unlock_names, ELEMENTSOF(unlock_names), ret);
}

const char *unlock_choice_to_string(enum unlock_choice choice) {
        return (size_t) choice < ELEMENTSOF(unlock_names) ? unlock_names[choice] : "?";
}

static int set_mechanism(const char *value, void *ret) {
        return wrap_mechanism_from_string(value, ret);
}

static int set_uri(const char *value, void *ret) {
        char error[256] = "";
        int r = pkcs11_uri_check(value, NULL, error, sizeof error);

        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        return set_text(value, ret);
}

/* One for each token of a fleet that shares the file, separated by spaces. */
static int set_digests(const char *value, void *ret) {
        struct digests digests = {};
        const char *at = value;

        for (at += strspn(at, " \t"); *at; at += strspn(at, " \t")) {
                uint8_t(*items)[32] = reallocarray(digests.items, digests.n + 1, sizeof *items);
                size_t length = strcspn(at, " \t");
                char hex[65];

                if (items)
                        digests.items = items;
                if (length == 64)
                        snprintf(hex, sizeof hex, "%.64s", at);
                if (!items || length != 64 || hex_decode(hex, items[digests.n], 32) < 0) {
                        free(digests.items);
                        return items ? -EINVAL : -ENOMEM;
                }
                digests.n++;
                at += length;
        }
        if (digests.n == 0)
                return -EINVAL;
        free(((struct digests *) ret)->items);
        *(struct digests *) ret = digests;
        return 0;
}

static int pin_source_set(struct pin_source *pin, enum pin_kind kind, const char *value) {
        char *copy = value ? strdup(value) : NULL;

        if (value && !copy)
                return -ENOMEM;
        free(pin->value);
        *pin = (struct pin_source){ kind, copy };
        return 0;
}

/* A credential's name is a file's name (systemd.exec(5)), and nothing else of a path. */
static int set_pin(const char *value, void *ret) {
        if (strcmp(value, "ask") == 0)
                return pin_source_set(ret, PIN_ASK, NULL);
        if (strcmp(value, "keypad") == 0)
                return pin_source_set(ret, PIN_KEYPAD, NULL);
        if (strncmp(value, "file:/", 6) == 0)
                return pin_source_set(ret, PIN_FILE, value + 5);
        if (strncmp(value, "credential:", 11) == 0 && value[11] && value[11] != '.' && !strchr(value + 11, '/'))
                return pin_source_set(ret, PIN_CREDENTIAL, value + 11);
        return -EINVAL;
}

#define SERVERS "https://HOST:PORT, several separated by spaces"
#define SECONDS "a number of seconds, or 90s, 5min, 2h (at most 7d)"
#define URI "a PKCS#11 URI (RFC 7512) without a PIN in it, such as pkcs11:token=NAME;object=KEY"
#define MEMBER(name) offsetof(struct config, name)

static const struct setting settings[] = {
        { "registrar", set_servers, MEMBER(registrar), SERVERS },
        { "tenant", set_servers, MEMBER(parties[PARTY_TENANT]), SERVERS },
        { "verifier", set_servers, MEMBER(parties[PARTY_VERIFIER]), SERVERS },
        { "ca", set_path, MEMBER(ca), "an absolute path" },
        { "tpm", set_tcti, MEMBER(tpm), "a TCTI such as device:/dev/tpmrm0" },
        { "securityfs", set_path, MEMBER(securityfs), "an absolute path" },
        { "gate-pcr", set_gate_pcr, MEMBER(gate_pcr), "a PCR from 8 to 15, and not 10" },
        { "prompt-after", set_seconds, MEMBER(prompt_after), SECONDS },
        { "tpm-timeout", set_seconds, MEMBER(tpm_timeout), SECONDS },
        { "network-timeout", set_seconds, MEMBER(network_timeout), SECONDS ", 0 for no limit" },
        { "connect-timeout", set_seconds, MEMBER(connect_timeout), SECONDS },
        { "exchange-timeout", set_seconds, MEMBER(exchange_timeout), SECONDS },
        { "payload", set_bool, MEMBER(payload), "yes or no" },
        { "payload-after", set_seconds, MEMBER(payload_after), SECONDS ", 0 for no limit" },
        { "payload-size", set_mebibytes, MEMBER(payload_size), "a number of MiB" },
        { "payload-action", set_action, MEMBER(payload_action), "continue, poweroff or emergency" },
        { "root", set_bool, MEMBER(root), "yes or no" },
        { "hibernation", set_bool, MEMBER(hibernation), "yes or no" },
        { "evidence", set_evidence, MEMBER(evidence), "auto, tpm or token" },
        { "token-key", set_uri, MEMBER(token_key), URI },
        { "token-key-sha256", set_digests, MEMBER(token_key_sha256),
          "a SHA-256 in 64 hexadecimal digits, several separated by spaces" },
        { "token-module", set_path, MEMBER(token_module), "an absolute path" },
        { "token-pin", set_pin, MEMBER(token_pin), "ask, keypad, file:/PATH or credential:NAME" },
        { "token-timeout", set_seconds, MEMBER(token_timeout), SECONDS ", 0 for no limit" },
        { "token-key-shared", set_bool, MEMBER(token_key_shared), "yes or no" },
        { "unlock", set_unlock, MEMBER(unlock), "online, offline or online-then-offline" },
        { "offline-after", set_seconds, MEMBER(offline_after), SECONDS },
        { "offline-key", set_uri, MEMBER(offline_key), URI },
        { "offline-mac-key", set_uri, MEMBER(offline_mac_key), URI },
        { "offline-mechanism", set_mechanism, MEMBER(offline_mechanism), "kwp, key-wrap-pad, gcm, cbc-pad, rsa-oaep or ecdh" },
};

struct parsing {
        struct config *config;
        bool seen[ELEMENTSOF(settings)];
};

static int on_setting(const char *section, const char *key, const char *value, unsigned line _unused_, char *error,
                      size_t error_size, void *userdata) {
        struct parsing *parsing = userdata;

        if (strcmp(section, "node") != 0) {
                snprintf(error, error_size, "unknown section [%s], there is only [node]", section);
                return -ENOENT;
        }

        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                int r;

                if (strcmp(key, settings[i].key) != 0)
                        continue;
                if (parsing->seen[i]) {
                        snprintf(error, error_size, "%s is said twice", key);
                        return -EEXIST;
                }
                parsing->seen[i] = true;
                r = settings[i].parse(value, (uint8_t *) parsing->config + settings[i].offset);
                if (r < 0)
                        snprintf(error, error_size, "%s must be %s, not \"%s\"", key, settings[i].wanted, value);
                return r;
        }

        snprintf(error, error_size, "unknown key \"%s\" in [node]", key);
        return -ENOENT;
}

static struct config *config_new(void) {
        _cleanup_(config_freep) struct config *config = calloc(1, sizeof *config);

        if (!config)
                return NULL;
        config->gate_pcr = 15;
        config->prompt_after = 10;
        config->tpm_timeout = 10;
        config->connect_timeout = 3;
        config->exchange_timeout = 10;
        config->payload_size = 256;
        config->root = true;
        config->offline_after = 30;
        config->ca = strdup("/etc/tallyboot/ca.pem");
        config->tpm = strdup("device:/dev/tpmrm0");
        config->securityfs = strdup("/sys/kernel/security");
        if (!config->ca || !config->tpm || !config->securityfs)
                return NULL;
        return TAKE_PTR(config);
}

/* pin-source of a URI (RFC 7512, 2.4) says the same as token-pin = file:; a program that prints a PIN is nothing for an
 * initramfs. */
static int take_pin_source(struct config *config, const char *uri, bool pin_is_set, char *error, size_t error_size) {
        _cleanup_(freep) char *source = NULL;
        const char *path;
        int r = uri ? pkcs11_uri_check(uri, &source, error, error_size) : 0;

        if (r < 0 || !source)
                return r;
        path = strncmp(source, "file:", 5) == 0 ? source + 5 : source;
        if (strncmp(path, "///", 3) == 0)
                path += 2;
        if (path[0] != '/' || path[1] == '/') {
                snprintf(error, error_size,
                         "pin-source must be file:/PATH, not \"%s\"; for anything else there is token-pin =", source);
                return -EBADMSG;
        }
        if (config->token_pin.kind == PIN_FILE && strcmp(config->token_pin.value, path) == 0)
                return 0;
        if (pin_is_set) {
                snprintf(error, error_size, "token-pin and pin-source of a URI say where the PIN is; leave one of them out");
                return -EBADMSG;
        }
        return pin_source_set(&config->token_pin, PIN_FILE, path);
}

static int take_pin_sources(struct parsing *parsing, char *error, size_t error_size) {
        struct config *config = parsing->config;
        bool is_set = false;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                is_set = is_set || (parsing->seen[i] && settings[i].parse == set_pin);
        r = take_pin_source(config, config->token_key, is_set, error, error_size);
        return r < 0 ? r
                     : take_pin_source(config, config->offline_key, is_set || config->token_pin.kind == PIN_FILE, error,
                                       error_size);
}

static int check_token(const struct config *config, char *error, size_t error_size) {
        if (config->evidence == EVIDENCE_TOKEN && !config->token_key) {
                snprintf(error, error_size, "evidence = token needs token-key =");
                return -EBADMSG;
        }
        if (config->token_key_sha256.n > 0 && !config->token_key) {
                snprintf(error, error_size, "token-key-sha256 needs token-key =");
                return -EBADMSG;
        }
        if (config->unlock != UNLOCK_ONLINE && !config->offline_key) {
                snprintf(error, error_size, "unlock = %s needs offline-key =", unlock_choice_to_string(config->unlock));
                return -EBADMSG;
        }
        if (config->offline_after == 0) {
                snprintf(error, error_size, "offline-after must not be 0; to ask no server at all say unlock = offline");
                return -EBADMSG;
        }
        if (config->offline_mechanism == WRAP_CBC_PAD && !config->offline_mac_key) {
                snprintf(error, error_size, "offline-mechanism = cbc-pad needs offline-mac-key =");
                return -EBADMSG;
        }
        return 0;
}

static int config_check(const struct config *config, char *error, size_t error_size) {
        if (config->parties[PARTY_TENANT].n == 0 || config->parties[PARTY_VERIFIER].n == 0) {
                snprintf(error, error_size, "[node] needs tenant = and verifier =");
                return -EBADMSG;
        }
        if (config->connect_timeout == 0 || config->exchange_timeout == 0) {
                snprintf(error, error_size, "connect-timeout and exchange-timeout must not be 0");
                return -EBADMSG;
        }
        return check_token(config, error, error_size);
}

int config_parse(const char *text, size_t size, struct config **ret, char *error, size_t error_size) {
        _cleanup_(config_freep) struct config *config = config_new();
        struct parsing parsing = { .config = config };
        int r;

        if (!config)
                return -ENOMEM;
        r = ini_parse(text, size, on_setting, &parsing, error, error_size);
        if (r < 0)
                return r;
        config->registrar.role = "registrar";
        config->parties[PARTY_TENANT].role = party_to_string(PARTY_TENANT);
        config->parties[PARTY_VERIFIER].role = party_to_string(PARTY_VERIFIER);
        r = config_check(config, error, error_size);
        if (r >= 0)
                r = take_pin_sources(&parsing, error, error_size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(config);
        return 0;
}

/* Another user of the gate PCR would close the gate before our quote, or let people believe in a PCR 15 that means something
 * else. */
static int check_crypttab(const struct config *config, char *error, size_t error_size) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        int r = crypttab_load("/etc/crypttab", &crypttab);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return 0; /* systemd reads it with more patience than we do; nothing to say about the PCR */
        for (size_t i = 0; i < crypttab.n; i++)
                if (crypttab.items[i].measures_pcr && crypttab.items[i].measure_pcr == config->gate_pcr) {
                        snprintf(error, error_size,
                                 "gate-pcr %u is also extended by tpm2-measure-pcr= of %s in /etc/crypttab; "
                                 "change one of the two",
                                 config->gate_pcr, crypttab.items[i].name);
                        return -EBADMSG;
                }
        return 0;
}

static int64_t read_build_time(void) {
        _cleanup_(blob_done) struct blob text = {};
        uint64_t seconds;

        if (file_read(BUILD_TIME_PATH, 64, &text) < 0)
                return 0;
        text.data[strcspn((char *) text.data, "\n")] = '\0';
        if (parse_u64((char *) text.data, 0, (uint64_t) 1 << 40, &seconds) < 0)
                return 0;
        return seconds;
}

int config_load(const char *path, struct config **ret, char *error, size_t error_size) {
        _cleanup_(config_freep) struct config *config = NULL;
        _cleanup_(blob_done) struct blob text = {};
        char why[512] = "";
        int r;

        r = file_read(path, CONFIG_SIZE_MAX, &text);
        if (r == -ENOENT) {
                snprintf(error, error_size, "%s is missing: this machine is not configured for tallyboot", path);
                return r;
        }
        if (r < 0) {
                snprintf(error, error_size, "%s cannot be read: %s", path, strerror(-r));
                return r;
        }
        r = config_parse((char *) text.data, text.size, &config, why, sizeof why);
        if (r >= 0)
                r = check_crypttab(config, why, sizeof why);
        if (r < 0) {
                snprintf(error, error_size, "%s: %s", path, why[0] ? why : strerror(-r));
                return r;
        }
        config->path = strdup(path);
        if (!config->path)
                return -ENOMEM;
        config->not_before = read_build_time();
        *ret = TAKE_PTR(config);
        return 0;
}

static int on_unusable(const char *section _unused_, const char *key, const char *value, unsigned line _unused_,
                       char *error _unused_, size_t error_size _unused_, void *userdata) {
        struct config *config = userdata;

        if (strcmp(key, "tpm") == 0)
                (void) set_tcti(value, &config->tpm);
        return 0;
}

int config_unusable(const char *path, struct config **ret) {
        _cleanup_(config_freep) struct config *config = config_new();
        _cleanup_(blob_done) struct blob text = {};

        if (!config)
                return -ENOMEM;
        config->any_gate = true;
        if (file_read(path, CONFIG_SIZE_MAX, &text) >= 0)
                (void) ini_parse((char *) text.data, text.size, on_unusable, config, NULL, 0);
        *ret = TAKE_PTR(config);
        return 0;
}

struct config *config_free(struct config *config) {
        if (!config)
                return NULL;
        http_server_list_done(&config->registrar);
        http_server_list_done(&config->parties[PARTY_TENANT]);
        http_server_list_done(&config->parties[PARTY_VERIFIER]);
        free(config->ca);
        free(config->tpm);
        free(config->securityfs);
        free(config->path);
        free(config->token_key);
        free(config->token_key_sha256.items);
        free(config->token_module);
        free(config->token_pin.value);
        free(config->offline_key);
        free(config->offline_mac_key);
        free(config);
        return NULL;
}

const char *config_tpm_device(const struct config *config) {
        return strncmp(config->tpm, "device:", 7) == 0 ? config->tpm + 7 : NULL;
}
