/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/master-tpm.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "keystore/bootkey.h"

static const char magic[8] = "tbtpm1";

enum { NAME_SIZE = 200, SECRET_SIZE = 32, UNSEAL_TRIES = 10, UNSEAL_PAUSE_MS = 250 };

static int no_keyring(int r, char *error, size_t error_size) {
        if (r == -EOPNOTSUPP)
                (void) snprintf(
                        error, error_size,
                        "the kernel's keyring cannot be used here (add_key and keyctl: does a container forbid them?); the "
                        "TPM's secret would be lost with this process, so a master key in the TPM is not possible");
        else
                (void) snprintf(error, error_size, "the kernel's keyring cannot be used: %s", strerror(-r));
        return r;
}

/* The salt names the master: it stays when the secret is sealed anew. */
static int secret_name(const uint8_t salt[static MASTER_TPM_SALT], char ret[static NAME_SIZE]) {
        uint8_t digest[SHA256_SIZE];
        char hex[33];
        int r;

        r = fields_sha256(FIELDS(field_text("tallyboot keystore tpm v1"), field_bytes(salt, MASTER_TPM_SALT)), digest);
        if (r < 0)
                return r;
        hex_write(digest, 16, hex);
        (void) snprintf(ret, NAME_SIZE, "tallyboot-keystore:%s", hex);
        return 0;
}

/* Left where it was us who closed a gate that was zero: what is sealed later in this boot needs to know. */
static void gate_name(const struct keystore_options *options, unsigned gate, char ret[static NAME_SIZE]) {
        (void) snprintf(ret, NAME_SIZE, "tallyboot-keystore-gate:%u:%.150s", gate, options->tpm);
}

static int gate_close(struct tpm *tpm, const struct keystore_options *options, unsigned gate, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *note = NULL;
        char name[NAME_SIZE];
        uint32_t zero;
        int r;

        gate_name(options, gate, name);
        r = tpm_seal_gates_open(tpm, &zero);
        if (r >= 0 && zero & UINT32_C(1) << gate && secret_new(1, &note) >= 0)
                (void) bootkey_put(name, note);
        if (r >= 0)
                r = tpm_seal_gate_close(tpm, gate);
        if (r < 0)
                (void) snprintf(error, error_size, "the gate, PCR %u of this machine's TPM, cannot be closed: %s", gate,
                                tpm_last_error(tpm));
        return r;
}

static int open_tpm(const struct keystore_options *options, struct tpm **ret, char *error, size_t error_size) {
        int r = tpm_open(options->tpm, ret);

        if (r < 0)
                (void) snprintf(error, error_size, "the TPM of this machine cannot be used: %s", tpm_last_error(NULL));
        return r;
}

