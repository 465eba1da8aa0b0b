/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

#define REBUILD_COMMAND "dracut --force --regenerate-all"

void say(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vprintf(format, ap);
        va_end(ap);
        (void) putchar('\n');
        (void) fflush(stdout);
}

static void enroll_done(struct enroll *e) {
        for (size_t i = 0; i < e->n_volumes; i++)
                volume_work_done(e->volumes + i);
        free(e->volumes);
        secret_free(e->join_token);
        conversation_free(e->conversation);
        enroll_offline_free(e->offline);
        node_free(e->node);
        config_free(e->config);
        if (e->cancel_fd >= 0)
                (void) close(e->cancel_fd);
}

/* The token as a C string in locked memory; a newline at its end is not part of it. */
static int read_join_token(struct enroll *e) {
        _cleanup_(secret_freep) struct secret *file = NULL;
        uint8_t join[32];
        int r;

        r = e->options.join_token_file ? ask_read_file(e->options.join_token_file, &file)
                                       : ask_credential("tallyboot.join-token", &file);
        if (r == -ENOENT && !e->options.join_token_file)
                return EXIT_OK;
        if (r < 0) {
                log_error_errno(r, "The join token cannot be read: %m.");
                return EXIT_USAGE;
        }
        while (file->size > 0 && strchr(" \r\n", file->data[file->size - 1]))
                file->size--;
        r = secret_new(file->size + 1, &e->join_token);
        if (r < 0)
                return EXIT_FAILED;
        memcpy(e->join_token->data, file->data, file->size);
        if (join_token_for_party((char *) e->join_token->data, PARTY_TENANT, join) < 0) {
                log_error("That is not a join token (tj1- and 32 characters).");
                return EXIT_USAGE;
        }
        return EXIT_OK;
}

/* Everything that needs no service, before anything is asked of one. */
static int look_at_volumes(struct enroll *e) {
        e->volumes = calloc(e->options.n_devices + 1, sizeof(*e->volumes));
        if (!e->volumes)
                return EXIT_FAILED;
        for (size_t i = 0; i < e->options.n_devices; i++) {
                struct volume_work *work = e->volumes + i;

                e->n_volumes = i + 1;
                if (volume_begin(work, e->options.devices[i], &e->options) < 0)
                        return EXIT_VOLUME;
                for (size_t j = 0; j < i; j++)
                        if (strcmp(luks_device_uuid(e->volumes[j].luks), luks_device_uuid(work->luks)) == 0 ||
                            strcmp(e->volumes[j].target.name, work->target.name) == 0) {
                                log_error("%s and %s are the same volume, or have the same name.", e->options.devices[j],
                                          e->options.devices[i]);
                                return EXIT_USAGE;
                        }
        }
        return EXIT_OK;
}

static int open_node(struct enroll *e) {
        uint8_t sha256[32];
        int r;

        r = living_node_new(e->config, e->cancel_fd, &e->node);
        if (r < 0) {
                log_error_errno(r, "Cannot start: %m.");
                return EXIT_FAILED;
        }
        r = node_digest(e->node, sha256, e->code);
        if (r == -ECANCELED)
                return EXIT_INTERRUPTED;
        if (r < 0) {
                log_error("%s.", e->node->error[0] ? e->node->error : strerror(-r));
                return EXIT_TPM;
        }
        say("Node %s, code %s, incident %s", e->node->id, e->code, e->node->incident);
        return EXIT_OK;
}

static int unlock_volumes(struct enroll *e) {
        _cleanup_(known_keys_done) struct known_keys known = {};

        for (size_t i = 0; i < e->n_volumes; i++) {
                struct volume_work *work = e->volumes + i;
                int r;

                r = volume_find_enrolled(work, e->node->id, e->options.again, e->config->unlock);
                if (r < 0)
                        return EXIT_VOLUME;
                if (work->skip)
                        continue;
                r = volume_unlock(work, &e->options, &known, e->cancel_fd);
                if (r == -ECANCELED)
                        return EXIT_INTERRUPTED;
                if (r < 0)
                        return EXIT_VOLUME;
                say("%s: opened by slot %d; it will be %s, %s.", work->target.device, work->other_slot, work->target.name,
                    work->target.root ? "the root rests on it" : "not part of the root");
        }
        return EXIT_OK;
}

static int new_key_id(char ret[static KEY_ID_LENGTH + 1]) {
        uint8_t bytes[KEY_ID_SIZE];
        int r;

        r = random_bytes(bytes, sizeof(bytes));
        if (r >= 0)
                hex_write(bytes, sizeof(bytes), ret);
        return r;
}

static bool has_work(const struct enroll *e) {
        for (size_t i = 0; i < e->n_volumes; i++)
                if (!e->volumes[i].skip)
                        return true;
        return false;
}

static int prepare_keys(struct enroll *e) {
        struct wire_enroll_body body = {};
        _cleanup_(freep) char *text = NULL;
        int r = 0;

        e->payload = e->options.payload;
        if (has_work(e)) {
                r = new_key_id(e->volumes_key);
                memcpy(body.keys[body.n_keys].id, e->volumes_key, sizeof(e->volumes_key));
                body.keys[body.n_keys++].kind = KEY_VOLUMES;
        }
        if (r >= 0 && e->payload) {
                r = new_key_id(e->payload_key);
                memcpy(body.keys[body.n_keys].id, e->payload_key, sizeof(e->payload_key));
                body.keys[body.n_keys++].kind = KEY_PAYLOAD;
        }
        text = r < 0 ? NULL : wire_enroll_body_encode(&body);
        if (!text || conversation_new(PURPOSE_ENROLL, text, strlen(text), &e->conversation) < 0) {
                log_error("Out of memory.");
                return EXIT_FAILED;
        }
        e->conversation->join_token = e->join_token ? (char *) e->join_token->data : NULL;
        return EXIT_OK;
}

