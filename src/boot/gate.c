/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/gate.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/control.h"
#include "boot/notes.h"

enum { GATE_TRIES = 20, GATE_TRIES_TOKEN = 2, GATE_PAUSE_MS = 500, GATES = 0xfb00 /* PCRs 8 to 15 without 10, as in config.c */ };

/* Constant, so that another user of the PCR can predict its value. */
static const char gate_event[] = "tallyboot gate";

enum gate_state gate_judge(const struct pcr_values *values, unsigned pcr) {
        static const uint8_t zero[WIRE_DIGEST_MAX] = {};

        for (size_t i = 0; i < values->n; i++) {
                const struct pcr_bank *bank = values->banks + i;

                if (!(bank->mask & 1U << pcr) || memcmp(bank->values[pcr], zero, sizeof(zero)) == 0)
                        return GATE_OPEN;
        }
        return values->n > 0 ? GATE_CLOSED : GATE_OPEN;
}

int gate_read(struct tpm *tpm, unsigned pcr, enum gate_state *ret) {
        struct pcr_values values = {};
        int r = tpm_read_pcr_all_banks(tpm, pcr, &values);

        if (r < 0)
                return r;
        *ret = gate_judge(&values, pcr);
        return 0;
}

static bool gate_was_seen(const char *run_dir) {
        return note_exists(run_dir, "tpm-seen");
}

int gate_mark_seen(const char *run_dir) {
        return gate_was_seen(run_dir) ? 0 : note_write(run_dir, "tpm-seen", "");
}

/* Where no half hangs on the TPM that is there, nobody waits for it. */
static unsigned gate_tries(const struct config *config) {
        return config->evidence == EVIDENCE_TOKEN ? GATE_TRIES_TOKEN : GATE_TRIES;
}

static int gate_try(struct tpm *tpm, unsigned pcr) {
        enum gate_state state;
        int r = gate_read(tpm, pcr, &state);

        if (r < 0)
                return r;
        if (state == GATE_CLOSED)
                return 0;
        r = tpm_pcr_event(tpm, pcr, gate_event, strlen(gate_event));
        if (r < 0)
                return r;
        r = gate_read(tpm, pcr, &state);
        if (r < 0)
                return r;
        return state == GATE_CLOSED ? 0 : -EIO;
}

/* Where nobody knows which PCR the parties look at, none of them is left as it was. */
static int gate_try_all(struct tpm *tpm, const struct config *config) {
        uint32_t mask = config->any_gate ? GATES : 1U << config->gate_pcr;
        int r = 0;

        for (unsigned pcr = 0; r >= 0 && pcr < WIRE_PCRS; pcr++)
                if (mask & 1U << pcr)
                        r = gate_try(tpm, pcr);
        return r;
}

int gate_close_tpm(struct tpm *tpm, const struct config *config) {
        int r = -EIO;

        for (unsigned i = 0; i < gate_tries(config); i++) {
                if (i > 0)
                        sleep_ms(GATE_PAUSE_MS);
                r = gate_try_all(tpm, config);
                if (r >= 0)
                        break;
                log_debug_errno(r, "Gate: PCR %u is not closed yet: %s: %m", config->gate_pcr, tpm_last_error(tpm));
        }
        return r;
}

bool gate_is_ignored(const char *command_line) {
        static const char option[] = "tallyboot.gate=ignore";

        for (const char *p = command_line; *p; p += strcspn(p, " \t\n")) {
                p += strspn(p, " \t\n");
                if (strcspn(p, " \t\n") == strlen(option) && strncmp(p, option, strlen(option)) == 0)
                        return true;
        }
        return false;
}

static bool gate_is_ignored_here(void) {
        _cleanup_(blob_done) struct blob line = {};

        return file_read("/proc/cmdline", 65536, &line) >= 0 && gate_is_ignored((char *) line.data);
}

