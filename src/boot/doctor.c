/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "boot/doctor.h"
#include "boot/gate.h"
#include "boot/identity.h"
#include "boot/offline-blob.h"
#include "boot/token.h"
#include "boot/verbs.h"
#include "boot/volumes.h"

/* What would keep the next boot from working, each check on its own: one that fails does not end the others. */

void found(struct doctor *doctor, enum finding level, const char *what, const char *format, ...) {
        static const char *const names[] = { "ok", "warning", "problem" };
        char text[512], clean[512];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        text_sanitize(text, clean, sizeof clean);
        if (level == FOUND_PROBLEM)
                doctor->problems++;
        if (doctor->json)
                (void) json_array_append_new(doctor->json,
                                             json_pack("{s:s, s:s, s:s}", "level", names[level], "check", what, "text", clean));
        else
                printf("%-8s %-14s %s\n", names[level], what, clean);
}

static void check_clock(struct doctor *doctor) {
        struct stat st;
        int64_t now = (int64_t) (clock_realtime_ms() / 1000);

        if (stat(doctor->config->path, &st) >= 0 && now < st.st_mtime)
                found(doctor, FOUND_PROBLEM, "clock", "it is behind the time at which %s was written", doctor->config->path);
        else
                found(doctor, FOUND_OK, "clock", "not behind the configuration");
}

static void check_banks(struct doctor *doctor) {
        uint16_t banks[WIRE_BANKS_MAX];
        bool strong = false;
        char text[64] = "";
        size_t n = 0;

        if (tpm_active_banks(doctor->node->tpm, banks, &n) < 0) {
                found(doctor, FOUND_PROBLEM, "banks", "%s", tpm_last_error(doctor->node->tpm));
                return;
        }
        for (size_t i = 0; i < n; i++) {
                const char *name = pcr_alg_to_string(banks[i]);

                strong = strong || banks[i] == 0xb || banks[i] == 0xc;
                snprintf(text + strlen(text), sizeof text - strlen(text), " %s", name ? name : "?");
        }
        if (strong)
                found(doctor, FOUND_OK, "banks", "active:%s", text);
        else
                found(doctor, FOUND_PROBLEM, "banks",
                      "neither sha256 nor sha384 is active (only%s): switch one on in the firmware", text);
}

static void check_gate(struct doctor *doctor) {
        enum gate_state state;

        if (gate_read(doctor->node->tpm, doctor->config->gate_pcr, &state) < 0)
                found(doctor, FOUND_PROBLEM, "gate", "%s", tpm_last_error(doctor->node->tpm));
        else if (state == GATE_OPEN)
                found(doctor, FOUND_WARNING, "gate",
                      "PCR %u is zero: this boot did not close it; was this system booted with tallyboot in its initramfs?",
                      doctor->config->gate_pcr);
        else
                found(doctor, FOUND_OK, "gate", "PCR %u is closed for this boot", doctor->config->gate_pcr);
}

/* Nobody is asked for a PIN here, and a last try is not used up: what needs one is left open. */
static bool check_token_state(struct doctor *doctor) {
        const struct pkcs11_where where = { doctor->config->token_key, doctor->config->token_module, true };
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        struct pkcs11_pin pin = {};
        char error[320] = "";
        unsigned before = doctor->problems;

        if (pkcs11_open(&where, &pkcs11, error, sizeof error) < 0)
                found(doctor, FOUND_PROBLEM, "token", "%s", error);
        else if (pkcs11_pin(pkcs11, &pin) < 0)
                found(doctor, FOUND_PROBLEM, "token", "%s: %s", pkcs11_label(pkcs11), pkcs11_error(pkcs11));
        else if (pin.locked)
                found(doctor, FOUND_PROBLEM, "token", "the PIN of %s is locked: pkcs11-tool --init-pin", pkcs11_label(pkcs11));
        else if (pin.last)
                found(doctor, FOUND_PROBLEM, "token", "the PIN of %s has one try left; a right one, typed, gives them back",
                      pkcs11_label(pkcs11));
        else if (pin.low)
                found(doctor, FOUND_WARNING, "token", "a wrong PIN was given to %s", pkcs11_label(pkcs11));
        else
                found(doctor, FOUND_OK, "token", "%s is there", pkcs11_label(pkcs11));
        return doctor->problems == before;
}

static void check_token_key(struct doctor *doctor) {
        enum pin_kind kind = doctor->config->token_pin.kind;
        char why[256];

        if (!check_token_state(doctor) || kind == PIN_ASK || kind == PIN_KEYPAD)
                return; /* tallyboot evidence asks, and tries the key */
        doctor->node->waiting.run_dir = verb_run_dir();
        if (node_attach(doctor->node) < 0)
                found(doctor, FOUND_PROBLEM, "token-key", "%s", doctor->node->error);
        else if (token_check_key(doctor->node, why, sizeof why) < 0)
                found(doctor, FOUND_PROBLEM, "token-key", "%s", doctor->node->error);
        else if (why[0])
                found(doctor, FOUND_WARNING, "token-key", "%s, node id %s; %s", doctor->node->token->type, doctor->node->id, why);
        else
                found(doctor, FOUND_OK, "token-key", "%s, node id %s", doctor->node->token->type, doctor->node->id);
}

