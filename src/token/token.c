/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libcryptsetup-token-tallyboot.so, and by a second name (libcryptsetup looks for one library for each type)
 * -tallyboot-offline.so: makes our two tokens readable in `cryptsetup luksDump`, and refuses a malformed one where somebody
 * writes it. It opens nothing: a volume is opened by the unlocker alone, which does not go by what the token says. */
#include <libcryptsetup.h>
#include <stdio.h>

#include "luks/luks.h"

const char *cryptsetup_token_version(void);
int cryptsetup_token_open(struct crypt_device *cd, int token, char **buffer, size_t *buffer_len, void *usrptr);
int cryptsetup_token_validate(struct crypt_device *cd, const char *json);
void cryptsetup_token_dump(struct crypt_device *cd, const char *json);

const char *cryptsetup_token_version(void) {
        return TALLYBOOT_VERSION;
}

/* Mandatory. -ENOENT makes every caller go on with its other ways: another token, a key file, the prompt. */
int cryptsetup_token_open(struct crypt_device *cd _unused_, int token _unused_, char **buffer _unused_,
                          size_t *buffer_len _unused_, void *usrptr _unused_) {
        return -ENOENT;
}

static int parse_either(const char *json, char *error, size_t error_size) {
        _cleanup_(luks_offline_done) struct luks_offline offline = {};
        struct luks_token token;

        return luks_offline_is_called(json) ? luks_offline_parse(json, &offline, error, error_size)
                                            : luks_token_parse(json, &token, error, error_size);
}

int cryptsetup_token_validate(struct crypt_device *cd, const char *json) {
        char error[128] = "", line[192];

        if (parse_either(json, error, sizeof(error)) >= 0)
                return 0;
        snprintf(line, sizeof(line), "The tallyboot token is malformed: %s.\n", error);
        crypt_log(cd, CRYPT_LOG_ERROR, line);
        return -EINVAL;
}

static const char *state_in_words(const struct luks_token *token) {
        if (token->live)
                return "live: the halves of tenant and verifier open the slot at boot";
        return "staged: an enrollment that was not confirmed; run `tallyboot enroll` again, or `tallyboot unenroll`";
}

static void dump_offline(const char *json, char *ret, size_t size) {
        _cleanup_(luks_offline_done) struct luks_offline offline = {};

        if (luks_offline_parse(json, &offline, NULL, 0) < 0) {
                snprintf(ret, size, "\tmalformed: ignored\n");
                return;
        }
        snprintf(ret, size,
                 "\tnode:       %s\n\tkey:        %s\n\tgeneration: %u\n\tmechanism:  %s%s\n"
                 "\topens:      with the node's PKCS#11 token and without the servers, where unlock = offline allows it\n",
                 offline.node_id, offline.key_id, offline.generation, offline.mechanism,
                 offline.signature.size > 0 ? ", signed by the node's key" : "");
}

void cryptsetup_token_dump(struct crypt_device *cd, const char *json) {
        char text[512];
        struct luks_token token;

        if (luks_offline_is_called(json))
                dump_offline(json, text, sizeof(text));
        else if (luks_token_parse(json, &token, NULL, 0) < 0)
                snprintf(text, sizeof(text), "\tmalformed: ignored\n");
        else
                snprintf(text, sizeof(text),
                         "\tnode:       %s\n\tkey:        %s\n\tgeneration: %u\n\tslot:       %d%s\n\tstate:      %s\n",
                         token.node_id, token.key_id, token.generation, token.slot, token.assigned ? "" : " (not made yet)",
                         state_in_words(&token));
        crypt_log(cd, CRYPT_LOG_NORMAL, text);
}
