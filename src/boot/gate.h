/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/config.h"
#include "tpm/tpm.h"

/* The gate: a PCR that is zero until this boot has its halves or a person has taken over, and is not zero from then on. Files in
 * the run directory: tpm-seen (a TPM answered in this boot), gate-closed (why the boot may go on). */

enum gate_state { GATE_OPEN, GATE_CLOSED };

/* Pure: closed when the PCR is not zero in every bank that there is; no bank at all is open. */
enum gate_state gate_judge(const struct pcr_values *values, unsigned pcr);
int gate_read(struct tpm *tpm, unsigned pcr, enum gate_state *ret);

/* Extends the gate PCR (with any_gate: each PCR that may be it and is zero) in all active banks and reads it back. Idempotent: a
 * gate that is closed is not extended again. Retries for some seconds. -EIO and others of tpm.h where the TPM cannot be brought
 * to it. Leaves no note: that the unlocker closed the gate is no reason for the boot to go on where the gate's own unit was taken
 * out of the way. */
int gate_close_tpm(struct tpm *tpm, const struct config *config);

/* The same from any program, and writes gate-closed: an unlocker that still has its NK is stopped first. Succeeds too where no
 * TPM answered in this boot, evidence = token is configured, or tallyboot.gate=ignore is on the kernel command line. -ENOSPC: it
 * is closed, and nobody can be told, for the run directory takes no note. error: words for a person. */
int gate_close(const struct config *config, const char *run_dir, char *error, size_t error_size);

int gate_mark_seen(const char *run_dir);        /* a TPM answered */
bool gate_is_ignored(const char *command_line); /* pure */
