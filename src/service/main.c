/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"
#include "service/space.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "audit/audit.h"
#include "base/log.h"
#include "service/atrest.h"
#include "service/counts.h"
#include "service/ek-nodes.h"
#include "service/heads.h"
#include "service/limiter.h"

#ifndef TALLYBOOT_VERSION
#define TALLYBOOT_VERSION "unknown"
#endif

enum { EXIT_USAGE = 2, MIGRATIONS_MAX = 32 };

struct options {
        const char *file;
        bool check;
};

static void usage(const char *program, const char *role) {
        printf("%s [OPTIONS]\n\n"
               "The %s of a tallyboot fleet. `tallyctl init` writes its configuration.\n\n"
               "  --config FILE  configuration (default /etc/tallyboot/%s.conf)\n"
               "  --check        check the configuration and the files it names, and end\n"
               "  --verbose      log what is done for each request\n"
               "  --help         this text\n"
               "  --version      the version\n\n"
               "SIGTERM ends the service after the requests under way, SIGHUP reads its certificates,\n"
               "client-refuse, the TPM makers' and their CRLs, ek-allow, and the section [keystore] anew.\n"
               "Exit codes: 0 ended as asked, 1 failed, 2 wrong usage or configuration.\n",
               program, role, role);
}

/* Positive: go on. 0 and below: the exit code, negated. */
static int parse_options(int argc, char *argv[], const char *role, struct options *options) {
        static const struct option longs[] = {
                { "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'k' },
                { "verbose", no_argument, NULL, 'v' },      { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },      {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) >= 0)
                switch (c) {
                case 'c':
                        options->file = optarg;
                        break;
                case 'k':
                        options->check = true;
                        break;
                case 'v':
                        log_set_level(LOG_LEVEL_DEBUG);
                        break;
                case 'h':
                        usage(argv[0], role);
                        return 0;
                case 'V':
                        printf("tallyboot-%s %s\n", role, TALLYBOOT_VERSION);
                        return 0;
                default:
                        return -EXIT_USAGE;
                }

        if (optind < argc) {
                log_error("There are no arguments but options: '%s'. See --help.", argv[optind]);
                return -EXIT_USAGE;
        }
        return 1;
}

static int check_file(const char *what, const char *path, int mode, bool private) {
        struct stat st;

        if (!path)
                return 0;
        if (access(path, mode) < 0 || stat(path, &st) < 0)
                return log_error_errno(errno, "%s %s: %m", what, path);
        if (private && st.st_mode & 077) {
                log_error("%s %s: others than its owner may read it; say: chmod 0600 %s", what, path, path);
                return -EPERM;
        }
        return 0;
}

static const char *pin_file(const struct keystore_source *source) {
        return source->pin && strncmp(source->pin, "file:", 5) == 0 ? source->pin + 5 : NULL;
}

static int check_files(const struct service_config *config) {
        const struct {
                const char *what, *path;
                int mode;
                bool private;
        } files[] = {
                { "certificate", config->certificate, R_OK, false },
                { "key", config->key, R_OK, true },
                { "client-ca", config->client_ca, R_OK, false },
                { "client-refuse", config->client_refuse, R_OK, false },
                { "master-key", config->keystore.master.path, R_OK, true },
                { "pin", pin_file(&config->keystore.master), R_OK, true },
                { "old-master", config->keystore.old.path, R_OK, true },
                { "old-pin", pin_file(&config->keystore.old), R_OK, true },
                { "module", config->keystore.master.module, R_OK, false },
                { "old-module", config->keystore.old.module, R_OK, false },
                { "ek-roots", config->ek_roots, R_OK | X_OK, false },
                { "ek-crls", config->ek_crls, R_OK | X_OK, false },
                { "ek-allow", config->ek_allow, R_OK, false },
                { "payload-dir", config->payload_dir, R_OK | W_OK | X_OK, false },
                { "registrar ca", config->registrar_ca, R_OK, false },
                { "verifier ca", config->verifier_ca, R_OK, false },
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                if (check_file(files[i].what, files[i].path, files[i].mode, files[i].private) < 0)
                        r = -ENOENT;

        return r;
}

static int failed(int r, const char *what, const char *error) {
        log_error("%s cannot be used: %s", what, error[0] ? error : strerror(-r));
        return r;
}

static int open_stores(struct service *service) {
        const struct service_definition *definition = service->definition;
        struct store_migration migrations[MIGRATIONS_MAX] = { audit_migration, keystore_migration };
        char error[512] = "";
        int r;

        assert(definition->n_migrations + 2 <= MIGRATIONS_MAX);
        for (size_t i = 0; i < definition->n_migrations; i++)
                migrations[2 + i] = definition->migrations[i];

        r = store_open(service->config.database, definition->role, migrations, 2 + definition->n_migrations, &service->store,
                       error, sizeof(error));
        if (r < 0)
                return failed(r, "The database", error);

        r = keystore_open(&service->config.keystore, service->store, definition->role, &service->keystore, error, sizeof(error));
        if (r < 0)
                return failed(r, "The master key", error);

        atrest_warn(service);
        return 0;
}

static void close_all(struct service *service) {
        if (service->definition->teardown && service->data)
                service->definition->teardown(service);
        limiter_free(service->limiter);
        counts_free(service->counts);
        keystore_close(service->keystore);
        store_close(service->store);
        ek_trust_free(service->ek_trust);
        ek_nodes_done(service);
        free(service->refused);
        (void) pthread_rwlock_destroy(&service->ek_lock);
        service_config_done(&service->config);
}

/* On the loop, after a SIGHUP. The keystore, which may have to ask a token, is read anew by its own thread. */
static void on_reloaded(int result, const char *error, void *userdata) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        (void) sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                          (unsigned long long) now.tv_sec * 1000000 + (unsigned long long) now.tv_nsec / 1000);
        if (result < 0)
                log_error("The certificates could not be read anew, the old ones stay: %s", error);
        else
                log_info("The certificates were read anew.");
        if (((struct service *) userdata)->atrest)
                atrest_reload(((struct service *) userdata)->atrest);
        if (service_ek_load(userdata) < 0)
                log_error("What endorsement keys are held against could not be read anew, the old stays.");
        if (service_refuse_load(userdata) < 0)
                log_error("The names that are refused could not be read anew, the old ones stay.");
        (void) sd_notify(0, "READY=1");
}

