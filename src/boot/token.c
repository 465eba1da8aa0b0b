/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/token.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "boot/pin.h"

enum { LOOK_MS = 1000, SAY_MS = 3000 };

/* The label is the token's own word. */
static const char *label_of(const struct pkcs11 *pkcs11, char *ret, size_t size) {
        text_sanitize(pkcs11_label(pkcs11), ret, size);
        return ret;
}

/* It is not the token's fault, and nobody is to be told. */
static bool is_end(int r) {
        return r == -ENOMEM || r == -ECANCELED || r == -EALREADY;
}

static int fail_words(struct node *node, const struct pkcs11 *pkcs11, int r, const char *what, const char *words) {
        char label[64], error[256];

        text_sanitize(words, error, sizeof error);
        snprintf(node->error, sizeof node->error, "token %s: %s: %s", label_of(pkcs11, label, sizeof label), what,
                 error[0] ? error : strerror(-r));
        return r == -ENODEV || is_end(r) ? r : -EPERM;
}

static int fail(struct node *node, const struct pkcs11 *pkcs11, int r, const char *what) {
        return fail_words(node, pkcs11, r, what, pkcs11_error(pkcs11));
}

static int fail_locked(struct node *node, const struct pkcs11 *pkcs11) {
        char label[64];

        snprintf(
                node->error, sizeof node->error,
                "the PIN of token %s is locked after too many wrong ones; unlock it with its PUK or SO PIN (pkcs11-tool --init-pin)",
                label_of(pkcs11, label, sizeof label));
        return -EPERM;
}

/* A PIN that is typed at the reader: the module waits for it inside of C_Login, and only the end of its process ends that. */
struct keypad {
        struct pkcs11 *pkcs11;
        int done_fd, result;
        char words[256]; /* pkcs11_error() of the thread */
};

static void *keypad_thread(void *userdata) {
        struct keypad *keypad = userdata;

        keypad->result = pkcs11_login(keypad->pkcs11, NULL);
        (void) snprintf(keypad->words, sizeof keypad->words, "%s", pkcs11_error(keypad->pkcs11));
        (void) eventfd_write(keypad->done_fd, 1);
        return NULL;
}

/* 1: the login came to an end, by itself. */
static int wait_for_keypad(struct node *node, const struct keypad *keypad) {
        int r;

        do {
                r = node_wait(node, keypad->done_fd, LOOK_MS);
                if (r == 0)
                        r = node_meanwhile(node, keypad->done_fd);
        } while (r == 0);
        return r;
}

static int login_keypad(struct node *node, struct pkcs11 *pkcs11) {
        _cleanup_(closep) int done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct keypad keypad = { .pkcs11 = pkcs11, .done_fd = done_fd };
        char label[64];
        pthread_t thread;
        int r;

        if (done_fd < 0 || pthread_create(&thread, NULL, keypad_thread, &keypad) != 0)
                return -ENOMEM;
        node_say(node, "type the PIN of token %s at its reader", label_of(pkcs11, label, sizeof label));
        r = wait_for_keypad(node, &keypad);
        if (r < 0)
                (void) pkcs11_interrupt(pkcs11);
        (void) pthread_join(thread, NULL);
        if (r < 0)
                return r;
        r = keypad.result;
        if (r == -EPERM)
                return fail_locked(node, pkcs11);
        return r < 0 ? fail_words(node, pkcs11, r, "login", keypad.words) : 0;
}

