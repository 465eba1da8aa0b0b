/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Certificates for tests, made at run time: DIR/NAME.pem and DIR/NAME.key (0600), P-256. */
struct pki_spec {
        const char *name;
        const char *issuer; /* a name made before; NULL: a CA that signs itself */
        const char *san;    /* as in OpenSSL's configuration: "IP:127.0.0.1,URI:urn:..." or NULL */
        const char *usage;  /* extendedKeyUsage or NULL: both sides of TLS */
        long from, to;      /* seconds from now; both 0: since yesterday, for a year */
};
/* 0, or -1. */
int pki_make(const char *dir, const struct pki_spec *spec);
