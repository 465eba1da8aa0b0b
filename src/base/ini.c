/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/ini.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_LENGTH_MAX = 4096, NAME_LENGTH_MAX = 256, WHY_SIZE = 512 };

struct ini {
        ini_callback callback;
        void *userdata;
        unsigned line;
        char section[NAME_LENGTH_MAX + 1];
        char *error;
        size_t error_size;
};

static _printf_(2, 3) int ini_fail(struct ini *ini, const char *format, ...) {
        char why[WHY_SIZE];
        va_list ap;

        if (!ini->error || ini->error_size == 0)
                return -EBADMSG;

        va_start(ap, format);
        (void) vsnprintf(why, sizeof(why), format, ap);
        va_end(ap);

        (void) snprintf(ini->error, ini->error_size, "%u: %s", ini->line, why);
        return -EBADMSG;
}

static char *strip(char *text) {
        size_t n;

        text += strspn(text, " \t");
        for (n = strlen(text); n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'); n--)
                ;
        text[n] = '\0';
        return text;
}

static int ini_section(struct ini *ini, char *text) {
        size_t n = strlen(text);
        char *name;

        if (text[n - 1] != ']')
                return ini_fail(ini, "a section starts with [ and ends with ] and has nothing after it");

        text[n - 1] = '\0';
        name = strip(text + 1);
        if (!*name || strlen(name) > NAME_LENGTH_MAX || strpbrk(name, "[]"))
                return ini_fail(ini, "a section's name has 1 to %d characters, and no brackets", NAME_LENGTH_MAX);

        (void) snprintf(ini->section, sizeof(ini->section), "%s", name);
        return 0;
}

static int ini_pair(struct ini *ini, char *text) {
        char *equals = strchr(text, '='), *key, why[WHY_SIZE] = "";
        int r;

        if (!equals)
                return ini_fail(ini, "not understood: write \"key = value\", \"[section]\", or # before a comment");

        *equals = '\0';
        key = strip(text);
        if (!*key || strlen(key) > NAME_LENGTH_MAX)
                return ini_fail(ini, "the name before = has 1 to %d characters", NAME_LENGTH_MAX);

        r = ini->callback(ini->section, key, strip(equals + 1), ini->line, why, sizeof(why), ini->userdata);
        if (r == -ENOMEM)
                return r;
        if (r < 0 && why[0])
                return ini_fail(ini, "%s", why);
        if (r == -ENOENT)
                return ini_fail(ini, "unknown key \"%.64s\" in section [%.64s]: remove it or correct its spelling", key,
                                ini->section);
        if (r < 0)
                return ini_fail(ini, "the value of \"%.64s\" is not valid: %s", key, strerror(-r));

        return 0;
}

static int ini_line(struct ini *ini, const char *data, size_t size) {
        char line[LINE_LENGTH_MAX + 1], *text;

        if (size > LINE_LENGTH_MAX)
                return ini_fail(ini, "longer than %d bytes", LINE_LENGTH_MAX);
        for (size_t i = 0; i < size; i++)
                if (((uint8_t) data[i] < 0x20 && data[i] != '\t') || data[i] == 0x7f)
                        return ini_fail(ini, "control character 0x%02x in column %zu%s", (uint8_t) data[i], i + 1,
                                        data[i] == '\r' ? ": save the file with Unix line ends" : "");

        memcpy(line, data, size);
        line[size] = '\0';
        text = strip(line);

        if (!*text || *text == '#' || *text == ';')
                return 0;
        return *text == '[' ? ini_section(ini, text) : ini_pair(ini, text);
}

int ini_parse(const char *text, size_t size, ini_callback callback, void *userdata, char *error, size_t error_size) {
        struct ini ini = { .callback = callback, .userdata = userdata, .error = error, .error_size = error_size };
        int r;

        while (size > 0) {
                const char *end = memchr(text, '\n', size);
                size_t n = end ? (size_t) (end - text) : size;

                ini.line++;
                r = ini_line(&ini, text, n);
                if (r < 0)
                        return r;

                text += n;
                size -= n;
                if (size > 0) {
                        text++;
                        size--;
                }
        }

        return 0;
}

int parse_bool(const char *text, bool *ret) {
        static const char *const words[][4] = { { "no", "false", "off", "0" }, { "yes", "true", "on", "1" } };

        for (size_t value = 0; value < 2; value++)
                for (size_t i = 0; i < 4; i++)
                        if (strcmp(text, words[value][i]) == 0) {
                                *ret = value == 1;
                                return 0;
                        }

        return -EINVAL;
}

/* Decimal digits at the start of text; ret_end is what follows. */
static int parse_digits(const char *text, uint64_t *ret, const char **ret_end) {
        uint64_t value = 0;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(value, (uint64_t) 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*text - '0'), &value))
                        return -EINVAL;

        *ret = value;
        *ret_end = text;
        return 0;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        const char *end;
        uint64_t value;
        int r;

        r = parse_digits(text, &value, &end);
        if (r < 0 || *end || value < min || value > max)
                return -EINVAL;

        *ret = value;
        return 0;
}

int parse_seconds(const char *text, uint64_t max, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t seconds;
        } units[] = { { "", 1 }, { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 } };
        const char *unit;
        uint64_t value;
        int r;

        r = parse_digits(text, &value, &unit);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (strcmp(unit, units[i].name) != 0)
                        continue;
                if (__builtin_mul_overflow(value, units[i].seconds, &value) || value > max)
                        return -EINVAL;
                *ret = value;
                return 0;
        }

        return -EINVAL;
}
