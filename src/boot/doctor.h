/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "boot/converse.h"

enum finding { FOUND_OK, FOUND_WARNING, FOUND_PROBLEM };

struct doctor {
        struct config *config;
        struct node *node;
        json_t *json; /* an array, or NULL: lines on standard output */
        unsigned problems;
};

void found(struct doctor *doctor, enum finding level, const char *what, const char *format, ...) _printf_(4, 5);

/* doctor-files.c */
void doctor_check_ca(struct doctor *doctor);
void doctor_check_initramfs(struct doctor *doctor);
/* doctor-services.c */
void doctor_check_services(struct doctor *doctor);
