/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/transfer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"

enum {
        HEADER_MAX = 32 * 1024, /* of an answer, 1xx answers and trailers included */
        ANSWER_DEFAULT = 256 * 1024,
        SLOW_BYTES = 1024, /* a second, for streams */
        RETRY_AFTER_MAX = 86400,
        IDLE_MAX = 25, /* seconds a kept connection is used again after: less than the server's 30 */
};

/* The answer is streamed, or the question: no limit on the whole, but on slowness. */
static bool is_stream(const struct http_exchange *exchange) {
        return exchange->sink || (!exchange->body && exchange->body_size > 0);
}

static size_t answer_max(const struct http_exchange *exchange, bool to_sink) {
        if (exchange->max_answer > 0)
                return exchange->max_answer;
        return to_sink ? SIZE_MAX : ANSWER_DEFAULT;
}

static long status_of(const struct transfer *transfer) {
        long status = 0;

        (void) curl.easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        return status;
}

/* The one header that curl does not report. */
static bool is_chunked(const char *line, size_t length) {
        static const char name[] = "Transfer-Encoding:", value[] = "chunked";
        const size_t n = sizeof name - 1;
        size_t i = n;

        if (length < n || strncasecmp(line, name, n) != 0)
                return false;
        while (i < length && (line[i] == ' ' || line[i] == '\t'))
                i++;
        return length - i >= sizeof value - 1 && strncasecmp(line + i, value, sizeof value - 1) == 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *userdata) {
        struct transfer *transfer = userdata;

        transfer->header_bytes += size * n;
        transfer->chunked |= is_chunked(data, size * n);
        if (transfer->header_bytes <= HEADER_MAX)
                return size * n;
        transfer->stopped = -EFBIG;
        return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *userdata) {
        struct transfer *transfer = userdata;
        struct http_exchange *exchange = transfer->exchange;
        bool to_sink = exchange->sink && status_of(transfer) / 100 == 2;
        size_t length = size * n;

        if (length > answer_max(exchange, to_sink) - transfer->body_bytes) {
                transfer->stopped = -EFBIG;
                return 0;
        }
        transfer->body_bytes += length;
        if (to_sink) {
                transfer->stopped = exchange->sink(data, length, exchange->sink_userdata);
                if (transfer->stopped > 0)
                        transfer->stopped = -ECANCELED;
        } else {
                buffer_append(&transfer->body, data, length);
                transfer->stopped = buffer_ok(&transfer->body);
        }
        return transfer->stopped == 0 ? length : 0;
}

static size_t on_upload(char *data, size_t size, size_t n, void *userdata) {
        struct transfer *transfer = userdata;
        size_t left = transfer->exchange->body_size - transfer->uploaded;
        ssize_t got;

        got = pread(transfer->exchange->body_fd, data, MIN(size * n, left), transfer->upload_start + (off_t) transfer->uploaded);
        if (got < 0 || (got == 0 && left > 0)) {
                transfer->stopped = got < 0 ? -errno : -EIO;
                return CURL_READFUNC_ABORT;
        }
        transfer->uploaded += (size_t) got;
        return (size_t) got;
}

static int on_rewind(void *userdata, curl_off_t offset, int origin) {
        struct transfer *transfer = userdata;

        if (origin != SEEK_SET || offset < 0 || (size_t) offset > transfer->exchange->body_size)
                return CURL_SEEKFUNC_FAIL;
        transfer->uploaded = (uint64_t) offset;
        return CURL_SEEKFUNC_OK;
}

/* One host name may have several of our services behind it, each with a certificate for that name: a tenant must not pass for a
 * verifier, whose word about payloads nothing but TLS vouches for. */
static int on_verify(X509_STORE_CTX *store, void *role) {
        int r = X509_verify_cert(store);

        if (r > 0 && !tls_certificate_has_role(X509_STORE_CTX_get0_cert(store), role)) {
                X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
                return 0;
        }
        return r;
}

