/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/ini.h"
#include "base/log.h"

enum type { TYPE_TEXT, TYPE_PATH, TYPE_REQUIREMENT, TYPE_SECONDS, TYPE_NUMBER };

struct key {
        const char *section, *name;
        enum type type;
        size_t offset; /* in struct service_config */
        uint64_t min, max;
        bool required;
};

#define AT(member) offsetof(struct service_config, member)

static const struct key keys_service[] = {
        { "service", "listen", TYPE_TEXT, AT(listen), .required = true },
        { "service", "certificate", TYPE_PATH, AT(certificate), .required = true },
        { "service", "key", TYPE_PATH, AT(key), .required = true },
        { "service", "client-ca", TYPE_PATH, AT(client_ca), .required = true },
        { "service", "client-refuse", TYPE_PATH, AT(client_refuse) },
        { "service", "database", TYPE_PATH, AT(database), .required = true },
        { "service", "ek-roots", TYPE_PATH, AT(ek_roots) },
        { "service", "ek-certificates", TYPE_REQUIREMENT, AT(ek_required) },
        { "service", "ek-crls", TYPE_PATH, AT(ek_crls) },
        { "service", "ek-crl-check", TYPE_REQUIREMENT, AT(ek_crls_required) },
        { "service", "ek-allow", TYPE_PATH, AT(ek_allow) },
        { "service", "ek-refuse", TYPE_TEXT, AT(ek_refuse) },
        { "limits", "nonce-ttl", TYPE_SECONDS, AT(nonce_ttl), 10, 3600 },
        { "limits", "answers-per-minute", TYPE_NUMBER, AT(answers_per_minute), 1, 100000 },
        { "limits", "workers", TYPE_NUMBER, AT(workers), 2, 512 },
        { "limits", "requests-per-minute", TYPE_NUMBER, AT(requests_per_minute), 10, 10000000 },
        { "limits", "connections", TYPE_NUMBER, AT(connections), 16, 100000 },
        { "limits", "connections-per-address", TYPE_NUMBER, AT(connections_per_address), 4, 100000 },
        { "limits", "memory", TYPE_NUMBER, AT(memory), 4, 65536 },
        { "limits", "token-nodes", TYPE_NUMBER, AT(token_nodes), 0, 10000000 },
        { "limits", "uncertified-per-hour", TYPE_NUMBER, AT(uncertified_per_hour), 1, 1000000 },
        { "limits", "free-space", TYPE_NUMBER, AT(free_space), 0, 1000000 },
        { "audit", "heads-every", TYPE_SECONDS, AT(heads_every), 1, 3600 },
        { "audit", "heads-records", TYPE_NUMBER, AT(heads_records), 1, 100000 },
        {},
};
static const struct key keys_payload[] = { { "service", "payload-dir", TYPE_PATH, AT(payload_dir), .required = true }, {} };
static const struct key keys_registrar[] = {
        { "service", "ek-crl-recheck", TYPE_REQUIREMENT, AT(ek_recheck) },
        { "registrar", "url", TYPE_TEXT, AT(registrar_url), .required = true },
        { "registrar", "ca", TYPE_PATH, AT(registrar_ca), .required = true },
        {},
};
static const struct key keys_verifier[] = {
        { "verifier", "url", TYPE_TEXT, AT(verifier_url), .required = true },
        { "verifier", "ca", TYPE_PATH, AT(verifier_ca), .required = true },
        {},
};

struct reading {
        const struct key *tables[4];
        size_t n_tables;
        struct service_config *config;
        char *directory;
        uint64_t seen[4]; /* bit masks, one a table */
        bool oom;
};

static const struct key *key_find(struct reading *reading, const char *section, const char *name, size_t *ret_table,
                                  size_t *ret_index) {
        for (size_t t = 0; t < reading->n_tables; t++)
                for (size_t i = 0; reading->tables[t][i].name; i++) {
                        const struct key *key = reading->tables[t] + i;

                        if (strcmp(key->section, section) != 0 || strcmp(key->name, name) != 0)
                                continue;
                        *ret_table = t;
                        *ret_index = i;
                        return key;
                }

        return NULL;
}

static char *path_resolve(const char *directory, const char *value) {
        return value[0] == '/' ? strdup(value) : path_join(directory, value);
}

