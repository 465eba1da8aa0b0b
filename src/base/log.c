/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE_MAX_BYTES = 2048 };

static const char *program = "tallyboot";
static enum log_level max_level = LOG_LEVEL_INFO;
static void (*observer)(enum log_level level, const char *text);

void log_set_program(const char *name) {
        program = name;
}

void log_set_level(enum log_level max) {
        max_level = max;
}

void log_set_observer(void (*function)(enum log_level level, const char *text)) {
        observer = function;
}

/* Length of the valid UTF-8 sequence (RFC 3629) at text, 0 where there is none. text ends with a NUL, which is in no sequence. */
static size_t utf8_length(const uint8_t *text) {
        uint32_t code, least;
        size_t n;

        if (text[0] < 0x80)
                return 1;
        else if ((text[0] & 0xe0) == 0xc0)
                n = 2, least = 0x80, code = text[0] & 0x1f;
        else if ((text[0] & 0xf0) == 0xe0)
                n = 3, least = 0x800, code = text[0] & 0x0f;
        else if ((text[0] & 0xf8) == 0xf0)
                n = 4, least = 0x10000, code = text[0] & 0x07;
        else
                return 0;

        for (size_t i = 1; i < n; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (text[i] & 0x3f);
        }

        /* Longer than needed, a surrogate, beyond Unicode, a C1 control or one that turns the text's direction. */
        if (code < least || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff || (code >= 0x80 && code <= 0x9f) ||
            (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029)
                return 0;

        return n;
}

void text_sanitize(const char *text, char *ret, size_t size) {
        const uint8_t *p = (const uint8_t *) text;
        size_t used = 0;

        if (size == 0)
                return;

        while (*p) {
                size_t n = *p < 0x20 || *p == 0x7f ? 0 : utf8_length(p);

                if (n > 0) {
                        if (used + n >= size)
                                break;
                        memcpy(ret + used, p, n);
                        used += n;
                        p += n;
                } else {
                        if (used + 4 >= size)
                                break;
                        (void) snprintf(ret + used, 5, "\\x%02x", *p);
                        used += 4;
                        p++;
                }
        }

        ret[used] = '\0';
}

/* sd-daemon(3): JOURNAL_STREAM names the stream's device and inode, so that a redirected standard error is told apart. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

static _printf_(2, 0) void log_writev(enum log_level level, const char *format, va_list ap) {
        char raw[LINE_MAX_BYTES], text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 64];
        int n;

        if (vsnprintf(raw, sizeof(raw), format, ap) < 0)
                return;
        text_sanitize(raw, text, sizeof(text));

        if (observer)
                observer(level, text);
        if (stderr_is_journal())
                n = snprintf(line, sizeof(line), "<%d>%s\n", (int) level, text);
        else
                n = snprintf(line, sizeof(line), "%.48s: %s\n", program, text);

        /* One write: lines of several processes do not mix. Nobody to tell where it fails. */
        if (n > 0)
                (void) !write(STDERR_FILENO, line, MIN((size_t) n, sizeof(line) - 1));
}

void log_write(enum log_level level, const char *format, ...) {
        int saved = errno;
        va_list ap;

        if (level > max_level)
                return;

        va_start(ap, format);
        log_writev(level, format, ap);
        va_end(ap);
        errno = saved;
}

int log_write_errno(enum log_level level, int error, const char *format, ...) {
        int saved = errno;
        va_list ap;

        error = abs(error);
        if (level <= max_level) {
                va_start(ap, format);
                errno = error;
                log_writev(level, format, ap);
                va_end(ap);
                errno = saved;
        }

        return -error;
}