/* The fleet's CA alone, parsed once; our certificate; a clock that is plainly wrong is taken to be not_before. */
static CURLcode on_ssl_ctx(CURL *easy _unused_, void *ssl_ctx, void *userdata) {
        const struct transfer *transfer = userdata;
        const struct http_client *client = transfer->client;
        SSL_CTX *ctx = ssl_ctx;

        if (tls_ctx_harden(ctx) < 0 || SSL_CTX_set1_verify_cert_store(ctx, client->store) != 1)
                return CURLE_SSL_CERTPROBLEM;
        if (client->has_identity && tls_identity_use(&client->identity, ctx) < 0)
                return CURLE_SSL_CERTPROBLEM;
        if (transfer->exchange->servers->role)
                SSL_CTX_set_cert_verify_callback(ctx, on_verify, (void *) transfer->exchange->servers->role);
        if (client->not_before > 0 && time(NULL) < client->not_before)
                X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), client->not_before);
        return CURLE_OK;
}

static bool is_clean(const char *text) {
        for (; *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

static int add_header(struct transfer *transfer, const char *name, const char *value) {
        char line[1024];
        struct curl_slist *list;
        int n;

        n = value ? snprintf(line, sizeof line, "%s: %s", name, value) : snprintf(line, sizeof line, "%s:", name);
        if (n < 0 || (size_t) n >= sizeof line || !is_clean(line))
                return -EINVAL;
        list = curl.slist_append(transfer->headers, line);
        if (!list)
                return -ENOMEM;
        transfer->headers = list;
        return 0;
}

static int set_headers(struct transfer *transfer) {
        const struct http_exchange *exchange = transfer->exchange;
        int r;

        curl.slist_free_all(transfer->headers);
        transfer->headers = NULL;

        r = add_header(transfer, "Expect", NULL); /* none: it would cost a round trip */
        if (r >= 0 && exchange->body_size > 0)
                r = add_header(transfer, "Content-Type", exchange->content_type ?: "application/json");
        if (r >= 0 && exchange->authorization)
                r = add_header(transfer, "Authorization", exchange->authorization);
        if (r >= 0 && transfer->client->incident)
                r = add_header(transfer, "Tallyboot-Incident", transfer->client->incident);
        if (r < 0)
                return r;
        return curl_to_errno(curl.easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers));
}

#define SET(option, value) (code = code ?: curl.easy_setopt(easy, option, value))

static CURLcode set_limits(struct transfer *transfer) {
        const struct http_client *client = transfer->client;
        CURL *easy = transfer->easy;
        CURLcode code = CURLE_OK;

        SET(CURLOPT_PROTOCOLS_STR, "https");
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        SET(CURLOPT_PROXY, "");
        SET(CURLOPT_NOPROXY, "*");
        SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
        SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_HTTP09_ALLOWED, 0L);
        SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_QUICK_EXIT, 1L); /* a resolver that hangs must not hold up the boot */
        SET(CURLOPT_TCP_NODELAY, 1L);
        SET(CURLOPT_MAXAGE_CONN, (long) IDLE_MAX);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long) client->connect_timeout_ms);
        if (is_stream(transfer->exchange)) {
                SET(CURLOPT_LOW_SPEED_LIMIT, (long) SLOW_BYTES);
                SET(CURLOPT_LOW_SPEED_TIME, (long) (client->timeout_ms + 999) / 1000);
        } else {
                SET(CURLOPT_TIMEOUT_MS, (long) client->timeout_ms);
        }
        return code;
}

static CURLcode set_tls(struct transfer *transfer) {
        CURL *easy = transfer->easy;
        CURLcode code = CURLE_OK;

        SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_SSL_VERIFYPEER, 1L);
        SET(CURLOPT_SSL_VERIFYHOST, 2L);
        SET(CURLOPT_CAINFO, NULL); /* not the distribution's: on_ssl_ctx() gives the only one */
        SET(CURLOPT_CAPATH, NULL);
        SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
        SET(CURLOPT_SSL_ENABLE_ALPN, 0L);
        SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
        SET(CURLOPT_SSL_CTX_DATA, transfer);
        return code;
}

