/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"

/* HTTPS client over libcurl's multi interface: several exchanges at once, several addresses for each server, bounded in time and
 * memory. TLS 1.2 at the least, no tickets, no 0-RTT, no redirects, no proxy from the environment, only https. */
struct http_client;

struct http_client_options {
        const char *ca_file;                     /* PEM: the fleet's CA, and nothing else, is trusted */
        const char *certificate_file, *key_file; /* client certificate, or NULL */
        unsigned connect_timeout_ms;             /* TCP and TLS to an address (default 3000) */
        unsigned timeout_ms;  /* a whole exchange on one address (default 10000); for a streamed body or a sink: how
                                                  * long it may be slower than 1 KiB/s */
        const char *incident; /* Tallyboot-Incident header, or NULL */
        bool load_ahead;      /* load libcurl from now on, beside what the caller does; else the first exchange does it */
        int64_t not_before;   /* a clock behind this (seconds since 1970) is taken to be this, for certificates; 0: off */
};
/* -ENOENT, -EACCES: a file cannot be read; -EPERM: others may read the key; -EBADMSG: not PEM; -EKEYREJECTED: the key is not the
 * certificate's. The files are read here and never again. A client is for one thread at a time. */
int http_client_new(const struct http_client_options *options, struct http_client **ret);
struct http_client *http_client_free(struct http_client *client);
DEFINE_CLEANUP(struct http_client *, http_client_free)

/* Base URLs of one server, tried in turn from the one that answered last: "https://host:port". Kept by the caller over exchanges
 * so that a connection and a good address are used again. */
struct http_server_list {
        char **urls;
        size_t n;
        size_t current;
        const char *
                role; /* "tenant": a certificate without the URI urn:tallyboot:tenant is another service's; NULL: any of the CA */
};
int http_server_list_parse(const char *text /* separated by spaces or commas */, struct http_server_list *ret); /* -EINVAL */
void http_server_list_done(struct http_server_list *list);

typedef int (*http_sink)(const void *data, size_t size, void *userdata); /* not 0: the exchange ends with that error */
typedef int (*http_meanwhile)(void *userdata);

struct http_exchange {
        /* asked */
        struct http_server_list *servers;
        const char *method; /* "GET", "POST", "PUT", "DELETE" */
        const char *path;   /* "/v1/..." */
        const void *body;   /* JSON unless content_type says otherwise */
        size_t body_size;
        int body_fd; /* with body NULL and body_size: that many bytes from this file's position; -1, not 0: none */
        const char *content_type;
        const char *authorization; /* header value or NULL */
        size_t max_answer;         /* bytes; default 256 KiB, for a sink: no limit but the sink's */
        http_sink sink;            /* a 2xx body goes here instead of answer */
        void *sink_userdata;
        /* Called at least once a second while the exchanges last, and when extra_fd is readable: it sees to that itself, which
         * then ends nothing. Not 0: all exchanges end with that error. */
        http_meanwhile meanwhile;
        void *meanwhile_userdata;
        /* answered */
        int result;           /* 0: an HTTP answer came (see status); -ENOLINK not reached, -ETIMEDOUT, -EKEYREJECTED certificate,
                               * -EBADMSG not HTTP, -EFBIG too large, -ECANCELED, or what the sink returned */
        int status;           /* HTTP status */
        struct blob answer;   /* NUL-terminated behind its size */
        unsigned retry_after; /* seconds; 0: not said */
        char error[256];      /* in words, with the address, for a person */
};
void http_exchange_done(struct http_exchange *exchange);

/* Performs all exchanges side by side; returns when all are done. 0, or -errno where nothing could be started. extra_fd (or -1):
 * when it becomes readable, everything is given up and -ECANCELED returned, unless an exchange has a meanwhile. An exchange goes
 * on to the next address when one was not reached, has a wrong certificate, or does not speak HTTP; not after its sink has had
 * bytes. */
int http_client_perform(struct http_client *client, struct http_exchange *exchanges, size_t n, int extra_fd);
