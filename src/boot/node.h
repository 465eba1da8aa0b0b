/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/config.h"
#include "tpm/tpm.h"

/* What proves who a node is: the AK of its TPM, or a key in a PKCS#11 token. A node has one of them, for good. */
enum node_kind { NODE_TPM, NODE_TOKEN };

struct node;

/* Whom a node asks and tells while it waits for a token. All of it may be left out: then there is one look, and nobody is
 * asked. */
struct node_waiting {
        const char *run_dir;  /* for notes of this boot; NULL: none are kept */
        uint64_t patience_ms; /* for a token to appear; 0: one look, UINT64_MAX: for ever */
        /* A PIN from a person. -ECANCELED: whatever is under way has to end; -ENODATA: the person wants to go without. Words for
         * any other failure in node->error. check: called now and then while the person thinks; what it returns ends the
         * question. */
        int (*ask)(struct node *node, const char *prompt, int (*check)(void *userdata), void *userdata, struct secret **ret);
        void (*say)(void *userdata, const char *text); /* one line; NULL: log_warning() */
        /* What else there is to do while a person is being waited for, about once a second; it ends soon when fd, the answer, is
         * readable. What it returns below 0 ends the waiting: -EALREADY: nobody is needed any more. */
        int (*meanwhile)(void *userdata, int fd);
        int (*answer)(void *userdata); /* cancel_fd is readable: 0 go on, -ECANCELED; NULL: -ECANCELED */
        void *userdata;
};

/* The node in one boot, or one run of a command: what it proves itself with, its NK, its connections, its incident id. */
struct node {
        struct config *config; /* not owned */
        char incident[17];
        enum node_kind kind; /* from identity_look() or identity_choose(); NODE_TPM until then */
        struct tpm *tpm;     /* NULL before node_attach(), and where nobody needs it any more */
        bool has_id;
        char id[NODE_ID_LENGTH + 1];
        struct blob ak_public; /* TPMT_PUBLIC */
        struct token *token;   /* boot/token.h; NULL before node_attach(), or after it was removed */
        struct http_client *http;
        struct keypair *nk; /* one per boot; node_wipe_nk() when the gate closes */
        int cancel_fd;      /* readable: whatever is under way ends with -ECANCELED; -1: none */
        struct node_waiting waiting;
        char error[512]; /* why the last node_*() or converse*() failed, in words for a person */
};

/* A new incident id unless one is given; connections are made when they are needed. */
int node_new(struct config *config, const char *incident, struct node **ret);
/* What the node proves itself with: id, and ak_public of the TPM, or the token. Errors of tpm.h or token_attach(); the words in
 * error. */
int node_attach(struct node *node);
/* SHA-256 of the public key by which a person knows the machine (a TPM's EK, a token's key), and the code of both. */
int node_digest(struct node *node, uint8_t ret_sha256[static 32], char ret_code[static CODE_LENGTH + 1]);
int node_make_nk(struct node *node);
void node_wipe_nk(struct node *node);
struct node *node_free(struct node *node);
DEFINE_CLEANUP(struct node *, node_free)
/* Sleeps until fd (-1: none) is readable or ms are over, answering. 1: fd, 0: time is over, -ECANCELED. */
int node_wait(struct node *node, int fd, uint64_t ms);
int node_meanwhile(struct node *node, int fd); /* waiting.meanwhile() */
void node_say(struct node *node, const char *format, ...) _printf_(2, 3);
