/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "ctl/keystore.h"
#include "keystore/recovery.h"

enum { PHRASE_MAX = 512 };

/* The file for the recovery phrase is made before the key is: a key whose phrase cannot be written must not come to be. */
static int phrase_file(const char *path, int *ret) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return log_error("%s: the recovery phrase cannot be written there: %m%s", path,
                                 errno == EEXIST ? "; nothing is overwritten" : ""),
                       CTL_FAILURE;
        *ret = fd;
        return CTL_OK;
}

/* By write(2): a buffer of stdio would keep it. */
static int write_phrase(int fd, const struct secret *text) {
        int r = write_all(fd, text->data, text->size);

        if (r >= 0)
                r = write_all(fd, "\n", 1);
        return r;
}

static int give_phrase(struct ctl_keystore *ks, int fd, const char *path) {
        _cleanup_(secret_freep) struct secret *secret = NULL, *text = NULL;
        int r;

        r = keystore_recovery_secret(ks->store, &secret);
        if (r >= 0)
                r = recovery_write(secret, &text);
        if (r >= 0 && fd < 0) {
                printf("\nThe recovery phrase. It is shown this once. With it and the database anybody has everything; without it a change of\n"
                       "the firmware can cost you both. Write it down, keep it apart from this machine and its backups:\n\n    ");
                (void) fflush(stdout);
                r = write_phrase(STDOUT_FILENO, text);
                puts("");
        } else if (r >= 0) {
                r = write_phrase(fd, text);
                if (r >= 0 && fsync(fd) < 0)
                        r = -errno;
                if (r >= 0)
                        ctl_print_line(
                                "The recovery phrase is in %s: take it away from this machine, and keep it apart from its backups.",
                                path);
        }
        if (r < 0)
                return log_error_errno(r, "The key was made, but its recovery phrase cannot be written: %m"), CTL_FAILURE;
        return CTL_OK;
}

static void say_made(const struct ctl_keystore *ks) {
        const struct keystore_source *master = &ks->options.master;

        switch (master->kind) {
        case KEYSTORE_FILE:
                ctl_print_line("Made: a master key of 32 random bytes in %s.", master->path);
                ctl_print_line(
                        "Back it up apart from the database: without it nothing in there opens, with it everything does. For labs.");
                break;
        case KEYSTORE_TPM:
                ctl_print_line(
                        "Made: a master key that this machine's TPM alone gives back, once a boot, while its PCRs stay as they are;");
                ctl_print_line(
                        "PCR %u is closed until the machine was off. It is in the database: back that up, and the recovery phrase.",
                        ks->options.gate_pcr);
                break;
        default:
                ctl_print_line("Made in the token: the master key of %s%s%s.", master->uri,
                               master->mac_key ? ", and its MAC key " : "", master->mac_key ?: "");
                ctl_print_line(
                        "It cannot be read out: back it up as the maker of the HSM says (a second HSM, a wrapped backup).");
        }
}

static void say_next(const struct ctl_keystore *ks) {
        if (ks->options.old.kind == KEYSTORE_NONE)
                ctl_print_line("Next: systemctl start tallyboot-%s", ks->role);
        else
                ctl_print_line("Next: systemctl reload tallyboot-%s, then tallyctl keystore rewrap --config %s", ks->role,
                               ks->file);
}

static int check_recovery(const struct ctl_keystore *ks, const struct ctl_keystore_arguments *arguments) {
        bool any = arguments->recovery || arguments->no_recovery;

        if (ks->options.master.kind != KEYSTORE_TPM && any)
                return log_error("--recovery is for a master key in the TPM: this one is %s.", ks->options.master.text),
                       CTL_USAGE;
        if (arguments->recovery && arguments->no_recovery)
                return log_error("Either --recovery FILE or --no-recovery."), CTL_USAGE;
        if (ks->options.master.kind == KEYSTORE_TPM && !any && !isatty(STDOUT_FILENO))
                return log_error("There is no terminal to show the recovery phrase on: say --recovery FILE, or --no-recovery if "
                                 "you want none."),
                       CTL_USAGE;
        return CTL_OK;
}

/* A file or a token needs no database: the service takes its master when it makes one. */
static int attach_if_there(struct ctl_keystore *ks) {
        if (access(ks->database, F_OK) == 0 || errno != ENOENT)
                return ctl_keystore_attach(ks);
        if (ks->options.master.kind == KEYSTORE_TPM)
                return log_error(
                               "%s: is not there yet, and a sealed key is kept in it. Start the service once: it makes the database and "
                               "ends, for it has no key; then say this again.",
                               ks->database),
                       CTL_FAILURE;
        (void) snprintf(ks->role, sizeof(ks->role), "%s", ks->sections_say);
        return CTL_OK;
}

static int make(struct ctl_keystore *ks) {
        char error[1024] = "";
        int r;

        r = keystore_init(&ks->options, ks->store, ks->role, error, sizeof(error));
        if (r < 0)
                return log_error("No master key was made (%s): %s", ks->options.master.text, error[0] ? error : strerror(-r)),
                       ctl_keystore_exit(r);
        if (ks->store && ctl_keystore_record(ks, "keystore-init", "{\"kind\":\"%s\"}",
                                             ks->options.master.kind == KEYSTORE_FILE  ? "file"
                                             : ks->options.master.kind == KEYSTORE_TPM ? "tpm"
                                                                                       : "pkcs11") < 0)
                return CTL_FAILURE;
        return CTL_OK;
}