int master_tpm_parse(const struct blob *parameters, struct master_tpm *ret) {
        struct reader reader = { .data = parameters->data, .left = parameters->size };
        struct master_tpm found = {};
        const uint8_t *start;
        int r;

        r = reader_bytes(&reader, sizeof(magic), &start);
        if (r < 0 || memcmp(start, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        r = reader_copy(&reader, found.salt, sizeof(found.salt));
        if (r < 0)
                return r;
        r = tpm_sealed_read(reader.data, reader.left, &found.seal);
        if (r < 0)
                return r;

        found.sealed = reader.data;
        found.sealed_size = reader.left;
        *ret = found;
        return 0;
}

static int parse(const struct blob *parameters, struct master_tpm *ret, char name[static NAME_SIZE], char *error,
                 size_t error_size) {
        int r = master_tpm_parse(parameters, ret);

        if (r < 0)
                (void) snprintf(error, error_size, "the sealed master key in the database is damaged, or was changed");
        return r < 0 ? r : secret_name(ret->salt, name);
}

static int derive(const char *party, const uint8_t salt[static MASTER_TPM_SALT], const struct secret *secret,
                  struct secret **ret) {
        _cleanup_(blob_done) struct blob info = {};
        int r;

        r = fields_encode(FIELDS(field_text("tallyboot keystore v1"), field_text(party), field_text("master"), field_text("tpm")),
                          &info);
        return r < 0 ? r : hkdf_sha256(secret, salt, MASTER_TPM_SALT, info.data, info.size, SECRET_SIZE, ret);
}

/* A gate that is not zero at every start would never open: shim, for example, measures its lists into PCR 14. */
static int gate_check(struct tpm *tpm, const struct keystore_options *options, char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *note = NULL;
        char name[NAME_SIZE], others[64] = "";
        uint32_t zero;
        int n = 0, r;

        r = tpm_seal_gates_open(tpm, &zero);
        if (r < 0) {
                (void) snprintf(error, error_size, "the TPM: %s", tpm_last_error(tpm));
                return r;
        }
        gate_name(options, options->gate_pcr, name);
        if (zero & UINT32_C(1) << options->gate_pcr || bootkey_get(name, &note) >= 0)
                return 0;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (zero & UINT32_C(1) << pcr)
                        n += snprintf(others + n, sizeof(others) - (size_t) n, " %u", pcr);
        (void) snprintf(
                error, error_size,
                "PCR %u is not zero, and it was no keystore that extended it: firmware, boot loader or a tallyboot node use it. "
                "Say gate-pcr = N in section [keystore]; zero are now:%s",
                options->gate_pcr, n > 0 ? others : " none");
        return -EBUSY;
}

static int write_parameters(const uint8_t salt[static MASTER_TPM_SALT], const struct blob *sealed, struct blob *ret) {
        _cleanup_(buffer_done) struct buffer buffer = {};
        int r;

        buffer_append(&buffer, magic, sizeof(magic));
        buffer_append(&buffer, salt, MASTER_TPM_SALT);
        buffer_append(&buffer, sealed->data, sealed->size);
        r = buffer_ok(&buffer);
        if (r < 0)
                return r;
        *ret = (struct blob){ .data = TAKE_PTR(buffer.data), .size = buffer.size };
        return 0;
}

/* Seals, tries it where the gate is still open, and closes the gate: the secret is in the keyring, nobody needs it from the TPM
 * again before the next start. */
static int seal(const struct keystore_options *options, const struct secret *secret, bool gate_known, struct blob *ret,
                char *error, size_t error_size) {
        const struct tpm_seal how = { .mask = options->pcrs, .gate = options->gate_pcr };
        _cleanup_(secret_freep) struct secret *again = NULL;
        _cleanup_(blob_done) struct blob sealed = {};
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        int r;

        r = open_tpm(options, &tpm, error, error_size);
        if (r >= 0 && !gate_known)
                r = gate_check(tpm, options, error, error_size);
        if (r < 0)
                return r;

        r = tpm_seal(tpm, &how, secret, &sealed);
        if (r >= 0) {
                r = tpm_unseal(tpm, sealed.data, sealed.size, &again);
                r = r == -EALREADY ? 0 : r < 0 ? r : secret_equal(secret, again) ? 0 : -EIO;
        }
        if (r < 0) {
                (void) snprintf(error, error_size, "the TPM of this machine does not seal: %s", tpm_last_error(tpm));
                return r;
        }
        r = gate_close(tpm, options, how.gate, error, error_size);
        if (r < 0)
                return r;

        *ret = sealed;
        sealed = (struct blob){};
        return 0;
}

static int create(const struct keystore_options *options, _unused_ const char *party, struct blob *ret_parameters, char *error,
                  size_t error_size) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(blob_done) struct blob sealed = {};
        uint8_t salt[MASTER_TPM_SALT];
        char name[NAME_SIZE];
        int r;

        r = secret_random(SECRET_SIZE, &secret);
        if (r >= 0)
                r = random_bytes(salt, sizeof(salt));
        if (r >= 0)
                r = secret_name(salt, name);
        if (r < 0)
                return r;

        r = bootkey_put(name, secret);
        if (r < 0)
                return no_keyring(r, error, error_size);
        r = seal(options, secret, false, &sealed, error, error_size);
        if (r >= 0)
                r = write_parameters(salt, &sealed, ret_parameters);
        if (r < 0)
                (void) bootkey_drop(name);
        return r;
}

static int unseal_failed(int r, const struct tpm *tpm, char *error, size_t error_size) {
        if (r == -EALREADY)
                (void) snprintf(error, error_size,
                                "%s, and the kernel's keyring has it no more (kexec?): switch the machine off and on, or say "
                                "\"tallyctl keystore recover\"",
                                tpm_last_error(tpm));
        else if (r == -EACCES || r == -EKEYREJECTED)
                (void) snprintf(
                        error, error_size,
                        "the TPM does not give the master key: %s. If you know why: \"tallyctl keystore recover\" with the "
                        "recovery phrase",
                        tpm_last_error(tpm));
        else
                (void) snprintf(error, error_size, "the TPM does not give the master key: %s", tpm_last_error(tpm));
        return r;
}

/* The keyring has it before the gate is closed: killed in between, it is there for the next one, or the gate is still open. */
static int unseal(const struct keystore_options *options, const struct master_tpm *found, const char *name, struct secret **ret,
                  char *error, size_t error_size) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        int r;

        r = open_tpm(options, &tpm, error, error_size);
        if (r < 0)
                return r;
        r = tpm_unseal(tpm, found->sealed, found->sealed_size, &secret);
        if (r < 0 && bootkey_get(name, ret) >= 0)
                return 0; /* another process was faster */
        if (r < 0)
                return unseal_failed(r, tpm, error, error_size);

        r = bootkey_put(name, secret);
        if (r < 0)
                return no_keyring(r, error, error_size);
        r = gate_close(tpm, options, found->seal.gate, error, error_size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(secret);
        return 0;
}

/* Somebody was killed between the keyring and the gate. A TPM that does not answer is no reason not to serve. */
static int close_again(const struct keystore_options *options, unsigned gate, char *error, size_t error_size) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        int r;

        r = tpm_open(options->tpm, &tpm);
        if (r < 0) {
                log_debug_errno(r, "Keystore: the gate was not looked at: %s", tpm_last_error(NULL));
                return 0;
        }
        return gate_close(tpm, options, gate, error, error_size);
}

