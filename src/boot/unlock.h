/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/control.h"
#include "boot/converse.h"
#include "boot/volumes.h"

/* The unlocker: one process in the initramfs, for all volumes and the payload of one boot. */
struct unlocker {
        struct config *config;
        const char *run_dir;
        struct node *node;
        struct control *control; /* NULL with --test */
        struct conversation *conversation;
        struct pairs pairs;
        struct volumes volumes;
        bool test;
        char **devices; /* --device */
        size_t n_devices;
        char hint[NODE_ID_LENGTH + 1];
        bool ended;           /* it was told to end, and its keys are wiped */
        struct offline *kept; /* boot/offline.h: what the headers keep; NULL: not looked at */
        bool offline; /* the token gave what the halves give: nothing was asked of the parties, and nothing is told them */
        struct {
                uint64_t next_ms;
                unsigned failures;
                int result; /* what the parties said: 0, or a refusal */
        } meanwhile;
        bool gate_closed;
        uint64_t looked_ms; /* when the volumes were looked at last */
        bool payload_open;  /* the payload was opened with the newest generation */
        struct rotation *rotations;
        size_t n_rotations;
        char said[512]; /* the last reason given on the console */
};

/* One line on the console when the reason changes, with the incident id; nothing when it is the same again. */
void unlocker_say(struct unlocker *unlocker, const char *format, ...) _printf_(2, 3);

/* Answers what other programs of ours want: stop, opened. -ECANCELED: the unlocker has to end now (keys are wiped already). */
int unlocker_answer(struct unlocker *unlocker);
/* Sleeps until something happened for us or ms are over (0: for ever), answering. -ECANCELED as above. */
int unlocker_sleep(struct unlocker *unlocker, uint64_t ms);
/* converse() and converse_confirm() that go on after a question that was answered meanwhile. -ECANCELED: the unlocker has to end
 * now. */
int unlocker_converse(struct unlocker *unlocker, struct conversation *conversation);
int unlocker_confirm(struct unlocker *unlocker, const struct wire_confirm_body *body, struct conversation **ret);

/* network.c: waits for a route to a party. 0, -ENOLINK after timeout_ms with words, -ECANCELED when cancel_fd is readable. */
int network_wait(const struct config *config, uint64_t timeout_ms, int cancel_fd, char *error, size_t error_size);
/* Pure: the host of "https://host:port", "https://[v6]:port". */
int network_host(const char *url, char *ret, size_t size);

/* discover.c */
int discover_tpm(struct unlocker *unlocker); /* -ENODEV: there is none within tpm-timeout */
void discover_hint(struct unlocker *unlocker);
struct found {
        char *device;
        struct crypttab crypttab;
        const struct crypttab_entry *entry; /* in crypttab, or NULL */
};
int discover_volume(const struct unlocker *unlocker, const struct volume *volume,
                    struct found *ret); /* -ENOENT: not there (yet) */
void found_done(struct found *found);

/* fetch.c: both halves, with retries, for at most limit seconds (0: for ever). 0; -ECANCELED; else what was refused or not
 * reached for good, as converse(). */
int fetch_halves(struct unlocker *unlocker, uint64_t limit);
/* One try, if it is time for one, by who waits for a person; it ends when fd is readable. 0: nothing has changed; -EALREADY: both
 * halves are there, or a party refuses them (meanwhile.result); -ECANCELED. */
int fetch_meanwhile(struct unlocker *unlocker, int fd);
bool fetch_is_out_of_reach(int r); /* Pure. No party has said no */
/* Pure: how long until a party is asked again, ms, -1: never. failures: how often in a row; random: any 32 bits, for jitter. */
int64_t fetch_delay_ms(const struct outcome *outcome, unsigned failures, uint32_t random);

/* serve.c: opens what can be opened, as it appears. */
int serve_prepare(struct unlocker *unlocker); /* pairs, manifests, volume keys; halves of volumes are wiped */
void serve_pass(struct unlocker *unlocker);   /* one look at every volume */
int serve_volumes(struct unlocker *unlocker); /* until each is open or has failed; -ECANCELED */
/* For who waits for something else (a payload may take hours): answers, and looks at the volumes where it is time to. -ECANCELED:
 * the unlocker has to end now, and its keys and answers are gone. serve_sleep: unlocker_sleep() that does so. */
int serve_meanwhile(struct unlocker *unlocker);
int serve_sleep(struct unlocker *unlocker, uint64_t ms);
int serve_test(struct unlocker *unlocker);
