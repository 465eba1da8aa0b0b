/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Small files in the run directory, by which the steps of a boot know of each other. They need not outlive a power cut, so they
 * are not synced; the directory is root's alone (0700).
 *
 *   incident       the id of this boot          tpm-seen      a TPM answered in this boot
 *   halves         both halves came             gate-closed   why the boot may go on past the gate
 *   passphrase     a person boots this machine  payload-ready all of RUN/payload is there
 *   evidence       tpm, or token and why       pin-refused   a PIN that is not tried again
 *   offline-token  signing key and serial number of the token that opens this boot's volumes
 *   opened/NAME    a volume that the halves opened: "UUID root" or "UUID other"
 */
int note_write(const char *run_dir, const char *name, const char *text);
/* For a note that means what it means by being there, with words for people: where there is no room for these it is left
 * empty. */
int note_mark(const char *run_dir, const char *name, const char *why);
bool note_exists(const char *run_dir, const char *name);
char *note_read(const char *run_dir, const char *name); /* the first line; NULL: there is none */
void note_remove(const char *run_dir, const char *name);
