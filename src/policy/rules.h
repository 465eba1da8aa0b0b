/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy-internal.h"

/* [firmware], [ima], [release] of a policy. Lines of one kind are a list. */

enum digest_list {
        LIST_BOOT_LOADER,
        LIST_UKI,
        LIST_KERNEL,
        LIST_DRIVER,
        LIST_AUTHORITY,
        LIST_PK_ONLY,
        LIST_KEK_ONLY,
        LIST_DB_ONLY,
        LIST_DB_HAS,
        LIST_DBX_HAS,
        LIST_IMA_DIGEST, /* sorted after parsing */
        DIGEST_LISTS,
};

struct rule_digest {
        uint8_t bytes[WIRE_DIGEST_MAX];
        uint8_t size;
        unsigned line;
};
struct rule_digests {
        struct rule_digest *items;
        size_t n, allocated;
};

struct rule_text {
        char *text;
        unsigned line;
        bool pattern;              /* else exact */
        struct rule_digest digest; /* [ima] file */
};
struct rule_texts {
        struct rule_text *items;
        size_t n, allocated;
};

struct rule_switch { /* line 0: not said */
        bool value;
        unsigned line;
};

struct policy_rules {
        struct rule_switch secure_boot, debug, addons; /* debug, add-ons: true is refuse */
        struct rule_switch no_driver;                  /* driver = none: what is not in the list is refused, be it empty */
        struct rule_switch ima_require;
        struct rule_digests digests[DIGEST_LISTS];
        struct rule_texts command_lines, ima_files, ima_excludes;
        const struct rule_text **files_by_digest; /* ima_files, sorted; in checked rules */
};

/* The key as it is written. */
const char *digest_list_name(enum digest_list list);

/* One line; error in words. -ENOENT: no such key. */
int rules_parse_firmware(struct policy_rules *rules, const char *key, const char *value, unsigned line, char *error, size_t size);
int rules_parse_ima(struct policy_rules *rules, const char *key, const char *value, unsigned line, char *error, size_t size);
int release_parse(struct policy *policy, const char *key, const char *value, unsigned line, char *error, size_t size);
/* Words with one space between, without leading and trailing ones; up to the first NUL. Cut where ret is too small. */
void words_normalize(const char *text, size_t size, char *ret, size_t ret_size);
int rule_digest_compare(const void *a, const void *b);
/* The first of files_by_digest with this digest or a higher one: 0 to ima_files.n. */
size_t rules_files_from(const struct policy_rules *rules, const uint8_t *digest, size_t size);
/* In a checked list. */
const struct rule_digest *digests_find(const struct rule_digests *list, const uint8_t *digest, size_t size);
/* Of its first digest in the text; 0: it has none. */
unsigned digests_line(const struct rule_digests *list);
/* What no line says alone: contradictions. ret_line: where. Sorts. */
int rules_check(struct policy_rules *rules, unsigned *ret_line, char *error, size_t size);
struct policy_rules *rules_free(struct policy_rules *rules);

bool rules_have_firmware(const struct policy_rules *rules); /* NULL: no */
/* Whether one of them wants something that somebody named or signed. The others (add-ons, debug, driver, must-contain,
 * secure-boot = off) hold for whatever an attacker boots, as long as he leaves these things out: they narrow what is allowed, and
 * allow nothing. */
bool rules_say_what_boots(const struct policy_rules *rules);
bool rules_have_ima(const struct policy_rules *rules);
bool rules_have_driver(const struct policy_rules *rules);

/* "*" is any run of bytes but the separator, "?" one such byte; a part between separators that is "**" alone is any number of
 * parts. Time: at most the product of both lengths, each step counted against *budget; false when that is used up. */
bool pattern_match(const char *pattern, const char *text, char separator, uint64_t *budget);
/* -EINVAL with words: more than "**" in one part, too long. */
int pattern_check(const char *pattern, char separator, char *error, size_t size);

/* Whether an address, as text, is in the list. False for what is no address. */
bool network_holds(const struct policy_release *release, const char *address);
