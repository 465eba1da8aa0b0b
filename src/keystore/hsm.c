/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/hsm.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "keystore/internal.h"
#include "keystore/pin.h"

enum {
        OPEN_PATIENCE_S = 90, /* a service starts, a token wakes up */
        RETRY_MS = 1000,      /* a token that was away is looked for so often */
        END_PATIENCE_S = 2,
};

enum job_kind { JOB_OPEN, JOB_WRAP, JOB_UNWRAP, JOB_EXPECT, JOB_MAKE_INSIDE, JOB_USE_INSIDE };

/* Of two owners: who waits, and the thread. The last one frees it. */
struct job {
        enum job_kind kind;
        uint32_t generation;
        struct blob binding, data;
        struct secret *key; /* WRAP: to be wrapped; USE_INSIDE: to be sealed or opened */
        bool seal;
        uint8_t iv[AEAD_NONCE_SIZE];
        struct blob aad;

        int result;
        struct blob ret_data;
        struct secret *ret_key;
        char words[512];

        unsigned owners;
        bool done;
        struct job *next;
};

struct hsm {
        struct hsm_options options;
        struct pkcs11 *pkcs11; /* the thread's; NULL: away */
        uint64_t retry_at;
        struct job *proof; /* what a token that comes back must open */

        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t work, done;
        struct job *first, *last;
        uint64_t busy_since; /* ms; 0: idle */
        bool stop, ended, away, said_away;
        char why[512], serial[17];
};

static void job_free(struct job *job) {
        blob_done(&job->binding);
        blob_done(&job->data);
        blob_done(&job->ret_data);
        blob_done(&job->aad);
        (void) secret_free(job->key);
        (void) secret_free(job->ret_key);
        free(job);
}

static void job_release(struct hsm *hsm, struct job *job) {
        bool last;

        (void) pthread_mutex_lock(&hsm->lock);
        last = --job->owners == 0;
        (void) pthread_mutex_unlock(&hsm->lock);
        if (last)
                job_free(job);
}

/* The token's side: everything up to hsm_main() runs in the thread. */

static int say(struct job *job, int r, const char *words) {
        (void) snprintf(job->words, sizeof(job->words), "%s", words && *words ? words : strerror(-r));
        return r;
}

static int log_in(struct hsm *hsm, struct pkcs11 *pkcs11, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        struct pkcs11_pin state;
        int r;

        r = pkcs11_pin(pkcs11, &state);
        if (r < 0)
                goto words;
        if (!state.needed && !hsm->options.pin)
                return 0;
        if (state.locked) {
                (void) snprintf(error, error_size,
                                "the PIN of the token \"%s\" is locked; its security officer can set a new one",
                                pkcs11_label(pkcs11));
                return -EPERM;
        }
        if (state.low) {
                /* a service that starts again and again would use up what is left */
                (void) snprintf(
                        error, error_size,
                        "a wrong PIN was given to the token \"%s\": before it is tried again by itself, log in once by hand"
                        " (pkcs11-tool --login --test), which clears this",
                        pkcs11_label(pkcs11));
                return -EPERM;
        }
        if (!hsm->options.pin) {
                (void) snprintf(error, error_size, "the token \"%s\" needs a PIN: set pin = file:/path or credential:NAME",
                                pkcs11_label(pkcs11));
                return -EACCES;
        }
        r = keystore_pin_read(hsm->options.pin, &pin, error, error_size);
        if (r < 0)
                return r;
        r = pkcs11_login_unattended(pkcs11, pin);
        if (r >= 0)
                return 0;
words:
        (void) snprintf(error, error_size, "%s", pkcs11_error(pkcs11));
        return r;
}

/* Where none is configured: KWP, or where the token lacks it what is as well bound. CKM_AES_KEY_WRAP_PAD is another thing at each
 * maker: not without a MAC. GCM takes none. */
