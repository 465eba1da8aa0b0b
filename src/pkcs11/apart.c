/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/apart.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "crypto/crypto.h"
#include "pkcs11/message.h"
#include "pkcs11/process.h"

/* A module that hangs must not hold up its user for ever; a person at a keypad and a card that makes an RSA key take their
 * time. */
enum { CALL_MS = 60 * 1000, KEYPAD_MS = 300 * 1000, GENERATE_MS = 600 * 1000, END_MS = 2000 };

struct apart {
        pid_t pid; /* 0: it ended */
        int fd;
        char *uri, *module;
        uint64_t base; /* of its sessions' numbers: a key of an earlier process is looked for again */
};

/* How it ended, in words. */
static void describe_end(int status, char *ret, size_t size) {
        if (WIFSIGNALED(status))
                (void) snprintf(ret, size, "signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                (void) snprintf(ret, size, "exit status %d", WEXITSTATUS(status));
}

static void end_process(struct apart *apart, bool gently, char *ret_how, size_t size) {
        struct pollfd pollfd = { apart->fd, 0, 0 };
        int status = 0;

        (void) snprintf(ret_how, size, "unknown");
        if (apart->pid <= 0)
                return;
        (void) shutdown(apart->fd, SHUT_WR);
        if (!gently || poll(&pollfd, 1, END_MS) <= 0)
                (void) kill(apart->pid, SIGKILL);
        while (waitpid(apart->pid, &status, 0) < 0 && errno == EINTR)
                ;
        describe_end(status, ret_how, size);
        (void) close(apart->fd);
        apart->fd = -1;
        apart->pid = 0;
}

/* Sends the message, and makes it the answer, read up to what the call returns. */
static int exchange(struct apart *apart, struct message *message, int timeout_ms) {
        const char *words;
        char how[128];
        int r, answer;

        r = message_send(apart->fd, message);
        if (r >= 0)
                r = message_receive(apart->fd, timeout_ms, message);
        if (r == -ENOMEM || r == -EPERM)
                return fail(r, "no locked memory for a message to the PKCS#11 module's process");
        if (r < 0) {
                end_process(apart, r == -EPIPE, how, sizeof(how));
                if (r == -ETIMEDOUT)
                        return fail(ENODEV, "the PKCS#11 module does not answer: its process was ended");
                return fail(ENODEV, "the process of the PKCS#11 module ended (%s)", how);
        }
        answer = -(int) message_number(message, 4095);
        words = message_text(message);
        words_set(words ?: "");
        if (message->failed)
                return fail(EBADMSG, "the process of the PKCS#11 module answers nonsense");
        return answer;
}

static int start(struct pkcs11 *pkcs11) {
        _cleanup_(message_done) struct message message = {};
        struct apart *apart = pkcs11->apart;
        const char *label, *serial;
        int r;

        r = process_spawn(APART_NAME, &apart->pid, &apart->fd);
        if (r < 0)
                return fail(r, "no process for the PKCS#11 module: %s", strerror(-r));
        apart->base += 1ULL << 32;
        message_put_number(&message, MESSAGE_OPEN);
        message_put_text(&message, apart->uri);
        message_put_text(&message, apart->module);
        message_put_number(&message, apart->base);
        r = exchange(apart, &message, CALL_MS);
        if (r < 0)
                return r == -ENODEV && apart->pid == 0 ? -ELIBBAD : r;
        label = message_text(&message);
        serial = message_text(&message);
        if (message_end(&message) < 0 || !label || !serial)
                return fail(EBADMSG, "the process of the PKCS#11 module answers nonsense");
        if (pkcs11->label[0] != '\0' && (strcmp(pkcs11->label, label) != 0 || strcmp(pkcs11->serial, serial) != 0))
                return fail(ENODEV, "the token \"%s\" (serial=%s) is there no more", pkcs11->label, pkcs11->serial);
        (void) snprintf(pkcs11->label, sizeof(pkcs11->label), "%s", label);
        (void) snprintf(pkcs11->serial, sizeof(pkcs11->serial), "%s", serial);
        return 0;
}

static void put_login(struct message *message, const struct secret *pin, bool unattended) {
        message_put_number(message, MESSAGE_LOGIN);
        message_put_number(message, unattended);
        message_put_bytes(message, pin ? pin->data : NULL, pin ? pin->size : 0);
}

/* After its process ended: another, and the PIN that was right before, once, and not if it is the last try. */
static int start_again(struct pkcs11 *pkcs11) {
        _cleanup_(secret_freep) struct secret *pin = TAKE_PTR(pkcs11->pin);
        _cleanup_(message_done) struct message message = {};
        char how[128];
        int r;

        log_debug("pkcs11: another process for the module of token %s", pkcs11->label);
        r = start(pkcs11);
        if (r >= 0 && pkcs11->logged_in && !pin)
                r = fail(EACCES, "the process of the PKCS#11 module was started again, and the token \"%s\" wants the PIN again",
                         pkcs11->label);
        else if (r >= 0 && pkcs11->logged_in) {
                put_login(&message, pin, true);
                r = exchange(pkcs11->apart, &message, CALL_MS);
        }
        if (r == -EKEYREJECTED && pin)
                refused_add(pkcs11, pin);
        else
                pkcs11->pin = TAKE_PTR(pin);
        if (r < 0)
                end_process(pkcs11->apart, true, how, sizeof(how));
        return r == -EKEYREJECTED ? -EACCES : r;
}

/* The other process found out that the PIN, which this one keeps too, is wrong now. */
static int pin_refused(struct pkcs11 *pkcs11) {
        if (pkcs11->pin)
                refused_add(pkcs11, pkcs11->pin);
        pkcs11->pin = secret_free(pkcs11->pin);
        return -EACCES;
}

static int call(struct pkcs11 *pkcs11, struct message *message, int timeout_ms) {
        int r = 0;

        (void) pthread_mutex_lock(&pkcs11->lock);
        words_clear();
        if (pkcs11->apart->pid == 0)
                r = start_again(pkcs11);
        if (r >= 0)
                r = exchange(pkcs11->apart, message, timeout_ms);
        if (r == APART_PIN_REFUSED)
                r = pin_refused(pkcs11);
        (void) pthread_mutex_unlock(&pkcs11->lock);
        return r;
}

static int finish(struct message *message) {
        return message_end(message) < 0 ? fail(EBADMSG, "the process of the PKCS#11 module answers nonsense") : 0;
}

static int get_blob(struct message *message, struct blob *ret) {
        size_t size;
        const void *data = message_bytes(message, &size);

        return finish(message) < 0 || !data ? -EBADMSG : blob_copy(data, size, ret);
}

static int get_text(struct message *message, char **ret) {
        const char *text = message_text(message);
        char *copy;

        if (finish(message) < 0 || !text)
                return -EBADMSG;
        copy = strdup(text);
        if (!copy)
                return fail(ENOMEM, "out of memory");
        *ret = copy;
        return 0;
}

int apart_prepare(void) {
        return process_prepare(APART_NAME);
}

int apart_open(struct pkcs11 *pkcs11, const struct pkcs11_where *where) {
        struct apart *apart = calloc(1, sizeof(*apart));

        if (!apart)
                return fail(ENOMEM, "out of memory");
        apart->fd = -1;
        pkcs11->apart = apart;
        apart->uri = strdup(where->uri);
        apart->module = where->module ? strdup(where->module) : NULL;
        if (!apart->uri || (where->module && !apart->module))
                return fail(ENOMEM, "out of memory");
        return start(pkcs11);
}

void apart_close(struct pkcs11 *pkcs11) {
        char how[128];

        end_process(pkcs11->apart, true, how, sizeof(how));
        free(pkcs11->apart->uri);
        free(pkcs11->apart->module);
        free(pkcs11->apart);
}

/* Without the lock, which the call has that is to end; it is that one's thread that takes the process's end note. */
bool apart_interrupt(struct pkcs11 *pkcs11) {
        pid_t pid = __atomic_load_n(&pkcs11->apart->pid, __ATOMIC_RELAXED);

        return pid > 0 && kill(pid, SIGKILL) == 0;
}

int apart_pin(struct pkcs11 *pkcs11, struct pkcs11_pin *ret) {
        _cleanup_(message_done) struct message message = {};
        struct pkcs11_pin pin;
        int r;

        message_put_number(&message, MESSAGE_PIN);
        r = call(pkcs11, &message, CALL_MS);
        if (r < 0)
                return r;
        pin.needed = message_number(&message, 1);
        pin.keypad = message_number(&message, 1);
        pin.low = message_number(&message, 1);
        pin.last = message_number(&message, 1);
        pin.locked = message_number(&message, 1);
        r = finish(&message);
        if (r >= 0)
                *ret = pin;
        return r;
}

int apart_login(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended) {
        _cleanup_(message_done) struct message message = {};
        int r;

        put_login(&message, pin, unattended);
        r = call(pkcs11, &message, pin ? CALL_MS : KEYPAD_MS);
        if (r < 0)
                return r;
        (void) pthread_mutex_lock(&pkcs11->lock);
        pkcs11->logged_in = true;
        if (pin) {
                pkcs11->pin = secret_free(pkcs11->pin);
                r = secret_copy(pin->data, pin->size, &pkcs11->pin);
        }
        (void) pthread_mutex_unlock(&pkcs11->lock);
        return r;
}

static int get_key(struct message *message, struct pkcs11_key *ret) {
        struct pkcs11_key key = {};
        int r;

        message_key(message, &key);
        r = finish(message);
        if (r >= 0)
                *ret = key;
        return r;
}

int apart_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_FIND);
        message_put_text(&message, uri);
        message_put_number(&message, class);
        r = call(pkcs11, &message, CALL_MS);
        return r < 0 ? r : get_key(&message, ret);
}

