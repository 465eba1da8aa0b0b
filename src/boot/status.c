/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "boot/notes.h"
#include "boot/verbs.h"
#include "boot/volumes.h"

/* What the run directory says about this boot, and what the volumes' tokens say about the enrollment. No TPM, no network. */

static const char *describe_boot(void) {
        if (note_exists(verb_run_dir(), "passphrase"))
                return "passphrase";
        if (note_exists(verb_run_dir(), "halves")) {
                _cleanup_(freep) char *how = note_read(verb_run_dir(), "halves");

                return how && strncmp(how, "offline", 7) == 0 ? "offline" : "halves";
        }
        return note_exists(verb_run_dir(), "incident") ? "no halves" : "not by tallyboot";
}

static json_t *opened_json(void) {
        _cleanup_(freep) struct opened *list = NULL;
        json_t *array = json_array();
        size_t n = 0;

        if (opened_list(verb_run_dir(), &list, &n) < 0)
                return array;
        for (size_t i = 0; i < n; i++)
                (void) json_array_append_new(array, json_pack("{s:s, s:s, s:s}", "name", list[i].name, "uuid", list[i].uuid,
                                                              "role", list[i].root ? "root" : "other"));
        return array;
}

/* The newest generation of the key that the token opens without servers; 0: none. */
static json_int_t find_offline(const char *device, const char *key_id) {
        _cleanup_(luks_offline_list_done) struct luks_offline_list list = {};
        char uuid[LUKS_UUID_LENGTH + 1];
        uint32_t generation = 0;

        if (luks_offline_probe(device, uuid, &list) < 0)
                return 0;
        for (size_t i = 0; i < list.n; i++)
                if (strcmp(list.items[i].key_id, key_id) == 0)
                        generation = MAX(generation, list.items[i].generation);
        return generation;
}

static json_t *enrolled_json(void) {
        _cleanup_(crypttab_done) struct crypttab crypttab = {};
        json_t *array = json_array();

        if (crypttab_load_all(&crypttab) < 0)
                return array;
        for (size_t i = 0; i < crypttab.n; i++) {
                const struct crypttab_entry *entry = crypttab.items + i;
                const char *device = entry->header ? entry->header : entry->device;
                char uuid[LUKS_UUID_LENGTH + 1];
                struct luks_token token;

                if (entry->not_luks || luks_probe_token(device, uuid, &token) < 0)
                        continue;
                (void) json_array_append_new(array,
                                             json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:i, s:I}", "name", entry->name, "device",
                                                       entry->device, "node", token.node_id, "key", token.key_id, "generation",
                                                       (json_int_t) token.generation, "state", token.live ? "live" : "staged",
                                                       "slot", token.slot, "offline", find_offline(device, token.key_id)));
        }
        return array;
}

static json_t *status_json(void) {
        _cleanup_(freep) char *gate = note_read(verb_run_dir(), "gate-closed"), *incident = note_read(verb_run_dir(), "incident"),
                              *evidence = note_read(verb_run_dir(), "evidence");
        _cleanup_(config_freep) struct config *config = NULL;
        char error[256];

        (void) config_load(verb_config_path(), &config, error, sizeof error); /* doctor says what is wrong with it */
        return json_pack("{s:s?, s:s?, s:b, s:s, s:s?, s:s?, s:b, s:b, s:o, s:o}", "unlock",
                         config ? unlock_choice_to_string(config->unlock) : NULL, "evidence", evidence, "configured",
                         access(verb_config_path(), F_OK) == 0, "boot", describe_boot(), "incident", incident, "gate", gate,
                         "tpm", note_exists(verb_run_dir(), "tpm-seen"), "payload", note_exists(verb_run_dir(), "payload-ready"),
                         "opened", opened_json(), "enrolled", enrolled_json());
}

static const char *text_of(const json_t *object, const char *name, const char *otherwise) {
        const char *text = json_string_value(json_object_get(object, name));

        return text ? text : otherwise;
}

static void print_status(const json_t *status) {
        const json_t *item;
        size_t i;

        printf("Configured  %s\n", json_is_true(json_object_get(status, "configured")) ? verb_config_path() : "no");
        printf("Unlocks     %s\n", text_of(status, "unlock", "-"));
        printf("This boot   %s\n", text_of(status, "boot", "?"));
        printf("Incident    %s\n", text_of(status, "incident", "-"));
        printf("Evidence    %s\n", text_of(status, "evidence", "-"));
        printf("Gate        %s\n", text_of(status, "gate", "not closed by tallyboot in this boot"));
        printf("Payload     %s\n", json_is_true(json_object_get(status, "payload")) ? RUN_DIR "/payload" : "-");
        json_array_foreach (json_object_get(status, "opened"), i, item)
                printf("Opened      %s (%s, %s)\n", text_of(item, "name", "?"), text_of(item, "role", "?"),
                       text_of(item, "uuid", "?"));
        json_array_foreach (json_object_get(status, "enrolled"), i, item) {
                long long offline = json_integer_value(json_object_get(item, "offline"));

                printf("Enrolled    %s on %s: key %.8s, generation %lld, %s, keyslot %lld, node %s\n", text_of(item, "name", "?"),
                       text_of(item, "device", "?"), text_of(item, "key", "?"),
                       (long long) json_integer_value(json_object_get(item, "generation")), text_of(item, "state", "?"),
                       (long long) json_integer_value(json_object_get(item, "slot")), text_of(item, "node", "?"));
                if (offline > 0)
                        printf("Offline     %s: generation %lld opens with the token alone\n", text_of(item, "name", "?"),
                               offline);
        }
}

int status_run(int argc, char *argv[]) {
        bool as_json = argc == 2 && strcmp(argv[1], "--json") == 0;
        json_t *status;

        if (argc > 2 || (argc == 2 && !as_json)) {
                log_error("Usage: tallyboot status [--json]");
                return EXIT_USAGE;
        }
        status = status_json();
        if (!status) {
                log_oom();
                return EXIT_FAILED;
        }
        if (as_json) {
                (void) json_dumpf(status, stdout, JSON_INDENT(2));
                putchar('\n');
        } else
                print_status(status);
        json_decref(status);
        return EXIT_OK;
}
