/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "luks/luks.h"

/* /etc/crypttab and what systemd-cryptsetup-generator made of it and of the kernel command line (crypttab(5),
 * systemd-cryptsetup-generator(8)). */
struct crypttab_entry {
        char name[LUKS_NAME_MAX];
        char *device;                /* a path: UUID=, PARTUUID=, LABEL= become /dev/disk/by-... */
        char *header;                /* detached header, or NULL */
        struct luks_options options; /* options.header is header */
        bool measures_pcr;
        unsigned measure_pcr;
        bool not_luks; /* plain, swap, tcrypt, bitlk: never ours */
};

struct crypttab {
        struct crypttab_entry *items;
        size_t n;
};

/* Pure. Lines that are not understood are skipped, as systemd does; -ENOMEM, -E2BIG over 256 entries. */
int crypttab_parse(const char *text, size_t size, struct crypttab *ret);
int crypttab_load(const char *path, struct crypttab *ret);
void crypttab_done(struct crypttab *crypttab);
const struct crypttab_entry *crypttab_find(const struct crypttab *crypttab, const char *name);

/* Pure: the entry that a generated unit's "ExecStart=... attach 'NAME' 'DEVICE' 'KEY' 'OPTIONS'" stands for. -ENOENT. */
int crypttab_from_unit(const char *text, size_t size, struct crypttab *ret);
/* Escapes a name as systemd does for unit instances ("luks-1" to "luks\x2d1"). ret: 4 * strlen + 1. */
void unit_escape(const char *name, char *ret);
/* The entry of one volume: from the generated unit, else from crypttab. -ENOENT. */
int crypttab_lookup(const char *name, struct crypttab *ret);
/* All that either source names. */
int crypttab_load_all(struct crypttab *ret);
