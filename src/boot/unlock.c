/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/confirm.h"
#include "boot/gate.h"
#include "boot/identity.h"
#include "boot/notes.h"
#include "boot/offline.h"
#include "boot/payload.h"
#include "boot/pid1.h"
#include "boot/pin.h"
#include "boot/rotate.h"
#include "boot/token.h"
#include "boot/unlock.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

enum { STAY_MS = 1000 };

void unlocker_say(struct unlocker *unlocker, const char *format, ...) {
        char text[sizeof unlocker->said];
        const char *incident = unlocker->node->incident;
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (strcmp(text, unlocker->said) == 0)
                return;
        strcpy(unlocker->said, text);
        if (strstr(text, incident))
                log_warning("%s", text);
        else
                log_warning("%s (incident %s)", text, incident);
}

/* All but the names of the volumes. */
static void unlocker_wipe_keys(struct unlocker *unlocker) {
        rotate_wipe(unlocker);
        unlocker->kept = offline_free(unlocker->kept); /* before the node's token, which it may share */
        pairs_done(&unlocker->pairs);
        unlocker->conversation = conversation_free(unlocker->conversation);
        volumes_wipe_keys(&unlocker->volumes);
        node_wipe_nk(unlocker->node);
        unlocker->node->token = token_free(unlocker->node->token);
}

/* The names of the volumes, too. */
static void unlocker_wipe(struct unlocker *unlocker) {
        unlocker_wipe_keys(unlocker);
        volumes_done(&unlocker->volumes);
}

/* A passphrase was typed for one of our volumes: from here on a person boots this machine, and what the halves opened goes. Where
 * it does not go, because something is on it already, the check of the root stays in force and stops the boot. */
static void hand_over(struct unlocker *unlocker) {
        _cleanup_(pid1_freep) struct pid1 *pid1 = NULL;
        _cleanup_(freep) struct opened *list = NULL;
        size_t n = 0;

        (void) opened_list(unlocker->run_dir, &list, &n);
        unlocker_wipe(unlocker);
        (void) payload_remove(unlocker->run_dir);
        if (opened_close_all(unlocker->run_dir) < 0) {
                log_error("A passphrase was typed, but a volume that the halves opened cannot be closed again; reboot.");
                return;
        }
        (void) note_write(unlocker->run_dir, "passphrase", "");
        if (n > 0 && pid1_open(&pid1) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                char escaped[4 * LUKS_NAME_MAX + 1];
                _cleanup_(freep) char *unit = NULL;
                struct pid1_unit state;

                unit_escape(list[i].name, escaped);
                unit = format("systemd-cryptsetup@%s.service", escaped);
                if (unit && pid1_unit(pid1, unit, &state) >= 0 && state.loaded)
                        (void) pid1_restart(pid1, unit);
        }
}

/* Whether the mapping that systemd-cryptsetup has just made is one of our volumes, opened by somebody else. */
static bool is_taken_over(struct unlocker *unlocker, const char *name) {
        struct volume *volume = volumes_find_name(&unlocker->volumes, name);
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;
        const struct crypttab_entry *entry;

        if (volume)
                return volume->state != VOLUME_OPEN;
        if (crypttab_lookup(name, &crypttab) < 0)
                return false;
        entry = crypttab.items;
        return luks_probe_token(entry->header ? entry->header : entry->device, uuid, &token) >= 0;
}

static int answer(struct unlocker *unlocker) {
        struct control_request request;
        struct pollfd interrupted = { unlocker->node->cancel_fd, POLLIN, 0 };

        if (!unlocker->control)
                return poll(&interrupted, 1, 0) > 0 ? -ECANCELED : 0;
        while (control_next(unlocker->control, &request)) {
                if (request.verb == CONTROL_QUIT || control_terminated(unlocker->control) ||
                    (request.verb == CONTROL_STOP && !unlocker->gate_closed)) {
                        log_info("Stopped%s.", unlocker->gate_closed ? "" : " before both halves came: the gate is being closed");
                        unlocker_wipe(unlocker);
                        return -ECANCELED;
                }
                if (request.verb == CONTROL_OPENED && is_taken_over(unlocker, request.name)) {
                        log_notice("%s was opened with a passphrase: this boot goes on without the halves.", request.name);
                        hand_over(unlocker);
                        control_answer(unlocker->control, &request, "ok");
                        return -ECANCELED;
                }
                control_answer(unlocker->control, &request, request.verb == CONTROL_STOP ? "closed" : "ok");
        }
        return 0;
}

int unlocker_answer(struct unlocker *unlocker) {
        if (!unlocker->ended)
                unlocker->ended = answer(unlocker) < 0;
        return unlocker->ended ? -ECANCELED : 0;
}