/* Of the keyring, else of the TPM. Without a resource manager the processes of one service are in each other's way there: the
 * slower one finds in the keyring what the other one got. */
static int secret_get(const struct keystore_options *options, const struct master_tpm *found, const char *name,
                      struct secret **ret, char *error, size_t error_size) {
        int r = -EBUSY;

        for (unsigned i = 0; i < UNSEAL_TRIES && (r == -EBUSY || r == -ENOMEM || r == -EIO); i++) {
                if (i > 0)
                        sleep_ms(UNSEAL_PAUSE_MS);
                error[0] = '\0';
                r = bootkey_get(name, ret);
                if (r >= 0)
                        return close_again(options, found->seal.gate, error, error_size);
                if (r != -ENOENT)
                        return no_keyring(r, error, error_size);
                r = unseal(options, found, name, ret, error, error_size);
        }
        return r;
}

static int open_master(struct master *master, const struct keystore_options *options,
                       _unused_ const struct keystore_source *source, const struct blob *parameters, char *error,
                       size_t error_size) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        struct master_tpm found;
        char name[NAME_SIZE];
        int r;

        if (parameters->size == 0) {
                (void) snprintf(error, error_size,
                                "this database has no master key in a TPM yet: \"tallyctl keystore init\" makes one");
                return -ENOKEY;
        }
        r = parse(parameters, &found, name, error, error_size);
        if (r < 0)
                return r;

        r = secret_get(options, &found, name, &secret, error, error_size);
        if (r < 0)
                return r;
        return derive(master->party, found.salt, secret, &master->secret);
}

int master_tpm_secret(const struct blob *parameters, struct secret **ret) {
        struct master_tpm found;
        char name[NAME_SIZE];
        int r;

        r = master_tpm_parse(parameters, &found);
        if (r >= 0)
                r = secret_name(found.salt, name);
        return r < 0 ? r : bootkey_get(name, ret);
}

int master_tpm_remember(const struct blob *parameters, const struct secret *secret, char *error, size_t error_size) {
        struct master_tpm found;
        char name[NAME_SIZE];
        int r;

        r = parse(parameters, &found, name, error, error_size);
        if (r < 0)
                return r;
        r = bootkey_put(name, secret);
        return r < 0 ? no_keyring(r, error, error_size) : 0;
}

void master_tpm_forget(const struct blob *parameters) {
        struct master_tpm found;
        char name[NAME_SIZE];

        if (master_tpm_parse(parameters, &found) >= 0 && secret_name(found.salt, name) >= 0)
                (void) bootkey_drop(name);
}

int master_tpm_reseal(const struct keystore_options *options, const struct blob *parameters, struct blob *ret, char *error,
                      size_t error_size) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(blob_done) struct blob sealed = {};
        struct master_tpm found;
        char name[NAME_SIZE];
        int r;

        r = parse(parameters, &found, name, error, error_size);
        if (r < 0)
                return r;
        r = bootkey_get(name, &secret);
        if (r < 0)
                return no_keyring(r, error, error_size);
        /* the gate that it had was zero at a start: after a kexec nobody knows any more that it was us who closed it */
        r = seal(options, secret, options->gate_pcr == found.seal.gate, &sealed, error, error_size);
        return r < 0 ? r : write_parameters(found.salt, &sealed, ret);
}

const struct master_ops master_tpm = { .name = "tpm", .create = create, .open = open_master };
