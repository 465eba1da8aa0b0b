/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include "base/file.h"
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
        assert_int_equal(config->evidence, EVIDENCE_AUTO);
        assert_int_equal(config->token_pin.kind, PIN_ASK);
        assert_int_equal(config->token_timeout, 0);
        assert_int_equal(config->unlock, UNLOCK_ONLINE);
        assert_int_equal(config->offline_after, 30);
        assert_int_equal(config->offline_mechanism, 0);
        assert_false(config->token_key_shared);
        assert_null(config->token_key);
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

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define DIGEST_31 "112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN "[node]\n" PARTIES "token-key = pkcs11:token=node;object=tallyboot"

static void the_keys_of_a_machine_without_a_tpm_are_read(void **state _unused_) {
        _cleanup_(config_freep) struct config *config = NULL;
        char error[512];

        assert_int_equal(parse(TOKEN
                               "\nevidence = token\ntoken-module = /m.so\ntoken-pin = credential:tallyboot.pin\n"
                               "token-timeout = 1min\ntoken-key-shared = yes\nunlock = online-then-offline\noffline-after = 9\n"
                               "offline-key = pkcs11:object=k\noffline-mac-key = pkcs11:object=m\noffline-mechanism = cbc-pad\n"
                               "token-key-sha256 = " DIGEST "  ff" DIGEST_31 "\n",
                               &config, error),
                         0);
        assert_int_equal(config->evidence, EVIDENCE_TOKEN);
        assert_string_equal(config->token_key, "pkcs11:token=node;object=tallyboot");
        assert_string_equal(config->token_module, "/m.so");
        assert_int_equal(config->token_pin.kind, PIN_CREDENTIAL);
        assert_string_equal(config->token_pin.value, "tallyboot.pin");
        assert_int_equal(config->token_timeout, 60);
        assert_int_equal(config->unlock, UNLOCK_ONLINE_THEN_OFFLINE);
        assert_string_equal(unlock_choice_to_string(config->unlock), "online-then-offline");
        assert_int_equal(config->offline_after, 9);
        assert_string_equal(config->offline_key, "pkcs11:object=k");
        assert_string_equal(config->offline_mac_key, "pkcs11:object=m");
        assert_int_equal(config->token_key_sha256.n, 2);
        assert_int_equal(config->token_key_sha256.items[0][31], 0xff);
        assert_int_equal(config->token_key_sha256.items[1][0], 0xff);
        assert_int_equal(config->token_key_sha256.items[1][1], 0x11);
        assert_int_equal(config->offline_mechanism, WRAP_CBC_PAD);
        assert_true(config->token_key_shared);
}

static void a_pin_source_says_where_the_pin_is(void **state _unused_) {
        static const char *const same[] = {
                "?pin-source=file:/pin\n",   "?pin-source=/pin\n",
                "?pin-source=file:///pin\n", "?pin-source=file:/pin\ntoken-pin = file:/pin\n",
                "\ntoken-pin = file:/pin\n", "?pin-source=file:/pin\noffline-key = pkcs11:object=k?pin-source=file:/pin\n"
        };

        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                _cleanup_(config_freep) struct config *config = NULL;
                _cleanup_(freep) char *text = format(TOKEN "%s", same[i]);
                char error[512];

                assert_int_equal(parse(text, &config, error), 0);
                assert_int_equal(config->token_pin.kind, PIN_FILE);
                assert_string_equal(config->token_pin.value, "/pin");
        }
        refused_with(TOKEN "?pin-source=file:/pin\ntoken-pin = ask\n", "leave one of them out");
        refused_with(TOKEN "?pin-source=file:/pin\noffline-key = pkcs11:object=k?pin-source=file:/other\n",
                     "leave one of them out");
        refused_with(TOKEN "?pin-source=|program\n", "pin-source must be file:/PATH");
        refused_with(TOKEN "?pin-source=pin\n", "pin-source must be file:/PATH");
        refused_with(TOKEN "?pin-source=file://host/pin\n", "pin-source must be file:/PATH");
}

static void mistakes_about_tokens_are_named(void **state _unused_) {
        refused_with(TOKEN "?pin-value=1234\n", "without a PIN in it");
        refused_with("[node]\n" PARTIES "token-key = object=x\n", "a PKCS#11 URI");
        refused_with(TOKEN "\ntoken-pin = 1234\n", "ask, keypad, file:/PATH or credential:NAME");
        refused_with(TOKEN "\ntoken-pin = file:pin\n", "ask, keypad, file:/PATH or credential:NAME");
        refused_with(TOKEN "\ntoken-pin = credential:../pin\n", "ask, keypad, file:/PATH or credential:NAME");
        refused_with(TOKEN "\ntoken-pin = credential:\n", "ask, keypad, file:/PATH or credential:NAME");
        refused_with(TOKEN "\ntoken-module = m.so\n", "an absolute path");
        refused_with(TOKEN "\nevidence = both\n", "auto, tpm or token");
        refused_with("[node]\n" PARTIES "evidence = token\n", "needs token-key");
        refused_with("[node]\n" PARTIES "token-key-sha256 = " DIGEST "\n", "needs token-key");
        refused_with(TOKEN "\ntoken-key-sha256 = \n", "64 hexadecimal digits");
        refused_with(TOKEN "\ntoken-key-sha256 = " DIGEST " 00\n", "64 hexadecimal digits");
        refused_with(TOKEN "\ntoken-key-sha256 = " DIGEST "0\n", "64 hexadecimal digits");
        refused_with(TOKEN "\ntoken-key-sha256 = " DIGEST "," DIGEST "\n", "64 hexadecimal digits");
        refused_with(TOKEN "\ntoken-key-sha256 = x" DIGEST "\n", "64 hexadecimal digits");
        refused_with(TOKEN "\nunlock = never\n", "online, offline or online-then-offline");
        refused_with(TOKEN "\nunlock = offline\n", "unlock = offline needs offline-key");
        refused_with(TOKEN "\nunlock = online-then-offline\n", "needs offline-key");
        refused_with(TOKEN "\noffline-after = 0\n", "offline-after must not be 0");
        refused_with(TOKEN "\noffline-mechanism = cbc-pad\n", "needs offline-mac-key");
        refused_with(TOKEN "\noffline-mechanism = aes\n", "kwp, key-wrap-pad, gcm");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_shortest_configuration_has_defaults),
                cmocka_unit_test(every_key_is_read),
                cmocka_unit_test(mistakes_are_named_with_their_line),
                cmocka_unit_test(the_keys_of_a_machine_without_a_tpm_are_read),
                cmocka_unit_test(a_pin_source_says_where_the_pin_is),
                cmocka_unit_test(mistakes_about_tokens_are_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