/* The PIN that the configuration has. -EAGAIN: a person has to be asked. */
static int login_by_itself(struct node *node, struct pkcs11 *pkcs11, const struct pkcs11_pin *state) {
        const struct pin_source *source = &node->config->token_pin;
        _cleanup_(secret_freep) struct secret *pin = NULL;
        char label[64], what[256], error[sizeof node->error] = "";
        int r;

        label_of(pkcs11, label, sizeof label);
        pin_source_describe(source, what, sizeof what);
        if (state->last)
                snprintf(error, sizeof error, "token %s has one try left: the PIN's %s is not used for it", label, what);
        else if (pin_was_refused(node->waiting.run_dir, pkcs11_serial(pkcs11), source))
                snprintf(error, sizeof error, "token %s has refused the PIN of %s in this boot: not tried again", label, what);
        else if (pin_read(source, &pin, error, sizeof error) >= 0) {
                r = pkcs11_login_unattended(pkcs11, pin);
                if (r >= 0 || r == -ENODEV || r == -EBUSY || r == -EPERM)
                        return r;
                /* some cards call a wrong PIN an error of their own */
                (void) pin_note_refused(node->waiting.run_dir, pkcs11_serial(pkcs11), source);
                if (r == -EKEYREJECTED || r == -EINVAL)
                        snprintf(error, sizeof error, "the PIN of %s is wrong for token %s; it is not tried again", what, label);
                else
                        snprintf(error, sizeof error, "token %s did not take the PIN of %s (%s); it is not tried again", label,
                                 what, pkcs11_error(pkcs11));
        }
        snprintf(node->error, sizeof node->error, "%s", error);
        return -EAGAIN;
}

static int check_there(void *userdata) {
        struct pkcs11_pin state;

        return pkcs11_pin(userdata, &state) == -ENODEV ? -ENODEV : 0;
}

/* One try of a person's. -EAGAIN: it was wrong. */
static int login_by_person(struct node *node, struct pkcs11 *pkcs11, const struct pkcs11_pin *state, bool wrong) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        char label[64], prompt[256];
        int r;

        snprintf(prompt, sizeof prompt, "%s%sPIN of token %s, empty for a passphrase instead:", wrong ? "Wrong PIN. " : "",
                 state->last            ? "LAST TRY, a wrong PIN locks the token. "
                 : state->low && !wrong ? "A wrong PIN was given before. "
                                        : "",
                 label_of(pkcs11, label, sizeof label));
        r = node->waiting.ask(node, prompt, check_there, pkcs11, &pin);
        if (r == -ENODATA)
                snprintf(node->error, sizeof node->error, "no PIN was given for token %s", label);
        if (r < 0)
                return r == -ENODATA || r == -ENOENT ? -EPERM : r;
        r = pkcs11_login(pkcs11, pin);
        return r == -EKEYREJECTED || r == -EINVAL || r == -EIO ? -EAGAIN : r;
}

/* Says why the PIN that the configuration has does not do, and whether a person can be asked. */
static int need_person(struct node *node, const struct pkcs11 *pkcs11) {
        char label[64];

        if (node->waiting.ask) {
                if (node->error[0])
                        node_say(node, "%s", node->error);
                return 0;
        }
        if (!node->error[0])
                snprintf(node->error, sizeof node->error,
                         "token %s wants a PIN, and there is nobody to ask: see token-pin = in %s",
                         label_of(pkcs11, label, sizeof label), node->config->path ? node->config->path : "tallyboot.conf");
        return -EPERM;
}

static int login_asking(struct node *node, struct pkcs11 *pkcs11) {
        bool wrong = false;
        int r = need_person(node, pkcs11);

        while (r >= 0) {
                struct pkcs11_pin state;

                r = pkcs11_pin(pkcs11, &state);
                if (r < 0)
                        return fail(node, pkcs11, r, "its PIN's state");
                if (state.locked)
                        return fail_locked(node, pkcs11);
                node->error[0] = '\0';
                r = login_by_person(node, pkcs11, &state, wrong);
                if (r >= 0)
                        return 0;
                wrong = r == -EAGAIN;
                if (wrong)
                        r = 0;
        }
        if (node->error[0] && r != -ENODEV)
                return r;
        return fail(node, pkcs11, r, "login");
}

/* What the configuration says, but that a token with a keypad has its PIN typed there where a person would be asked. */
static enum pin_kind pin_kind(const struct node *node, const struct pkcs11_pin *state) {
        enum pin_kind kind = node->config->token_pin.kind;

