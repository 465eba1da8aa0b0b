/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/ini.h"

enum { DIGESTS_MAX = 32768, TEXTS_MAX = 4096 };

static const char *const list_names[DIGEST_LISTS] = {
        [LIST_BOOT_LOADER] = "boot-loader", [LIST_UKI] = "uki",
        [LIST_KERNEL] = "kernel",           [LIST_DRIVER] = "driver",
        [LIST_AUTHORITY] = "authority",     [LIST_PK_ONLY] = "pk only-these",
        [LIST_KEK_ONLY] = "kek only-these", [LIST_DB_ONLY] = "db only-these",
        [LIST_DB_HAS] = "db must-contain",  [LIST_DBX_HAS] = "dbx must-contain",
        [LIST_IMA_DIGEST] = "digest",
};

const char *digest_list_name(enum digest_list list) {
        return list_names[list];
}

/* Room for one more of an array that grows. */
static int make_room(void **items, size_t *allocated, size_t n, size_t size) {
        size_t more = MAX(16U, 2 * *allocated);
        void *grown;

        if (n < *allocated)
                return 0;
        grown = reallocarray(*items, more, size);
        if (!grown)
                return -ENOMEM;
        *items = grown;
        *allocated = more;
        return 0;
}

/* Certificates and hashes of db and dbx are always SHA-256; authenticode digests are the bank's. */
static bool takes_size(enum digest_list list, size_t size) {
        if (list == LIST_IMA_DIGEST)
                return size == 32 || size == 48 || size == 64;
        if (list == LIST_BOOT_LOADER || list == LIST_UKI || list == LIST_KERNEL || list == LIST_DRIVER)
                return size == 32 || size == 48;
        return size == 32;
}

static int digest_parse(enum digest_list list, const char *value, struct rule_digest *digest, char *error, size_t size) {
        size_t length = strlen(value) / 2;

        if (strlen(value) % 2 != 0 || !takes_size(list, length) || hex_decode(value, digest->bytes, length) < 0) {
                (void) snprintf(error, size, "%s: write a digest as %s hexadecimal digits", list_names[list],
                                list == LIST_IMA_DIGEST ? "64 (SHA-256), 96 or 128"
                                : takes_size(list, 48)  ? "64 (SHA-256) or 96 (SHA-384)"
                                                        : "64 (SHA-256)");
                return -EINVAL;
        }
        digest->size = (uint8_t) length;
        return 0;
}

static int add_digest(struct policy_rules *rules, enum digest_list which, const char *value, unsigned line, char *error,
                      size_t size) {
        struct rule_digests *list = rules->digests + which;
        struct rule_digest digest = { .line = line };
        int r;

        r = digest_parse(which, value, &digest, error, size);
        if (r < 0)
                return r;
        if (list->n >= DIGESTS_MAX) {
                (void) snprintf(error, size, "%s: more than %d digests", list_names[which], DIGESTS_MAX);
                return -E2BIG;
        }
        r = make_room((void **) &list->items, &list->allocated, list->n, sizeof(*list->items));
        if (r < 0)
                return r;
        list->items[list->n++] = digest;
        return 0;
}

static int add_text(struct rule_texts *list, struct rule_text text, char *error, size_t size) {
        int r;

        if (list->n >= TEXTS_MAX) {
                (void) snprintf(error, size, "more than %d lines of this kind", TEXTS_MAX);
                return -E2BIG;
        }
        r = make_room((void **) &list->items, &list->allocated, list->n, sizeof(*list->items));
        if (r < 0)
                return r;
        text.text = strdup(text.text);
        if (!text.text)
                return -ENOMEM;
        list->items[list->n++] = text;
        return 0;
}

static int add_pattern(struct rule_texts *list, const char *value, unsigned line, char separator, char *error, size_t size) {
        int r;

        r = pattern_check(value, separator, error, size);
        return r < 0 ? r
                     : add_text(list, (struct rule_text){ .text = (char *) value, .line = line, .pattern = true }, error, size);
}

static int set_switch(struct rule_switch *what, const char *value, const char *yes, const char *no, unsigned line, char *error,
                      size_t size) {
        if (what->line > 0) {
                (void) snprintf(error, size, "is there already, in line %u", what->line);
                return -EEXIST;
        }
        if (strcmp(value, yes) != 0 && !(no && strcmp(value, no) == 0)) {
                (void) snprintf(error, size, "write %s%s%s", yes, no ? " or " : "", no ?: "");
                return -EINVAL;
        }
        *what = (struct rule_switch){ strcmp(value, yes) == 0, line };
        return 0;
}

