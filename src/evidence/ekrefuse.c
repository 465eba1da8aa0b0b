/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/x509v3.h>

#include "base/encode.h"
#include "base/ini.h"
#include "base/log.h"
#include "evidence/evidence-internal.h"

/* "id:49465800" is IFX: four bytes (TCG TPM Vendor ID Registry). What is not text stays as it is. */
static void manufacturer_to_text(const char *value, char *ret, size_t size) {
        uint8_t bytes[5] = {};
        size_t length = 4;
        bool text;

        if (strncasecmp(value, "id:", 3) == 0 && hex_decode(value + 3, bytes, 4) >= 0) {
                while (length > 0 && (bytes[length - 1] == '\0' || bytes[length - 1] == ' '))
                        length--;
                text = length > 0;
                for (size_t i = 0; i < length; i++)
                        text &= bytes[i] > 0x20 && bytes[i] < 0x7f;
                if (text)
                        value = (const char *) bytes;
        }
        (void) snprintf(ret, size, "%.*s", (int) (value == (const char *) bytes ? length : strlen(value)), value);
}

/* Text of one attribute; "" where it is not UTF-8, too long, or has a NUL in it. */
static void attribute_text(const ASN1_STRING *value, char *ret, size_t size) {
        unsigned char *text = NULL;
        int length = ASN1_STRING_to_UTF8(&text, value);

        ret[0] = '\0';
        if (length > 0 && (size_t) length < size && strlen((const char *) text) == (size_t) length)
                text_sanitize((const char *) text, ret, size);
        OPENSSL_free(text);
}

/* Attributes 2.23.133.2.1 to .3, 0 to 2; -1: another. */
static int attribute_index(const X509_NAME_ENTRY *entry) {
        static const char prefix[] = "2.23.133.2.";
        char oid[32];

        if (OBJ_obj2txt(oid, sizeof(oid), X509_NAME_ENTRY_get_object(entry), 1) != (int) strlen(prefix) + 1 ||
            strncmp(oid, prefix, strlen(prefix)) != 0)
                return -1;
        return oid[strlen(prefix)] >= '1' && oid[strlen(prefix)] <= '3' ? oid[strlen(prefix)] - '1' : -1;
}

void ek_identity_read(X509 *certificate, struct ek_identity *ret) {
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        struct ek_identity tpm = {};
        char values[3][72] = {};
        unsigned seen[3] = {};

        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
                const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

                for (int k = 0; name->type == GEN_DIRNAME && k < X509_NAME_entry_count(name->d.directoryName); k++) {
                        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name->d.directoryName, k);
                        int which = attribute_index(entry);

                        if (which >= 0 && seen[which]++ == 0)
                                attribute_text(X509_NAME_ENTRY_get_data(entry), values[which], sizeof(values[which]));
                }
        }
        GENERAL_NAMES_free(names);

        for (size_t i = 0; i < ELEMENTSOF(values); i++)
                if (seen[i] > 1)
                        values[i][0] = '\0';
        if (strlen(values[0]) < sizeof(tpm.manufacturer))
                manufacturer_to_text(values[0], tpm.manufacturer, sizeof(tpm.manufacturer));
        memcpy(tpm.model, values[1], sizeof(tpm.model));
        if (strlen(values[2]) < sizeof(tpm.version))
                memcpy(tpm.version, values[2], strlen(values[2]));
        *ret = tpm;
}

static void rule_done(struct ek_rule *rule) {
        free(rule->manufacturer);
        free(rule->model);
        free(rule->version);
}

void ek_rules_done(struct ek_trust *trust) {
        for (size_t i = 0; i < trust->n_rules; i++)
                rule_done(trust->rules + i);
        free(trust->rules);
}

static char *strip(char *text) {
        char *end = text + strlen(text);

        while (*text == ' ' || *text == '\t')
                text++;
        while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
                *--end = '\0';
        return text;
}

/* "7.85": 16 bits each, as TPM_PT_FIRMWARE_VERSION_1 has them. */
static int parse_firmware(char *text, uint32_t *ret) {
        char *dot = strchr(text, '.');
        uint64_t major, minor;

        if (!dot)
                return -EINVAL;
        *dot = '\0';
        if (parse_u64(text, 0, 0xffff, &major) < 0 || parse_u64(dot + 1, 0, 0xffff, &minor) < 0)
                return -EINVAL;
        *ret = (uint32_t) (major << 16 | minor);
        return 0;
}

static int parse_range(char *text, struct ek_rule *rule) {
        char *dash = strchr(text, '-'), *high = NULL;
        int r;

        if (dash) {
                *dash = '\0';
                high = strip(dash + 1);
        }
        r = parse_firmware(strip(text), &rule->lowest);
        if (r < 0)
                return r;
        rule->highest = rule->lowest;
        if (high)
                r = parse_firmware(high, &rule->highest);
        if (r < 0 || rule->lowest > rule->highest)
                return -EINVAL;

        rule->has_firmware = true;
        return 0;
}