        return kind == PIN_ASK && state->keypad ? PIN_KEYPAD : kind == PIN_KEYPAD && !state->keypad ? PIN_ASK : kind;
}

static int login(struct node *node, struct pkcs11 *pkcs11) {
        struct pkcs11_pin state;
        int r = pkcs11_pin(pkcs11, &state);

        node->error[0] = '\0';
        if (r < 0)
                return fail(node, pkcs11, r, "its PIN's state");
        if (!state.needed)
                return 0;
        if (state.locked)
                return fail_locked(node, pkcs11);
        switch (pin_kind(node, &state)) {
        case PIN_KEYPAD:
                return login_keypad(node, pkcs11);
        case PIN_FILE:
        case PIN_CREDENTIAL:
                r = login_by_itself(node, pkcs11, &state);
                if (r == -EAGAIN)
                        return login_asking(node, pkcs11);
                break;
        case PIN_ASK:
                return login_asking(node, pkcs11);
        }
        if (r == -EPERM)
                return fail_locked(node, pkcs11);
        return r < 0 ? fail(node, pkcs11, r, "login") : 0;
}

/* Whether a look later may find what this one did not. */
static bool may_come(int r) {
        return r == -ENODEV || r == -ENOTUNIQ || r == -EBUSY;
}

/* Time has to pass until the next look. Says once, after some seconds, what is waited for. */
static int wait_for_token(struct node *node, uint64_t begin, bool *said) {
        uint64_t now = clock_monotonic_ms();

        if (now - begin >= node->waiting.patience_ms)
                return -ENODEV;
        if (!*said && now - begin >= SAY_MS) {
                node_say(node, "waiting for a token: %s", node->error);
                *said = true;
        }
        return node_wait(node, -1, LOOK_MS);
}

int token_connect(struct node *node, const char *uri, struct pkcs11 **ret) {
        const struct pkcs11_where where = { .uri = uri, .module = node->config->token_module, .apart = true };
        uint64_t begin = clock_monotonic_ms();
        bool said = false;

        for (;;) {
                _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
                char error[320] = "";
                int r = pkcs11_open(&where, &pkcs11, error, sizeof error);

                if (r < 0) {
                        snprintf(node->error, sizeof node->error, "%s (%s)", error[0] ? error : strerror(-r), uri);
                } else {
                        r = login(node, pkcs11);
                        if (r == -ENODEV) { /* the clock starts anew: it had come */
                                node_say(node, "%s; waiting for it", node->error);
                                begin = clock_monotonic_ms();
                                said = true;
                        }
                }
                if (r >= 0) {
                        *ret = TAKE_PTR(pkcs11);
                        return 0;
                }
                if (!may_come(r))
                        return is_end(r) ? r : -EPERM;
                r = wait_for_token(node, begin, &said);
                if (r < 0)
                        return r;
        }
}

struct token *token_free(struct token *token) {
        if (!token)
                return NULL;
        pkcs11_close(token->pkcs11);
        blob_done(&token->public);
        free(token);
        return NULL;
}

/* Exactly what the registrar and the parties take (docs/protocol.md, 13). */
static int check_key(struct node *node, struct token *token) {
        struct token_key key;
        int r = token_key_parse(token->public.data, token->public.size, &key);

        if (r >= 0 && token->key.signs) {
                token_key_name(&key, token->type);
                return 0;
        }
        snprintf(node->error, sizeof node->error, "the key that token-key names %s",
                 r >= 0 ? "is not allowed to sign (CKA_SIGN); tallyboot token make-key makes one that is"
                        : "is of no type that signs evidence: P-256, P-384, RSA of 2048 to 4096 bits");
        return -EPERM;
}