/* Words with one space between: what the kernel makes of it is the same. */
static int add_command_line(struct policy_rules *rules, const char *value, bool pattern, unsigned line, char *error,
                            size_t size) {
        char text[4097];

        words_normalize(value, strlen(value), text, sizeof(text));
        if (text[0] == '\0') {
                (void) snprintf(error, size, "no command line: write its text, or remove the line");
                return -EINVAL;
        }
        if (pattern)
                return add_pattern(&rules->command_lines, text, line, ' ', error, size);
        /* as it is written: it can have to give a digest */
        return add_text(&rules->command_lines, (struct rule_text){ .text = (char *) value, .line = line }, error, size);
}

/* As the kernel parts words (its isspace()): byte 0xa0, too, which is also the second half of letters in UTF-8. */
static bool is_space(char c) {
        return c == ' ' || (c >= '\t' && c <= '\r') || (uint8_t) c == 0xa0;
}

void words_normalize(const char *text, size_t size, char *ret, size_t ret_size) {
        size_t n = 0;

        for (size_t i = 0; i < size && text[i] && n + 1 < ret_size; i++) {
                if (!is_space(text[i]))
                        ret[n++] = text[i];
                else if (n > 0 && ret[n - 1] != ' ')
                        ret[n++] = ' ';
        }
        while (n > 0 && ret[n - 1] == ' ')
                n--;
        ret[n] = '\0';
}

int rules_parse_firmware(struct policy_rules *rules, const char *key, const char *value, unsigned line, char *error,
                         size_t size) {
        if (strcmp(key, "secure-boot") == 0)
                return set_switch(&rules->secure_boot, value, "on", "off", line, error, size);
        if (strcmp(key, "debug") == 0)
                return set_switch(&rules->debug, value, "refuse", NULL, line, error, size);
        if (strcmp(key, "add-ons") == 0)
                return set_switch(&rules->addons, value, "refuse", NULL, line, error, size);
        if (strcmp(key, "driver") == 0 && strcmp(value, "none") == 0)
                return set_switch(&rules->no_driver, value, "none", NULL, line, error, size);
        if (strcmp(key, "command-line") == 0 || strcmp(key, "command-line like") == 0)
                return add_command_line(rules, value, strcmp(key, "command-line") != 0, line, error, size);

        for (enum digest_list list = 0; list < DIGEST_LISTS; list++)
                if (list != LIST_IMA_DIGEST && strcmp(key, list_names[list]) == 0)
                        return add_digest(rules, list, value, line, error, size);
        return -ENOENT;
}

/* HEX PATTERN: this content at such a path. */
static int add_file(struct policy_rules *rules, const char *value, unsigned line, char *error, size_t size) {
        struct rule_text text = { .line = line, .pattern = true, .digest.line = line };
        size_t length = strcspn(value, " \t");
        char hex[2 * WIRE_DIGEST_MAX + 1];
        int r;

        (void) snprintf(hex, sizeof(hex), "%.*s", (int) MIN(length, sizeof(hex)), value);
        if (length >= sizeof(hex) || digest_parse(LIST_IMA_DIGEST, hex, &text.digest, error, size) < 0) {
                (void) snprintf(error, size, "file: write DIGEST PATH, 64 (SHA-256), 96 or 128 hexadecimal digits first");
                return -EINVAL;
        }
        text.text = (char *) value + length + strspn(value + length, " \t");
        r = pattern_check(text.text, '/', error, size);
        return r < 0 ? r : add_text(&rules->ima_files, text, error, size);
}

int rules_parse_ima(struct policy_rules *rules, const char *key, const char *value, unsigned line, char *error, size_t size) {
        if (strcmp(key, "require") == 0)
                return set_switch(&rules->ima_require, value, "yes", NULL, line, error, size);
        if (strcmp(key, "digest") == 0)
                return add_digest(rules, LIST_IMA_DIGEST, value, line, error, size);
        if (strcmp(key, "file") == 0)
                return add_file(rules, value, line, error, size);
        if (strcmp(key, "exclude") == 0)
                return add_pattern(&rules->ima_excludes, value, line, '/', error, size);
        return -ENOENT;
}

int rule_digest_compare(const void *a, const void *b) {
        const struct rule_digest *x = a, *y = b;

        if (x->size != y->size)
                return x->size < y->size ? -1 : 1;
        return memcmp(x->bytes, y->bytes, x->size);
}

const struct rule_digest *digests_find(const struct rule_digests *list, const uint8_t *digest, size_t size) {
        struct rule_digest wanted = { .size = (uint8_t) size };

        if (size > sizeof(wanted.bytes))
                return NULL;
        memcpy(wanted.bytes, digest, size);
        if (list->n == 0)
                return NULL;
        return bsearch(&wanted, list->items, list->n, sizeof(wanted), rule_digest_compare);
}

