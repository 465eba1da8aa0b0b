/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/atrest.h"

#include <string.h>

#include "base/log.h"
#include "base/thread.h"

struct atrest {
        struct service *service;
        struct ticker ticker;
        bool reload;
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

static void tick(void *userdata) {
        struct atrest *atrest = userdata;
        char words[640];

        if (__atomic_exchange_n(&atrest->reload, false, __ATOMIC_ACQ_REL))
                reload(atrest->service);
        if (keystore_tick(atrest->service->keystore, words, sizeof(words)))
                log_warning("%s", words);
}

int atrest_start(struct service *service, struct atrest **ret) {
        _cleanup_(freep) struct atrest *atrest = calloc(1, sizeof(*atrest));
        int r;

        if (!atrest)
                return -ENOMEM;
        atrest->service = service;
        r = ticker_start(&atrest->ticker, tick, atrest);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(atrest);
        return 0;
}

struct atrest *atrest_stop(struct atrest *atrest) {
        if (!atrest)
                return NULL;

        ticker_stop(&atrest->ticker);
        free(atrest);
        return NULL;
}

void atrest_reload(struct atrest *atrest) {
        __atomic_store_n(&atrest->reload, true, __ATOMIC_RELEASE);
        ticker_wake(&atrest->ticker);
}
