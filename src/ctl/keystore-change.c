/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/exit.h"
#include "ctl/group.h"
#include "ctl/keystore.h"

/* A step is a transaction: short, for the running service waits for the database's lock. Of rows under a KEK, and of KEKs (each
 * may be a round trip to the HSM). */
enum { ROWS_STEP = 32, KEKS_STEP = 4 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
        interrupted = number;
}

static void catch_signals(void) {
        const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

        (void) sigaction(SIGINT, &action, NULL);
        (void) sigaction(SIGTERM, &action, NULL);
        (void) sigaction(SIGHUP, &action, NULL);
}

struct progress {
        const char *verb; /* what to type for the rest */
        const char *what;
        int64_t done, left;
};

/* One line that changes, for a person who watches. */
static void show_progress(const struct progress *progress, bool last) {
        static bool shown;

        if (!isatty(STDERR_FILENO) || (last && !shown))
                return;
        (void) fprintf(stderr, "\r%s: %lld done, %lld left \x1b[K%s", progress->what, (long long) progress->done,
                       (long long) progress->left, last ? "\n" : "");
        shown = true;
}

static int say_interrupted(const struct progress *progress) {
        show_progress(progress, true);
        log_error("Interrupted: %lld done, %lld left. Everything opens; \"tallyctl keystore %s\" goes on.",
                  (long long) progress->done, (long long) progress->left, progress->verb);
        return EXIT_INTERRUPTED;
}

/* A row that does not open is not mended by trying again. */
static int step_failed(int r, const struct progress *progress) {
        const char *why = keystore_error()[0] ? keystore_error() : strerror(-r);

        show_progress(progress, true);
        if (r == -EKEYREJECTED)
                log_error("%s stopped after %lld: %s.", progress->what, (long long) progress->done, why);
        else
                log_error("%s stopped after %lld: %s. Everything opens as before; \"tallyctl keystore %s\" goes on.",
                          progress->what, (long long) progress->done, why, progress->verb);
        return ctl_keystore_exit(r);
}

/* All rows of a group under its newest key. */
static int rotate_rows(struct ctl_keystore *ks, const char *group, struct progress *progress) {
        int r;

        do {
                struct keystore_progress step = {};

                if (interrupted)
                        return say_interrupted(progress);
                r = keystore_rotate_step(ks->keystore, group, ROWS_STEP, &step);
                if (r < 0)
                        return step_failed(r, progress);
                progress->done += step.done;
                progress->left = step.left;
                show_progress(progress, r == 0);
        } while (r > 0);
        return CTL_OK;
}

static int rotate(struct ctl_keystore *ks, const char *group, struct progress *progress, int64_t *ret_generation) {
        int r;

        r = keystore_rotate(ks->keystore, group, ret_generation);
        if (r == -EALREADY)
                log_info("The last rotation of this group was not finished: it is now.");
        else if (r == -ENOENT)
                return log_error("%s: no key for a group of this name; \"tallyctl keystore show\" lists them.", group),
                       CTL_FAILURE;
        else if (r < 0)
                return step_failed(r, progress);
        return rotate_rows(ks, group, progress);
}

static void scrub(struct ctl_keystore *ks) {
        int r = keystore_scrub(ks->store);

        if (r < 0)
                log_warning_errno(
                        r,
                        "What was replaced is in the database's files until its next checkpoint (a reader was in the way): %m");
}

static void print_json(const struct progress *progress) {
        ctl_print_taken(json_pack("{s:I, s:I}", "done", (json_int_t) progress->done, "left", (json_int_t) progress->left));
}