static void check_tpm(struct doctor *doctor) {
        char description[128] = "";
        struct tpm_state state;
        int r = node_attach(doctor->node);

        if (r < 0) {
                found(doctor, FOUND_PROBLEM, "tpm", "%s", doctor->node->error);
                return;
        }
        (void) tpm_describe(doctor->node->tpm, description, sizeof description);
        found(doctor, FOUND_OK, "tpm", "%s, node id %s", description, doctor->node->id);
        if (tpm_state(doctor->node->tpm, &state) >= 0 && state.in_lockout)
                found(doctor, FOUND_WARNING, "tpm",
                      "in dictionary-attack lockout: tallyboot needs nothing that this locks, others may; it ends by itself, or with "
                      "tpm2_dictionarylockout --clear-lockout");
        check_banks(doctor);
        check_gate(doctor);
}

/* Whose signature what the headers keep has to have: a node's id says it where the token is its identity, else only the
 * configuration. */
static void check_offline_key(struct doctor *doctor) {
        _cleanup_(offline_token_done) struct offline_token token = {};
        const struct config *config = doctor->config;
        bool unattended = config->token_pin.kind == PIN_FILE || config->token_pin.kind == PIN_CREDENTIAL;
        const char *unlock = unlock_choice_to_string(config->unlock);
        char hex[65] = "";

        if (doctor->node->token)
                hex_write(doctor->node->token->sha256, 32, hex);
        if (doctor->node->kind == NODE_TOKEN && config->token_key_sha256.n == 0)
                found(doctor, FOUND_WARNING, "offline",
                      "unlock = %s, and a token of somebody else's with a disk of his own boots, too: token-key-sha256 = %s",
                      unlock, hex[0] ? hex : "(tallyboot enroll prints it)");
        if (doctor->node->kind == NODE_TOKEN)
                return;
        doctor->node->waiting.run_dir = verb_run_dir();
        if (config->token_key && !unattended)
                found(doctor, config->token_key_sha256.n > 0 ? FOUND_OK : FOUND_PROBLEM, "offline",
                      config->token_key_sha256.n > 0
                              ? "unlock = %s; the token has to be one that token-key-sha256 names"
                              : "unlock = %s needs token-key-sha256 = where there is a TPM: tallyboot enroll --again prints it",
                      unlock);
        else if (offline_token_open(doctor->node, &token) < 0)
                found(doctor, FOUND_PROBLEM, "offline", "%s", doctor->node->error);
        else
                found(doctor, FOUND_OK, "offline", "unlock = %s; the token is one that token-key-sha256 names", unlock);
}

static void check_identity(struct doctor *doctor) {
        identity_look(doctor->node);
        if (doctor->node->kind == NODE_TPM)
                check_tpm(doctor);
        else
                check_token_key(doctor);
        if (doctor->config->unlock != UNLOCK_ONLINE)
                check_offline_key(doctor);
}

static void check_slots(struct doctor *doctor, const struct crypttab_entry *entry, const char *path) {
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        char error[256] = "";
        int r = luks_device_open(path, &device, error, sizeof error);

        if (r < 0)
                found(doctor, FOUND_WARNING, entry->name, "%s", error[0] ? error : strerror(-r));
        else if (luks_slots_other(device) == 0)
                found(doctor, FOUND_PROBLEM, entry->name,
                      "no other keyslot: without both services nobody can open it; cryptsetup luksAddKey, or systemd-cryptenroll --recovery-key");
        else
                found(doctor, FOUND_OK, entry->name, "another keyslot is there for a person");
}

static void check_token(struct doctor *doctor, const struct crypttab_entry *entry, const char *path) {
        _cleanup_(luks_device_freep) struct luks_device *device = NULL;
        char error[256] = "";
        int number;

        if (luks_device_open(path, &device, error, sizeof error) < 0)
                return;
        number = luks_token_malformed(device, error, sizeof error);
        if (number >= 0)
                found(doctor, FOUND_PROBLEM, entry->name,
                      "token %d says that it is tallyboot's, but %s: cryptsetup token remove --token-id %d %s, and tallyboot enroll %s",
                      number, error, number, path, path);
}

/* What the header keeps for the token, and what the configuration wants. Whether the token opens it a boot says: unlock
 * --test. */
