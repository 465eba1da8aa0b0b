/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench-evidence [ROUNDS]: microseconds of processor for a proven boot, step by step, each line "NAME MEDIAN LEAST" of ROUNDS
 * runs that take turns. "openssl" is the floor: one EVP_DigestVerify with a key that is there. The log is 50 KB, of a machine
 * with GRUB and a full dbx; the list 10,000 lines. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/credential.h"
#include "evidence/evidence-internal.h"
#include "evidence/facts.h"
#include "policy/policy.h"
#include "soft-log.h"
#include "soft-quote.h"

enum { LIST_LINES = 10000, LOG_SIZE = 50000, ROUNDS_MAX = 2000 };

struct subject {
        struct soft_ak ak;
        struct wire_evidence evidence;
        struct evidence_expected expected;
        EVP_PKEY *key;
        uint8_t der[80];
        size_t der_size;
        char *json;
        struct soft_log log, list;
        struct policy sets, rules, files;
        char *sets_text;
};

static void must(bool good, const char *what) {
        if (!good) {
                fprintf(stderr, "bench-evidence: %s\n", what);
                exit(1);
        }
}

static double now_us(void) {
        struct timespec now;

        must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0, "clock");
        return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

/* As on a machine of today: a dbx of 24 KB, certificates, GRUB's commands, boot variables. */
static void make_log(struct soft_log *log) {
        struct buffer certificates = {}, dbx = {}, variable = {};
        uint8_t der[1000] = "\x30\x82\x03\xe4", hash[32] = {};
        char command[200];

        soft_log_start(log);
        soft_log_text(log, 0, 8, "N\0E\0T\0");
        soft_log_variable(log, 0x80000001, 'g', "SecureBoot", "\1", 1);
        for (unsigned i = 0; i < 4; i++)
                soft_signature_list(&certificates, 'x', der, sizeof der);
        soft_log_variable(log, 0x80000001, 'g', "PK", certificates.data, 1044);
        soft_log_variable(log, 0x80000001, 'g', "KEK", certificates.data, 2088);
        soft_log_variable(log, 0x80000001, 's', "db", certificates.data, certificates.size);
        for (unsigned i = 0; i < 310; i++) {
                hash[0] = (uint8_t) i;
                hash[1] = (uint8_t) (i >> 8);
                soft_signature_list(&dbx, 'h', hash, sizeof hash);
        }
        soft_log_variable(log, 0x80000001, 's', "dbx", dbx.data, dbx.size);
        soft_log_separators(log);
        soft_log_variable(log, 0x800000e0, 's', "db", der, sizeof der);
        for (unsigned i = 0; i < 4; i++)
                soft_log_hashed(log, 4, 0x80000003, &i, sizeof i, hash, sizeof hash);
        while (log->bytes.size < LOG_SIZE) {
                snprintf(command, sizeof command, "grub_cmd: search --no-floppy --fs-uuid --set=root %zu", log->bytes.size);
                soft_log_hashed(log, 8, 13, command + 10, strlen(command + 10), command, strlen(command) + 1);
        }
        buffer_done(&certificates);
        buffer_done(&dbx);
        buffer_done(&variable);
}

static void make_list(struct soft_log *list) {
        uint8_t digest[32] = {};
        char path[100];

        soft_log_start_ima(list);
        for (unsigned i = 0; i < LIST_LINES; i++) {
                snprintf(path, sizeof path, "/usr/lib/x86_64-linux-gnu/some-program/library-%u.so.1", i);
                memcpy(digest, &i, sizeof i);
                soft_ima(list, false, i == 0 ? "boot_aggregate" : path, digest);
        }
}

/* The quote is of what the logs give. */
static void make_evidence(struct subject *subject) {
        struct soft_quote quote;
        struct pcr_bank *bank;

        soft_ak_new(&subject->ak);
        soft_evidence(&subject->evidence, &quote);
        bank = subject->evidence.pcrs.banks;
        memcpy(bank->values, subject->log.pcrs.banks[0].values, sizeof bank->values);
        memcpy(bank->values[10], subject->list.pcrs.banks[0].values[10], 32);
        for (unsigned pcr = 1; pcr < 7; pcr++)
                bank->values[pcr][0] |= 1;
        memset(bank->values[15], 0, 32);
        bank->mask |= 1U << 10;
        quote.selections[0].mask |= 1U << 10;
        soft_attest(&subject->ak, &quote, &subject->evidence);
        soft_sign(&subject->ak, &subject->evidence);
        subject->expected = (struct evidence_expected){
                .node_id = subject->ak.id, .ak_public = &subject->ak.public, .bank = 0xb, .pcrs = bank->mask, .gate = 15
        };
        subject->json = wire_evidence_encode(&subject->evidence);
        must(subject->json, "encoding");
}

/* Every file of the list, by its digest. */
static void make_files(struct subject *subject) {
        struct buffer text = {};
        char error[256];

        buffer_printf(&text, "%s\n[ima]\nrequire = yes\n", subject->sets_text);
        for (unsigned i = 1; i < LIST_LINES; i++)
                buffer_printf(&text, "digest = %02x%02x%060x\n", i & 0xff, i >> 8, 0);
        must(policy_parse((char *) text.data, text.size, &subject->files, error, sizeof error) == 0, error);
        buffer_done(&text);
}