static int check_mechanism(struct hsm *hsm, struct pkcs11 *pkcs11) {
        struct wrap_how *how = &hsm->options.how;
        int r;

        if (!hsm->options.choose)
                return wrap_check(pkcs11, how);
        how->mechanism = WRAP_KWP;
        r = wrap_check(pkcs11, how);
        if (r != -EOPNOTSUPP)
                return r;
        how->mechanism = how->mac == WRAP_MAC_NONE ? WRAP_GCM : WRAP_KEY_WRAP_PAD;
        return wrap_check(pkcs11, how);
}

static int unwrap(struct hsm *hsm, struct job *job) {
        struct wrap_how how = hsm->options.how;

        how.generation = job->generation;
        job->ret_key = secret_free(job->ret_key);
        return wrap_open(hsm->pkcs11, &how, FIELDS(field_bytes(job->binding.data, job->binding.size)), job->data.data,
                         job->data.size, &job->ret_key);
}

static int wrap(struct hsm *hsm, struct job *job) {
        struct wrap_how how = hsm->options.how;

        how.generation = job->generation;
        blob_done(&job->ret_data);
        job->ret_key = secret_free(job->ret_key);
        return wrap_make(hsm->pkcs11, &how, FIELDS(field_bytes(job->binding.data, job->binding.size)), job->key, &job->ret_data,
                         &job->ret_key);
}

static int make_inside(struct hsm *hsm, struct job *job) {
        struct wrap_how how = hsm->options.how;

        how.generation = job->generation;
        blob_done(&job->ret_data);
        return wrap_make_inside(hsm->pkcs11, &how, FIELDS(field_bytes(job->binding.data, job->binding.size)), &job->ret_data);
}

static int use_inside(struct hsm *hsm, struct job *job) {
        struct wrap_how how = hsm->options.how;
        const struct wrap_use use = { job->seal, job->iv, job->aad.data, job->aad.size, job->key->data, job->key->size };

        how.generation = job->generation;
        job->ret_key = secret_free(job->ret_key);
        return wrap_use_inside(hsm->pkcs11, &how, FIELDS(field_bytes(job->binding.data, job->binding.size)), &job->data, &use,
                               &job->ret_key);
}

static int run(struct hsm *hsm, struct job *job) {
        switch (job->kind) {
        case JOB_WRAP:
                return wrap(hsm, job);
        case JOB_UNWRAP:
                return unwrap(hsm, job);
        case JOB_MAKE_INSIDE:
                return make_inside(hsm, job);
        case JOB_USE_INSIDE:
                return use_inside(hsm, job);
        default:
                return 0;
        }
}

static int connect_token(struct hsm *hsm, char *error, size_t error_size) {
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        int r;

        r = pkcs11_open(&hsm->options.where, &pkcs11, error, error_size);
        if (r >= 0)
                r = log_in(hsm, pkcs11, error, error_size);
        if (r < 0)
                return r;
        r = check_mechanism(hsm, pkcs11);
        if (r >= 0 && hsm->options.how.always_sensitive)
                r = wrap_check_inside(pkcs11, &hsm->options.how);
        if (r < 0) {
                size_t n = (size_t) snprintf(error, error_size, "%s", pkcs11_error(pkcs11));

                if (r == -EOPNOTSUPP && n < error_size)
                        wrap_offered(pkcs11, error + n, error_size - n);
                return r;
        }

        hsm->pkcs11 = TAKE_PTR(pkcs11);
        if (hsm->proof) {
                r = unwrap(hsm, hsm->proof);
                hsm->proof->ret_key = secret_free(hsm->proof->ret_key);
                if (r < 0) {
                        (void) snprintf(error, error_size, "the token \"%s\" has another key than before",
                                        pkcs11_label(hsm->pkcs11));
                        hsm->pkcs11 = pkcs11_close(hsm->pkcs11);
                        return r == -EKEYREJECTED ? -ENOKEY : r;
                }
        }
        (void) snprintf(hsm->serial, sizeof(hsm->serial), "%s", pkcs11_serial(hsm->pkcs11));
        return 0;
}

static void set_away(struct hsm *hsm, bool away, const char *why) {
        (void) pthread_mutex_lock(&hsm->lock);
        hsm->away = away;
        (void) snprintf(hsm->why, sizeof(hsm->why), "%s", why);
        (void) pthread_mutex_unlock(&hsm->lock);
        hsm->retry_at = clock_monotonic_ms() + RETRY_MS;
}