int ctl_keystore_rotate(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore rotate-group GROUP [--config FILE]\n"
                "tallyctl keystore rotate-group --own [--config FILE]\n\n"
                "Makes a new key for a group (--own: for the service's own keys), wraps the group's halves under it, and destroys the old\n"
                "one. Beside the running service. Interrupted or killed, it goes on when it is run again.\n\n"
                "  --config FILE  the service's configuration\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        char verb[96];
        struct progress progress = { .what = "Rotating", .verb = verb };
        struct ctl_keystore_arguments arguments;
        int64_t generation = 0;
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "go", usage, &arguments);
        if (r <= 0)
                return -r;
        if (!arguments.group == !arguments.own || (arguments.group && !group_name_is_valid(arguments.group)))
                return fputs(usage, stderr), CTL_USAGE;
        (void) snprintf(verb, sizeof(verb), "rotate-group %s", arguments.own ? "--own" : arguments.group);
        catch_signals();
        r = ctl_keystore_open(&ks, arguments.config);
        if (r != CTL_OK)
                return r;

        if (arguments.own)
                arguments.group = "";
        if (ctl_keystore_record(&ks, "keystore-rotate", "{\"group\":\"%.64s\"}", arguments.group) < 0)
                return CTL_FAILURE;
        r = rotate(&ks, arguments.group, &progress, &generation);
        if (r != CTL_OK)
                return r;
        scrub(&ks);
        if (ctl->json)
                print_json(&progress);
        else
                ctl_print_line("%s: %lld rows are under its new key, the old one is destroyed.",
                               arguments.own ? "the service" : arguments.group, (long long) progress.done);
        return CTL_OK;
}

static int rewrap(struct ctl_keystore *ks, int64_t limit, struct progress *progress) {
        int r = 1;

        while (r > 0 && (limit < 0 || progress->done < limit)) {
                unsigned max = limit < 0 ? KEKS_STEP : (unsigned) MIN((int64_t) KEKS_STEP, limit - progress->done);
                struct keystore_progress step = {};

                if (interrupted)
                        return say_interrupted(progress);
                r = keystore_rewrap_step(ks->keystore, max, &step);
                if (r < 0)
                        return step_failed(r, progress);
                progress->done += step.done;
                progress->left = step.left;
                show_progress(progress, r == 0);
        }
        return r > 0 ? CTL_NOT_FOLLOWED : CTL_OK;
}

int ctl_keystore_rewrap(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore rewrap [--limit N] [--config FILE]\n\n"
                "Wraps every key of a group, and the service's own, under the configured master instead of old-master. Beside the running\n"
                "service, which was reloaded with both of them before. Interrupted or killed, it goes on when it is run again; until it is\n"
                "through, both masters are needed.\n\n"
                "  --limit N      at most N keys in this run\n"
                "  --config FILE  the service's configuration\n\n"
                "Exit status: 0 nothing is left, 5 some are left (--limit), 130 interrupted.\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        struct progress progress = { .what = "Rewrapping", .verb = "rewrap" };
        struct ctl_keystore_arguments arguments;
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "l", usage, &arguments);
        if (r <= 0)
                return -r;
        catch_signals();
        r = ctl_keystore_open(&ks, arguments.config);
        if (r != CTL_OK)
                return r;

        if (ctl_keystore_record(&ks, "keystore-rewrap", "{}") < 0)
                return CTL_FAILURE;
        r = rewrap(&ks, arguments.limit, &progress);
        if (r != CTL_OK && r != CTL_NOT_FOLLOWED)
                return r;
        if (r == CTL_OK)
                scrub(&ks);
        if (ctl->json)
                print_json(&progress);
        else if (r == CTL_OK)
                ctl_print_line(
                        "%lld keys were wrapped anew; all are under %s.%s", (long long) progress.done, ks.options.master.text,
                        ks.options.old.kind != KEYSTORE_NONE
                                ? " Take old-master out of the configuration and reload the service; then the old key is of no "
                                  "more use to it (but for backups of its database)."
                                : "");
        else
                ctl_print_line("%lld keys were wrapped anew, %lld are left: run it again.", (long long) progress.done,
                               (long long) progress.left);
        return r;
}