int unlocker_converse(struct unlocker *unlocker, struct conversation *conversation) {
        for (;;) {
                int r = converse(unlocker->node, conversation);

                if (r != -ECANCELED)
                        return r;
                r = unlocker_answer(unlocker);
                if (r < 0)
                        return r;
        }
}

int unlocker_confirm(struct unlocker *unlocker, const struct wire_confirm_body *body, struct conversation **ret) {
        for (;;) {
                int r = converse_confirm(unlocker->node, body, ret);

                if (r != -ECANCELED)
                        return r;
                r = unlocker_answer(unlocker);
                if (r < 0)
                        return r;
        }
}

int unlocker_sleep(struct unlocker *unlocker, uint64_t ms) {
        uint64_t end = clock_monotonic_ms() + ms;
        int cancel_fd = unlocker->node->cancel_fd;

        for (;;) {
                uint64_t now = clock_monotonic_ms();
                struct pollfd fds[2] = { { cancel_fd, POLLIN, 0 },
                                         { unlocker->control ? control_wake_fd(unlocker->control) : -1, POLLIN, 0 } };
                int r;

                if (ms > 0 && now >= end)
                        return 0;
                (void) poll(fds, 2, ms > 0 ? (int) MIN(end - now, (uint64_t) 3600000) : -1);
                if (fds[0].revents && !unlocker->control)
                        return -ECANCELED;
                r = unlocker_answer(unlocker);
                if (r < 0)
                        return r;
                if (fds[1].revents) {
                        control_woken(unlocker->control);
                        if (unlocker->volumes.n > 0)
                                return 0; /* somebody waits for a volume */
                }
        }
}

/* Nobody else may want the network in this initramfs. Asked for, never waited for. */
static void start_network(const struct unlocker *unlocker) {
        _cleanup_(pid1_freep) struct pid1 *pid1 = NULL;

        if (!unlocker->test && pid1_open(&pid1) >= 0)
                (void) pid1_start(pid1, "network-online.target");
}

/* Without a TPM there is no gate; that the boot may go on is for the gate's own unit to say. */
static int close_gate(struct unlocker *unlocker) {
        int r = 0;

        if (unlocker->node->kind == NODE_TPM) {
                r = node_attach(unlocker->node);
                if (r >= 0)
                        r = gate_close_tpm(unlocker->node->tpm, unlocker->config);
        }
        node_wipe_nk(unlocker->node);
        if (r < 0) {
                unlocker_wipe(unlocker);
                unlocker_say(unlocker, "the gate (PCR %u) cannot be closed: %s; nothing is opened", unlocker->config->gate_pcr,
                             tpm_last_error(unlocker->node->tpm));
                return r;
        }
        unlocker->gate_closed = true;
        return 0;
}

/* What the parties do not know yet. */
static int report(struct unlocker *unlocker) {
        int r = 0;

        if (volumes_all_open(&unlocker->volumes)) {
                r = confirm_boot(unlocker);
                if (r >= 0)
                        r = rotate_finish(unlocker);
        }
        control_settled(unlocker->control);
        return r;
}

/* All there is to open, and a root among it if this node has one. */
static bool is_complete(const struct unlocker *unlocker) {
        bool root = !unlocker->config->root;

        for (size_t i = 0; i < unlocker->volumes.n; i++)
                root = root || unlocker->volumes.items[i].root;
        return root && volumes_all_open(&unlocker->volumes);
}

/* What the halves did not open needs a passphrase, and whoever types it takes this boot over. Somebody has to be told: else the
 * check of the root, which knows of halves only, would stop the boot of a root that a party's wrong manifest keeps us from
 * opening. */
static int stay(struct unlocker *unlocker) {
        unlocker_wipe_keys(unlocker);
        for (;;) {
                int r;

                control_fail_all(unlocker->control);
                r = unlocker_sleep(unlocker, STAY_MS);
                if (r < 0)
                        return r;
        }
}

/* What comes after the gate, in the initramfs. A payload or a confirmation that fails does not take a volume away again. */
static int serve(struct unlocker *unlocker) {
        int r, k;

        r = note_write(unlocker->run_dir, "halves", unlocker->offline ? "offline\n" : "");
        if (r < 0) { /* without it nobody would check the root */
                unlocker_say(unlocker, "%s/halves cannot be written: %s; nothing is opened, this boot needs a passphrase",
                             unlocker->run_dir, strerror(-r));
                return r;
        }
        r = unlocker->offline ? 0 : serve_prepare(unlocker);
        if (r < 0 && r != -ENOKEY)
                return r;
        serve_pass(unlocker);
        k = unlocker->offline ? -ENODATA : payload_fetch(unlocker);
        if (k == -ECANCELED)
                return k;
        control_payload(unlocker->control, k >= 0);
        if (!volumes_all_open(&unlocker->volumes) || offline_pass(unlocker)) {
                r = serve_volumes(unlocker);
                if (r < 0)
                        return r;
                r = volumes_all_open(&unlocker->volumes) ? 0 : -ENOKEY;
        }
        k = report(unlocker);
        if (k < 0)
                return k;
        return is_complete(unlocker) ? r : stay(unlocker);
}

