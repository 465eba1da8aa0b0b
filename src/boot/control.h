/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "luks/luks.h"

/* The unlocker's socket, RUN/control (0600, root): a line of ASCII each way.
 *
 *   wait NAME UUID   a systemd-cryptsetup unit waits for its volume -> opened | failed; end of file: the unlocker has ended
 *   leave            the waiter's time is over -> opened | failed | bye (then a passphrase is asked for)
 *   opened NAME      systemd-cryptsetup opened NAME -> ok; if it was a passphrase, the unlocker wipes its keys and ends
 *   payload          waits for the payload -> ready | failed; end of file: ended
 *   settled          waits until the unlocker has nothing left to do that needs this initramfs -> done
 *   quit             whatever it has, it is wiped; the unlocker ends -> end of file
 *   stop             somebody else closes the gate: an unlocker that has its NK ends -> closed, or end of file
 */
enum { CONTROL_LINE_MAX = 256, CONTROL_CLIENTS_MAX = 64 };

enum control_verb { CONTROL_WAIT, CONTROL_LEAVE, CONTROL_OPENED, CONTROL_PAYLOAD, CONTROL_SETTLED, CONTROL_STOP, CONTROL_QUIT };

struct control_request {
        enum control_verb verb;
        char name[LUKS_NAME_MAX];
        char uuid[LUKS_UUID_LENGTH + 1];
};

/* Pure: one line without its newline. -EBADMSG. */
int control_request_parse(const char *line, struct control_request *ret);

/* The server, a thread of the unlocker. */
struct control;
int control_open(const char *run_dir, struct control **ret); /* -EADDRINUSE: another unlocker lives */
struct control *control_free(struct control *control);       /* all clients see the end of file */
DEFINE_CLEANUP(struct control *, control_free)
int control_cancel_fd(const struct control *control); /* readable while a stop or an opened waits for its answer */
int control_wake_fd(const struct control *control);   /* readable after anything happened; control_woken() resets it */
void control_woken(struct control *control);

/* A request that the unlocker itself has to answer: CONTROL_STOP or CONTROL_OPENED. */
bool control_next(struct control *control, struct control_request *ret);
bool control_terminated(struct control *control); /* by SIGTERM or SIGINT: control_next() then says stop, for ever */
void control_answer(struct control *control, const struct control_request *request, const char *answer);

/* Waiters. control_claim: somebody waits for this volume; from here to control_settle() it will not leave. ret_name: its name. */
bool control_claim(struct control *control, const char *uuid, char ret_name[static LUKS_NAME_MAX]);
void control_settle(struct control *control, const char *uuid, bool opened);
/* To those who wait for a volume that known() does not know: failed, now and not when their time is over. */
void control_fail_unknown(struct control *control, bool (*known)(const char *uuid, void *userdata), void *userdata);
void control_fail_all(struct control *control); /* to all who wait now: failed */
void control_payload(struct control *control, bool ready);
void control_settled(struct control *control);

/* The clients. */
/* Waits at most timeout_ms. 1: opened, 0: not (failed, ended, too late). -errno: never connected. */
int control_wait_volume(const char *run_dir, const char *name, const char *uuid, uint64_t timeout_ms);
int control_wait_payload(const char *run_dir, uint64_t timeout_ms /* 0: for ever */);
int control_wait_settled(const char *run_dir, uint64_t timeout_ms);
int control_tell_opened(const char *run_dir, const char *name);
/* No unlocker has an NK afterwards: it says so, has ended, or was killed. */
int control_stop(const char *run_dir);
/* No unlocker lives afterwards. */
int control_quit(const char *run_dir);
