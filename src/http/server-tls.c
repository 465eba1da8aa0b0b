/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "http/connection.h"

static void ctx_freep(SSL_CTX **ctx) {
        SSL_CTX_free(*ctx);
}

static const char *explain(int r) {
        switch (r) {
        case -EPERM:
                return "group or others can read it; chmod 600";
        case -EBADMSG:
                return "not PEM, or not what it should hold";
        case -EKEYREJECTED:
                return "the key does not belong to the certificate";
        default:
                return strerrordesc_np(-r) ?: "unknown error";
        }
}

static int load_identity(const struct http_server_options *options, SSL_CTX *ctx, char *error, size_t error_size) {
        _cleanup_(tls_identity_done) struct tls_identity identity = {};
        int r;

        r = tls_identity_load(options->certificate_file, options->key_file, &identity);
        if (r >= 0)
                r = tls_identity_use(&identity, ctx);
        if (r < 0)
                snprintf(error, error_size, "%s, %s: %s", options->certificate_file, options->key_file, explain(r));
        return r;
}

/* A client may come without a certificate; one that it shows must be good (chain, dates, key usage), or the handshake fails. */
static int load_client_ca(const char *file, SSL_CTX *ctx, char *error, size_t error_size) {
        STACK_OF(X509_NAME) *names = NULL;
        X509_STORE *store = NULL;
        int r;

        r = tls_store_load(file, &store, &names);
        if (r < 0) {
                snprintf(error, error_size, "%s: %s", file, explain(r));
                return r;
        }
        SSL_CTX_set_cert_store(ctx, store);
        SSL_CTX_set_client_CA_list(ctx, names);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        return 0;
}

int server_tls_load(const struct http_server_options *options, SSL_CTX **ret, char *error, size_t error_size) {
        _cleanup_(ctx_freep) SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        int r;

        if (!ctx || tls_ctx_harden(ctx) < 0) {
                snprintf(error, error_size, "TLS cannot be set up");
                return tls_error(-ENOMEM, "SSL_CTX_new");
        }
        SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_num_tickets(ctx, 0);

        r = load_identity(options, ctx, error, error_size);
        if (r >= 0 && options->client_ca_file)
                r = load_client_ca(options->client_ca_file, ctx, error, error_size);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(ctx);
        return 0;
}

void server_tls_peer(SSL *ssl, struct http_peer *peer) {
        X509 *certificate = SSL_get0_peer_certificate(ssl);

        peer->present = false;
        peer->uri[0] = 0;
        if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK)
                return;

        peer->present = true;
        if (tls_certificate_uri(certificate, peer->uri, sizeof peer->uri) < 0)
                peer->uri[0] = 0;
}

bool server_tls_vouches(SSL_CTX *ctx, SSL *ssl) {
        X509_STORE_CTX *check = X509_STORE_CTX_new();
        bool good;

        /* as in the handshake: chain, dates, key usage of a client */
        good = check &&
               X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(ctx), SSL_get0_peer_certificate(ssl),
                                   SSL_get_peer_cert_chain(ssl)) == 1 &&
               X509_STORE_CTX_set_default(check, "ssl_client") == 1 && X509_verify_cert(check) == 1;
        X509_STORE_CTX_free(check);
        (void) tls_error(0, "client certificate");
        return good;
}
