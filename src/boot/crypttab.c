/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/crypttab.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/ini.h"

enum { CRYPTTAB_SIZE_MAX = 1 << 20, CRYPTTAB_ENTRIES_MAX = 256, FIELD_MAX = 4096 };

#define GENERATED_UNITS "/run/systemd/generator"

static char *device_path(const char *text) {
        static const char *const tags[][2] = {
                { "UUID=", "/dev/disk/by-uuid/" },
                { "PARTUUID=", "/dev/disk/by-partuuid/" },
                { "LABEL=", "/dev/disk/by-label/" },
                { "PARTLABEL=", "/dev/disk/by-partlabel/" },
        };

        for (size_t i = 0; i < ELEMENTSOF(tags); i++) {
                size_t length = strlen(tags[i][0]);

                if (strncmp(text, tags[i][0], length) == 0)
                        return format("%s%s", tags[i][1], text + length);
        }
        return strdup(text);
}

static bool option_value(const char *option, const char *name, const char **ret) {
        size_t length = strlen(name);

        if (strncmp(option, name, length) != 0 || option[length] != '=')
                return false;
        *ret = option + length + 1;
        return true;
}

static int entry_option(struct crypttab_entry *entry, const char *option) {
        const char *value;
        uint64_t pcr;
        bool yes;

        if (strcmp(option, "discard") == 0 || strcmp(option, "allow-discards") == 0)
                entry->options.discard = true;
        else if (strcmp(option, "readonly") == 0 || strcmp(option, "read-only") == 0)
                entry->options.readonly = true;
        else if (strcmp(option, "no-read-workqueue") == 0)
                entry->options.no_read_workqueue = true;
        else if (strcmp(option, "no-write-workqueue") == 0)
                entry->options.no_write_workqueue = true;
        else if (strcmp(option, "same-cpu-crypt") == 0)
                entry->options.same_cpu_crypt = true;
        else if (strcmp(option, "submit-from-crypt-cpus") == 0)
                entry->options.submit_from_crypt_cpus = true;
        else if (strcmp(option, "plain") == 0 || strcmp(option, "swap") == 0 || strcmp(option, "bitlk") == 0 ||
                 strncmp(option, "tcrypt", 6) == 0)
                entry->not_luks = true;
        else if (option_value(option, "header", &value)) {
                free(entry->header);
                entry->header = device_path(value);
                if (!entry->header)
                        return -ENOMEM;
        } else if (option_value(option, "tpm2-measure-pcr", &value)) {
                if (parse_u64(value, 0, 23, &pcr) >= 0 && !(pcr < 2 && parse_bool(value, &yes) >= 0)) {
                        entry->measures_pcr = true;
                        entry->measure_pcr = pcr;
                } else if (parse_bool(value, &yes) >= 0 && yes) {
                        entry->measures_pcr = true;
                        entry->measure_pcr = 15; /* systemd's default */
                }
        }
        return 0;
}

