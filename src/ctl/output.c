/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/ctl.h"

/* With --json standard output is one JSON value, whatever happens: lines for people and errors are kept until the end, and are
 * the value where a verb has none of its own. */
static struct {
        bool on, said;
        json_t *lines, *errors;
} json;

static void on_log(enum log_level level, const char *text) {
        if (level == LOG_LEVEL_ERROR)
                json_array_append_new(json.errors, json_string(text));
}

int ctl_json_begin(void) {
        json.lines = json_array();
        json.errors = json_array();
        if (!json.lines || !json.errors)
                return log_oom();
        json.on = true;
        log_set_observer(on_log);
        return 0;
}

void ctl_json_end(int code) {
        json_t *all;

        if (!json.on)
                return;
        log_set_observer(NULL);
        json.on = false;
        if (!json.said) {
                all = json_pack("{s:i}", "exit", code);
                if (code != CTL_OK)
                        json_object_set(all, "errors", json.errors);
                if (json_array_size(json.lines) > 0)
                        json_object_set(all, "lines", json.lines);
                ctl_print_taken(all);
        }
        json_decref(json.lines);
        json_decref(json.errors);
}

struct table {
        size_t columns, rows;
        char **cells; /* row 0: the headings */
};

struct table *table_new(const char *const *headings, size_t n) {
        struct table *table = calloc(1, sizeof *table);

        if (!table)
                return NULL;
        table->columns = n;
        if (table_row(table, headings) < 0)
                return table_free(table);
        return table;
}

int table_row(struct table *table, const char *const *cells) {
        char **grown = reallocarray(table->cells, (table->rows + 1) * table->columns, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        table->cells = grown;
        for (size_t i = 0; i < table->columns; i++) {
                char clean[512];

                text_sanitize(cells[i] ? cells[i] : "", clean, sizeof clean);
                grown[table->rows * table->columns + i] = strdup(clean);
        }
        table->rows++;
        return 0;
}

static const char *cell(const struct table *table, size_t row, size_t column) {
        const char *text = table->cells[row * table->columns + column];

        return text ? text : "";
}

static int column_width(const struct table *table, size_t column) {
        size_t width = 0;

        for (size_t row = 0; row < table->rows; row++)
                width = MAX(width, strlen(cell(table, row, column)));
        return (int) width;
}

void table_print(const struct table *table) {
        for (size_t row = 0; row < table->rows; row++) {
                for (size_t column = 0; column + 1 < table->columns; column++)
                        printf("%-*s  ", column_width(table, column), cell(table, row, column));
                printf("%s\n", cell(table, row, table->columns - 1));
        }
}

struct table *table_free(struct table *table) {
        if (!table)
                return NULL;
        for (size_t i = 0; i < table->rows * table->columns; i++)
                free(table->cells[i]);
        free(table->cells);
        free(table);
        return NULL;
}

const char *ctl_string(const json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));

        return text ? text : "";
}

int64_t ctl_integer(const json_t *object, const char *name) {
        const json_t *value = json_object_get(object, name);

        return json_is_integer(value) ? json_integer_value(value) : -1;
}

void ctl_time_text(int64_t seconds, char ret[static 21]) {
        if (seconds > 0)
                clock_format((uint64_t) seconds * 1000, ret);
        else
                snprintf(ret, 21, "-");
}

void ctl_print_json(const json_t *value) {
        _cleanup_(freep) char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENSURE_ASCII);

        json.said = true;
        if (text)
                puts(text);
}

void ctl_print_answers(const struct ctl_call *calls, size_t n) {
        json_t *all = json_object();

        for (size_t i = 0; i < n; i++) {
                json_t *one = calls[i].result < 0 ? json_pack("{s:s}", "error", calls[i].error)
                              : calls[i].answer   ? json_incref(calls[i].answer)
                                                  : json_object();

                json_object_set_new(all, server_names[calls[i].server], one);
        }
        ctl_print_json(all);
        json_decref(all);
}

void ctl_print_taken(json_t *take) {
        ctl_print_json(take);
        json_decref(take);
}

void ctl_print_line(const char *format, ...) {
        char line[1024], clean[2048];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        text_sanitize(line, clean, sizeof clean);
        if (json.on)
                json_array_append_new(json.lines, json_string(clean));
        else
                puts(clean);
}

void ctl_print_text(const char *text) {
        while (*text) {
                size_t n = strcspn(text, "\n\t"), size = 4 * n + 5; /* what sanitizing makes of n bytes */
                _cleanup_(freep) char *part = strndup(text, n), *clean = malloc(size);

                if (!part || !clean)
                        return;
                text_sanitize(part, clean, size);
                printf("%s%.*s", clean, text[n] ? 1 : 0, text + n);
                text += text[n] ? n + 1 : n;
        }
}

enum { VERB_COLUMNS = 44 };

/* "node approve NODE [...]" */
static char *synopsis(const char *group, const struct ctl_verb *verb) {
        return format("%s%s%s%s%s", group, *group ? " " : "", verb->name, *verb->arguments ? " " : "", verb->arguments);
}

void ctl_print_verbs(const char *group, const struct ctl_verb *verbs, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *left = synopsis(group, verbs + i);

                if (left && strlen(left) > VERB_COLUMNS) /* what it does goes into a line of its own */
                        printf("  %s\n  %-*s %s\n", left, VERB_COLUMNS, "", verbs[i].help);
                else if (left)
                        printf("  %-*s %s\n", VERB_COLUMNS, left, verbs[i].help);
        }
}

static int run_verb(struct ctl *ctl, const char *group, const struct ctl_verb *verb, int argc, char *argv[]) {
        _cleanup_(freep) char *what = synopsis(group, verb);
        int r;

        if (!what)
                return log_oom(), CTL_FAILURE;
        if (argc > 1 && !verb->own_help && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                printf("tallyctl %s\n    %s\n%s%s", what, verb->help, verb->more ? "\n" : "", verb->more ?: "");
                return CTL_OK;
        }
        r = verb->run(ctl, argc, argv);
        if (r == CTL_USAGE && !verb->own_help)
                log_error("Usage: tallyctl %s%s", what, verb->more ? " (--help says more)" : "");
        return r;
}

int ctl_dispatch(struct ctl *ctl, const char *group, const struct ctl_verb *verbs, size_t n, int argc, char *argv[]) {
        if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
                printf("tallyctl %s VERB ...\n\n", group);
                ctl_print_verbs(group, verbs, n);
                printf("\n\"tallyctl %s VERB --help\" says more of one.\n", group);
                return argc < 2 ? CTL_USAGE : CTL_OK;
        }
        for (size_t i = 0; i < n; i++)
                if (strcmp(argv[1], verbs[i].name) == 0)
                        return run_verb(ctl, group, verbs + i, argc - 1, argv + 1);
        log_error("No such verb: %s %s. \"tallyctl %s --help\" lists them.", group, argv[1], group);
        return CTL_USAGE;
}
