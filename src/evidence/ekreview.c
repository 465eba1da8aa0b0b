/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "evidence/evidence-internal.h"

struct review {
        const struct ek_trust *trust;
        time_t now;
        ek_say say;
        void *userdata;
};

_printf_(2, 3) static void say(const struct review *review, const char *text, ...) {
        char line[512];
        va_list args;

        va_start(args, text);
        (void) vsnprintf(line, sizeof(line), text, args);
        va_end(args);
        review->say(line, review->userdata);
}

static bool issuer_is_there(const struct ek_trust *trust, X509 *certificate) {
        STACK_OF(X509) * stacks[] = { trust->roots, trust->intermediates };

        for (size_t s = 0; s < ELEMENTSOF(stacks); s++)
                for (int i = 0; i < sk_X509_num(stacks[s]); i++) {
                        X509 *issuer = sk_X509_value(stacks[s], i);
                        EVP_PKEY *key = X509_get0_pubkey(issuer);

                        if (issuer != certificate && X509_check_issued(issuer, certificate) == X509_V_OK && key &&
                            X509_verify(certificate, key) == 1)
                                return true;
                }
        return false;
}

static void review_certificate(const struct review *review, X509 *certificate, bool anchor) {
        const ASN1_TIME *until = X509_get0_notAfter(certificate);
        time_t now = review->now;
        char subject[128], issuer[128];

        ek_name_to_text(X509_get_subject_name(certificate), subject, sizeof(subject));
        ek_name_to_text(X509_get_issuer_name(certificate), issuer, sizeof(issuer));

        if (X509_cmp_time(until, &now) <= 0)
                say(review, "'%s' has expired: EK certificates below it are refused", subject);
        if (X509_check_ca(certificate) == 0)
                say(review, "'%s' is not the certificate of a CA: it certifies no TPM", subject);
        if (!anchor && !issuer_is_there(review->trust, certificate))
                say(review,
                    "'%s' leads nowhere: its issuer '%s' is missing, or is here with another key or serial number than it names",
                    subject, issuer);
}

static bool crl_issuer_is_there(const struct ek_trust *trust, const X509_CRL *crl) {
        STACK_OF(X509) * stacks[] = { trust->roots, trust->intermediates };

        for (size_t s = 0; s < ELEMENTSOF(stacks); s++)
                for (int i = 0; i < sk_X509_num(stacks[s]); i++)
                        if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(stacks[s], i)), X509_CRL_get_issuer(crl)) == 0)
                                return true;
        return false;
}

static void review_crl(const struct review *review, const X509_CRL *crl) {
        const ASN1_TIME *until = X509_CRL_get0_nextUpdate(crl);
        time_t now = review->now;
        char issuer[128];

        ek_name_to_text(X509_CRL_get_issuer(crl), issuer, sizeof(issuer));
        if (until && X509_cmp_time(until, &now) <= 0)
                say(review, "the CRL of '%s' is out of date, fetch a new one: %s", issuer,
                    review->trust->options.crls_required ? "EK certificates below it are refused until then"
                                                         : "what it revokes stays refused, what was revoked since is not known");
        if (!crl_issuer_is_there(review->trust, crl))
                say(review, "the CRL of '%s' is of no issuer in ek-roots", issuer);
}

void ek_trust_review(const struct ek_trust *trust, int64_t now, ek_say callback, void *userdata) {
        const struct review review = { trust, (time_t) now, callback, userdata };

        for (int i = 0; i < sk_X509_num(trust->roots); i++)
                review_certificate(&review, sk_X509_value(trust->roots, i), true);
        for (int i = 0; i < sk_X509_num(trust->intermediates); i++)
                review_certificate(&review, sk_X509_value(trust->intermediates, i), false);
        for (int i = 0; i < sk_X509_CRL_num(trust->crls); i++)
                review_crl(&review, sk_X509_CRL_value(trust->crls, i));
        ERR_clear_error();
}
