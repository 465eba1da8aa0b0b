/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/exit.h"
#include "boot/config.h"

/* The verbs of tallyboot. argv[0] is the verb; what is returned is the exit code (base/exit.h). main() takes --config, --run-dir,
 * --debug out of the command line before the verb sees it, and answers --help from the table's text. */
int unlock_run(int argc, char *argv[]);
int wait_run(int argc, char *argv[]);
int gate_run(int argc, char *argv[]);
int status_run(int argc, char *argv[]);
int doctor_run(int argc, char *argv[]);
int evidence_run(int argc, char *argv[]);
int opened_run(int argc, char *argv[]);
int check_root_run(int argc, char *argv[]);
int lock_up_run(int argc, char *argv[]);
int may_resume_run(int argc, char *argv[]);
/* src/enroll/enroll.h: register_run, enroll_run, unenroll_run */

const char *verb_config_path(void); /* --config, or CONFIG_PATH */
const char *verb_run_dir(void);     /* --run-dir, or RUN_DIR */

/* Loads the configuration; on failure says so once and returns the exit code, else 0. */
int verb_load_config(struct config **ret);
/* The same for the steps without which no boot goes on. In an initramfs a configuration that cannot be used is no reason to stop
 * one that a person has opened with a passphrase: config_unusable(). */
int verb_load_config_to_go_on(struct config **ret);
/* The exit code for an error of this program's modules. */
int exit_code_of(int r);
