/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/ini.h"
#include "base/log.h"
#include "boot/gate.h"
#include "boot/notes.h"
#include "boot/payload.h"
#include "boot/root.h"
#include "boot/verbs.h"

/* The small verbs that units call, a step of the boot each. */

/* On a machine that is not configured the steps do nothing, and say nothing. */
static bool is_inert(void) {
        return access(verb_config_path(), F_OK) < 0 && errno == ENOENT;
}

/* How a verb of at most max words begins. -1: go on, with a configuration; else the exit code. */
static int begin_with(int argc, int max, int (*load)(struct config **ret), struct config **ret) {
        int r;

        if (argc > max)
                return EXIT_USAGE;
        if (is_inert())
                return EXIT_OK;
        r = load(ret);
        return r == 0 ? -1 : r;
}

static int begin(int argc, int max, struct config **ret) {
        return begin_with(argc, max, verb_load_config, ret);
}

/* Of the steps without which there is no boot at all. */
static int begin_to_go_on(int argc, int max, struct config **ret) {
        return begin_with(argc, max, verb_load_config_to_go_on, ret);
}

/* Closes the gate; on failure says so, and what there will not be for it. */
static int gate_close_or_say(const struct config *config, const char *consequence) {
        char error[512] = "";
        int r = gate_close(config, verb_run_dir(), error, sizeof error);

        if (r >= 0)
                return EXIT_OK;
        log_error("%s: %s.", consequence, error[0] ? error : strerror(-r));
        return r == -ENOSPC ? EXIT_FAILED : EXIT_TPM;
}

/* Always succeeds: what the unlocker did not open, systemd-cryptsetup asks a passphrase for. */
static int wait_volume(const struct config *config, const char *name) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        char uuid[LUKS_UUID_LENGTH + 1];
        const struct crypttab_entry *entry;
        struct luks_token token;
        int r;

        r = volume_remove_half_made(name);
        if (r < 0)
                log_warning_errno(r, "%s: an empty mapping of that name cannot be removed: %m", name);
        if (volume_is_active(name) || crypttab_lookup(name, &crypttab) < 0)
                return EXIT_OK;
        entry = crypttab.items;
        if (entry->not_luks || luks_probe_token(entry->header ? entry->header : entry->device, uuid, &token) < 0)
                return EXIT_OK;
        if (control_wait_volume(verb_run_dir(), name, uuid, config->prompt_after * 1000) > 0)
                return EXIT_OK;
        (void) volume_remove_half_made(name);
        log_debug("%s: not opened by the unlocker.", name);
        return EXIT_OK;
}

/* FailureAction= of tallyboot-payload-wait.service cannot be configured from here, so the action is ours. */
static int payload_action(const struct config *config) {
        switch (config->payload_action) {
        case PAYLOAD_CONTINUE:
                log_warning("The payload did not come; the boot goes on without it (payload-action = continue).");
                return EXIT_OK;
        case PAYLOAD_POWEROFF:
                log_error("The payload did not come; switching off (payload-action = poweroff).");
                return execlp("systemctl", "systemctl", "poweroff", "--no-block", NULL), EXIT_FAILED;
        case PAYLOAD_EMERGENCY:
                log_error("The payload did not come (payload-action = emergency).");
                return execlp("systemctl", "systemctl", "start", "--no-block", "--job-mode=replace-irreversibly",
                              "emergency.target", NULL),
                       EXIT_FAILED;
        }
        return EXIT_FAILED;
}

static int wait_payload(const struct config *config) {
        if (!config->payload || note_exists(verb_run_dir(), "payload-ready") || note_exists(verb_run_dir(), "passphrase"))
                return EXIT_OK;
        if (control_wait_payload(verb_run_dir(), config->payload_after * 1000) > 0)
                return EXIT_OK;
        return payload_action(config);
}

static int wait_settled(const struct config *config) {
        if (control_wait_settled(verb_run_dir(), MAX(config->prompt_after, (uint64_t) 1) * 1000) == 0)
                log_warning("Not every volume of this node is open; the boot goes on.");
        return EXIT_OK;
}

int wait_run(int argc, char *argv[]) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r;

        if (argc != 2) {
                log_error("Usage: tallyboot wait VOLUME|payload|settled");
                return EXIT_USAGE;
        }
        r = begin(argc, 2, &config);
        if (r >= 0)
                return r;
        if (strcmp(argv[1], "payload") == 0)
                return wait_payload(config);
        if (strcmp(argv[1], "settled") == 0)
                return wait_settled(config);
        return wait_volume(config, argv[1]);
}

int opened_run(int argc, char *argv[]) {
        int r;

        if (argc != 2)
                return EXIT_USAGE;
        r = control_tell_opened(verb_run_dir(), argv[1]);
        if (r == -ENOENT || r == -ECONNREFUSED || r == -EPIPE)
                return EXIT_OK;
        return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int gate_status(const struct config *config) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        enum gate_state state;
        int r = tpm_open(config->tpm, &tpm);

        if (r >= 0)
                r = gate_read(tpm, config->gate_pcr, &state);
        if (r < 0) {
                log_error("The gate cannot be read: %s.", tpm ? tpm_last_error(tpm) : "no TPM answers");
                return EXIT_TPM;
        }
        printf("%s\n", state == GATE_CLOSED ? "closed" : "open");
        return state == GATE_CLOSED ? EXIT_OK : EXIT_FAILED;
}

