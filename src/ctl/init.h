/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"

/* What "tallyctl init" was asked for. */
struct fleet {
        const char *dir; /* as given */
        bool lab;
        char host[SERVERS][256]; /* where nodes, services and operators reach each server */
        unsigned port[SERVERS];
        const char *listen;    /* address to bind */
        const char *node_host; /* another name under which nodes reach all three, or NULL */
        const char *operator_name;
        const char *ek_roots; /* directory to copy certificates from, or NULL */
        char final[4096];     /* absolute path of dir */
        char binaries[4096];  /* directory of the programs */
};

/* The files of the fleet as text (init-files.c); staging is the directory that they are written below. */
int init_write_files(const struct fleet *fleet, const char *staging);
/* DIR/ROLE/NAME, for messages and files; new string. */
char *init_path(const char *staging, const char *role, const char *name);