static int stage_volumes(struct enroll *e) {
        for (size_t i = 0; i < e->n_volumes; i++) {
                struct volume_work *work = e->volumes + i;
                int r;

                if (work->skip)
                        continue;
                if (cancel_asked(e->cancel_fd))
                        return EXIT_INTERRUPTED;
                r = halves_volume_key(e, luks_device_uuid(work->luks), &work->slot_key);
                if (r < 0) {
                        log_error_errno(r, "The halves of tenant and verifier do not belong together: %m.");
                        return EXIT_FAILED;
                }
                if (volume_stage(work, e->node->id, e->volumes_key) < 0 || volume_describe(work) < 0)
                        return EXIT_VOLUME;
                say("%s: new keyslot %d, tested.", work->target.device, work->token.slot);
        }
        return cancel_asked(e->cancel_fd) ? EXIT_INTERRUPTED : EXIT_OK;
}

static void undo_volumes(struct enroll *e) {
        int r = 0;

        for (size_t i = 0; i < e->n_volumes; i++)
                if (volume_undo(e->volumes + i) < 0)
                        r = -EIO;
        if (r == 0 && e->n_volumes > 0)
                log_notice("The volumes are as they were before.");
}

static int finish_volumes(struct enroll *e) {
        int code = EXIT_OK;

        for (size_t i = 0; i < e->n_volumes; i++)
                if (!e->volumes[i].skip && volume_finish(e->volumes + i, e->node->id) < 0)
                        code = EXIT_VOLUME;
        for (size_t i = 0; i < e->n_volumes && !cancel_asked(e->cancel_fd); i++)
                if (!e->volumes[i].skip && volume_recovery(e->volumes + i, e->options.recovery, e->cancel_fd) == -EIO)
                        code = EXIT_VOLUME;
        return code;
}

static int run_rebuild(void) {
        int status = -1;
        pid_t pid;

        say("Running: " REBUILD_COMMAND);
        pid = fork();
        if (pid == 0) {
                sigset_t none;

                sigemptyset(&none);
                (void) sigprocmask(SIG_SETMASK, &none, NULL);
                execlp("dracut", "dracut", "--force", "--regenerate-all", (char *) NULL);
                _exit(127);
        }
        if (pid > 0)
                (void) waitpid(pid, &status, 0);
        if (status == 0)
                return EXIT_OK;
        log_error("The initramfs was not rebuilt; run: " REBUILD_COMMAND);
        return EXIT_FAILED;
}

static int say_what_is_next(const struct enroll *e) {
        bool root = false;

        for (size_t i = 0; i < e->n_volumes; i++)
                root |= e->volumes[i].target.root;
        if (strcmp(verb_config_path(), CONFIG_PATH) != 0)
                log_warning("The configuration that was used is %s; the initramfs takes %s.", verb_config_path(), CONFIG_PATH);
        if (e->n_volumes > 0 && !root && e->config->root)
                log_notice(
                        "None of these volumes carries the root. Where no enrolled volume does, say root = no in [node] of %s.",
                        verb_config_path());
        if (e->options.rebuild)
                return run_rebuild();
        say("Next: rebuild the initramfs (" REBUILD_COMMAND ", and the UKI where there is one), then reboot.\n"
            "The first boot waits for its policy unless the group has one that fits: tallyctl node approve %s --capture",
            e->code);
        return EXIT_OK;
}

/* Here the headers change. What fails before the confirmation is sent, or is refused then, is undone. */
static int change_volumes(struct enroll *e) {
        bool undo = true;
        int code;

        code = stage_volumes(e);
        if (code == EXIT_OK) {
                say("Confirming to tenant and verifier.");
                code = confirm_volumes(e, &undo);
        }
        if (code == EXIT_OK)
                return finish_volumes(e);
        if (undo)
                undo_volumes(e);
        return code;
}

static int change(struct enroll *e) {
        int code = EXIT_OK;

        if (has_work(e))
                code = change_volumes(e);
        if (code != EXIT_OK || !e->payload)
                return code;
        say("Confirming the payload's key.");
        return confirm_payload(e);
}

static int run(struct enroll *e) {
        int code;

        if ((code = verb_load_config(&e->config)) != EXIT_OK || (code = look_at_volumes(e)) != EXIT_OK ||
            (code = read_join_token(e)) != EXIT_OK || (code = open_node(e)) != EXIT_OK || (code = unlock_volumes(e)) != EXIT_OK)
                return code;
        if (!has_work(e) && !e->options.payload)
                return EXIT_OK;
        if ((code = confirm_fits(e)) != EXIT_OK || (code = offline_begin(e)) != EXIT_OK || (code = prepare_keys(e)) != EXIT_OK ||
            (code = approval_fetch(e)) != EXIT_OK || (code = change(e)) != EXIT_OK)
                return code;
        say("Enrolled.");
        return say_what_is_next(e);
}

int enroll_run(int argc, char *argv[]) {
        _cleanup_(enroll_done) struct enroll e = { .cancel_fd = -1 };
        int code, r;

        code = enroll_options_parse(argc, argv, &e.options);
        if (code != EXIT_OK)
                return code;
        secret_require_lock();
        r = cancel_new(&e.cancel_fd);
        if (r < 0) {
                log_error_errno(r, "Cannot start: %m.");
                return EXIT_FAILED;
        }
        code = run(&e);
        if (code == EXIT_INTERRUPTED)
                log_notice("Interrupted.");
        return code;
}