static int init(struct ctl_keystore *ks, const struct ctl_keystore_arguments *arguments) {
        _cleanup_(closep) int fd = -1;
        int r;

        if (arguments->recovery) {
                r = phrase_file(arguments->recovery, &fd);
                if (r != CTL_OK)
                        return r;
        }
        r = make(ks);
        if (r != CTL_OK) {
                if (arguments->recovery)
                        (void) unlink(arguments->recovery);
                return r;
        }
        say_made(ks);
        if (ks->options.master.kind == KEYSTORE_TPM && !arguments->no_recovery)
                r = give_phrase(ks, fd, arguments->recovery);
        if (r == CTL_OK)
                say_next(ks);
        return r;
}

int ctl_keystore_init(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore init [--recovery FILE | --no-recovery] [--config FILE]\n\n"
                "The key ceremony: makes the master key that the configuration names (section [keystore], master = ...): a file, a key\n"
                "sealed by this machine's TPM, or the key of that label in an HSM, with its MAC key if one is configured. Nothing is ever\n"
                "overwritten. With old-master in the configuration, too, \"rewrap\" then moves everything from that to the new one.\n\n"
                "  --recovery FILE  TPM: write the recovery phrase to FILE (made, mode 0600) instead of showing it on the terminal\n"
                "  --no-recovery    TPM: no phrase; a changed PCR then means that everything enrolled has to be enrolled again\n"
                "  --config FILE    the service's configuration\n\n"
                "Exit status: 0 made, 3 there is one already, 4 the token was not reached, 1 failed, 2 usage.\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        struct ctl_keystore_arguments arguments;
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "rn", usage, &arguments);
        if (r <= 0)
                return -r;
        r = ctl_keystore_load(&ks, arguments.config);
        if (r == CTL_OK)
                r = check_recovery(&ks, &arguments);
        if (r == CTL_OK)
                r = attach_if_there(&ks);
        return r == CTL_OK ? init(&ks, &arguments) : r;
}

/* A line, without echo where it is typed. */
static int read_line(struct secret *ret) {
        struct termios old, quiet;
        bool terminal = tcgetattr(STDIN_FILENO, &old) == 0;
        size_t n = 0;
        ssize_t k = 0;

        if (terminal) {
                quiet = old;
                quiet.c_lflag &= ~(tcflag_t) ECHO;
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
                (void) fputs("Recovery phrase: ", stderr);
        }
        while (n < ret->size && (k = read(STDIN_FILENO, ret->data + n, 1)) == 1 && ret->data[n] != '\n')
                n++;
        if (terminal) {
                (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
                (void) fputs("\n", stderr);
        }
        if (k < 0 || n == ret->size)
                return k < 0 ? -errno : -EBADMSG;
        if (n == 0)
                return -ENODATA;
        ret->size = n;
        return 0;
}

static int read_phrase(const char *path, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        int r;

        if (path)
                r = file_read_secret(path, PHRASE_MAX, false, &text);
        else {
                r = secret_new(PHRASE_MAX, &text);
                if (r >= 0)
                        r = read_line(text);
        }
        if (r >= 0)
                r = recovery_parse(text, ret);
        if (r == -EBADMSG)
                log_error("That is not a recovery phrase: it has 14 groups of 4 letters or digits (a to z, 2 to 7).");
        else if (r == -EILSEQ)
                log_error("A letter of the recovery phrase is wrong: its checksum does not fit.");
        else if (r == -ENODATA)
                log_error("No recovery phrase was given.");
        else if (r < 0)
                log_error_errno(r, "%s: the recovery phrase cannot be read: %m", path ?: "standard input");
        return r < 0 ? CTL_FAILURE : CTL_OK;
}

int ctl_keystore_recover(struct ctl *ctl, int argc, char *argv[]) {
        static const char usage[] =
                "tallyctl keystore recover [--recovery FILE | --this-boot] [--config FILE]\n\n"
                "The way back where the TPM does not give the master key any more: PCRs changed, the TPM was cleared, the database moved\n"
                "to another machine. Takes the recovery phrase that \"init\" gave, checks that it is this database's, and seals the same key\n"
                "to this machine's TPM as it is now. The service starts after that.\n\n"
                "  --recovery FILE  the phrase is in FILE (default: it is asked for)\n"
                "  --this-boot      without a phrase, while this boot still has the key: after pcrs or gate-pcr were configured otherwise\n"
                "  --config FILE    the service's configuration\n";
        _cleanup_(ctl_keystore_done) struct ctl_keystore ks = {};
        _cleanup_(secret_freep) struct secret *secret = NULL;
        struct ctl_keystore_arguments arguments;
        char error[1024] = "";
        int r;

        r = ctl_keystore_arguments(ctl, argc, argv, "rt", usage, &arguments);
        if (r <= 0)
                return -r;
        if (arguments.recovery && arguments.this_boot)
                return log_error("Either --recovery FILE or --this-boot."), CTL_USAGE;
        r = ctl_keystore_load(&ks, arguments.config);
        if (r == CTL_OK && ks.options.master.kind != KEYSTORE_TPM && ks.options.old.kind != KEYSTORE_TPM)
                return log_error("%s: neither master nor old-master is a TPM.", ks.file), CTL_USAGE;
        if (r == CTL_OK)
                r = ctl_keystore_attach(&ks);
        if (r == CTL_OK && !arguments.this_boot)
                r = read_phrase(arguments.recovery, &secret);
        if (r != CTL_OK)
                return r;

        r = keystore_recover(&ks.options, ks.store, ks.role, secret, error, sizeof(error));
        if (r < 0)
                return log_error("Not recovered: %s", error[0] ? error : strerror(-r)), ctl_keystore_exit(r);
        if (ctl_keystore_record(&ks, "keystore-recover", "{}") < 0)
                return CTL_FAILURE;
        ctl_print_line("The master key is sealed to this machine's TPM as it is now. Next: systemctl restart tallyboot-%s",
                       ks.role);
        return CTL_OK;
}