int apart_public(struct pkcs11 *pkcs11, const struct pkcs11_key *key, struct blob *ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_PUBLIC);
        message_put_key(&message, key);
        r = call(pkcs11, &message, CALL_MS);
        return r < 0 ? r : get_blob(&message, ret);
}

int apart_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *data, size_t size, struct blob *ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_SIGN);
        message_put_key(&message, key);
        message_put_bytes(&message, data, size);
        r = call(pkcs11, &message, key->always_pin ? KEYPAD_MS : CALL_MS);
        return r < 0 ? r : get_blob(&message, ret);
}

int apart_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_GENERATE);
        message_put_number(&message, new->type);
        message_put_number(&message, new->bits);
        message_put_number(&message, new->use);
        message_put_text(&message, new->label);
        message_put_bytes(&message, new->id, new->id_size);
        r = call(pkcs11, &message, GENERATE_MS);
        return r < 0 ? r : get_key(&message, ret);
}

int apart_mechanisms(struct pkcs11 *pkcs11, char **ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_MECHANISMS);
        r = call(pkcs11, &message, CALL_MS);
        return r < 0 ? r : get_text(&message, ret);
}

int apart_uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_URI);
        message_put_number(&message, key != NULL);
        if (key)
                message_put_key(&message, key);
        r = call(pkcs11, &message, CALL_MS);
        return r < 0 ? r : get_text(&message, ret);
}

