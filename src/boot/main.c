/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/secret.h"
#include "boot/verbs.h"
#if __has_include("enroll/enroll.h")
#include "enroll/enroll.h"
#define HAVE_ENROLL 1
#endif

/* Debian's libcurl brings GnuTLS along for protocols that we never speak. Its own way of being told not to start up by itself,
 * which would cost half a megabyte and a millisecond in every boot (gnutls_global_init(3), GNUTLS_SKIP_GLOBAL_INIT). */
int _gnutls_global_init_skip(void);
int _gnutls_global_init_skip(void) {
        return 1;
}

struct verb {
        const char *name;
        int (*run)(int argc, char *argv[]);
        const char *usage, *summary;
        const char *help; /* NULL: of the machinery, not shown */
};

static const struct verb verbs[] = {
#ifdef HAVE_ENROLL
        { "register", register_run, "register", "Make this machine known to the registrar.", REGISTER_HELP },
        { "enroll", enroll_run, "enroll [OPTION...] [DEVICE...]",
          "Give LUKS2 volumes a key in two halves, kept by tenant and verifier.", ENROLL_HELP },
        { "token", token_run, "token make-key [OPTION...]", "Make the key of a machine without a TPM in a token.", TOKEN_HELP },
        { "unenroll", unenroll_run, "unenroll [OPTION...] DEVICE...", "Take that key away again.", UNENROLL_HELP },
#endif
        { "status", status_run, "status [--json]", "What this boot did, and what is set up.",
          "  --json    the same for programs\n" },
        { "doctor", doctor_run, "doctor [--json] [--offline]", "Look for what would keep the next boot from working.",
          "  --json      the same for programs\n"
          "  --offline   do not ask the services\n"
          "Ends with 0 where nothing was found, 1 where something was.\n" },
        { "gate", gate_run, "gate status|close", "Whether halves can still be had in this boot; that they cannot.",
          "  status   \"open\" (exit code 1) or \"closed\" (0)\n"
          "  close    extend the gate PCR; no half is released to this boot any more. Cannot be undone without a reboot.\n" },
        { "evidence", evidence_run, "evidence [--json|--logs]", "What a party would be sent, to look into a refusal.",
          "  --json    the same for programs\n"
          "  --logs    JSON with the firmware's event log and the kernel's IMA list: what \"tallyctl policy check\" and \"predict\" read\n"
          "Reads the PCRs that the parties ask for and makes a quote with a nonce of its own; nothing is sent.\n" },
        { "unlock", unlock_run, "unlock [--test [--device FILE]...]",
          "Fetch both halves and open the volumes (the initramfs does this).",
          "  --test          all but the mapping: attest, fetch, close the gate, check the header, open the keyslot. One try, no\n"
          "                  payload. On a running node it is refused (gate closed): that is the answer that you want to see there.\n"
          "  --device FILE   with --test: the LUKS volume, a device or a file; may be given again\n" },
        { "wait", wait_run, "wait VOLUME|payload|settled", "Wait for the unlocker (units do this).",
          "Ends at once where VOLUME is not ours, is open, or no unlocker runs; else after prompt-after at the latest.\n" },
        { "opened", opened_run, NULL, NULL, NULL },
        { "check-root", check_root_run, NULL, NULL, NULL },
        { "lock-up", lock_up_run, NULL, NULL, NULL },
        { "may-resume", may_resume_run, NULL, NULL, NULL },
};

static const char *config_path = CONFIG_PATH, *run_dir = RUN_DIR;

const char *verb_config_path(void) {
        return config_path;
}

const char *verb_run_dir(void) {
        return run_dir;
}

static const struct verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return verbs + i;
        return NULL;
}

static int print_help(void) {
        printf("tallyboot VERB [OPTION...]\n\n"
               "Opens this machine's encrypted volumes at boot with two halves of a key: one from the tenant, one from the verifier.\n\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (verbs[i].help)
                        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
        printf("\nWith every verb:\n"
               "  --config FILE   instead of " CONFIG_PATH "\n"
               "  --run-dir DIR   instead of " RUN_DIR "\n"
               "  --debug         say more\n"
               "  --help          about tallyboot, or about the verb\n"
               "  --version\n\n"
               "Exit codes: 0 done, 1 failed, 2 command line, 3 refused by a party or policy, 4 a party was not reached, 5 TPM or token,\n"
               "6 volume, 7 configuration, 8 waits for an operator, 130 interrupted.\n");
        return EXIT_OK;
}

static int print_verb_help(const struct verb *verb) {
        printf("tallyboot %s\n\n%s\n\n%s", verb->usage ? verb->usage : verb->name, verb->summary ? verb->summary : "",
               verb->help ? verb->help : "");
        return EXIT_OK;
}

/* Takes what every verb knows out of the command line; what is left is the verb's. help: also asked for. -EINVAL: a value is
 * missing. */
static int take_common(int *argc, char *argv[], bool *ret_help, bool *ret_version) {
        int n = 1;

        for (int i = 1; i < *argc; i++) {
                const char **value = strcmp(argv[i], "--config") == 0    ? &config_path
                                     : strcmp(argv[i], "--run-dir") == 0 ? &run_dir
                                                                         : NULL;

                if (strcmp(argv[i], "--") == 0) {
                        while (i < *argc)
                                argv[n++] = argv[i++];
                        break;
                }
                if (value) {
                        if (++i >= *argc)
                                return -EINVAL;
                        *value = argv[i];
                } else if (strncmp(argv[i], "--config=", 9) == 0)
                        config_path = argv[i] + 9;
                else if (strncmp(argv[i], "--run-dir=", 10) == 0)
                        run_dir = argv[i] + 10;
                else if (strcmp(argv[i], "--debug") == 0)
                        log_set_level(LOG_LEVEL_DEBUG);
                else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        *ret_help = true;
                else if (strcmp(argv[i], "--version") == 0)
                        *ret_version = true;
                else
                        argv[n++] = argv[i];
        }
        argv[n] = NULL;
        *argc = n;
        return 0;
}

int main(int argc, char *argv[]) {
        bool help = false, version = false;
        const struct verb *verb;

        (void) process_harden();
        (void) mallopt(M_ARENA_MAX, 2); /* the TPM's thread and this one allocate at the same time; more would cost memory */
        log_set_program("tallyboot");
        if (take_common(&argc, argv, &help, &version) < 0) {
                log_error("--config and --run-dir need a value.");
                return EXIT_USAGE;
        }
        if (version) {
                printf("tallyboot %s\n", TALLYBOOT_VERSION);
                return EXIT_OK;
        }
        if (argc < 2)
                return print_help(), help ? EXIT_OK : EXIT_USAGE;
        verb = verb_find(argv[1]);
        if (!verb) {
                log_error("There is no verb \"%s\"; tallyboot --help lists them.", argv[1]);
                return EXIT_USAGE;
        }
        if (help)
                return print_verb_help(verb);
        return verb->run(argc - 1, argv + 1);
}