/* The unlocker goes on with a token: it has waited for a TPM already, or is told that none counts. */
static bool is_token_boot(const struct config *config, const char *run_dir) {
        _cleanup_(freep) char *evidence = note_read(run_dir, "evidence");

        return config->evidence == EVIDENCE_TOKEN || (evidence && strncmp(evidence, "token", strlen("token")) == 0);
}

/* A TPM whose driver is still on its way: a shell must not open in the moment before it answers. Not a second time in a boot. */
static void wait_for_tpm(const struct config *config, const char *run_dir) {
        const char *device = config_tpm_device(config);
        uint64_t end = clock_monotonic_ms() + config->tpm_timeout * 1000;

        if (note_exists(run_dir, "gate-closed") || is_token_boot(config, run_dir))
                return;
        while (device && access(device, F_OK) < 0 && clock_monotonic_ms() < end)
                sleep_ms(GATE_PAUSE_MS / 5);
}

/* Opens the TPM, at most for as long as closing may take. -ENODEV: there is none, and none answered in this boot. */
static int gate_open_tpm(const struct config *config, const char *run_dir, struct tpm **ret) {
        int r = -ENODEV;

        for (unsigned i = 0; i < gate_tries(config); i++) {
                enum gate_state state;
                _cleanup_(tpm_closep) struct tpm *tpm = NULL;

                if (i > 0)
                        sleep_ms(GATE_PAUSE_MS);
                r = tpm_open(config->tpm, &tpm);
                if (r >= 0)
                        r = gate_read(tpm, config->gate_pcr, &state);
                if (r >= 0) {
                        (void) gate_mark_seen(run_dir);
                        *ret = TAKE_PTR(tpm);
                        return 0;
                }
                if (!gate_was_seen(run_dir) && r != -EBUSY)
                        return -ENODEV;
        }
        return r;
}

/* Whoever insists on a closed gate looks for this note. One that says the same stays as it is: udev looks at the TPM more than
 * once. */
static int note_closed(const char *run_dir, const char *why, char *error, size_t error_size) {
        _cleanup_(freep) char *there = note_read(run_dir, "gate-closed");
        int r;

        if (there && there[0] && strncmp(there, why, strlen(there)) == 0)
                return 0;
        r = note_mark(run_dir, "gate-closed", why);
        if (r < 0)
                snprintf(error, error_size, "%s/gate-closed cannot be written: %s; make room there", run_dir, strerror(-r));
        return r < 0 ? -ENOSPC : 0;
}

int gate_close(const struct config *config, const char *run_dir, char *error, size_t error_size) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        bool ignored = gate_is_ignored_here();
        char note[64];
        int r;

        r = control_stop(run_dir);
        if (r < 0) {
                snprintf(error, error_size, "the gate is open: the unlocker does not end: %s", strerror(-r));
                return r;
        }
        wait_for_tpm(config, run_dir);
        r = gate_open_tpm(config, run_dir, &tpm);
        if (r == -ENODEV && !gate_was_seen(run_dir))
                return note_closed(run_dir, "no TPM answered in this boot\n", error, error_size);
        if (r >= 0)
                r = gate_close_tpm(tpm, config);
        if (r >= 0) {
                snprintf(note, sizeof note,
                         config->any_gate ? "PCRs 8 to 15 extended in every bank\n" : "PCR %u extended in every bank\n",
                         config->gate_pcr);
                return note_closed(run_dir, note, error, error_size);
        }
        if (config->evidence == EVIDENCE_TOKEN) /* no half of this node hangs on that TPM */
                return note_closed(run_dir, "no gate: evidence = token, and the TPM that is there cannot be extended\n", error,
                                   error_size);
        if (ignored)
                return note_closed(run_dir, "ignored: tallyboot.gate=ignore on the kernel command line\n", error, error_size);
        snprintf(
                error, error_size,
                "the gate is open: the TPM answered before and PCR %u cannot be extended now (%s); switch the machine off and on, "
                "or add tallyboot.gate=ignore to the kernel command line",
                config->gate_pcr, tpm ? tpm_last_error(tpm) : strerror(-r));
        return r;
}
