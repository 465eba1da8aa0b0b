/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/atrest.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/thread.h"

enum { TICK_S = 1 };

struct atrest {
        struct service *service;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t cond;
        bool stop, reload;
};

void atrest_warn(const struct service *service) {
        const struct keystore_options *options = &service->config.keystore;

        if (options->master.kind == KEYSTORE_FILE)
                log_notice(
                        "The master key is the file %s: whoever reads it and the database has what this %s keeps. Fine for a lab.",
                        options->master.path, service->definition->role);
        if (options->master.mac == WRAP_MAC_AES_MAC_64 || options->old.mac == WRAP_MAC_AES_MAC_64)
                log_warning("mac = aes-mac-64: 64 bits keep wrapped keys from being changed, where others have 128 or 256.");
        if (options->old.kind != KEYSTORE_NONE)
                log_notice(
                        "There is an old master key (%s): once `tallyctl keystore rewrap` is done, remove old-master and reload.",
                        options->old.text);
}

static void reload(struct service *service) {
        struct service_config config;
        char error[1024] = "";
        int r;

        r = service_config_read(service->config.file, service->definition, &config, error, sizeof(error));
        if (r < 0) {
                log_error("The keystore's configuration was read anew and is wrong, the old one stays: %s", error);
                return;
        }

        /* a token is not asked for its PIN again for nothing */
        if (keystore_options_equal(&config.keystore, &service->config.keystore)) {
                log_info("The keystore's configuration was read anew, and is the same.");
                service_config_done(&config);
                return;
        }
        r = keystore_reload(service->keystore, &config.keystore, error, sizeof(error));
        if (r < 0)
                log_error("The keystore's configuration was read anew and cannot be used, the old one stays: %s",
                          error[0] ? error : strerror(-r));
        else {
                struct keystore_options was = service->config.keystore;

                service->config.keystore = config.keystore;
                config.keystore = was;
                log_info("The keystore's configuration was read anew; the master key is %s.",
                         service->config.keystore.master.text);
                atrest_warn(service);
        }
        service_config_done(&config);
}

/* Returns false when it is time to end. */
static bool wait_tick(struct atrest *atrest, bool *ret_reload) {
        struct timespec until;
        bool stop;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += TICK_S;
        (void) pthread_mutex_lock(&atrest->lock);
        while (!atrest->stop && !atrest->reload && pthread_cond_timedwait(&atrest->cond, &atrest->lock, &until) == 0)
                ;
        stop = atrest->stop;
        *ret_reload = atrest->reload;
        atrest->reload = false;
        (void) pthread_mutex_unlock(&atrest->lock);
        return !stop;
}

static void *atrest_main(void *userdata) {
        struct atrest *atrest = userdata;
        char words[640] = "";
        bool wanted;

        while (wait_tick(atrest, &wanted)) {
                if (wanted)
                        reload(atrest->service);
                if (keystore_tick(atrest->service->keystore, words, sizeof(words)))
                        log_warning("%s", words);
        }
        return NULL;
}

int atrest_start(struct service *service, struct atrest **ret) {
        struct atrest *atrest = calloc(1, sizeof(*atrest));
        int r;

        if (!atrest)
                return -ENOMEM;
        atrest->service = service;
        (void) pthread_mutex_init(&atrest->lock, NULL);
        cond_init_monotonic(&atrest->cond);
        r = thread_start(&atrest->thread, atrest_main, atrest);
        if (r < 0) {
                free(atrest);
                return r;
        }
        *ret = atrest;
        return 0;
}

struct atrest *atrest_stop(struct atrest *atrest) {
        if (!atrest)
                return NULL;

        (void) pthread_mutex_lock(&atrest->lock);
        atrest->stop = true;
        (void) pthread_cond_signal(&atrest->cond);
        (void) pthread_mutex_unlock(&atrest->lock);
        (void) pthread_join(atrest->thread, NULL);
        (void) pthread_cond_destroy(&atrest->cond);
        (void) pthread_mutex_destroy(&atrest->lock);
        free(atrest);
        return NULL;
}

void atrest_reload(struct atrest *atrest) {
        (void) pthread_mutex_lock(&atrest->lock);
        atrest->reload = true;
        (void) pthread_cond_signal(&atrest->cond);
        (void) pthread_mutex_unlock(&atrest->lock);
}
