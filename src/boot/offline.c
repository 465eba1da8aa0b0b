/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/offline.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/gate.h"
#include "boot/notes.h"
#include "boot/offline-blob.h"

/* A boot without the servers: K_b and manifests come out of the headers, by the token; from there on all is as after both
 * halves. */

enum { LOOK_MS = 300, ONCE_MS = 10000, FAULT_MS = 3000, DEVICES_MAX = 64 };

struct offline {
        struct offline_token token;
        bool connected, once;
        bool refused;                 /* no token is asked any more in this boot */
        char *looked_at[DEVICES_MAX]; /* devices that were read, whatever came of it */
        size_t n_looked_at;
        bool found; /* something is kept on one of those */
};

struct offline *offline_free(struct offline *offline) {
        if (!offline)
                return NULL;
        offline_token_done(&offline->token);
        for (size_t i = 0; i < offline->n_looked_at; i++)
                free(offline->looked_at[i]);
        free(offline);
        return NULL;
}

static bool was_looked_at(const struct offline *offline, const char *device) {
        for (size_t i = 0; i < offline->n_looked_at; i++)
                if (strcmp(offline->looked_at[i], device) == 0)
                        return true;
        return false;
}

static bool is_known(const struct unlocker *unlocker, const char *uuid, const struct luks_offline *blob) {
        const struct volume *volume = volumes_find((struct volumes *) &unlocker->volumes, uuid);

        for (size_t i = 0; volume && i < volume->n_keys; i++)
                if (strcmp(volume->keys[i].key_id, blob->key_id) == 0 && volume->keys[i].generation == blob->generation)
                        return true;
        return false;
}

/* In the words of a person who looks at the console. */
static void say_unused(struct unlocker *unlocker, const char *device, const char *why) {
        unlocker_say(unlocker, "%s: not opened offline: %s", device, why);
}

/* The servers are still there to be asked again: the token is not waited for until it comes. */
static int attach(struct node *node, const char *run_dir, bool once, struct offline_token *ret) {
        uint64_t patience = node->waiting.patience_ms;
        int r;

        if (once)
                node->waiting.patience_ms = MIN(patience, (uint64_t) ONCE_MS);
        r = node_attach(node);
        if (r >= 0 && node->kind == NODE_TPM)
                (void) gate_mark_seen(run_dir);
        if (r >= 0)
                r = offline_token_open(node, ret);
        node->waiting.patience_ms = patience;
        return r;
}

/* Token and signing key, as the note of this boot has them. */
enum { TOKEN_NOTE_SIZE = 2 * 32 + 1 + 2 * 64 + 2 };

static void describe_token(const struct offline_token *token, char ret[static TOKEN_NOTE_SIZE]) {
        const char *serial = pkcs11_serial(token->pkcs11);

        hex_write(token->signer->sha256, 32, ret);
        ret[64] = ' ';
        hex_write(serial, strnlen(serial, 64), ret + 65);
}

/* The volumes of one boot are opened by one token: what another one opens is not to stand beside them, be it by the name of the
 * first. */
static int check_same_token(struct unlocker *unlocker) {
        _cleanup_(freep) char *first = unlocker->test ? NULL : note_read(unlocker->run_dir, "offline-token");
        char now[TOKEN_NOTE_SIZE], label[64];

        describe_token(&unlocker->kept->token, now);
        if (unlocker->test || (first && strcmp(first, now) == 0))
                return 0;
        if (!first && !note_exists(unlocker->run_dir, "offline-token"))
                return 0;
        text_sanitize(pkcs11_label(unlocker->kept->token.pkcs11), label, sizeof label);
        snprintf(unlocker->node->error, sizeof unlocker->node->error,
                 "token %s is another than the one that this boot began with, or has another signing key: nothing more is opened "
                 "offline; type a passphrase, or boot again with one token",
                 label);
        return -EPERM;
}

static int remember_token(struct unlocker *unlocker) {
        char now[TOKEN_NOTE_SIZE];

        if (unlocker->test)
                return 0;
        describe_token(&unlocker->kept->token, now);
        return note_write(unlocker->run_dir, "offline-token", now);
}

static void disconnect_token(struct unlocker *unlocker);

static int connect_token(struct unlocker *unlocker) {
        struct offline *offline = unlocker->kept;
        int r;

        if (offline->connected)
                return 0;
        if (offline->refused)
                return -EPERM;
        r = attach(unlocker->node, unlocker->run_dir, offline->once, &offline->token);
        if (r >= 0) {
                r = check_same_token(unlocker);
                if (r < 0)
                        disconnect_token(unlocker);
        }
        offline->refused = r == -EPERM;
        if (r < 0) {
                if (r != -ECANCELED && r != -EALREADY)
                        unlocker_say(unlocker, "offline: %s", unlocker->node->error[0] ? unlocker->node->error : strerror(-r));
                return r;
        }
        offline->connected = true;
        return 0;
}

/* It was pulled out: what comes next is another session, or another token. */
static void disconnect_token(struct unlocker *unlocker) {
        struct offline *offline = unlocker->kept;

        offline_token_done(&offline->token);
        unlocker->node->token = token_free(unlocker->node->token);
        offline->connected = false;
}