/* Where bodies that are streamed lie while they are worked on: on the disk of the database, unless there is a place for
 * payloads. */
static char *temporary_dir(const struct service_config *config) {
        const char *slash = strrchr(config->database, '/');

        if (config->payload_dir)
                return strdup(config->payload_dir);
        return slash && slash > config->database ? strndup(config->database, (size_t) (slash - config->database)) : strdup("/");
}

/* On the loop. */
static void on_counted(const char *what, const char *address, void *userdata) {
        const struct service *service = userdata;

        counts_add(service->counts, what, &(struct counts_sample){ .address = address, .node = "", .incident = "" });
}

static bool on_has_room(void *userdata) {
        return service_upload_has_room(userdata);
}

static int new_server(struct service *service, const char *temporary, struct http_server **ret) {
        struct http_server_options options = {
                .listen = service->config.listen,
                .certificate_file = service->config.certificate,
                .key_file = service->config.key,
                .client_ca_file = service->config.client_ca,
                .workers = service->config.workers,
                .max_connections = service->config.connections,
                .max_per_address = service->config.connections_per_address,
                .max_memory = (uint64_t) service->config.memory * 1024 * 1024,
                .temporary_dir = temporary,
                .has_room = on_has_room,
                .handler = service_dispatch,
                .limit = service_limit,
                .reloaded = on_reloaded,
                .counted = on_counted,
                .userdata = service,
        };
        char error[512] = "";
        int fds[16], n, r;

        n = sd_listen_fds(1);
        for (int i = 0; i < n && i < (int) ELEMENTSOF(fds); i++)
                fds[options.n_fds++] = SD_LISTEN_FDS_START + i;
        if (n > 0)
                options.fds = fds;

        r = http_server_new(&options, ret, error, sizeof(error));
        return r < 0 ? failed(r, "The server", error) : 0;
}

static int serve(struct service *service) {
        _cleanup_(freep) char *temporary = temporary_dir(&service->config);
        _cleanup_(http_server_freep) struct http_server *server = NULL;
        _cleanup_(keeper_stopp) struct keeper *keeper = NULL;
        _cleanup_(atrest_stopp) struct atrest *atrest = NULL;
        int r;

        if (!temporary)
                return log_oom();
        r = new_server(service, temporary, &server);
        if (r < 0)
                return r;
        heads_exchange(service, true);
        r = keeper_start(service, &keeper);
        if (r >= 0)
                r = atrest_start(service, &atrest);
        service->atrest = atrest;
        if (r < 0)
                return log_error_errno(r, "A thread cannot be started: %m");
        r = http_server_handle_signals(server);
        if (r < 0)
                return log_error_errno(r, "Signals cannot be handled: %m");

        log_info("tallyboot-%s %s listens on port %u.", service->definition->role, TALLYBOOT_VERSION, http_server_port(server));
        (void) sd_notify(0, "READY=1");

        r = http_server_run(server);
        (void) sd_notify(0, "STOPPING=1");
        if (r < 0)
                return log_error_errno(r, "The server failed: %m");

        log_info("Ended as asked.");
        return 0;
}

static int run(struct service *service) {
        int r;

        r = limiter_new(service->config.requests_per_minute, &service->limiter);
        if (r >= 0)
                r = counts_new(&service->counts);
        if (r < 0)
                return log_oom();
        r = open_stores(service);
        if (r < 0)
                return r;

        if (service->definition->setup) {
                r = service->definition->setup(service);
                if (r < 0)
                        return log_error_errno(r, "The %s cannot start: %m", service->definition->role);
        }

        return serve(service);
}

int service_main(int argc, char *argv[], const struct service_definition *definition) {
        struct service service = { .definition = definition, .ek_lock = PTHREAD_RWLOCK_INITIALIZER };
        struct options options = {};
        char error[1024] = "", file[128];
        int r;

        r = process_harden();
        if (r < 0)
                return EXIT_FAILURE;
        (void) signal(SIGPIPE, SIG_IGN);

        (void) snprintf(file, sizeof(file), "/etc/tallyboot/%s.conf", definition->role);
        options.file = file;
        log_set_program(argv[0] && strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0]);

        r = parse_options(argc, argv, definition->role, &options);
        if (r <= 0)
                return -r;

        r = service_config_read(options.file, definition, &service.config, error, sizeof(error));
        if (r < 0) {
                log_error("%s", error[0] ? error : "Out of memory.");
                return EXIT_USAGE;
        }

        r = check_files(&service.config);
        if (r >= 0)
                r = service_ek_load(&service);
        if (r >= 0)
                r = service_refuse_load(&service);
        if (r < 0 || options.check) {
                close_all(&service);
                if (r >= 0)
                        printf("%s is a good configuration of a %s.\n", options.file, definition->role);
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        }

        r = run(&service);
        close_all(&service);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
