/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "boot/config.h"

#define PARTIES "tenant = https://a:7602 https://b:7602\nverifier = https://a:7603\n"

static int parse(const char *text, struct config **ret, char error[static 512]) {
        error[0] = '\0';
        return config_parse(text, strlen(text), ret, error, 512);
}

static void refused_with(const char *text, const char *words) {
        _cleanup_(config_freep) struct config *config = NULL;
        char error[512];

        assert_int_equal(parse(text, &config, error), -EBADMSG);
        if (!strstr(error, words))
                fail_msg("\"%s\" is not in \"%s\"", words, error);
}

static void the_shortest_configuration_has_defaults(void **state _unused_) {
        _cleanup_(config_freep) struct config *config = NULL;
        char error[512];

        assert_int_equal(parse("[node]\n" PARTIES, &config, error), 0);
        assert_int_equal(config->gate_pcr, 15);
        assert_int_equal(config->prompt_after, 10);
        assert_int_equal(config->network_timeout, 0);
        assert_int_equal(config->parties[PARTY_TENANT].n, 2);
        assert_int_equal(config->parties[PARTY_VERIFIER].n, 1);
        assert_int_equal(config->registrar.n, 0);
        assert_true(config->root);
        assert_false(config->payload);
        assert_false(config->hibernation);
        assert_string_equal(config->ca, "/etc/tallyboot/ca.pem");
        assert_string_equal(config_tpm_device(config), "/dev/tpmrm0");
}

static void every_key_is_read(void **state _unused_) {
        _cleanup_(config_freep) struct config *config = NULL;
        char error[512];

        assert_int_equal(parse("[node]\n" PARTIES "registrar = https://r:1\nca = /ca\ntpm = swtpm:path=/x\ngate-pcr = 8\n"
                               "prompt-after = 2min\ntpm-timeout = 3\nnetwork-timeout = 4\nconnect-timeout = 5\n"
                               "exchange-timeout = 6\npayload = yes\npayload-after = 7\npayload-size = 8\n"
                               "payload-action = poweroff\nroot = no\nhibernation = yes\n",
                               &config, error),
                         0);
        assert_string_equal(config->ca, "/ca");
        assert_null(config_tpm_device(config));
        assert_int_equal(config->gate_pcr, 8);
        assert_int_equal(config->prompt_after, 120);
        assert_int_equal(config->tpm_timeout, 3);
        assert_int_equal(config->network_timeout, 4);
        assert_int_equal(config->connect_timeout, 5);
        assert_int_equal(config->exchange_timeout, 6);
        assert_true(config->payload && config->hibernation && !config->root);
        assert_int_equal(config->payload_after, 7);
        assert_int_equal(config->payload_size, 8);
        assert_int_equal(config->payload_action, PAYLOAD_POWEROFF);
        assert_int_equal(config->registrar.n, 1);
}

static void mistakes_are_named_with_their_line(void **state _unused_) {
        refused_with("[node]\n" PARTIES "gate = 15\n", "4: unknown key \"gate\"");
        refused_with("[nodes]\n" PARTIES, "unknown section [nodes]");
        refused_with("[node]\n" PARTIES "gate-pcr = 16\n", "a PCR from 8 to 15");
        refused_with("[node]\n" PARTIES "gate-pcr = 7\n", "a PCR from 8 to 15");
        refused_with("[node]\n" PARTIES "payload-action = reboot\n", "continue, poweroff or emergency");
        refused_with("[node]\n" PARTIES "prompt-after = soon\n", "prompt-after must be");
        refused_with("[node]\n" PARTIES "ca = ca.pem\n", "an absolute path");
        refused_with("[node]\n" PARTIES "connect-timeout = 0\n", "must not be 0");
        refused_with("[node]\n" PARTIES PARTIES, "twice");
        refused_with("[node]\ntenant = http://a:7602\nverifier = https://a:7603\n", "https://HOST:PORT");
        refused_with("[node]\nverifier = https://a:7603\n", "needs tenant =");
        refused_with("", "needs tenant =");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_shortest_configuration_has_defaults),
                cmocka_unit_test(every_key_is_read),
                cmocka_unit_test(mistakes_are_named_with_their_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
