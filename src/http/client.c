/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/client.h"

#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "http/transfer.h"

enum {
        CONNECT_TIMEOUT_DEFAULT = 3000,
        TIMEOUT_DEFAULT = 10000,
        EXCHANGES_MAX = 64,
};

static void *load_thread(void *userdata _unused_) {
        (void) curl_load();
        return NULL;
}

/* Nothing may end under the thread: OpenSSL's tidying up at the end of the process least of all. */
static void stop_loading(struct http_client *client) {
        if (client->loading)
                (void) pthread_join(client->loader, NULL);
        client->loading = false;
}

static int load_files(const struct http_client_options *options, struct http_client *client) {
        int r;

        r = tls_store_load(options->ca_file, &client->store, NULL);
        if (r < 0 || !options->certificate_file)
                return r;
        r = tls_identity_load(options->certificate_file, options->key_file, &client->identity);
        client->has_identity = r >= 0;
        return r;
}

int http_client_new(const struct http_client_options *options, struct http_client **ret) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        int r;

        if (!options->ca_file || !options->certificate_file != !options->key_file)
                return -EINVAL;

        client = calloc(1, sizeof *client);
        if (!client)
                return -ENOMEM;
        client->loading = options->load_ahead && thread_start(&client->loader, load_thread, NULL) >= 0;
        client->connect_timeout_ms = options->connect_timeout_ms ?: CONNECT_TIMEOUT_DEFAULT;
        client->timeout_ms = options->timeout_ms ?: TIMEOUT_DEFAULT;
        client->not_before = options->not_before;
        client->incident = options->incident ? strdup(options->incident) : NULL;
        if (options->incident && !client->incident)
                return -ENOMEM;
        r = load_files(options, client);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(client);
        return 0;
}

struct http_client *http_client_free(struct http_client *client) {
        if (!client)
                return NULL;
        stop_loading(client);
        for (size_t i = 0; i < client->n_easies; i++)
                curl.easy_cleanup(client->easies[i]);
        free(client->easies);
        if (client->multi)
                (void) curl.multi_cleanup(client->multi);
        X509_STORE_free(client->store);
        tls_identity_done(&client->identity);
        free(client->incident);
        free(client);
        return NULL;
}

void http_exchange_done(struct http_exchange *exchange) {
        blob_done(&exchange->answer);
        exchange->answer = (struct blob){};
}

/* Handles are kept: connections are the multi handle's, and making an easy one costs more than resetting it. */
static int need_handles(struct http_client *client, size_t n) {
        CURL **easies;

        client->multi = client->multi ?: curl.multi_init();
        if (!client->multi)
                return -ENOMEM;
        if (n <= client->n_easies)
                return 0;
        easies = reallocarray(client->easies, n, sizeof easies[0]);
        if (!easies)
                return -ENOMEM;
        client->easies = easies;
        while (client->n_easies < n) {
                easies[client->n_easies] = curl.easy_init();
                if (!easies[client->n_easies])
                        return -ENOMEM;
                client->n_easies++;
        }
        return 0;
}

static int start(struct transfer *transfer) {
        int r;

        r = transfer_begin(transfer);
        if (r >= 0 && curl.multi_add_handle(transfer->client->multi, transfer->easy) != CURLM_OK)
                r = -ENOMEM;
        if (r < 0)
                transfer_cancel(transfer, r);
        return r;
}

/* Takes what has come to an end out, or on to its next address. */
static void collect(struct http_client *client) {
        CURLMsg *message;
        int left;

        while ((message = curl.multi_info_read(client->multi, &left))) {
                CURL *easy = message->easy_handle;
                CURLcode code = message->data.result;
                struct transfer *transfer = NULL;

                if (message->msg != CURLMSG_DONE)
                        continue;
                (void) curl.easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
                (void) curl.multi_remove_handle(client->multi, easy);
                if (!transfer_finished(transfer, code))
                        (void) start(transfer);
        }
}

static size_t count_left(const struct transfer *transfers, size_t n) {
        size_t left = 0;

        for (size_t i = 0; i < n; i++)
                left += !transfers[i].done;
        return left;
}

/* What the caller does beside it; where that is nothing, an interruption is the end. */
static int call_meanwhile(const struct transfer *transfers, size_t n, bool interrupted) {
        int r = interrupted ? -ECANCELED : 0;

        for (size_t i = 0; i < n; i++) {
                const struct http_exchange *exchange = transfers[i].exchange;

                if (!exchange->meanwhile)
                        continue;
                r = exchange->meanwhile(exchange->meanwhile_userdata);
                if (r < 0)
                        return r;
        }
        return r;
}

static int loop(struct http_client *client, struct transfer *transfers, size_t n, int extra_fd) {
        while (count_left(transfers, n) > 0) {
                struct curl_waitfd extra = { .fd = extra_fd, .events = CURL_WAIT_POLLIN };
                int running, r;

                if (curl.multi_perform(client->multi, &running) != CURLM_OK)
                        return -EIO;
                collect(client);
                if (count_left(transfers, n) == 0)
                        break;
                if (curl.multi_poll(client->multi, &extra, extra_fd >= 0, 1000, NULL) != CURLM_OK)
                        return -EIO;
                r = call_meanwhile(transfers, n, extra_fd >= 0 && extra.revents);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void give_up(struct http_client *client, struct transfer *transfers, size_t n, int error) {
        for (size_t i = 0; i < n; i++) {
                if (!transfers[i].done)
                        (void) curl.multi_remove_handle(client->multi, transfers[i].easy);
                transfer_cancel(transfers + i, error);
        }
}

static void forget_answer(struct http_exchange *exchange) {
        http_exchange_done(exchange);
        exchange->result = exchange->status = 0;
        exchange->retry_after = 0;
        exchange->error[0] = 0;
}

/* To whoever asks no server was reached: what stands in for one (a passphrase, a token offline) still does. */
static int nothing_reached(struct http_exchange *exchanges, size_t n) {
        for (size_t i = 0; i < n; i++) {
                forget_answer(exchanges + i);
                exchanges[i].result = -ENOLINK;
                snprintf(exchanges[i].error, sizeof exchanges[i].error,
                         "no server can be asked: %s; install libcurl, and build this machine's initramfs anew",
                         curl_load_error());
        }
        return 0;
}

int http_client_perform(struct http_client *client, struct http_exchange *exchanges, size_t n, int extra_fd) {
        struct transfer *transfers;
        int r;

        if (n == 0)
                return 0;
        if (n > EXCHANGES_MAX)
                return -EINVAL;
        stop_loading(client);
        if (curl_load() < 0)
                return nothing_reached(exchanges, n);
        r = need_handles(client, n);
        if (r < 0)
                return r;
        transfers = calloc(n, sizeof transfers[0]);
        if (!transfers)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                struct http_exchange *exchange = exchanges + i;

                forget_answer(exchange);
                transfers[i] = (struct transfer){
                        .client = client,
                        .exchange = exchange,
                        .easy = client->easies[i],
                        .address = exchange->servers && exchange->servers->n > 0
                                           ? exchange->servers->current % exchange->servers->n
                                           : 0,
                };
                (void) start(transfers + i);
        }

        r = loop(client, transfers, n, extra_fd);
        if (r < 0)
                give_up(client, transfers, n, r);
        for (size_t i = 0; i < n; i++)
                transfer_done(transfers + i);
        free(transfers);
        return r;
}