static int use_blob(struct unlocker *unlocker, const char *device, const char *uuid, const struct luks_offline *blob) {
        _cleanup_(offline_opened_done) struct offline_opened opened = {};
        struct luks_token tokens[LUKS_KEYSLOTS];
        char error[320] = "", same[LUKS_UUID_LENGTH + 1];
        size_t n = 0;
        int r;

        if (is_known(unlocker, uuid, blob))
                return 0; /* another volume of the key has brought the same manifest */
        if (luks_probe_tokens(device, same, tokens, &n) >= 0 && offline_is_retired(blob, tokens, n)) {
                snprintf(error, sizeof error,
                         "generation %u of key %.8s is retired, a newer one has taken its place: an older header "
                         "was put back, or a rotation was cut; boot online",
                         blob->generation, blob->key_id);
                say_unused(unlocker, device, error);
                return -ESTALE;
        }
        r = offline_blob_open(&unlocker->kept->token, unlocker->config, unlocker->node->id, uuid, blob, &opened, error,
                              sizeof error);
        if (r >= 0)
                r = remember_token(unlocker);
        if (r >= 0)
                r = volumes_add(&unlocker->volumes, VOLUMES_BY_TOKEN, &opened.volumes, unlocker->node->id, opened.k_b);
        if (r < 0)
                say_unused(unlocker, device, error[0] ? error : strerror(-r));
        return r;
}

static int compare_newest_first(const void *a, const void *b) {
        const struct luks_offline *x = a, *y = b;

        return x->generation > y->generation ? -1 : x->generation < y->generation;
}

/* The token has to be asked again: nothing is wrong with what is kept. */
static bool is_tokens_fault(int r) {
        return r == -ENODEV || r == -EBUSY || r == -EIO;
}

/* 0: read, whatever came of it. */
static int look_at_device(struct unlocker *unlocker, const char *device) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        struct offline *offline = unlocker->kept;
        char uuid[LUKS_UUID_LENGTH + 1];
        int r = 0;

        if (luks_offline_probe(device, uuid, &list) < 0)
                return 0;
        if (list.n == 0 && list.n_malformed > 0)
                say_unused(unlocker, device, "what is kept for the offline way is malformed; tallyboot enroll --again");
        offline->found = offline->found || list.n > 0 || list.n_malformed > 0;
        qsort(list.items, list.n, sizeof *list.items, compare_newest_first);
        for (size_t i = 0; i < list.n; i++) {
                r = connect_token(unlocker);
                if (r < 0)
                        return r;
                r = use_blob(unlocker, device, uuid, list.items + i);
                if (r < 0 && is_tokens_fault(r)) {
                        disconnect_token(unlocker);
                        return r;
                }
        }
        return 0;
}

static int look_once(struct unlocker *unlocker, const char *device) {
        struct offline *offline = unlocker->kept;
        int r;

        if (offline->n_looked_at >= DEVICES_MAX || access(device, F_OK) < 0 || was_looked_at(offline, device))
                return 0;
        r = look_at_device(unlocker, device);
        if (r < 0)
                return r;
        offline->looked_at[offline->n_looked_at] = strdup(device);
        if (!offline->looked_at[offline->n_looked_at])
                return -ENOMEM;
        offline->n_looked_at++;
        return 0;
}

/* Looks at every volume that was not looked at yet. ret_missing: some are not there yet. */
static int look(struct unlocker *unlocker, bool *ret_missing) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        int r = 0;

        *ret_missing = false;
        for (size_t i = 0; i < unlocker->n_devices && r >= 0; i++)
                r = look_once(unlocker, unlocker->devices[i]);
        if (r < 0 || unlocker->n_devices > 0)
                return r;
        r = crypttab_load_all(&crypttab);
        for (size_t i = 0; r >= 0 && i < crypttab.n; i++) {
                const struct crypttab_entry *entry = crypttab.items + i;
                const char *device = entry->header ? entry->header : entry->device;

                if (entry->not_luks)
                        continue;
                *ret_missing = *ret_missing || access(device, F_OK) < 0;
                r = look_once(unlocker, device);
        }
        return r;
}

bool offline_pass(struct unlocker *unlocker) {
        bool missing = false;
        int r;

        if (!unlocker->offline || !unlocker->kept)
                return false;
        r = look(unlocker, &missing);
        return !unlocker->kept->refused && (r < 0 || missing);
}

/* What was found so far is of no use, or there is nothing. */
static int say_nothing(struct unlocker *unlocker, bool missing) {
        if (unlocker->kept->found) /* said already, volume by volume */
                return -EUCLEAN;
        unlocker_say(unlocker, missing ? "offline: waiting for the volumes of /etc/crypttab to appear"
                                       : "offline: no volume that is here keeps anything for it; tallyboot enroll does that");
        return -ENOKEY;
}

int offline_fetch(struct unlocker *unlocker, bool once) {
        if (!unlocker->kept)
                unlocker->kept = calloc(1, sizeof *unlocker->kept);
        if (!unlocker->kept)
                return -ENOMEM;
        unlocker->kept->once = once;
        for (;;) {
                uint64_t pause = LOOK_MS;
                bool missing;
                int r = look(unlocker, &missing);

                if (unlocker->volumes.n > 0)
                        return 0;
                if (r == -ECANCELED || r == -ENOMEM)
                        return r;
                if (r < 0)
                        pause = FAULT_MS;
                else
                        r = say_nothing(unlocker, missing);
                if (once || unlocker->test || r == -EPERM)
                        return r;
                if (unlocker->control && r != -ENOKEY)
                        control_fail_all(unlocker->control); /* no use in keeping the prompt back */
                r = unlocker_sleep(unlocker, pause);
                if (r < 0)
                        return r;
        }
}