static CURLcode set_request(struct transfer *transfer, const char *url) {
        const struct http_exchange *exchange = transfer->exchange;
        CURL *easy = transfer->easy;
        CURLcode code = CURLE_OK;

        SET(CURLOPT_URL, url);
        SET(CURLOPT_PRIVATE, transfer);
        SET(CURLOPT_ERRORBUFFER, transfer->curl_error);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, transfer);
        SET(CURLOPT_WRITEFUNCTION, on_body);
        SET(CURLOPT_WRITEDATA, transfer);
        if (!exchange->body && exchange->body_size > 0) {
                SET(CURLOPT_UPLOAD, 1L);
                SET(CURLOPT_READFUNCTION, on_upload);
                SET(CURLOPT_READDATA, transfer);
                SET(CURLOPT_SEEKFUNCTION, on_rewind);
                SET(CURLOPT_SEEKDATA, transfer);
                SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) exchange->body_size);
        } else if (exchange->body_size > 0 || strcmp(exchange->method, "GET") != 0) {
                SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) exchange->body_size);
                SET(CURLOPT_POSTFIELDS, exchange->body_size > 0 ? exchange->body : "");
        }
        SET(CURLOPT_CUSTOMREQUEST, exchange->method);
        return code;
}

#undef SET

static int check_exchange(const struct http_exchange *exchange) {
        static const char *const methods[] = { "GET", "POST", "PUT", "DELETE" };
        struct stat st;

        if (!exchange->servers || exchange->servers->n == 0 || !exchange->path || exchange->path[0] != '/' ||
            !is_clean(exchange->path) || strchr(exchange->path, ' '))
                return -EINVAL;
        if (!exchange->body && exchange->body_size > 0 &&
            (exchange->body_fd < 0 || fstat(exchange->body_fd, &st) < 0 || !S_ISREG(st.st_mode)))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (strcmp(exchange->method, methods[i]) == 0)
                        return 0;
        return -EINVAL;
}

static int start_upload(struct transfer *transfer) {
        const struct http_exchange *exchange = transfer->exchange;

        transfer->uploaded = 0;
        if (exchange->body || exchange->body_size == 0 || transfer->tried > 0)
                return 0;
        transfer->upload_start = lseek(exchange->body_fd, 0, SEEK_CUR);
        return transfer->upload_start < 0 ? -errno : 0;
}

int transfer_begin(struct transfer *transfer) {
        const struct http_exchange *exchange = transfer->exchange;
        char url[2048];
        CURLcode code;
        int r;

        r = check_exchange(exchange);
        if (r < 0)
                return r;
        r = snprintf(url, sizeof url, "%s%s", exchange->servers->urls[transfer->address], exchange->path);
        if (r < 0 || (size_t) r >= sizeof url)
                return -EINVAL;
        r = start_upload(transfer);
        if (r < 0)
                return r;

        buffer_done(&transfer->body);
        transfer->body = (struct buffer){};
        transfer->body_bytes = transfer->header_bytes = 0;
        transfer->stopped = 0;
        transfer->chunked = false;
        transfer->curl_error[0] = 0;

        curl.easy_reset(transfer->easy);
        code = set_limits(transfer);
        code = code ?: set_tls(transfer);
        code = code ?: set_request(transfer, url);
        return code ? curl_to_errno(code) : set_headers(transfer);
}