static int set_text(struct reading *reading, const struct key *key, const char *value, char **target) {
        if (!value[0])
                return -EINVAL;

        *target = key->type == TYPE_PATH ? path_resolve(reading->directory, value) : strdup(value);
        if (*target)
                return 0;

        reading->oom = true;
        return -ENOMEM;
}

static int set_value(struct reading *reading, const struct key *key, const char *value) {
        void *target = (char *) reading->config + key->offset;
        uint64_t number;
        int r;

        switch (key->type) {
        case TYPE_TEXT:
        case TYPE_PATH:
                return set_text(reading, key, value, target);
        case TYPE_REQUIREMENT:
                *(bool *) target = strcmp(value, "required") == 0;
                return *(bool *) target || strcmp(value, "optional") == 0 ? 0 : -EINVAL;
        case TYPE_SECONDS:
                r = parse_seconds(value, key->max, &number);
                break;
        default:
                r = parse_u64(value, 0, key->max, &number);
        }
        if (r < 0)
                return r;
        if (number < key->min)
                return -EINVAL;

        *(unsigned *) target = (unsigned) number;
        return 0;
}

static void wrong_value(const struct key *key, char *error, size_t error_size) {
        if (key->type == TYPE_REQUIREMENT)
                (void) snprintf(error, error_size, "%s must be required or optional", key->name);
        else if (key->type == TYPE_SECONDS || key->type == TYPE_NUMBER)
                (void) snprintf(error, error_size, "%s must be %llu to %llu%s", key->name, (unsigned long long) key->min,
                                (unsigned long long) key->max, key->type == TYPE_SECONDS ? " seconds" : "");
        else
                (void) snprintf(error, error_size, "%s must not be empty", key->name);
}

static int keystore_key(struct reading *reading, const char *name, const char *value, char *error, size_t error_size) {
        int r;

        r = keystore_option(&reading->config->keystore, reading->directory, name, value, error, error_size);
        if (r == -ENOENT)
                (void) snprintf(error, error_size, "unknown key '%s' in section [keystore]; remove it", name);
        else if (r == -EEXIST)
                (void) snprintf(error, error_size, "key '%s' is there twice in section [keystore]; keep one", name);
        return r;
}

/* As it was before there was a section for it. */
static int master_key(struct reading *reading, const char *value, char *error, size_t error_size) {
        _cleanup_(freep) char *master = value[0] ? format("file:%s", value) : NULL;

        if (!value[0]) {
                (void) snprintf(error, error_size, "master-key must not be empty");
                return -EINVAL;
        }
        if (!master)
                return -ENOMEM;
        if (keystore_option_given(&reading->config->keystore, "master")) {
                (void) snprintf(error, error_size,
                                "the master key is named twice: keep master in section [keystore], remove master-key");
                return -EEXIST;
        }
        return keystore_key(reading, "master", master, error, error_size);
}

static int on_key(const char *section, const char *name, const char *value, unsigned line, char *error, size_t error_size,
                  void *userdata) {
        struct reading *reading = userdata;
        const struct key *key;
        size_t table, index;
        int r;

        (void) line;

        if (strcmp(section, "keystore") == 0)
                return keystore_key(reading, name, value, error, error_size);
        if (strcmp(section, "service") == 0 && strcmp(name, "master-key") == 0)
                return master_key(reading, value, error, error_size);

        key = key_find(reading, section, name, &table, &index);
        if (!key) {
                (void) snprintf(error, error_size, "unknown key '%s' in section [%s]; remove it", name, section);
                return -ENOENT;
        }
        if (reading->seen[table] & (UINT64_C(1) << index)) {
                (void) snprintf(error, error_size, "key '%s' is there twice in section [%s]; keep one", name, section);
                return -EEXIST;
        }
        reading->seen[table] |= UINT64_C(1) << index;

        r = set_value(reading, key, value);
        if (r < 0 && r != -ENOMEM)
                wrong_value(key, error, error_size);
        return r;
}

