/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_NOTICE = 5,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7,
};

/* Lines go to standard error, with the "<N>" level prefix of sd-daemon(3) where that is the journal (JOURNAL_STREAM is set), else
 * with the program's name. Control characters, DEL and bytes that are not UTF-8 are written as \xNN, so that nothing foreign
 * reaches a terminal. Library code logs at debug only; mains log once, in words that say what to do. */
void log_set_program(const char *name);
void log_set_level(enum log_level max);
/* Is told of each line that is written, too. Before there is a second thread. */
void log_set_observer(void (*function)(enum log_level level, const char *text));

void log_write(enum log_level level, const char *format, ...) _printf_(2, 3);

/* Logs with errno set to -error (or error), so that %m works; returns -abs(error). */
int log_write_errno(enum log_level level, int error, const char *format, ...) _printf_(3, 4);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_error_errno(r, ...) log_write_errno(LOG_LEVEL_ERROR, r, __VA_ARGS__)
#define log_warning_errno(r, ...) log_write_errno(LOG_LEVEL_WARNING, r, __VA_ARGS__)
#define log_info_errno(r, ...) log_write_errno(LOG_LEVEL_INFO, r, __VA_ARGS__)
#define log_debug_errno(r, ...) log_write_errno(LOG_LEVEL_DEBUG, r, __VA_ARGS__)
#define log_oom() log_write_errno(LOG_LEVEL_ERROR, ENOMEM, "Out of memory.")

/* Copies text to ret (size bytes with the NUL), control characters and broken UTF-8 replaced as above; cut when it does not
 * fit. */
void text_sanitize(const char *text, char *ret, size_t size);