static int compare_files(const void *a, const void *b) {
        const struct rule_text *const *x = a, *const *y = b;

        return rule_digest_compare(&(*x)->digest, &(*y)->digest);
}

static int sort_files(struct policy_rules *rules) {
        const struct rule_text **sorted = calloc(MAX(rules->ima_files.n, 1U), sizeof(*sorted));

        if (!sorted)
                return -ENOMEM;
        for (size_t i = 0; i < rules->ima_files.n; i++)
                sorted[i] = rules->ima_files.items + i;
        qsort(sorted, rules->ima_files.n, sizeof(*sorted), compare_files);
        free(rules->files_by_digest);
        rules->files_by_digest = sorted;
        return 0;
}

size_t rules_files_from(const struct policy_rules *rules, const uint8_t *digest, size_t size) {
        struct rule_digest wanted = { .size = (uint8_t) size };
        size_t low = 0, high = rules->ima_files.n;

        if (size > sizeof(wanted.bytes))
                return high;
        memcpy(wanted.bytes, digest, size);
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (rule_digest_compare(&rules->files_by_digest[middle]->digest, &wanted) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

unsigned digests_line(const struct rule_digests *list) {
        unsigned line = UINT32_MAX;

        for (size_t i = 0; i < list->n; i++)
                line = MIN(line, list->items[i].line);
        return list->n > 0 ? line : 0;
}

int rules_check(struct policy_rules *rules, unsigned *ret_line, char *error, size_t size) {
        const struct rule_digests *only = rules->digests + LIST_DB_ONLY, *has = rules->digests + LIST_DB_HAS;

        for (enum digest_list list = 0; list < DIGEST_LISTS; list++)
                if (rules->digests[list].n > 1)
                        qsort(rules->digests[list].items, rules->digests[list].n, sizeof(struct rule_digest),
                              rule_digest_compare);

        for (size_t i = 0; only->n > 0 && i < has->n; i++)
                if (!digests_find(only, has->items[i].bytes, has->items[i].size)) {
                        *ret_line = has->items[i].line;
                        (void) snprintf(error, size,
                                        "db must contain this, and db only-these does not have it: no boot can have both");
                        return -EINVAL;
                }
        if (rules->digests[LIST_KERNEL].n > 0 && rules->digests[LIST_UKI].n == 0) {
                *ret_line = digests_line(rules->digests + LIST_KERNEL);
                (void) snprintf(error, size, "kernel is what a UKI starts: write its uki = DIGEST too, or call it boot-loader");
                return -EINVAL;
        }
        if ((rules->ima_excludes.n > 0) && !rules_have_ima(rules)) {
                *ret_line = rules->ima_excludes.items[0].line;
                (void) snprintf(error, size, "nothing to exclude from: write require = yes, digest or file in [ima]");
                return -EINVAL;
        }
        return sort_files(rules);
}

static void texts_done(struct rule_texts *list) {
        for (size_t i = 0; i < list->n; i++)
                free(list->items[i].text);
        free(list->items);
}

struct policy_rules *rules_free(struct policy_rules *rules) {
        if (!rules)
                return NULL;
        for (enum digest_list list = 0; list < DIGEST_LISTS; list++)
                free(rules->digests[list].items);
        texts_done(&rules->command_lines);
        texts_done(&rules->ima_files);
        free(rules->files_by_digest);
        texts_done(&rules->ima_excludes);
        free(rules);
        return NULL;
}

bool rules_have_firmware(const struct policy_rules *rules) {
        if (!rules)
                return false;
        for (enum digest_list list = 0; list < DIGEST_LISTS; list++)
                if (list != LIST_IMA_DIGEST && rules->digests[list].n > 0)
                        return true;
        return rules->no_driver.line > 0 || rules->secure_boot.line > 0 || rules->debug.line > 0 || rules->addons.line > 0 ||
               rules->command_lines.n > 0;
}

bool rules_say_what_boots(const struct policy_rules *rules) {
        static const enum digest_list lists[] = { LIST_BOOT_LOADER, LIST_UKI,      LIST_AUTHORITY,
                                                  LIST_PK_ONLY,     LIST_KEK_ONLY, LIST_DB_ONLY };

        for (size_t i = 0; rules && i < ELEMENTSOF(lists); i++)
                if (rules->digests[lists[i]].n > 0)
                        return true;
        return rules && (rules->secure_boot.value || rules->command_lines.n > 0);
}

bool rules_have_ima(const struct policy_rules *rules) {
        return rules && (rules->ima_require.line > 0 || rules->digests[LIST_IMA_DIGEST].n > 0 || rules->ima_files.n > 0);
}

bool rules_have_driver(const struct policy_rules *rules) {
        return rules && (rules->no_driver.line > 0 || rules->digests[LIST_DRIVER].n > 0);
}