/* What a blob is to blame for, and what the token cannot do, are answers; all else is a token that is away. */
static bool is_answer(int r) {
        return r >= 0 || r == -EKEYREJECTED || r == -EBADMSG || r == -ESTALE || r == -EOPNOTSUPP || r == -EINVAL || r == -ENOMEM;
}

/* No blob is to blame for a token that cannot be connected to, whatever the reason. */
static int ready(struct hsm *hsm, struct job *job) {
        char error[400] = "";
        int r;

        if (hsm->pkcs11)
                return 0;
        if (clock_monotonic_ms() < hsm->retry_at)
                return say(job, -ENODEV, hsm->why);
        r = connect_token(hsm, error, sizeof(error));
        if (r < 0)
                (void) say(job, r, error);
        set_away(hsm, r < 0, job->words);
        return r < 0 && is_answer(r) && job->kind != JOB_OPEN ? -EACCES : r;
}

static int ask(struct hsm *hsm, struct job *job) {
        int r = 0;

        for (int tries = 0; tries < 2; tries++) {
                r = ready(hsm, job);
                if (r < 0)
                        return r;
                r = run(hsm, job);
                if (r < 0)
                        (void) say(job, r, pkcs11_error(hsm->pkcs11));
                if (is_answer(r) || r == -EBUSY)
                        return r;

                /* a module that ended, a token that went: once more from the beginning, at once */
                log_debug("Keystore: token: %s", job->words);
                hsm->pkcs11 = pkcs11_close(hsm->pkcs11);
                hsm->retry_at = 0;
        }
        set_away(hsm, true, job->words);
        return r;
}

static void expect(struct hsm *hsm, struct job *job) {
        struct job *old = hsm->proof;

        (void) pthread_mutex_lock(&hsm->lock);
        job->owners++;
        (void) pthread_mutex_unlock(&hsm->lock);
        hsm->proof = job;
        if (old)
                job_release(hsm, old);
}

static struct job *next_job(struct hsm *hsm) {
        struct job *job;

        (void) pthread_mutex_lock(&hsm->lock);
        hsm->busy_since = 0;
        while (!hsm->first && !hsm->stop)
                (void) pthread_cond_wait(&hsm->work, &hsm->lock);
        job = hsm->stop ? NULL : hsm->first;
        if (job) {
                hsm->first = job->next;
                if (!hsm->first)
                        hsm->last = NULL;
                hsm->busy_since = clock_monotonic_ms();
        }
        (void) pthread_mutex_unlock(&hsm->lock);
        return job;
}

static void *hsm_main(void *userdata) {
        struct hsm *hsm = userdata;
        struct job *job;

        while ((job = next_job(hsm))) {
                bool wanted;
                int r;

                (void) pthread_mutex_lock(&hsm->lock);
                wanted = job->owners > 1 || job->kind == JOB_OPEN;
                (void) pthread_mutex_unlock(&hsm->lock);
                r = wanted ? 0 : -ECANCELED;
                if (wanted && job->kind == JOB_EXPECT)
                        expect(hsm, job);
                else if (wanted)
                        r = ask(hsm, job);

                (void) pthread_mutex_lock(&hsm->lock);
                job->result = r;
                job->done = true;
                (void) pthread_cond_broadcast(&hsm->done);
                (void) pthread_mutex_unlock(&hsm->lock);
                job_release(hsm, job);
        }

        hsm->pkcs11 = pkcs11_close(hsm->pkcs11);
        (void) pthread_mutex_lock(&hsm->lock);
        hsm->ended = true;
        (void) pthread_cond_broadcast(&hsm->done);
        (void) pthread_mutex_unlock(&hsm->lock);
        return NULL;
}

/* The callers' side. */