static int fetch_online(struct unlocker *unlocker, uint64_t limit) {
        int r = identity_begin(unlocker);

        if (r >= 0)
                r = fetch_halves(unlocker, limit);
        if (r >= 0) /* an offline try may have come before: this boot is the halves' */
                unlocker->kept = offline_free(unlocker->kept);
        return r;
}

static int fetch_offline(struct unlocker *unlocker) {
        int r = offline_fetch(unlocker, unlocker->config->unlock != UNLOCK_OFFLINE);

        unlocker->offline = r >= 0;
        return r;
}

static int ask_meanwhile(void *userdata, int fd) {
        return fetch_meanwhile(userdata, fd);
}

/* While a person is asked for the token's PIN the servers may come back: then the machine goes on by itself, as it would have
 * done. -EALREADY: they have answered, unlocker->meanwhile has what. */
static int fetch_offline_unless(struct unlocker *unlocker) {
        int r;

        unlocker->meanwhile.next_ms = unlocker->meanwhile.failures = 0;
        unlocker->node->waiting.meanwhile = unlocker->test ? NULL : ask_meanwhile;
        r = fetch_offline(unlocker);
        unlocker->node->waiting.meanwhile = NULL;
        if (r == -EALREADY && unlocker->meanwhile.result >= 0)
                unlocker->kept = offline_free(unlocker->kept);
        return r;
}

/* The servers are asked for offline-after seconds, then the token; where neither is there, one after the other until the time is
 * over. */
static int fetch_either(struct unlocker *unlocker) {
        uint64_t limit = unlocker->config->network_timeout;
        uint64_t end = limit > 0 ? clock_monotonic_ms() + limit * 1000 : UINT64_MAX;
        int r, k = 0;

        do {
                r = fetch_online(unlocker, unlocker->config->offline_after);
                if (fetch_is_out_of_reach(r)) {
                        k = fetch_offline_unless(unlocker);
                        if (k == -EALREADY)
                                r = unlocker->meanwhile.result;
                        else if (k >= 0 || k == -ECANCELED || unlocker->test)
                                return k;
                }
                /* a party that says no is obeyed: offline only stands in for one that cannot be reached */
                if (!fetch_is_out_of_reach(r))
                        return r == -EACCES && !unlocker->test && clock_monotonic_ms() < end ? fetch_online(unlocker, limit) : r;
        } while ((k == -ENODEV || k == -ENOKEY || k == -EBUSY) && clock_monotonic_ms() < end);
        return clock_monotonic_ms() < end ? fetch_online(unlocker, limit) : r;
}

/* Where the keys come from is the operator's choice (tallyboot.conf, unlock =). */
static int fetch(struct unlocker *unlocker) {
        switch (unlocker->config->unlock) {
        case UNLOCK_OFFLINE:
                return fetch_offline(unlocker);
        case UNLOCK_ONLINE_THEN_OFFLINE:
                return fetch_either(unlocker);
        case UNLOCK_ONLINE:
                break;
        }
        return fetch_online(unlocker, unlocker->config->network_timeout);
}

static int run(struct unlocker *unlocker) {
        int r;

        if (unlocker->config->unlock != UNLOCK_OFFLINE)
                start_network(unlocker);
        r = identity_choose(unlocker);
        if (r < 0)
                return r;
        r = fetch(unlocker);
        if (r < 0)
                return r;
        r = unlocker->test || unlocker->offline ? 0 : rotate_begin(unlocker);
        if (r < 0)
                return r;
        r = close_gate(unlocker);
        if (r < 0)
                return r;
        if (!unlocker->test)
                return serve(unlocker);
        r = unlocker->offline ? 0 : serve_prepare(unlocker);
        return r < 0 ? r : serve_test(unlocker);
}

