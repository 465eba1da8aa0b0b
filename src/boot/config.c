/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/config.h"

#include <stdio.h>
#include <string.h>

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

static int set_path(const char *value, void *ret) {
        char *copy;

        if (value[0] != '/')
                return -EINVAL;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*(char **) ret);
        *(char **) ret = copy;
        return 0;
}

static int set_tcti(const char *value, void *ret) {
        char *copy;

        if (!strchr(value, ':') || strpbrk(value, " \t"))
                return -EINVAL;
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*(char **) ret);
        *(char **) ret = copy;
        return 0;
}

static int set_gate_pcr(const char *value, void *ret) {
        uint64_t number;
        int r = parse_u64(value, 8, 15, &number);

        if (r < 0)
                return r;
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

static int set_action(const char *value, void *ret) {
        static const char *const names[] = {
                [PAYLOAD_CONTINUE] = "continue",
                [PAYLOAD_POWEROFF] = "poweroff",
                [PAYLOAD_EMERGENCY] = "emergency",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(value, names[i]) == 0) {
                        *(enum payload_action *) ret = i;
                        return 0;
                }
        return -EINVAL;
}

#define SERVERS "https://HOST:PORT, several separated by spaces"
#define SECONDS "a number of seconds, or 90s, 5min, 2h (at most 7d)"
#define MEMBER(name) offsetof(struct config, name)

static const struct setting settings[] = {
        { "registrar", set_servers, MEMBER(registrar), SERVERS },
        { "tenant", set_servers, MEMBER(parties[PARTY_TENANT]), SERVERS },
        { "verifier", set_servers, MEMBER(parties[PARTY_VERIFIER]), SERVERS },
        { "ca", set_path, MEMBER(ca), "an absolute path" },
        { "tpm", set_tcti, MEMBER(tpm), "a TCTI such as device:/dev/tpmrm0" },
        { "securityfs", set_path, MEMBER(securityfs), "an absolute path" },
        { "gate-pcr", set_gate_pcr, MEMBER(gate_pcr), "a PCR from 8 to 15" },
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
        config->ca = strdup("/etc/tallyboot/ca.pem");
        config->tpm = strdup("device:/dev/tpmrm0");
        config->securityfs = strdup("/sys/kernel/security");
        if (!config->ca || !config->tpm || !config->securityfs)
                return NULL;
        return TAKE_PTR(config);
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
        return 0;
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
        if (r < 0)
                return r;
        *ret = TAKE_PTR(config);
        return 0;
}

/* Another user of the gate PCR would close the gate before our quote, or let people believe in a PCR 15 that means something else. */
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
        free(config);
        return NULL;
}

const char *config_tpm_device(const struct config *config) {
        return strncmp(config->tpm, "device:", 7) == 0 ? config->tpm + 7 : NULL;
}