static struct job *job_new(enum job_kind kind, uint32_t generation, const struct blob *binding, const void *data, size_t size,
                           const struct secret *key) {
        struct job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;
        *job = (struct job){ .kind = kind, .generation = generation, .owners = 1 };
        if ((binding && blob_copy(binding->data, binding->size, &job->binding) < 0) ||
            (data && blob_copy(data, size, &job->data) < 0) || (key && secret_copy(key->data, key->size, &job->key) < 0)) {
                job_free(job);
                return NULL;
        }
        return job;
}

static void queue(struct hsm *hsm, struct job *job) {
        job->owners++;
        if (hsm->last)
                hsm->last->next = job;
        else
                hsm->first = job;
        hsm->last = job;
        (void) pthread_cond_signal(&hsm->work);
}

static bool is_stuck(const struct hsm *hsm) {
        return hsm->busy_since > 0 && clock_monotonic_ms() - hsm->busy_since > 1000 * KEYSTORE_PATIENCE_S;
}

/* Waits for what the thread makes of it; a job that nobody waits for any more is the thread's to free. */
static int submit(struct hsm *hsm, struct job *job, unsigned patience_s) {
        struct timespec until;
        bool done;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += patience_s;
        (void) pthread_mutex_lock(&hsm->lock);
        if (!is_stuck(hsm)) {
                queue(hsm, job);
                while (!job->done)
                        if (pthread_cond_timedwait(&hsm->done, &hsm->lock, &until) == ETIMEDOUT)
                                break;
        }
        done = job->done;
        (void) pthread_mutex_unlock(&hsm->lock);

        if (!done)
                return keystore_fail(-ENOLINK, "the token does not answer");
        if (job->result == -EBADMSG || job->result == -ESTALE)
                return keystore_fail(-EKEYREJECTED, "%s", job->words);
        if (is_answer(job->result))
                return job->result < 0 ? keystore_fail(job->result, "%s", job->words) : 0;
        return keystore_fail(-ENOLINK, "the token cannot be used now: %s", job->words);
}

int hsm_wrap(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct secret *key, struct blob *ret,
             struct secret **ret_key) {
        struct job *job = job_new(JOB_WRAP, generation, binding, NULL, 0, key);
        int r;

        if (!job)
                return -ENOMEM;
        r = submit(hsm, job, KEYSTORE_PATIENCE_S);
        if (r >= 0) {
                *ret = job->ret_data;
                job->ret_data = (struct blob){};
                if (ret_key)
                        *ret_key = TAKE_PTR(job->ret_key);
        }
        job_release(hsm, job);
        return r;
}

int hsm_unwrap(struct hsm *hsm, uint32_t generation, const struct blob *binding, const void *data, size_t size,
               struct secret **ret) {
        struct job *job = job_new(JOB_UNWRAP, generation, binding, data, size, NULL);
        int r;

        if (!job)
                return -ENOMEM;
        r = submit(hsm, job, KEYSTORE_PATIENCE_S);
        if (r >= 0)
                *ret = TAKE_PTR(job->ret_key);
        job_release(hsm, job);
        return r;
}

int hsm_make_inside(struct hsm *hsm, uint32_t generation, const struct blob *binding, struct blob *ret) {
        struct job *job = job_new(JOB_MAKE_INSIDE, generation, binding, NULL, 0, NULL);
        int r;

        if (!job)
                return -ENOMEM;
        r = submit(hsm, job, KEYSTORE_PATIENCE_S);
        if (r >= 0) {
                *ret = job->ret_data;
                job->ret_data = (struct blob){};
        }
        job_release(hsm, job);
        return r;
}

int hsm_use_inside(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct blob *blob,
                   const struct wrap_use *use, struct secret **ret) {
        struct job *job = job_new(JOB_USE_INSIDE, generation, binding, blob->data, blob->size, NULL);
        int r;

        if (!job)
                return -ENOMEM;
        job->seal = use->seal;
        memcpy(job->iv, use->iv, sizeof(job->iv));
        r = secret_copy(use->data, use->size, &job->key);
        if (r >= 0)
                r = blob_copy(use->aad, use->aad_size, &job->aad);
        if (r >= 0)
                r = submit(hsm, job, KEYSTORE_PATIENCE_S);
        if (r >= 0)
                *ret = TAKE_PTR(job->ret_key);
        job_release(hsm, job);
        return r;
}

