/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"
#include "keystore/manage.h"

/* What the verbs of "tallyctl keystore" share: they work on this machine alone, with a service's configuration and its
 * database. */
struct ctl_keystore {
        char *file, *directory; /* the configuration; of relative paths in it */
        char *database;
        const char *sections_say; /* role by the configuration's sections, before there is a database */
        struct keystore_options options;
        struct store *store; /* NULL: there is no database yet */
        char role[STORE_ROLE_SIZE];
        struct keystore *keystore;
};

/* given: --config; NULL: the one service's configuration that is in /etc/tallyboot. Exit codes; they log. */
int ctl_keystore_load(struct ctl_keystore *ks, const char *given);
int ctl_keystore_attach(struct ctl_keystore *ks);                  /* the database */
int ctl_keystore_open(struct ctl_keystore *ks, const char *given); /* all of it: configuration, database, master key */
void ctl_keystore_done(struct ctl_keystore *ks);
/* An errno of the keystore as exit code: not reached, refused, failed. */
int ctl_keystore_exit(int r);
/* One record of the service's audit log. */
int ctl_keystore_record(struct ctl_keystore *ks, const char *event, const char *format, ...) _printf_(3, 4);

/* The verbs. */
int ctl_keystore_init(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore_recover(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore_rotate(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore_rewrap(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore_show(struct ctl *ctl, int argc, char *argv[]);
int ctl_keystore_verify(struct ctl *ctl, int argc, char *argv[]);

/* The options of a verb, as getopt_long(3) has them, and what each set. */
struct ctl_keystore_arguments {
        const char *config, *recovery; /* --config, --recovery FILE */
        bool no_recovery, own, this_boot;
        int64_t limit; /* -1: none */
        const char *group;
};
/* Positive: go on; 0 or below: end with the negated exit code. wanted: a string of the letters of the options that the verb has
 * (keystore.c), 'g': one argument, GROUP. */
int ctl_keystore_arguments(struct ctl *ctl, int argc, char *argv[], const char *wanted, const char *usage,
                           struct ctl_keystore_arguments *ret);