static int take_answer(struct transfer *transfer) {
        struct http_exchange *exchange = transfer->exchange;
        curl_off_t after = 0;

        buffer_u8(&transfer->body, 0);
        if (buffer_ok(&transfer->body) < 0)
                return -ENOMEM;
        free(exchange->answer.data);
        exchange->answer = (struct blob){ TAKE_PTR(transfer->body.data), transfer->body.size - 1 };
        transfer->body = (struct buffer){};

        exchange->status = (int) status_of(transfer);
        (void) curl.easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &after);
        exchange->retry_after = (unsigned) MIN(MAX(after, 0), RETRY_AFTER_MAX);
        return 0;
}

/* What says most about why nothing was reached: a wrong certificate more than a dead machine. */
static int rank(int error) {
        switch (error) {
        case 0:
                return 0;
        case -ENOLINK:
                return 1;
        case -ETIMEDOUT:
                return 2;
        case -EKEYREJECTED:
                return 4;
        default:
                return 3;
        }
}

static void describe(const struct transfer *transfer, CURLcode code, int error, char *ret, size_t size) {
        if (error == -EFBIG)
                snprintf(ret, size, "the answer is larger than allowed");
        else if (code == CURLE_OK && error == -EBADMSG)
                snprintf(ret, size, "the answer has no length: not from a tallyboot server");
        else if (transfer->stopped == 0)
                curl_describe(transfer, code, ret, size);
        else
                snprintf(ret, size, "given up: %s", strerrordesc_np(-error) ?: "unknown error");
}

static void note_failure(struct transfer *transfer, CURLcode code, int error) {
        struct http_exchange *exchange = transfer->exchange;
        size_t length = strlen(exchange->error);
        char words[256];

        describe(transfer, code, error, words, sizeof words);
        log_debug("%s: %s (curl %d: %s)", exchange->servers->urls[transfer->address], words, (int) code, transfer->curl_error);
        snprintf(exchange->error + length, sizeof exchange->error - length, "%s%s: %s", length > 0 ? "; " : "",
                 exchange->servers->urls[transfer->address], words);
        if (rank(error) > rank(exchange->result))
                exchange->result = error;
}

/* An answer that lasts until the connection ends could be cut by anybody on the network: curl does not insist on close_notify. */
static bool has_end(const struct transfer *transfer) {
        curl_off_t length = -1;

        (void) curl.easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        return length >= 0 || transfer->chunked || transfer->body_bytes == 0;
}

static int error_of(const struct transfer *transfer, CURLcode code) {
        if (transfer->stopped < 0)
                return transfer->stopped;
        if (curl_refused_us(transfer, code))
                return -EKEYREJECTED;
        /* how curl says that a line of the header is longer than it takes */
        if (code == CURLE_OUT_OF_MEMORY && transfer->header_bytes > 0)
                return -EFBIG;
        if (code == CURLE_OK && !has_end(transfer))
                return -EBADMSG;
        return curl_to_errno(code);
}

bool transfer_finished(struct transfer *transfer, CURLcode code) {
        struct http_exchange *exchange = transfer->exchange;
        struct http_server_list *servers = exchange->servers;
        int error = error_of(transfer, code);
        bool final = transfer->stopped < 0 && transfer->stopped != -EFBIG;

        error = error ?: take_answer(transfer);
        if (error == 0) {
                servers->current = transfer->address;
                exchange->result = 0;
                exchange->error[0] = 0;
                return transfer->done = true;
        }

        note_failure(transfer, code, error);
        transfer->tried++;
        transfer->address = (transfer->address + 1) % servers->n;
        if (exchange->sink && transfer->body_bytes > 0)
                final = true;
        if (final)
                exchange->result = error;
        return transfer->done = final || transfer->tried >= servers->n;
}

void transfer_cancel(struct transfer *transfer, int error) {
        if (transfer->done)
                return;
        transfer->done = true;
        transfer->exchange->result = error;
        snprintf(transfer->exchange->error, sizeof transfer->exchange->error, "given up: %s",
                 strerrordesc_np(-error) ?: "unknown error");
}

void transfer_done(struct transfer *transfer) {
        curl.slist_free_all(transfer->headers);
        buffer_done(&transfer->body);
}