int hsm_expect(struct hsm *hsm, uint32_t generation, const struct blob *binding, const struct blob *proof) {
        struct job *job = job_new(JOB_EXPECT, generation, binding, proof->data, proof->size, NULL);
        int r;

        if (!job)
                return -ENOMEM;
        r = submit(hsm, job, KEYSTORE_PATIENCE_S);
        job_release(hsm, job);
        return r;
}

const char *hsm_serial(const struct hsm *hsm) {
        return hsm->serial;
}

bool hsm_tick(struct hsm *hsm, char *words, size_t size) {
        bool away, stuck, news;

        (void) pthread_mutex_lock(&hsm->lock);
        stuck = is_stuck(hsm);
        away = hsm->away || stuck;
        news = away != hsm->said_away;
        hsm->said_away = away;
        if (news && away)
                (void) snprintf(words, size,
                                "The HSM of the keystore cannot be used: %s. What needs it is refused until it is back.",
                                stuck ? "it does not answer" : hsm->why);
        else if (news)
                (void) snprintf(words, size, "The HSM of the keystore answers again.");
        if (hsm->away && !hsm->first && hsm->busy_since == 0) {
                struct job *job = job_new(JOB_OPEN, 0, NULL, NULL, 0, NULL);

                if (job) {
                        queue(hsm, job);
                        job->owners--;
                }
        }
        (void) pthread_mutex_unlock(&hsm->lock);
        return news;
}

static int start_thread(struct hsm *hsm) {
        (void) pthread_mutex_init(&hsm->lock, NULL);
        (void) pthread_cond_init(&hsm->work, NULL);
        cond_init_monotonic(&hsm->done);
        return thread_start(&hsm->thread, hsm_main, hsm);
}

int hsm_open(const struct hsm_options *options, struct hsm **ret, char *error, size_t error_size) {
        struct job *job = job_new(JOB_OPEN, 0, NULL, NULL, 0, NULL);
        struct hsm *hsm = calloc(1, sizeof(*hsm));
        int r;

        if (!job || !hsm) {
                free(job);
                free(hsm);
                return -ENOMEM;
        }
        hsm->options = *options;
        r = start_thread(hsm);
        if (r < 0) {
                free(job);
                free(hsm);
                return r;
        }

        r = submit(hsm, job, OPEN_PATIENCE_S);
        if (r < 0) {
                (void) pthread_mutex_lock(&hsm->lock); /* it may be done by now */
                r = job->done ? job->result : r;
                (void) snprintf(error, error_size, "%s", job->done ? job->words : keystore_error());
                (void) pthread_mutex_unlock(&hsm->lock);
        }
        job_release(hsm, job);
        if (r < 0)
                (void) hsm_close(hsm);
        else
                *ret = hsm;
        return r;
}

/* A thread that is stuck in a module that was loaded into this process is left behind, with what it uses. */
struct hsm *hsm_close(struct hsm *hsm) {
        struct timespec until;
        bool ended;

        if (!hsm)
                return NULL;
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += END_PATIENCE_S;
        (void) pthread_mutex_lock(&hsm->lock);
        hsm->stop = true;
        (void) pthread_cond_broadcast(&hsm->work);
        while (!hsm->ended)
                if (pthread_cond_timedwait(&hsm->done, &hsm->lock, &until) == ETIMEDOUT)
                        break;
        ended = hsm->ended;
        (void) pthread_mutex_unlock(&hsm->lock);
        if (!ended) {
                (void) pthread_detach(hsm->thread);
                return NULL;
        }

        (void) pthread_join(hsm->thread, NULL);
        for (struct job *job = hsm->first, *next; job; job = next) {
                next = job->next;
                job_release(hsm, job);
        }
        if (hsm->proof)
                job_release(hsm, hsm->proof);
        (void) pthread_cond_destroy(&hsm->work);
        (void) pthread_cond_destroy(&hsm->done);
        (void) pthread_mutex_destroy(&hsm->lock);
        free(hsm);
        return NULL;
}