static void make_policy(struct subject *subject) {
        static const char text[] = "[firmware]\nsecure-boot = on\n";
        char error[256];

        must(policy_capture(&subject->sets, "first", &subject->evidence.pcrs, 0xb, 15) == 0, "capture");
        subject->sets_text = policy_format(&subject->sets);
        must(subject->sets_text != NULL, "format");
        must(policy_parse(text, strlen(text), &subject->rules, error, sizeof error) == 0, error);
        make_files(subject);
}

static void make_floor(struct subject *subject) {
        struct ecdsa_signature signature;
        BIGNUM *r, *s;
        ECDSA_SIG *sig = ECDSA_SIG_new();
        uint8_t *p = subject->der;

        must(pubkey_from_tpmt(subject->ak.public.data, subject->ak.public.size, &subject->key) == 0, "key");
        must(signature_parse(subject->evidence.signature.data, subject->evidence.signature.size, &signature) == 0, "signature");
        r = BN_bin2bn(signature.r, 32, NULL);
        s = BN_bin2bn(signature.s, 32, NULL);
        must(sig && ECDSA_SIG_set0(sig, r, s) == 1, "signature");
        subject->der_size = (size_t) i2d_ECDSA_SIG(sig, &p);
        ECDSA_SIG_free(sig);
}

static void run_openssl(struct subject *subject) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();

        must(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, subject->key) == 1 &&
                     EVP_DigestVerify(context, subject->der, subject->der_size, subject->evidence.attest.data,
                                      subject->evidence.attest.size) == 1,
             "openssl");
        EVP_MD_CTX_free(context);
}

static void run_parse(struct subject *subject) {
        struct wire_evidence evidence;

        must(wire_evidence_parse(subject->json, strlen(subject->json), &evidence) == 0, "parse");
        wire_evidence_done(&evidence);
}

static void run_verify(struct subject *subject) {
        struct evidence_verdict verdict;

        must(evidence_verify(&subject->evidence, &subject->expected, &verdict) == 0 && verdict.fault == EVIDENCE_OK, "verify");
}

static void decide(const struct policy *policy, const struct policy_input *input) {
        struct policy_decision decision;

        must(policy_decide(policy, input, &decision) == 0, "decide");
        must(decision.allowed, decision.n_findings > 0 ? decision.findings[0].why : "not allowed");
        policy_decision_done(&decision);
}

static void run_policy(struct subject *subject) {
        struct policy policy;
        char error[256];

        must(policy_parse(subject->sets_text, strlen(subject->sets_text), &policy, error, sizeof error) == 0, error);
        policy_done(&policy);
}

static void run_sets(struct subject *subject) {
        run_verify(subject);
        decide(&subject->sets, &(struct policy_input){ .pcrs = &subject->evidence.pcrs, .bank = 0xb });
}

static void run_log(struct subject *subject) {
        struct boot_facts facts;
        char error[160];

        run_verify(subject);
        must(boot_facts_read(subject->log.bytes.data, subject->log.bytes.size, &subject->log.pcrs, 0xb, &facts, error,
                             sizeof error) == 0,
             "log");
        decide(&subject->rules, &(struct policy_input){ .pcrs = &subject->evidence.pcrs, .bank = 0xb, .facts = &facts });
        boot_facts_done(&facts);
}

static void run_list(struct subject *subject) {
        struct ima_state state = {};
        struct ima_facts facts;
        char error[160];

        must(ima_facts_read(subject->list.bytes.data, subject->list.bytes.size, &subject->evidence.pcrs, 0xb, &state, &facts,
                            error, sizeof error) == 0,
             "list");
        must(facts.n == LIST_LINES, "lines");
        decide(&subject->files,
               &(struct policy_input){
                       .pcrs = &subject->evidence.pcrs, .bank = 0xb, .ima = &facts, .ima_aggregate_right = true });
        ima_facts_done(&facts);
}

static int compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

int main(int argc, char *argv[]) {
        static const struct {
                const char *name;
                void (*run)(struct subject *);
                unsigned repeats; /* in one timing */
        } steps[] = { { "openssl", run_openssl, 16 }, { "verify", run_verify, 16 }, { "sets", run_sets, 16 },
                      { "log", run_log, 4 },          { "list", run_list, 1 },      { "json", run_parse, 16 },
                      { "policy", run_policy, 16 } };
        static double times[ELEMENTSOF(steps)][ROUNDS_MAX];
        struct subject subject = {};
        unsigned rounds = argc > 1 ? (unsigned) atoi(argv[1]) : 50;

        must(rounds > 0 && rounds <= ROUNDS_MAX, "rounds");
        make_log(&subject.log);
        make_list(&subject.list);
        make_evidence(&subject);
        make_policy(&subject);
        make_floor(&subject);
        for (unsigned round = 0; round < rounds; round++)
                for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                        double start = now_us();

                        for (unsigned k = 0; k < steps[i].repeats; k++)
                                steps[i].run(&subject);
                        times[i][round] = (now_us() - start) / steps[i].repeats;
                }
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                qsort(times[i], rounds, sizeof(double), compare);
                printf("%s %.1f %.1f\n", steps[i].name, times[i][rounds / 2], times[i][0]);
        }
        return 0;
}
