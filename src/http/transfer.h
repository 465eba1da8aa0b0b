/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

#include "http/client.h"
#include "http/curl.h"
#include "http/tls-files.h"

struct http_client {
        CURLM *multi; /* keeps the connections */
        CURL **easies;
        size_t n_easies;
        pthread_t loader; /* of libcurl */
        bool loading;
        X509_STORE *store;
        struct tls_identity identity;
        bool has_identity;
        unsigned connect_timeout_ms, timeout_ms;
        char *incident;
        int64_t not_before;
};

/* One exchange on the way: one address after the other on one easy handle. */
struct transfer {
        struct http_client *client;
        struct http_exchange *exchange;
        CURL *easy;
        struct curl_slist *headers;
        size_t address;      /* index in the server list */
        size_t tried;        /* addresses */
        struct buffer body;  /* of the answer */
        uint64_t body_bytes; /* so far, to the sink as well */
        size_t header_bytes;
        off_t upload_start;
        uint64_t uploaded;
        int stopped; /* why a callback ended it */
        bool done, chunked;
        char curl_error[CURL_ERROR_SIZE];
};

/* Sets the easy handle up for the address. */
int transfer_begin(struct transfer *transfer);
/* After curl is through with this address: true where the exchange is done, false where the next address is to be tried. */
bool transfer_finished(struct transfer *transfer, CURLcode code);
void transfer_cancel(struct transfer *transfer, int error);
void transfer_done(struct transfer *transfer);

/* The one place where curl's codes become ours; words for a person go to text. */
int curl_to_errno(CURLcode code);
bool curl_refused_us(const struct transfer *transfer, CURLcode code);
void curl_describe(const struct transfer *transfer, CURLcode code, char *ret, size_t size);
