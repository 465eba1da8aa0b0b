/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <string.h>

#include "base/log.h"
#include "enroll/internal.h"

enum {
        OPTION_KEY_FILE = 256,
        OPTION_JOIN,
        OPTION_NO_WAIT,
        OPTION_RECOVERY,
        OPTION_PAYLOAD,
        OPTION_AGAIN,
        OPTION_NAME,
        OPTION_HEADER,
        OPTION_ROOT,
        OPTION_OTHER,
        OPTION_REBUILD,
        OPTION_WITHOUT
};

static const struct option enroll_table[] = {
        { "key-file", required_argument, NULL, OPTION_KEY_FILE },
        { "join-token-file", required_argument, NULL, OPTION_JOIN },
        { "no-wait", no_argument, NULL, OPTION_NO_WAIT },
        { "recovery-key", required_argument, NULL, OPTION_RECOVERY },
        { "payload", no_argument, NULL, OPTION_PAYLOAD },
        { "again", no_argument, NULL, OPTION_AGAIN },
        { "name", required_argument, NULL, OPTION_NAME },
        { "header", required_argument, NULL, OPTION_HEADER },
        { "root", no_argument, NULL, OPTION_ROOT },
        { "other", no_argument, NULL, OPTION_OTHER },
        { "rebuild", no_argument, NULL, OPTION_REBUILD },
        {},
};

static const struct option unenroll_table[] = {
        { "key-file", required_argument, NULL, OPTION_KEY_FILE },
        { "without-other-key", no_argument, NULL, OPTION_WITHOUT },
        { "header", required_argument, NULL, OPTION_HEADER },
        {},
};

static int set_recovery(const char *text, struct enroll_options *options) {
        static const char *const names[] = { [RECOVERY_ASK] = "ask", [RECOVERY_YES] = "yes", [RECOVERY_NO] = "no" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strcmp(text, names[i]) == 0) {
                        options->recovery = i;
                        return 0;
                }
        log_error("--recovery-key is yes, no or ask.");
        return -EINVAL;
}

static int set(int option, struct enroll_options *options) {
        switch (option) {
        case OPTION_KEY_FILE:
                options->key_file = optarg;
                return 0;
        case OPTION_JOIN:
                options->join_token_file = optarg;
                return 0;
        case OPTION_NO_WAIT:
                options->no_wait = true;
                return 0;
        case OPTION_RECOVERY:
                return set_recovery(optarg, options);
        case OPTION_PAYLOAD:
                options->payload = true;
                return 0;
        case OPTION_AGAIN:
                options->again = true;
                return 0;
        case OPTION_NAME:
                options->name = optarg;
                return 0;
        case OPTION_HEADER:
                options->header = optarg;
                return 0;
        case OPTION_ROOT:
                options->role = ROLE_ROOT;
                return 0;
        case OPTION_OTHER:
                options->role = ROLE_OTHER;
                return 0;
        case OPTION_REBUILD:
                options->rebuild = true;
                return 0;
        case OPTION_WITHOUT:
                options->without_other_key = true;
                return 0;
        default: /* getopt has said what */
                return -EINVAL;
        }
}

static int parse(int argc, char *argv[], const struct option *table, struct enroll_options *ret) {
        struct enroll_options options = {};
        int option;

        optind = 1;
        while ((option = getopt_long(argc, argv, "", table, NULL)) >= 0)
                if (set(option, &options) < 0) {
                        log_error("tallyboot %s --help lists the options.", argv[0]);
                        return EXIT_USAGE;
                }
        options.devices = argv + optind;
        options.n_devices = (size_t) (argc - optind);
        if (options.n_devices != 1 && (options.name || options.header)) {
                log_error("--name and --header go with exactly one DEVICE.");
                return EXIT_USAGE;
        }
        *ret = options;
        return EXIT_OK;
}

int enroll_options_parse(int argc, char *argv[], struct enroll_options *ret) {
        struct enroll_options options;
        int code;

        code = parse(argc, argv, enroll_table, &options);
        if (code != EXIT_OK)
                return code;
        if (options.key_file && options.join_token_file && strcmp(options.key_file, "-") == 0 &&
            strcmp(options.join_token_file, "-") == 0) {
                log_error("Only one of --key-file and --join-token-file can be standard input.");
                return EXIT_USAGE;
        }
        if (options.recovery == RECOVERY_YES && !ask_has_terminal()) {
                log_error("A recovery key is shown on the terminal and nowhere else, and there is none; use --recovery-key no.");
                return EXIT_USAGE;
        }
        if (options.n_devices == 0)
                options.payload = true;
        *ret = options;
        return EXIT_OK;
}

int unenroll_options_parse(int argc, char *argv[], struct enroll_options *ret) {
        struct enroll_options options;
        int code;

        code = parse(argc, argv, unenroll_table, &options);
        if (code != EXIT_OK)
                return code;
        if (options.n_devices == 0) {
                log_error("Which DEVICE? tallyboot status lists the enrolled ones.");
                return EXIT_USAGE;
        }
        *ret = options;
        return EXIT_OK;
}