static int entry_options(struct crypttab_entry *entry, char *options) {
        char *save = NULL;

        for (char *option = strtok_r(options, ",", &save); option; option = strtok_r(NULL, ",", &save)) {
                int r = entry_option(entry, option);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void entry_done(struct crypttab_entry *entry) {
        free(entry->device);
        free(entry->header);
        *entry = (struct crypttab_entry){};
}

void crypttab_done(struct crypttab *crypttab) {
        for (size_t i = 0; i < crypttab->n; i++)
                entry_done(crypttab->items + i);
        free(crypttab->items);
        *crypttab = (struct crypttab){};
}

/* fields: name, device, key (or NULL), options (or NULL). */
static int crypttab_add(struct crypttab *crypttab, char *fields[static 4]) {
        struct crypttab_entry entry = {}, *items;
        int r;

        if (!fields[0] || !fields[1] || strlen(fields[0]) >= sizeof entry.name || strchr(fields[0], '/'))
                return 0;
        if (crypttab->n >= CRYPTTAB_ENTRIES_MAX)
                return -E2BIG;
        strcpy(entry.name, fields[0]);
        entry.device = device_path(fields[1]);
        if (!entry.device)
                return -ENOMEM;
        r = fields[3] ? entry_options(&entry, fields[3]) : 0;
        if (r < 0) {
                entry_done(&entry);
                return r;
        }
        items = reallocarray(crypttab->items, crypttab->n + 1, sizeof *items);
        if (!items) {
                entry_done(&entry);
                return -ENOMEM;
        }
        crypttab->items = items;
        items[crypttab->n] = entry;
        items[crypttab->n].options.header = entry.header;
        crypttab->n++;
        return 0;
}

static int parse_line(struct crypttab *crypttab, char *line) {
        char *fields[4] = {}, *save = NULL;
        size_t n = 0;

        line += strspn(line, " \t\r");
        if (*line == '#' || *line == '\0')
                return 0;
        for (char *word = strtok_r(line, " \t\r", &save); word && n < ELEMENTSOF(fields); word = strtok_r(NULL, " \t\r", &save))
                fields[n++] = word;
        return crypttab_add(crypttab, fields);
}

/* Calls once for each line, NUL-terminated, in a buffer that may be changed. */
static int for_each_line(const char *text, size_t size, struct crypttab *crypttab,
                         int (*parse)(struct crypttab *crypttab, char *line)) {
        const char *end = text + size;

        while (text < end) {
                const char *newline = memchr(text, '\n', end - text);
                size_t length = (newline ? newline : end) - text;
                char line[FIELD_MAX];

                if (length < sizeof line && !memchr(text, '\0', length)) {
                        int r;

                        memcpy(line, text, length);
                        line[length] = '\0';
                        r = parse(crypttab, line);
                        if (r < 0)
                                return r;
                }
                text += length + 1;
        }
        return 0;
}

int crypttab_parse(const char *text, size_t size, struct crypttab *ret) {
        struct crypttab crypttab = {};
        int r = for_each_line(text, size, &crypttab, parse_line);

        if (r < 0) {
                crypttab_done(&crypttab);
                return r;
        }
        *ret = crypttab;
        return 0;
}

int crypttab_load(const char *path, struct crypttab *ret) {
        _cleanup_(blob_done) struct blob text = {};
        int r = file_read(path, CRYPTTAB_SIZE_MAX, &text);

        if (r < 0)
                return r;
        return crypttab_parse((char *) text.data, text.size, ret);
}

const struct crypttab_entry *crypttab_find(const struct crypttab *crypttab, const char *name) {
        for (size_t i = 0; i < crypttab->n; i++)
                if (strcmp(crypttab->items[i].name, name) == 0)
                        return crypttab->items + i;
        return NULL;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

/* One word of a unit's command line: in single quotes or none, \xNN and \\ escapes, %% for a percent sign. In place; the rest
 * follows. */
static char *unquote_word(char **text) {
        char *in = *text + strspn(*text, " \t"), *out = in, *word = in;
        bool quoted = *in == '\'';

        if (*in == '\0')
                return NULL;
        if (quoted)
                in++;
        while (*in && (quoted ? *in != '\'' : *in != ' ' && *in != '\t')) {
                if (in[0] == '\\' && in[1] == 'x' && hex_digit(in[2]) >= 0 && hex_digit(in[3]) >= 0) {
                        *out++ = (char) (hex_digit(in[2]) * 16 + hex_digit(in[3]));
                        in += 4;
                } else if ((in[0] == '\\' && in[1]) || (in[0] == '%' && in[1] == '%')) {
                        *out++ = in[1];
                        in += 2;
                } else
                        *out++ = *in++;
        }
        if (*in)
                in++;
        *out = '\0';
        *text = in;
        return word;
}

static int parse_unit_line(struct crypttab *crypttab, char *line) {
        char *fields[4] = {};
        char *rest;

        if (strncmp(line, "ExecStart=", 10) != 0)
                return 0;
        rest = strstr(line, " attach ");
        if (!rest)
                return 0;
        rest += strlen(" attach ");
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                fields[i] = unquote_word(&rest);
                if (!fields[i])
                        break;
        }
        return crypttab_add(crypttab, fields);
}

int crypttab_from_unit(const char *text, size_t size, struct crypttab *ret) {
        struct crypttab crypttab = {};
        int r = for_each_line(text, size, &crypttab, parse_unit_line);

        if (r >= 0 && crypttab.n == 0)
                r = -ENOENT;
        if (r < 0) {
                crypttab_done(&crypttab);
                return r;
        }
        *ret = crypttab;
        return 0;
}

void unit_escape(const char *name, char *ret) {
        for (const char *p = name; *p; p++) {
                bool plain = isalnum((unsigned char) *p) || *p == ':' || *p == '_' || (*p == '.' && p != name);

                if (*p == '/')
                        *ret++ = '-';
                else if (plain)
                        *ret++ = *p;
                else
                        ret += snprintf(ret, 5, "\\x%02x", (unsigned char) *p);
        }
        *ret = '\0';
}

static int load_unit(const char *path, struct crypttab *ret) {
        _cleanup_(blob_done) struct blob text = {};
        int r = file_read(path, CRYPTTAB_SIZE_MAX, &text);

        if (r < 0)
                return r;
        return crypttab_from_unit((char *) text.data, text.size, ret);
}

int crypttab_lookup(const char *name, struct crypttab *ret) {
        struct crypttab crypttab = {};
        char escaped[4 * LUKS_NAME_MAX + 1];
        _cleanup_(freep) char *path = NULL;
        int r;

        if (strlen(name) >= LUKS_NAME_MAX)
                return -ENOENT;
        unit_escape(name, escaped);
        path = format("%s/systemd-cryptsetup@%s.service", GENERATED_UNITS, escaped);
        if (!path)
                return -ENOMEM;
        r = load_unit(path, &crypttab);
        if (r < 0)
                r = crypttab_load("/etc/crypttab", &crypttab);
        if (r < 0)
                return r;
        for (size_t i = 0; i < crypttab.n; i++)
                if (strcmp(crypttab.items[i].name, name) == 0) {
                        struct crypttab_entry first = crypttab.items[0];

                        crypttab.items[0] = crypttab.items[i];
                        crypttab.items[i] = first;
                        *ret = crypttab;
                        return 0;
                }
        crypttab_done(&crypttab);
        return -ENOENT;
}

/* Moves what is new in from into to. */
static int crypttab_merge(struct crypttab *to, struct crypttab *from) {
        for (size_t i = 0; i < from->n; i++) {
                struct crypttab_entry *items;

                if (crypttab_find(to, from->items[i].name))
                        continue;
                items = reallocarray(to->items, to->n + 1, sizeof *items);
                if (!items)
                        return -ENOMEM;
                to->items = items;
                items[to->n++] = from->items[i];
                from->items[i] = (struct crypttab_entry){};
        }
        return 0;
}

static bool is_cryptsetup_unit(const char *name) {
        size_t length = strlen(name);

        return strncmp(name, "systemd-cryptsetup@", 19) == 0 && length > 27 && strcmp(name + length - 8, ".service") == 0;
}

int crypttab_load_all(struct crypttab *ret) {
        struct crypttab all = {}, one = {};
        DIR *dir = opendir(GENERATED_UNITS);
        int r = 0;

        while (dir && r >= 0) {
                struct dirent *entry = readdir(dir);
                _cleanup_(freep) char *path = NULL;

                if (!entry)
                        break;
                if (!is_cryptsetup_unit(entry->d_name))
                        continue;
                path = path_join(GENERATED_UNITS, entry->d_name);
                if (!path)
                        r = -ENOMEM;
                else if (load_unit(path, &one) >= 0) {
                        r = crypttab_merge(&all, &one);
                        crypttab_done(&one);
                }
        }
        if (dir)
                closedir(dir);
        if (r >= 0 && crypttab_load("/etc/crypttab", &one) >= 0) {
                r = crypttab_merge(&all, &one);
                crypttab_done(&one);
        }
        if (r < 0) {
                crypttab_done(&all);
                return r;
        }
        *ret = all;
        return 0;
}
