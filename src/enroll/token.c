/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/token.h"

#include <getopt.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* A key for evidence alone: what most tools make may decrypt and unwrap, too. */

struct make_options {
        const char *token, *label;
        struct pkcs11_new new;
};

static int set_type(const char *text, struct pkcs11_new *new) {
        static const struct {
                const char *name;
                enum pkcs11_type type;
                unsigned bits;
        } types[] = {
                { "p-256", PKCS11_EC_P256, 256 }, { "p-384", PKCS11_EC_P384, 384 }, { "rsa-2048", PKCS11_RSA, 2048 },
                { "rsa-3072", PKCS11_RSA, 3072 }, { "rsa-4096", PKCS11_RSA, 4096 },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (strcmp(text, types[i].name) == 0) {
                        new->type = types[i].type;
                        new->bits = types[i].bits;
                        return 0;
                }
        log_error("--type is p-256, p-384, rsa-2048, rsa-3072 or rsa-4096.");
        return -EINVAL;
}

static int parse_options(int argc, char *argv[], struct make_options *options) {
        static const struct option table[] = {
                { "token", required_argument, NULL, 't' },
                { "type", required_argument, NULL, 'y' },
                { "label", required_argument, NULL, 'l' },
                {},
        };
        int c;

        optind = 1;
        while ((c = getopt_long(argc, argv, "", table, NULL)) >= 0)
                if (c == 't')
                        options->token = optarg;
                else if (c == 'l')
                        options->label = optarg;
                else if (c != 'y' || set_type(optarg, &options->new) < 0)
                        return -EINVAL;
        return optind + 1 == argc && strcmp(argv[optind], "make-key") == 0 ? 0 : -EINVAL;
}

static int make_key(struct node *node, const struct make_options *options) {
        _cleanup_(pkcs11_closep) struct pkcs11 *pkcs11 = NULL;
        _cleanup_(blob_done) struct blob public = {};
        _cleanup_(freep) char *uri = NULL;
        struct pkcs11_key key;
        uint8_t digest[32];
        char hex[65];
        int r = token_connect(node, options->token, &pkcs11);

        if (r < 0) {
                log_error("%s.", node->error[0] ? node->error : strerror(-r));
                return r;
        }
        r = pkcs11_generate(pkcs11, &options->new, &key);
        if (r >= 0)
                r = pkcs11_uri(pkcs11, &key, &uri);
        if (r >= 0)
                r = pkcs11_public(pkcs11, &key, &public);
        if (r >= 0)
                r = sha256(public.data, public.size, digest);
        if (r < 0) {
                log_error("No key was made: %s.", pkcs11_error(pkcs11));
                return r == -EEXIST ? -EPERM : r;
        }
        hex_write(digest, sizeof(digest), hex);
        say("A key that signs, and cannot leave the token, was made. In tallyboot.conf:\n\ntoken-key = %s\ntoken-key-sha256 = %s\n",
            uri, hex);
        return 0;
}

int token_run(int argc, char *argv[]) {
        struct make_options options = { .label = "tallyboot", .new = { PKCS11_EC_P256, 256, PKCS11_USE_SIGN, NULL, NULL, 0 } };
        _cleanup_(config_freep) struct config *config = NULL;
        _cleanup_(node_freep) struct node *node = NULL;
        _cleanup_(closep) int cancel_fd = -1;
        int r;

        if (parse_options(argc, argv, &options) < 0) {
                log_error("Usage: tallyboot token make-key [--token URI] [--type TYPE] [--label NAME]");
                return EXIT_USAGE;
        }
        r = verb_load_config(&config);
        if (r != EXIT_OK)
                return r;
        options.new.label = options.label;
        options.token = options.token ?: config->token_key;
        if (!options.token) {
                log_error("Which token? Give --token, or token-key = in %s.", verb_config_path());
                return EXIT_USAGE;
        }
        r = cancel_new(&cancel_fd);
        if (r >= 0)
                r = living_node_new(config, cancel_fd, &node);
        if (r < 0) {
                log_error_errno(r, "Cannot start: %m.");
                return EXIT_FAILED;
        }
        r = make_key(node, &options);
        return exit_code_of(r);
}