static int get_secret(struct message *message, struct secret **ret) {
        size_t size;
        const void *data = message_bytes(message, &size);

        if (finish(message) < 0 || !data || size < WRAP_KEY_MIN || size > WRAP_KEY_MAX)
                return -EBADMSG;
        return secret_copy(data, size, ret);
}

/* A card's key may want the PIN with each use, at a keypad; what is wrapped or checked is unwrapped once, too. */
static int wrap_timeout_ms(const struct wrap_how *how) {
        return how->mechanism == WRAP_RSA_OAEP ? KEYPAD_MS : CALL_MS;
}

int apart_make(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n, const struct secret *key,
               struct blob *ret, struct secret **ret_key) {
        _cleanup_(message_done) struct message message = {};
        _cleanup_(secret_freep) struct secret *made = NULL;
        const void *data;
        size_t size;
        int r;

        message_put_number(&message, MESSAGE_MAKE);
        message_put_how(&message, how);
        message_put_binding(&message, binding, n);
        message_put_bytes(&message, key ? key->data : NULL, key ? key->size : 0);
        r = call(pkcs11, &message, wrap_timeout_ms(how));
        if (r < 0)
                return r;
        data = message_bytes(&message, &size);
        r = get_secret(&message, &made);
        if (r < 0 || !data || size > WRAP_BLOB_MAX)
                return r < 0 ? r : -EBADMSG;
        r = blob_copy(data, size, ret);
        if (r >= 0 && ret_key)
                *ret_key = TAKE_PTR(made);
        return r;
}

int apart_unwrap(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                 const struct blob *blob, struct secret **ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_UNWRAP);
        message_put_how(&message, how);
        message_put_binding(&message, binding, n);
        message_put_bytes(&message, blob->data, blob->size);
        r = call(pkcs11, &message, wrap_timeout_ms(how));
        return r < 0 ? r : get_secret(&message, ret);
}

int apart_make_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                      struct blob *ret) {
        _cleanup_(message_done) struct message message = {};
        const void *data;
        size_t size;
        int r;

        message_put_number(&message, MESSAGE_MAKE_INSIDE);
        message_put_how(&message, how);
        message_put_binding(&message, binding, n);
        r = call(pkcs11, &message, CALL_MS);
        if (r < 0)
                return r;
        data = message_bytes(&message, &size);
        if (finish(&message) < 0 || !data || size > WRAP_BLOB_MAX)
                return -EBADMSG;
        return blob_copy(data, size, ret);
}

int apart_use_inside(struct pkcs11 *pkcs11, const struct wrap_how *how, const struct field *binding, size_t n,
                     const struct blob *blob, const struct wrap_use *use, struct secret **ret) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_USE_INSIDE);
        message_put_how(&message, how);
        message_put_binding(&message, binding, n);
        message_put_bytes(&message, blob->data, blob->size);
        message_put_number(&message, use->seal);
        message_put_bytes(&message, use->iv, AEAD_NONCE_SIZE);
        message_put_bytes(&message, use->aad, use->aad_size);
        message_put_bytes(&message, use->data, use->size);
        r = call(pkcs11, &message, CALL_MS);
        return r < 0 ? r : get_secret(&message, ret);
}

int apart_check(struct pkcs11 *pkcs11, const struct wrap_how *how) {
        _cleanup_(message_done) struct message message = {};
        int r;

        message_put_number(&message, MESSAGE_CHECK);
        message_put_how(&message, how);
        r = call(pkcs11, &message, wrap_timeout_ms(how));
        return r < 0 ? r : finish(&message);
}