int gate_run(int argc, char *argv[]) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r;

        if (argc != 2 || (strcmp(argv[1], "status") != 0 && strcmp(argv[1], "close") != 0)) {
                log_error("Usage: tallyboot gate status|close");
                return EXIT_USAGE;
        }
        r = strcmp(argv[1], "status") == 0 ? verb_load_config(&config) : verb_load_config_to_go_on(&config);
        if (r != 0)
                return r;
        if (strcmp(argv[1], "status") == 0)
                return gate_status(config);
        return gate_close_or_say(config, "Stop, the boot must not go on");
}

/* Mounts at and below root, deepest first, as far as they let themselves be taken away. */
static void unmount_below(const char *root) {
        _cleanup_(blob_done) struct blob text = {};
        char *points[256], *save = NULL;
        size_t n = 0, length = strlen(root);

        if (file_read("/proc/self/mountinfo", 1 << 20, &text) < 0)
                return;
        for (char *line = strtok_r((char *) text.data, "\n", &save); line && n < ELEMENTSOF(points);
             line = strtok_r(NULL, "\n", &save)) {
                char *point = line;

                for (unsigned i = 0; i < 4 && point; i++) {
                        point = strchr(point, ' ');
                        point += point ? 1 : 0;
                }
                if (!point)
                        continue;
                point[strcspn(point, " ")] = '\0';
                if (strncmp(point, root, length) == 0 && (point[length] == '\0' || point[length] == '/'))
                        points[n++] = point;
        }
        while (n-- > 0)
                if (umount2(points[n], UMOUNT_NOFOLLOW) < 0)
                        (void) umount2(points[n], MNT_DETACH | UMOUNT_NOFOLLOW);
}

static int close_everything(void) {
        int r, k;

        (void) control_quit(verb_run_dir());
        k = payload_remove(verb_run_dir());
        unmount_below("/sysroot");
        r = opened_close_all(verb_run_dir());
        return r < 0 ? r : k;
}

/* Before any shell. */
int lock_up_run(int argc, char *argv[] _unused_) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r = begin_to_go_on(argc, 1, &config);

        if (r >= 0)
                return r;
        r = gate_close_or_say(config, "There will be no shell");
        if (r != EXIT_OK)
                return r;
        r = close_everything();
        if (r < 0) {
                log_error_errno(r, "Not everything that the halves opened could be closed, there will be no shell: %m");
                return EXIT_FAILED;
        }
        return EXIT_OK;
}

/* The device that resume= names, for a systemd whose unit does not say it. NULL: none, or said in a way that is not known
 * here. */
static char *resume_device(void) {
        _cleanup_(blob_done) struct blob line = {};
        char *save = NULL, *device = NULL;

        if (file_read("/proc/cmdline", 65536, &line) < 0)
                return NULL;
        for (char *word = strtok_r((char *) line.data, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
                if (strncmp(word, "resume=", 7) != 0)
                        continue;
                free(device);
                device = strncmp(word + 7, "UUID=", 5) == 0 ? format("/dev/disk/by-uuid/%s", word + 12) : strdup(word + 7);
        }
        return device;
}

/* Whether the image lies where only this node can have written it: after halves, on what they opened; else on an encrypted
 * volume. */
static bool image_is_ours(const char *named) {
        _cleanup_(freep) char *device = named ? strdup(named) : resume_device();
        _cleanup_(freep) struct opened *list = NULL;
        struct root_check check = { .sys = "/sys", .accepts = ACCEPTS_ENCRYPTED };
        char error[512] = "resume= does not name a device that is there";
        struct stat st;

        if (note_exists(verb_run_dir(), "halves") && !note_exists(verb_run_dir(), "passphrase"))
                check.accepts = ACCEPTS_OPENED;
        if (device && stat(device, &st) >= 0 && S_ISBLK(st.st_mode) && opened_list(verb_run_dir(), &list, &check.n_opened) >= 0) {
                check.opened = list;
                if (root_check_device(&check, major(st.st_rdev), minor(st.st_rdev), error, sizeof error) >= 0)
                        return true;
        }
        log_warning("Not resuming: %s. Enroll the swap volume (tallyboot enroll), and open it in the initramfs.", error);
        return false;
}

/* ExecCondition= of resuming from hibernation: 1 skips it. */
int may_resume_run(int argc, char *argv[]) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r = begin(argc, 2, &config);

        if (r >= 0)
                return r;
        if (config->hibernation)
                return image_is_ours(argv[1]) ? EXIT_OK : EXIT_FAILED;
        log_notice("Not resuming: tallyboot.conf does not say hibernation = yes.");
        return EXIT_FAILED;
}

/* Where no halves came, or a person has taken over, the root is what it is on any other machine. */
int check_root_run(int argc, char *argv[] _unused_) {
        _cleanup_(config_freep) struct config *config = NULL;
        _cleanup_(freep) struct opened *list = NULL;
        struct root_check check = { .mountinfo = "/proc/self/mountinfo", .sys = "/sys", .root = "/sysroot" };
        char error[512] = "";
        int r = begin_to_go_on(argc, 1, &config);

        if (r >= 0)
                return r;
        if (!config->root || !note_exists(verb_run_dir(), "halves") || note_exists(verb_run_dir(), "passphrase"))
                return EXIT_OK;
        r = opened_list(verb_run_dir(), &list, &check.n_opened);
        if (r >= 0) {
                check.opened = list;
                r = root_check(&check, error, sizeof error);
        }
        if (r >= 0)
                return EXIT_OK;
        log_error("The root is not ours, the boot stops: %s. Everything that the halves opened is closed.",
                  error[0] ? error : strerror(-r));
        /* An unlocker that was killed could not be told that a person took over. */
        log_error("If you typed a passphrase in this boot: reboot, and type it again.");
        r = close_everything();
        if (r < 0)
                log_error_errno(r, "Not everything could be closed: %m");
        return EXIT_REFUSED;
}
