/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* A software TPM for a test program: manufactured with EK certificates of a CA of its own, in a new directory under /tmp (a UNIX
 * socket's path has room for 107 bytes). Fails the test where it cannot be had. */
struct swtpm {
        char dir[64];                /* everything is in here */
        char tcti[128];              /* for tpm_open() */
        char root[128], issuer[128]; /* the CA's certificates, PEM */
        pid_t pid;
};

struct swtpm *swtpm_new(void); /* started, PCR 0 to 7 measured into as by firmware */
struct swtpm *swtpm_free(struct swtpm *swtpm);
void swtpm_start(struct swtpm *swtpm);
void swtpm_stop(struct swtpm *swtpm); /* power cut */
void swtpm_power_cycle(struct swtpm *swtpm);
/* Runs a shell command with tpm2-tools talking to this TPM, in its directory; returns standard output (free it), NULL where the
 * command failed. Nobody else may be connected meanwhile. */
char *swtpm_shell(const struct swtpm *swtpm, const char *format, ...) _printf_(2, 3);
void swtpm_tool(const struct swtpm *swtpm, const char *command); /* the same, and it must succeed */
/* Neither objects nor sessions are left in the TPM. */
void swtpm_expect_empty(const struct swtpm *swtpm);
