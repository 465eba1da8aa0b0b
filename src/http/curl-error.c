/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "http/transfer.h"

/* With TLS 1.3 a server's "no" to our certificate comes as an alert at the first read. */
bool curl_refused_us(const struct transfer *transfer, CURLcode code) {
        static const char *const alerts[] = { "alert certificate", "alert bad certificate", "alert unknown ca",
                                              "alert unsupported certificate", "alert access denied" };

        if (code != CURLE_RECV_ERROR && code != CURLE_SEND_ERROR && code != CURLE_SSL_CONNECT_ERROR)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(alerts); i++)
                if (strstr(transfer->curl_error, alerts[i]))
                        return true;
        return false;
}

int curl_to_errno(CURLcode code) {
        switch (code) {
        case CURLE_OK:
                return 0;
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_INVALIDCERTSTATUS:
        case CURLE_SSL_ISSUER_ERROR:
                return -EKEYREJECTED;
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 and the like */
        case CURLE_BAD_CONTENT_ENCODING:
        case CURLE_HTTP2:
                return -EBADMSG;
        case CURLE_FILESIZE_EXCEEDED:
                return -EFBIG;
        case CURLE_BAD_FUNCTION_ARGUMENT:
        case CURLE_URL_MALFORMAT:
                return -EINVAL;
        default: /* names, connections, handshakes, answers that break off: the network's fault until shown otherwise */
                return -ENOLINK;
        }
}

static const char *certificate_fault(long result) {
        switch (result) {
        case X509_V_OK:
        case X509_V_ERR_UNSPECIFIED: /* curl compares the name first and leaves its own mark */
                return "the certificate is for another name: use an address that the certificate names, or issue a new one";
        case X509_V_ERR_CERT_HAS_EXPIRED:
                return "the certificate has expired: renew it, or set this machine's clock";
        case X509_V_ERR_CERT_NOT_YET_VALID:
                return "the certificate is not valid yet: this machine's clock is behind";
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE:
                return "the certificate is not from the configured CA: wrong server, or wrong CA file";
        case X509_V_ERR_APPLICATION_VERIFICATION:
                return "the certificate is another service's: check the address, and the certificate's subjectAltName URI";
        default:
                return X509_verify_cert_error_string(result);
        }
}

static void describe_certificate(const struct transfer *transfer, char *ret, size_t size) {
        long result = X509_V_OK;
        char now[21] = "";

        (void) curl.easy_getinfo(transfer->easy, CURLINFO_SSL_VERIFYRESULT, &result);
        if (result == X509_V_ERR_CERT_HAS_EXPIRED || result == X509_V_ERR_CERT_NOT_YET_VALID)
                clock_format(clock_realtime_ms(), now);
        snprintf(ret, size, "%s%s%s", certificate_fault(result), now[0] ? ", which says " : "", now);
}

static void describe_connection(const struct transfer *transfer, char *ret, size_t size) {
        long error = 0;

        (void) curl.easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &error);
        snprintf(ret, size, "no connection (%s): is the server running, is the port right?",
                 error > 0 ? strerrordesc_np((int) error) : "no answer");
}

static void describe_timeout(const struct transfer *transfer, char *ret, size_t size) {
        curl_off_t resolved = 0, connected = 0;
        long made = 0;

        (void) curl.easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
        (void) curl.easy_getinfo(transfer->easy, CURLINFO_APPCONNECT_TIME_T, &connected);
        (void) curl.easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &made); /* none: a kept one was used */
        if (resolved == 0)                                                      /* a kept connection has a time here too */
                snprintf(ret, size, "no answer about its name in time (%u ms): the DNS server is down, or another one is meant",
                         transfer->client->connect_timeout_ms);
        else if (connected > 0 || made == 0)
                snprintf(ret, size, "connected, but no whole answer in time (%u ms)", transfer->client->timeout_ms);
        else
                snprintf(ret, size, "no connection in time (%u ms): network, firewall or server down",
                         transfer->client->connect_timeout_ms);
}

void curl_describe(const struct transfer *transfer, CURLcode code, char *ret, size_t size) {
        if (curl_refused_us(transfer, code)) {
                snprintf(ret, size, "the server refused our certificate: expired, or not from the CA that it trusts (%s)",
                         transfer->curl_error);
                return;
        }
        switch (code) {
        case CURLE_PEER_FAILED_VERIFICATION:
                describe_certificate(transfer, ret, size);
                break;
        case CURLE_COULDNT_RESOLVE_HOST:
                snprintf(ret, size, "the name is not known: check the address and the DNS server");
                break;
        case CURLE_COULDNT_CONNECT:
                describe_connection(transfer, ret, size);
                break;
        case CURLE_OPERATION_TIMEDOUT:
                describe_timeout(transfer, ret, size);
                break;
        case CURLE_SSL_CONNECT_ERROR:
                snprintf(ret, size, "no TLS: is this a tallyboot server? (%s)", transfer->curl_error);
                break;
        case CURLE_GOT_NOTHING:
        case CURLE_PARTIAL_FILE:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
                snprintf(ret, size, "the connection broke before the answer was whole (%s)",
                         transfer->curl_error[0] ? transfer->curl_error : curl.easy_strerror(code));
                break;
        default:
                snprintf(ret, size, "%s", transfer->curl_error[0] ? transfer->curl_error : curl.easy_strerror(code));
        }
}