static void check_offline(struct doctor *doctor, const struct crypttab_entry *entry, const char *path,
                          const struct luks_token *token) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        const char *unlock = unlock_choice_to_string(doctor->config->unlock);
        char uuid[LUKS_UUID_LENGTH + 1];
        uint32_t newest = 0;

        if (luks_offline_probe(path, uuid, &list) < 0)
                return;
        for (size_t i = 0; i < list.n; i++)
                if (strcmp(list.items[i].key_id, token->key_id) == 0)
                        newest = MAX(newest, list.items[i].generation);
        if (doctor->config->unlock == UNLOCK_ONLINE) {
                if (list.n + list.n_malformed > 0)
                        found(doctor, FOUND_WARNING, entry->name,
                              "the token opens it offline, though unlock = online: tallyboot enroll %s takes that away", path);
        } else if (list.n_malformed > 0)
                found(doctor, FOUND_PROBLEM, entry->name,
                      "what is kept for unlock = %s is malformed: tallyboot enroll --again %s", unlock, path);
        else if (newest == 0)
                found(doctor, FOUND_PROBLEM, entry->name, "nothing is kept for unlock = %s: tallyboot enroll %s", unlock, path);
        else if (newest < token->generation)
                found(doctor, FOUND_WARNING, entry->name,
                      "offline the token opens generation %u only, whose keyslot stays until a boot with halves and token, or tallyboot "
                      "enroll --again %s",
                      newest, path);
        else
                found(doctor, FOUND_OK, entry->name, "kept for the token too, generation %u", newest);
}

static bool check_volume(struct doctor *doctor, const struct crypttab_entry *entry) {
        const char *path = entry->header ? entry->header : entry->device;
        char uuid[LUKS_UUID_LENGTH + 1];
        struct luks_token token;

        if (entry->not_luks)
                return false;
        check_token(doctor, entry, path);
        if (luks_probe_token(path, uuid, &token) < 0)
                return false;
        if (doctor->node && doctor->node->has_id && strcmp(token.node_id, doctor->node->id) != 0)
                found(doctor, FOUND_PROBLEM, entry->name,
                      "its token is of node %s, another TPM's or token's: tallyboot enroll %s", token.node_id, path);
        else if (!token.live)
                found(doctor, FOUND_PROBLEM, entry->name, "its enrollment was not finished: tallyboot enroll %s", path);
        else
                found(doctor, FOUND_OK, entry->name, "enrolled, generation %u, keyslot %d", token.generation, token.slot);
        check_offline(doctor, entry, path, &token);
        check_slots(doctor, entry, path);
        return true;
}

static void check_volumes(struct doctor *doctor) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        size_t n = 0;

        if (crypttab_load_all(&crypttab) < 0) {
                found(doctor, FOUND_WARNING, "volumes", "/etc/crypttab cannot be read");
                return;
        }
        for (size_t i = 0; i < crypttab.n; i++)
                n += check_volume(doctor, crypttab.items + i);
        if (n == 0)
                found(doctor, doctor->config->payload ? FOUND_OK : FOUND_WARNING, "volumes",
                      "no volume of /etc/crypttab is enrolled");
}

static void check_all(struct doctor *doctor, bool offline) {
        int r;

        found(doctor, FOUND_OK, "configuration", "%s is understood", doctor->config->path);
        check_clock(doctor);
        doctor_check_ca(doctor);
        doctor_check_initramfs(doctor);
        r = node_new(doctor->config, NULL, &doctor->node);
        if (r < 0)
                found(doctor, FOUND_PROBLEM, "ca", "%s cannot be used: %s", doctor->config->ca, strerror(-r));
        else
                check_identity(doctor);
        check_volumes(doctor);
        if (doctor->node && !offline)
                doctor_check_services(doctor);
        doctor->node = node_free(doctor->node);
}

static int parse_options(int argc, char *argv[], bool *ret_json, bool *ret_offline) {
        for (int i = 1; i < argc; i++)
                if (strcmp(argv[i], "--json") == 0)
                        *ret_json = true;
                else if (strcmp(argv[i], "--offline") == 0)
                        *ret_offline = true;
                else
                        return -EINVAL;
        return 0;
}

int doctor_run(int argc, char *argv[]) {
        _cleanup_(config_freep) struct config *config = NULL;
        bool as_json = false, offline = false;
        struct doctor doctor = {};
        int r;

        if (parse_options(argc, argv, &as_json, &offline) < 0) {
                log_error("Usage: tallyboot doctor [--json] [--offline]");
                return EXIT_USAGE;
        }
        r = verb_load_config(&config);
        if (r != 0)
                return r;
        doctor.config = config;
        doctor.json = as_json ? json_array() : NULL;
        check_all(&doctor, offline);
        if (as_json) {
                (void) json_dumpf(doctor.json, stdout, JSON_INDENT(2));
                putchar('\n');
                json_decref(doctor.json);
        }
        return doctor.problems > 0 ? EXIT_FAILED : EXIT_OK;
}
