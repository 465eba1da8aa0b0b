/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The floor of an unlock: the same TPM commands, connections and keyslot, with nothing around them. What `tallyboot unlock
 * --test` needs more than this is ours.
 *
 *     bench-floor TCTI CA HOST PORT PORT VOLUME SLOT KEY-FILE */
#include <libcryptsetup.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "base/macro.h"

static void check(bool good, const char *what) {
        if (!good) {
                fprintf(stderr, "bench-floor: %s\n", what);
                exit(1);
        }
}

static ESYS_TR make_ak(ESYS_CONTEXT *esys) {
        static const TPM2B_SENSITIVE_CREATE sensitive = {};
        static const TPM2B_DATA outside = {};
        static const TPML_PCR_SELECTION none = {};
        TPM2B_PUBLIC template = { .publicArea = { .type = TPM2_ALG_ECC,
                                                  .nameAlg = TPM2_ALG_SHA256,
                                                  .objectAttributes = 0x00050472,
                                                  .parameters.eccDetail = {
                                                          .symmetric.algorithm = TPM2_ALG_NULL,
                                                          .scheme = { TPM2_ALG_ECDSA, { .ecdsa.hashAlg = TPM2_ALG_SHA256 } },
                                                          .curveID = TPM2_ECC_NIST_P256,
                                                          .kdf.scheme = TPM2_ALG_NULL } } };
        ESYS_TR ak;

        check(Esys_CreatePrimary(esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                                 &template, &outside, &none, &ak, NULL, NULL, NULL, NULL) == 0,
              "CreatePrimary");
        return ak;
}

static void quote(ESYS_CONTEXT *esys, ESYS_TR ak) {
        TPML_PCR_SELECTION selection = { .count = 1, .pcrSelections = { { TPM2_ALG_SHA256, 3, { 0xff, 0xfb, 0x00 } } } };
        TPM2B_DATA nonce = { .size = 32 };
        TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_NULL };
        TPM2B_ATTEST *attest;
        TPMT_SIGNATURE *signature;
        TPML_PCR_SELECTION *read;
        TPML_DIGEST *values;

        /* 15 values come in two reads of 8 and 7. */
        for (int i = 0; i < 2; i++) {
                TPML_PCR_SELECTION part = selection;

                part.pcrSelections[0].pcrSelect[1 - i] = 0;
                check(Esys_PCR_Read(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &part, NULL, &read, &values) == 0,
                      "PCR_Read");
                Esys_Free(read);
                Esys_Free(values);
        }
        check(Esys_Quote(esys, ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &nonce, &scheme, &selection, &attest,
                         &signature) == 0,
              "Quote");
        Esys_Free(attest);
        Esys_Free(signature);
}

static void close_gate(ESYS_CONTEXT *esys) {
        TPM2B_EVENT event = { .size = 4, .buffer = "gate" };
        TPML_DIGEST_VALUES *digests;

        check(Esys_PCR_Event(esys, ESYS_TR_PCR15, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &event, &digests) == 0,
              "PCR_Event");
        Esys_Free(digests);
}

static SSL *dial(SSL_CTX *context, const char *host, const char *port) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port)) };
        int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        SSL *ssl = SSL_new(context);

        check(inet_pton(AF_INET, host, &address.sin_addr) == 1 && connect(fd, (struct sockaddr *) &address, sizeof address) == 0,
              "connect");
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        check(ssl && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1, "TLS");
        return ssl;
}

static void request(SSL *ssl) {
        static const char text[] = "GET /v1/health HTTP/1.1\r\nHost: floor\r\nContent-Length: 0\r\n\r\n";
        char answer[4096];

        check(SSL_write(ssl, text, sizeof text - 1) > 0 && SSL_read(ssl, answer, sizeof answer) > 0, "request");
}

static void open_slot(const char *volume, int slot, const char *key_file) {
        struct crypt_device *device = NULL;
        char key[512];
        FILE *file = fopen(key_file, "re");
        size_t size = file ? fread(key, 1, sizeof key, file) : 0;

        check(size > 0, "key file");
        fclose(file);
        check(crypt_init(&device, volume) == 0 && crypt_load(device, CRYPT_LUKS2, NULL) == 0, "LUKS2 header");
        check(crypt_activate_by_passphrase(device, NULL, slot, key, size, 0) == slot, "keyslot");
        crypt_free(device);
}

int main(int argc, char *argv[]) {
        TSS2_TCTI_CONTEXT *tcti = NULL;
        ESYS_CONTEXT *esys = NULL;
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        ESYS_TR ak;

        check(argc == 9, "usage: bench-floor TCTI CA HOST PORT PORT VOLUME SLOT KEY-FILE");
        check(Tss2_TctiLdr_Initialize(argv[1], &tcti) == 0 && Esys_Initialize(&esys, tcti, NULL) == 0, "TPM");
        check(context && SSL_CTX_load_verify_file(context, argv[2]) == 1, "CA");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);

        ak = make_ak(esys);
        SSL *tenant = dial(context, argv[3], argv[4]), *verifier = dial(context, argv[3], argv[5]);
        request(tenant);
        request(verifier);
        quote(esys, ak);
        request(tenant);
        request(verifier);
        close_gate(esys);
        Esys_FlushContext(esys, ak);
        open_slot(argv[6], atoi(argv[7]), argv[8]);

        SSL_free(tenant);
        SSL_free(verifier);
        SSL_CTX_free(context);
        Esys_Finalize(&esys);
        Tss2_TctiLdr_Finalize(&tcti);
        return 0;
}
