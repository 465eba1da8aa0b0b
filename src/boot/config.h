/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/crypto.h"
#include "http/client.h"
#include "pkcs11/wrap.h"

/* The node's configuration: /etc/tallyboot/tallyboot.conf, section [node], the same file in the running system and in the
 * initramfs, the same for a whole fleet. A machine without the file is not ours: every unit is inert there.
 * docs/man/tallyboot.conf.5.scd. */
#define CONFIG_PATH "/etc/tallyboot/tallyboot.conf"
#define RUN_DIR "/run/tallyboot"
#define BUILD_TIME_PATH "/etc/tallyboot/build-time" /* in the initramfs: seconds since 1970, written by the dracut module */

enum payload_action { PAYLOAD_CONTINUE, PAYLOAD_POWEROFF, PAYLOAD_EMERGENCY };
enum evidence_choice { EVIDENCE_AUTO, EVIDENCE_TPM, EVIDENCE_TOKEN };
enum unlock_choice { UNLOCK_ONLINE, UNLOCK_OFFLINE, UNLOCK_ONLINE_THEN_OFFLINE };
enum pin_kind { PIN_ASK, PIN_FILE, PIN_CREDENTIAL, PIN_KEYPAD };

/* Where a token's PIN comes from. */
struct pin_source {
        enum pin_kind kind;
        char *value; /* PIN_FILE: a path, PIN_CREDENTIAL: a name; else NULL */
};

struct digests {
        uint8_t (*items)[32];
        size_t n;
};

struct config {
        char *path;
        struct http_server_list registrar;  /* n 0: not given; needed by register and enroll only */
        struct http_server_list parties[2]; /* by enum party; both are required */
        char *ca;                           /* file with the fleet's CA, PEM */
        char *tpm;                          /* TCTI string */
        char *securityfs;                   /* directory with the kernel's logs of measurements */
        unsigned gate_pcr;                  /* 8 to 15, not 10 */
        bool any_gate;                      /* nobody knows which PCR it is: config_unusable() */
        uint64_t prompt_after;              /* s */
        uint64_t tpm_timeout;               /* s to wait for the TPM to appear */
        uint64_t network_timeout;           /* s until the unlocker gives up; 0: never */
        uint64_t connect_timeout;           /* s for one address */
        uint64_t exchange_timeout;          /* s for one request and its answer */
        bool payload;                       /* this image waits for a payload */
        uint64_t payload_after;             /* s, 0: for ever */
        uint64_t payload_size;              /* MiB, limit of the payload's tmpfs */
        enum payload_action payload_action;
        bool root;        /* the root is one of our volumes (invariant 13) */
        bool hibernation; /* resuming from disk is allowed, the gate closed first */

        /* Machines without a TPM. */
        enum evidence_choice evidence;
        char *token_key;                 /* PKCS#11 URI of the key that signs evidence, or NULL */
        struct digests token_key_sha256; /* of the public halves (SubjectPublicKeyInfo) that token_key may have; n 0: not said */
        char *token_module;              /* path of the module, or NULL: what the URI or p11-kit's configuration says */
        struct pin_source token_pin;
        uint64_t token_timeout; /* s to wait for a token at boot; 0: for ever */
        bool token_key_shared;  /* a signing key that has other uses too is taken */
        enum unlock_choice unlock;
        uint64_t offline_after;                /* s of online-then-offline */
        char *offline_key, *offline_mac_key;   /* PKCS#11 URIs, or NULL */
        enum wrap_mechanism offline_mechanism; /* 0: by the type of the key */

        int64_t not_before; /* s since 1970: a clock behind that is taken to be that; 0: off */
};

/* Pure. error: "LINE: what is wrong", as ini_parse(). -EBADMSG, -ENOMEM. */
int config_parse(const char *text, size_t size, struct config **ret, char *error, size_t error_size);
/* Reads and checks; refuses a gate PCR that /etc/crypttab's tpm2-measure-pcr= uses too. -ENOENT: not configured, -EBADMSG with
 * error. */
int config_load(const char *path, struct config **ret, char *error, size_t error_size);
/* What a boot goes on with, by passphrase, where config_load() fails: the defaults, and the file's TPM if it can be found in it.
 * The gate may be any PCR that can be one. */
int config_unusable(const char *path, struct config **ret);
struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free)
/* The path of TCTI "device:PATH", NULL for any other. */
const char *config_tpm_device(const struct config *config);
/* As in the file: "online" and so on. */
const char *unlock_choice_to_string(enum unlock_choice choice);