int token_check_pinned(struct node *node, const uint8_t sha256[static 32]) {
        const struct digests *pinned = &node->config->token_key_sha256;
        char hex[65];

        for (size_t i = 0; i < pinned->n; i++)
                if (memcmp(pinned->items[i], sha256, 32) == 0)
                        return 0;
        if (pinned->n == 0)
                return 0;
        hex_write(sha256, 32, hex);
        snprintf(node->error, sizeof node->error,
                 "this token is none of those that token-key-sha256 = names: the SHA-256 of its key is %s; whose is it?", hex);
        return -EPERM;
}

static int token_read(struct node *node, struct token *token) {
        char id[NODE_ID_LENGTH + 1];
        int r = pkcs11_find(token->pkcs11, node->config->token_key, PKCS11_PRIVATE, &token->key);

        if (r == -ENOKEY || r == -ENOTUNIQ)
                return fail(node, token->pkcs11, r,
                            r == -ENOKEY ? "no private key as token-key names it" : "token-key names more than one private key");
        if (r < 0)
                return fail(node, token->pkcs11, r, "its keys");
        r = pkcs11_public(token->pkcs11, &token->key, &token->public);
        if (r < 0)
                return fail(node, token->pkcs11, r, "the public half of the key");
        r = check_key(node, token);
        if (r >= 0)
                r = token_node_id(token->public.data, token->public.size, token->sha256, id);
        if (r >= 0)
                r = token_check_pinned(node, token->sha256);
        if (r < 0)
                return r;
        if (node->has_id && strcmp(node->id, id) != 0) {
                snprintf(node->error, sizeof node->error, "this is another token than before: its node id is %s", id);
                return -EPERM;
        }
        memcpy(node->id, id, sizeof node->id);
        return 0;
}

/* Connects and reads. -EAGAIN: it was pulled out in between. */
static int token_try(struct node *node, struct token **ret) {
        struct token *token = calloc(1, sizeof *token);
        int r;

        if (!token)
                return -ENOMEM;
        r = token_connect(node, node->config->token_key, &token->pkcs11);
        if (r >= 0) {
                r = token_read(node, token);
                if (r == -ENODEV && node->waiting.patience_ms > 0)
                        r = -EAGAIN;
        }
        if (r < 0) {
                token_free(token);
                return r;
        }
        *ret = token;
        return 0;
}

int token_attach(struct node *node) {
        int r = -EAGAIN;

        if (node->token)
                return 0;
        if (!node->config->token_key) {
                snprintf(node->error, sizeof node->error, "no token-key = is in tallyboot.conf");
                return -EPERM;
        }
        while (r == -EAGAIN) {
                r = token_try(node, &node->token);
                if (r == -EAGAIN)
                        node_say(node, "%s; waiting for it", node->error);
        }
        node->has_id = node->has_id || r >= 0;
        return r;
}

int token_sign(struct node *node, const struct blob *message, struct blob *ret) {
        int r = node->token ? pkcs11_sign(node->token->pkcs11, &node->token->key, message->data, message->size, ret) : -ENODEV;

        if (r >= 0)
                return 0;
        if (!node->token)
                return r;
        r = fail(node, node->token->pkcs11, r, r == -ENODEV ? "it was removed" : "it does not sign");
        if (r == -ENODEV)
                node->token = token_free(node->token);
        return r;
}

int token_check_key(struct node *node, char *ret, size_t size) {
        const struct pkcs11_key *key = &node->token->key;

        ret[0] = '\0';
        if (key->made_for[0] && !node->config->token_key_shared) {
                snprintf(
                        node->error, sizeof node->error,
                        "the token's key was made for something else (%s, says its certificate): whatever else has it sign could make "
                        "it sign evidence; make one for this machine alone (tallyboot token make-key), or say token-key-shared = yes",
                        key->made_for);
                return -EPERM;
        }
        if (key->made_for[0])
                snprintf(ret, size, "the token's key has other uses (%s); token-key-shared allows that", key->made_for);
        else if (key->decrypts)
                snprintf(
                        ret, size,
                        "the token's key may also decrypt or derive keys; one that only signs, made for this machine, is better");
        return 0;
}