static int set_pattern(char **target, const char *value) {
        if (*target || !*value)
                return -EINVAL;
        *target = strdup(value);
        return *target ? 0 : -ENOMEM;
}

static int parse_condition(char *text, struct ek_rule *rule) {
        char *equals = strchr(text, '='), *value, manufacturer[24];

        if (!equals)
                return -EINVAL;
        *equals = '\0';
        text = strip(text);
        value = strip(equals + 1);

        if (strcmp(text, "manufacturer") == 0) {
                if (strlen(value) >= sizeof(manufacturer))
                        return -EINVAL;
                manufacturer_to_text(value, manufacturer, sizeof(manufacturer));
                return set_pattern(&rule->manufacturer, manufacturer);
        }
        if (strcmp(text, "model") == 0)
                return set_pattern(&rule->model, value);
        if (strcmp(text, "version") == 0)
                return set_pattern(&rule->version, value);
        if (strcmp(text, "firmware") == 0 && !rule->has_firmware)
                return parse_range(value, rule);
        return -EINVAL;
}

static int add_rule(struct ek_trust *trust, char *text) {
        struct ek_rule rule = {};
        void *rules;
        int r = 0;

        for (char *save = NULL, *condition = strtok_r(text, ",", &save); condition && r >= 0;
             condition = strtok_r(NULL, ",", &save))
                r = parse_condition(condition, &rule);
        rules = r < 0 ? NULL : realloc(trust->rules, (trust->n_rules + 1) * sizeof(rule));
        if (!rules) {
                rule_done(&rule);
                return r < 0 ? r : -ENOMEM;
        }

        trust->rules = rules;
        trust->rules[trust->n_rules++] = rule;
        return 0;
}

int ek_trust_refuse(struct ek_trust *trust, const char *rules, char *error, size_t size) {
        _cleanup_(freep) char *text = strdup(rules);
        int r;

        if (!text)
                return -ENOMEM;

        for (char *save = NULL, *rule = strtok_r(text, ";", &save); rule; rule = strtok_r(NULL, ";", &save)) {
                _cleanup_(freep) char *copy = strdup(rule);

                if (!copy)
                        return -ENOMEM;
                if (!*strip(rule))
                        continue;
                r = add_rule(trust, copy);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        (void) snprintf(
                                error, size,
                                "'%.100s' is no rule: conditions manufacturer=, model=, version=, firmware=A.B-C.D, each once, "
                                "with , between them and ; between rules",
                                strip(rule));
                        return -EINVAL;
                }
        }
        return 0;
}

static bool fits(const char *pattern, const char *value) {
        return !pattern || !*value || fnmatch(pattern, value, FNM_CASEFOLD) == 0;
}

static bool rule_fits(const struct ek_rule *rule, const struct ek_identity *tpm) {
        return fits(rule->manufacturer, tpm->manufacturer) && fits(rule->model, tpm->model) && fits(rule->version, tpm->version);
}

static const char *said(const char *value, const char *what) {
        return *value ? value : what;
}

bool ek_identity_refused(const struct ek_trust *trust, const struct ek_identity *tpm, char *ret_why, size_t size) {
        for (size_t i = 0; i < trust->n_rules; i++)
                if (!trust->rules[i].has_firmware && rule_fits(trust->rules + i, tpm)) {
                        (void) snprintf(ret_why, size, "rule %zu of ek-refuse is for TPMs like this: %s, %s, %s", i + 1,
                                        said(tpm->manufacturer, "no manufacturer said"), said(tpm->model, "no model said"),
                                        said(tpm->version, "no version said"));
                        return true;
                }
        return false;
}

bool ek_firmware_refused(const struct ek_trust *trust, const struct ek_identity *tpm, uint64_t firmware, char *ret_why,
                         size_t size) {
        uint32_t version = (uint32_t) (firmware >> 32);

        for (size_t i = 0; i < trust->n_rules; i++) {
                const struct ek_rule *rule = trust->rules + i;

                if (!rule->has_firmware || version < rule->lowest || version > rule->highest)
                        continue;
                if (tpm ? !rule_fits(rule, tpm) : rule->manufacturer || rule->model || rule->version)
                        continue;
                (void) snprintf(ret_why, size, "rule %zu of ek-refuse: %s %s, firmware %u.%u", i + 1,
                                said(tpm ? tpm->manufacturer : "", "unknown maker"), tpm ? tpm->model : "", version >> 16,
                                version & 0xffffU);
                return true;
        }
        return false;
}
