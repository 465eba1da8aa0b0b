/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/verbs.h"

int status_run(int argc, char *argv[]) {
        (void) argc;
        (void) argv;
        return EXIT_FAILED;
}
int doctor_run(int argc, char *argv[]) {
        (void) argc;
        (void) argv;
        return EXIT_FAILED;
}
int evidence_run(int argc, char *argv[]) {
        (void) argc;
        (void) argv;
        return EXIT_FAILED;
}
