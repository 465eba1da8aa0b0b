/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "http/connection.h"

#define URI_PREFIX "urn:tallyboot:"

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

/* An URI of ours is printable ASCII; one with a NUL inside or too long is none. */
static bool copy_uri(const GENERAL_NAME *name, char *ret, size_t size) {
        const unsigned char *text;
        int length;

        if (name->type != GEN_URI)
                return false;
        text = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        length = ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (length < (int) strlen(URI_PREFIX) || (size_t) length >= size || memcmp(text, URI_PREFIX, strlen(URI_PREFIX)) != 0)
                return false;
        for (int i = 0; i < length; i++)
                if (text[i] <= 0x20 || text[i] > 0x7e)
                        return false;
        memcpy(ret, text, (size_t) length);
        ret[length] = 0;
        return true;
}

void server_tls_peer(SSL *ssl, struct http_peer *peer) {
        X509 *certificate = SSL_get0_peer_certificate(ssl);
        GENERAL_NAMES *names;

        peer->present = false;
        peer->uri[0] = 0;
        if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK)
                return;

        peer->present = true;
        names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
                if (copy_uri(sk_GENERAL_NAME_value(names, i), peer->uri, sizeof peer->uri))
                        break;
        GENERAL_NAMES_free(names);
}
