/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/keystore.h"

#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "base/ini.h"

/* Of the configuration only what says where the database and the master key are: the service checks the rest. */
static int take_key(const char *section, const char *key, const char *value, unsigned line, char *error, size_t error_size,
                    void *userdata) {
        struct ctl_keystore *ks = userdata;
        _cleanup_(freep) char *master = NULL;

        (void) line;
        if (strcmp(section, "verifier") == 0)
                ks->sections_say = "tenant";
        if (strcmp(section, "registrar") == 0 && strcmp(ks->sections_say, "tenant") != 0)
                ks->sections_say = "verifier";
        if (strcmp(section, "keystore") == 0) {
                int r = keystore_option(&ks->options, ks->directory, key, value, error, error_size);

                if (r == -ENOENT || r == -EEXIST)
                        (void) snprintf(error, error_size, "key '%s' of section [keystore] is %s", key,
                                        r == -ENOENT ? "unknown" : "there twice");
                return r;
        }
        if (strcmp(section, "service") != 0)
                return 0;
        if (strcmp(key, "database") == 0 && !ks->database) {
                ks->database = value[0] == '/' ? strdup(value) : path_join(ks->directory, value);
                return ks->database ? 0 : -ENOMEM;
        }
        if (strcmp(key, "master-key") != 0)
                return 0;
        master = format("file:%s", value);
        return master ? keystore_option(&ks->options, ks->directory, "master", master, error, error_size) : -ENOMEM;
}

/* One service runs on a machine, usually. */
static char *find_config(void) {
        char *found = NULL;

        for (size_t s = 0; s < SERVERS; s++)
                for (unsigned i = 0; i < 2; i++) {
                        _cleanup_(freep) char *path =
                                format("/etc/tallyboot/%s%s%s.conf", i ? server_names[s] : "", i ? "/" : "", server_names[s]);

                        if (!path || access(path, F_OK) < 0)
                                continue;
                        if (found) {
                                log_error("%s and %s are both there: say which one with --config.", found, path);
                                free(found);
                                return NULL;
                        }
                        found = TAKE_PTR(path);
                }
        if (!found)
                log_error("No service has its configuration in /etc/tallyboot: name it with --config. This command runs on the "
                          "service's own machine.");
        return found;
}

static char *directory_of(const char *file) {
        const char *slash = strrchr(file, '/');

        if (!slash)
                return getcwd(NULL, 0);
        return slash == file ? strdup("/") : strndup(file, (size_t) (slash - file));
}

int ctl_keystore_load(struct ctl_keystore *ks, const char *given) {
        _cleanup_(blob_done) struct blob text = {};
        char error[512] = "";
        int r;

        ks->sections_say = "registrar";
        ks->file = given ? strdup(given) : find_config();
        if (!ks->file)
                return CTL_USAGE;
        ks->directory = directory_of(ks->file);
        if (!ks->directory)
                return log_oom(), CTL_FAILURE;
        r = file_read(ks->file, 65536, &text);
        if (r < 0)
                return log_error_errno(r, "%s: %m", ks->file), CTL_FAILURE;

        r = ini_parse((char *) text.data, text.size, take_key, ks, error, sizeof(error));
        if (r < 0)
                return log_error("%s:%s", ks->file, error[0] ? error : " out of memory"), CTL_FAILURE;
        if (!ks->database)
                return log_error("%s: this is not a service's configuration: \"database\" is missing in [service].", ks->file),
                       CTL_FAILURE;
        r = keystore_options_check(&ks->options, error, sizeof(error));
        if (r < 0)
                return log_error("%s: %s", ks->file, error[0] ? error : strerror(-r)), CTL_FAILURE;
        return CTL_OK;
}

int ctl_keystore_attach(struct ctl_keystore *ks) {
        char error[512] = "";
        int r;

        r = store_attach(ks->database, &ks->store, ks->role, error, sizeof(error));
        if (r < 0)
                return log_error("%s", error[0] ? error : strerror(-r)), CTL_FAILURE;
        return CTL_OK;
}

int ctl_keystore_exit(int r) {
        switch (-r) {
        case 0:
                return CTL_OK;
        case ENOLINK:
        case ENODEV:
                return CTL_UNREACHED;
        case EKEYREJECTED:
        case EACCES:
        case EPERM:
        case EEXIST:
        case EALREADY:
                return CTL_REFUSED;
        default:
                return CTL_FAILURE;
        }
}