static int check_required(const struct reading *reading, const char *file, char *error, size_t error_size) {
        for (size_t t = 0; t < reading->n_tables; t++)
                for (size_t i = 0; reading->tables[t][i].name; i++) {
                        const struct key *key = reading->tables[t] + i;

                        if (!key->required || reading->seen[t] & (UINT64_C(1) << i))
                                continue;
                        (void) snprintf(error, error_size, "%s: key '%s' is missing in section [%s]", file, key->name,
                                        key->section);
                        return -EBADMSG;
                }

        return 0;
}

static char *directory_of(const char *file) {
        const char *slash = strrchr(file, '/');

        if (!slash)
                return getcwd(NULL, 0);
        return slash == file ? strdup("/") : strndup(file, (size_t) (slash - file));
}

static void choose_tables(const struct service_definition *definition, struct reading *reading) {
        reading->tables[reading->n_tables++] = keys_service;
        if (definition->has_payload_dir)
                reading->tables[reading->n_tables++] = keys_payload;
        if (definition->has_registrar)
                reading->tables[reading->n_tables++] = keys_registrar;
        if (definition->has_verifier)
                reading->tables[reading->n_tables++] = keys_verifier;
}

static int config_parse(const char *file, const struct blob *text, struct reading *reading, char *error, size_t error_size) {
        char wrong[512] = "";
        int r;

        r = ini_parse((const char *) text->data, text->size, on_key, reading, wrong, sizeof(wrong));
        if (r < 0) {
                (void) snprintf(error, error_size, "%s:%s", file, wrong[0] ? wrong : " out of memory");
                return r;
        }

        r = check_required(reading, file, error, error_size);
        if (r < 0)
                return r;
        r = keystore_options_check(&reading->config->keystore, wrong, sizeof(wrong));
        if (r < 0) {
                (void) snprintf(error, error_size, "%s: %s", file, wrong);
                return r;
        }

        if (reading->config->ek_required && !reading->config->ek_roots) {
                (void) snprintf(
                        error, error_size,
                        "%s: ek-certificates = required needs ek-roots, the directory of the TPM vendors' certificates; set it, "
                        "or say ek-certificates = optional",
                        file);
                return -EBADMSG;
        }
        if (reading->config->ek_crls_required && !reading->config->ek_crls) {
                (void) snprintf(error, error_size,
                                "%s: ek-crl-check = required needs ek-crls, the directory of the TPM makers' CRLs", file);
                return -EBADMSG;
        }
        return 0;
}

int service_config_read(const char *file, const struct service_definition *definition, struct service_config *ret, char *error,
                        size_t error_size) {
        _cleanup_(service_config_done) struct service_config config = {
                .ek_required = true,
                .nonce_ttl = 120,
                .answers_per_minute = 30,
                .workers = 16,
                .requests_per_minute = 6000,
                .connections = 4096,
                .memory = 128,
                .free_space = 64,
                .token_nodes = 10000,
                .uncertified_per_hour = 20,
                .heads_every = 60,
                .heads_records = 1000,
        };
        _cleanup_(blob_done) struct blob text = {};
        _cleanup_(freep) char *directory = NULL;
        struct reading reading = { .config = &config };
        int r;

        r = file_read(file, 65536, &text);
        if (r < 0) {
                (void) snprintf(error, error_size, "%s: cannot be read: %s", file, strerror(-r));
                return r;
        }

        directory = directory_of(file);
        config.file = strdup(file);
        if (!directory || !config.file)
                return -ENOMEM;
        reading.directory = directory;
        choose_tables(definition, &reading);

        r = config_parse(file, &text, &reading, error, error_size);
        if (r < 0)
                return r;

        /* many nodes behind one address are one fleet that boots */
        if (config.connections_per_address == 0)
                config.connections_per_address = MAX(config.connections / 4, 4U);
        *ret = config;
        config = (struct service_config){};
        return 0;
}

void service_config_done(struct service_config *config) {
        char *texts[] = { config->file,         config->listen,       config->certificate, config->key,
                          config->client_ca,    config->database,     config->ek_roots,    config->ek_crls,
                          config->ek_allow,     config->ek_refuse,    config->payload_dir, config->registrar_url,
                          config->registrar_ca, config->verifier_url, config->verifier_ca, config->client_refuse };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                free(texts[i]);
        keystore_options_done(&config->keystore);
        *config = (struct service_config){};
}