static int exit_code(const struct unlocker *unlocker, int r) {
        if (r >= 0)
                return EXIT_OK;
        if (r == -ECANCELED)
                return unlocker->test ? EXIT_INTERRUPTED : EXIT_OK;
        if (r == -ENODEV || (unlocker->node->error[0] && r != -ENOLINK && r != -EBADMSG))
                return EXIT_TPM;
        for (size_t i = 0; unlocker->conversation && i < 2; i++)
                if (strncmp(unlocker->conversation->outcomes[i].problem, "pending-", 8) == 0)
                        return EXIT_PENDING;
        return exit_code_of(r);
}

static int open_control(struct unlocker *unlocker) {
        int r = mkdir_p(unlocker->run_dir, 0700);

        if (r >= 0)
                r = control_open(unlocker->run_dir, &unlocker->control);
        if (r == -EADDRINUSE)
                return log_error_errno(r, "Another unlocker is running (%s/control).", unlocker->run_dir);
        if (r < 0)
                return log_error_errno(r, "%s/control cannot be made: %m", unlocker->run_dir);
        unlocker->node->cancel_fd = control_cancel_fd(unlocker->control);
        (void) sd_notify(0, "READY=1");
        r = note_write(unlocker->run_dir, "incident", unlocker->node->incident);
        if (r < 0) /* for people only: tallyboot status shows it */
                log_warning_errno(r, "%s/incident cannot be written (incident %s): %m", unlocker->run_dir,
                                  unlocker->node->incident);
        return 0;
}

static int open_test(struct unlocker *unlocker) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        (void) pthread_sigmask(SIG_BLOCK, &signals, NULL);
        unlocker->node->cancel_fd = signalfd(-1, &signals, SFD_CLOEXEC);
        return unlocker->node->cancel_fd < 0 ? -errno : mkdir_p(unlocker->run_dir, 0700);
}

static void say_waiting(void *userdata, const char *text) {
        unlocker_say(userdata, "%s", text);
}

static int answer_waiting(void *userdata) {
        return unlocker_answer(userdata);
}

/* A test takes one look, and asks only where it was called by a person. */
static void set_waiting(struct unlocker *unlocker) {
        uint64_t timeout = unlocker->config->token_timeout;

        unlocker->node->waiting = (struct node_waiting){
                .run_dir = unlocker->run_dir,
                .patience_ms = unlocker->test ? 0
                               : timeout > 0  ? timeout * 1000
                                              : UINT64_MAX,
                .ask = !unlocker->test      ? pin_ask_agents
                       : ask_has_terminal() ? ask_pin
                                            : NULL,
                .say = say_waiting,
                .answer = answer_waiting,
                .userdata = unlocker,
        };
}

static int unlock(struct unlocker *unlocker) {
        int r;

        /* A unit that starts later wants us again. Halves that came now would open volumes under a root that nobody checks. */
        if (!unlocker->test && note_exists(unlocker->run_dir, "passphrase")) {
                log_notice("A passphrase has opened a volume in this boot: halves are not asked for.");
                (void) sd_notify(0, "READY=1");
                return EXIT_OK;
        }
        r = node_new(unlocker->config, NULL, &unlocker->node);
        if (r < 0) {
                log_error_errno(r, "The CA %s or the memory for keys cannot be used: %m", unlocker->config->ca);
                return r == -ENOMEM ? EXIT_FAILED : EXIT_CONFIG;
        }
        set_waiting(unlocker);
        r = unlocker->test ? open_test(unlocker) : open_control(unlocker);
        if (r >= 0)
                r = run(unlocker);
        r = exit_code(unlocker, r);
        unlocker_wipe(unlocker);
        unlocker->control = control_free(unlocker->control);
        unlocker->node = node_free(unlocker->node);
        return r;
}

int unlock_run(int argc, char *argv[]) {
        static const struct option options[] = {
                { "test", no_argument, NULL, 't' },
                { "device", required_argument, NULL, 'd' },
                {},
        };
        _cleanup_(config_freep) struct config *config = NULL;
        struct unlocker unlocker = { .run_dir = verb_run_dir() };
        char *devices[64];
        int r, c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 't')
                        unlocker.test = true;
                else if (c == 'd' && unlocker.n_devices < ELEMENTSOF(devices))
                        devices[unlocker.n_devices++] = optarg;
                else
                        return EXIT_USAGE;
        }
        if (optind < argc || (unlocker.n_devices > 0 && !unlocker.test)) {
                log_error("Usage: tallyboot unlock [--test [--device FILE]...]");
                return EXIT_USAGE;
        }
        r = verb_load_config(&config);
        if (r != 0)
                return r;
        if (config->unlock == UNLOCK_OFFLINE || identity_guess(config) == NODE_TOKEN)
                (void) pkcs11_prepare(); /* else it is started when it is needed */
        secret_require_lock();
        unlocker.devices = devices;
        unlocker.config = config;
        return unlock(&unlocker);
}