int ctl_keystore_open(struct ctl_keystore *ks, const char *given) {
        char error[1024] = "";
        int r;

        r = ctl_keystore_load(ks, given);
        if (r == CTL_OK)
                r = ctl_keystore_attach(ks);
        if (r != CTL_OK)
                return r;
        r = keystore_open(&ks->options, ks->store, ks->role, &ks->keystore, error, sizeof(error));
        if (r < 0)
                return log_error("The master key cannot be used: %s", error[0] ? error : strerror(-r)), ctl_keystore_exit(r);
        return CTL_OK;
}

void ctl_keystore_done(struct ctl_keystore *ks) {
        keystore_close(ks->keystore);
        store_close(ks->store);
        keystore_options_done(&ks->options);
        free(ks->file);
        free(ks->directory);
        free(ks->database);
}

static int append_record(struct store_txn *txn, void *userdata) {
        return audit_append(txn, userdata);
}

int ctl_keystore_record(struct ctl_keystore *ks, const char *event, const char *format, ...) {
        const struct passwd *user = getpwuid(getuid());
        char detail[512], who[64];
        va_list arguments;
        int r;

        va_start(arguments, format);
        (void) vsnprintf(detail, sizeof(detail), format, arguments);
        va_end(arguments);
        (void) snprintf(who, sizeof(who), "local:%.50s", user ? user->pw_name : "?");
        r = store_write(ks->store, append_record,
                        &(struct audit_record){ .event = event, .node = "", .incident = "", .who = who, .detail = detail });
        if (r < 0)
                log_error_errno(r, "%s: the audit log cannot be written: %m", ks->database);
        return r;
}

static int take_option(struct ctl_keystore_arguments *arguments, int c) {
        uint64_t number;

        switch (c) {
        case 'c':
                arguments->config = optarg;
                return 0;
        case 'r':
                arguments->recovery = optarg;
                return 0;
        case 'n':
                arguments->no_recovery = true;
                return 0;
        case 't':
                arguments->this_boot = true;
                return 0;
        case 'o':
                arguments->own = true;
                return 0;
        case 'l':
                if (parse_u64(optarg, 1, 1000000000, &number) < 0)
                        return log_error("--limit: a number from 1 on."), -EINVAL;
                arguments->limit = (int64_t) number;
                return 0;
        default:
                return -EINVAL;
        }
}

int ctl_keystore_arguments(struct ctl *ctl, int argc, char *argv[], const char *wanted, const char *usage,
                           struct ctl_keystore_arguments *ret) {
        static const struct option all[] = {
                { "config", required_argument, NULL, 'c' }, { "recovery", required_argument, NULL, 'r' },
                { "no-recovery", no_argument, NULL, 'n' },  { "limit", required_argument, NULL, 'l' },
                { "own", no_argument, NULL, 'o' },          { "this-boot", no_argument, NULL, 't' },
                { "help", no_argument, NULL, 'h' },         {},
        };
        struct ctl_keystore_arguments arguments = { .config = ctl->config, .limit = -1 };
        int c;

        while ((c = getopt_long(argc, argv, "", all, NULL)) >= 0) {
                if (c == 'h')
                        return fputs(usage, stdout), -CTL_OK;
                if (c == '?')
                        return -CTL_USAGE;
                if (c != 'c' && !strchr(wanted, c))
                        return log_error("\"%s\" has no such option; \"tallyctl keystore %s --help\" has all.", argv[0], argv[0]),
                               -CTL_USAGE;
                if (take_option(&arguments, c) < 0)
                        return -CTL_USAGE;
        }
        if (strchr(wanted, 'g') && optind < argc)
                arguments.group = argv[optind++];
        if (optind < argc)
                return log_error("Too many arguments: '%s'.", argv[optind]), -CTL_USAGE;
        *ret = arguments;
        return 1;
}

int ctl_keystore(struct ctl *ctl, int argc, char *argv[]) {
        static const struct ctl_verb verbs[] = {
                { "init", "[--recovery FILE]", "make the master key that the configuration names", ctl_keystore_init, true },
                { "show", "", "the hierarchy: masters, keys of groups, halves", ctl_keystore_show, true },
                { "rotate-group", "GROUP|--own", "a new key for a group, its halves under it", ctl_keystore_rotate, true },
                { "rewrap", "[--limit N]", "all keys under the new master key", ctl_keystore_rewrap, true },
                { "verify", "", "open everything; say what is left or broken", ctl_keystore_verify, true },
                { "recover", "[--recovery FILE|--this-boot]", "a TPM that does not give the key: seal it anew",
                  ctl_keystore_recover, true },
        };

        return ctl_dispatch(ctl, "keystore", verbs, ELEMENTSOF(verbs), argc, argv);
}
