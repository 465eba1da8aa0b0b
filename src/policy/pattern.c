/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "policy/rules.h"

enum { PATTERN_LENGTH_MAX = 2048 };

/* A part of a path or a word of a command line. */
struct part {
        const char *text;
        size_t size;
};

static struct part part_at(const char *text, char separator) {
        const char *end = strchrnul(text, separator);

        return (struct part){ text, (size_t) (end - text) };
}

/* The part after this one; NULL text: there is none. */
static struct part part_next(struct part part, char separator) {
        if (part.text[part.size] == '\0')
                return (struct part){};
        return part_at(part.text + part.size + 1, separator);
}

static bool is_any(struct part part) {
        return part.size == 2 && memcmp(part.text, "**", 2) == 0;
}

/* Only the last star is ever tried again: what came before it has matched in the shortest way, and a longer one gives nothing
 * more. */
static bool part_match(struct part pattern, struct part text, uint64_t *budget) {
        size_t p = 0, t = 0, star = SIZE_MAX, from = 0;

        while (t < text.size) {
                if (*budget == 0)
                        return false;
                --*budget;

                if (p < pattern.size && pattern.text[p] == '*') {
                        star = p++;
                        from = t;
                } else if (p < pattern.size && (pattern.text[p] == '?' || pattern.text[p] == text.text[t])) {
                        p++;
                        t++;
                } else if (star != SIZE_MAX) {
                        p = star + 1;
                        t = ++from;
                } else
                        return false;
        }
        while (p < pattern.size && pattern.text[p] == '*')
                p++;
        return p == pattern.size;
}

bool pattern_match(const char *pattern, const char *text, char separator, uint64_t *budget) {
        struct part p = part_at(pattern, separator), t = part_at(text, separator), after = {}, from = {};
        bool any = false;

        while (t.text) {
                if (*budget == 0)
                        return false;
                --*budget;

                if (p.text && is_any(p)) {
                        any = true;
                        p = after = part_next(p, separator);
                        from = t;
                } else if (p.text && part_match(p, t, budget)) {
                        p = part_next(p, separator);
                        t = part_next(t, separator);
                } else if (any) {
                        p = after;
                        t = from = part_next(from, separator);
                } else
                        return false;
        }
        while (p.text && is_any(p))
                p = part_next(p, separator);
        return !p.text && *budget > 0;
}

int pattern_check(const char *pattern, char separator, char *error, size_t size) {
        if (*pattern == '\0' || strlen(pattern) > PATTERN_LENGTH_MAX) {
                (void) snprintf(error, size, "a pattern has 1 to %d characters", PATTERN_LENGTH_MAX);
                return -EINVAL;
        }
        for (struct part part = part_at(pattern, separator); part.text; part = part_next(part, separator))
                if (!is_any(part) && memmem(part.text, part.size, "**", 2)) {
                        (void) snprintf(error, size, "** stands alone between %s: write * for a part of one",
                                        separator == '/' ? "slashes" : "spaces");
                        return -EINVAL;
                }
        return 0;
}
