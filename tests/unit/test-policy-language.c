/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-text.h"
#include "policy/rules.h"

#define FIRMWARE "[firmware]\n"

static void bad_rules(void **state) {
        policy_refused(FIRMWARE "secureboot = on\n", "2: unknown key \"secureboot\" in section [firmware]");
        policy_refused("[ima]\npath = /x\n", "2: unknown key");
        policy_refused("[release]\nnetwork = 10.0.0.0/8\n", "2: unknown key");
        policy_refused("[Firmware]\nsecure-boot = on\n",
                       "2: not a section of a policy: write [set NAME], [firmware], [ima] or [release]");
        policy_refused(FIRMWARE "secure-boot = yes\n", "write on or off");
        policy_refused(FIRMWARE "secure-boot = on\nsecure-boot = off\n", "3: is there already, in line 2");
        policy_refused(FIRMWARE "debug = allow\n", "write refuse");
        policy_refused(FIRMWARE "add-ons = allow\n", "write refuse");
        policy_refused(FIRMWARE "db only-these =\n", "2: db only-these: write a digest as 64");
        policy_refused(FIRMWARE "db only-these = none\n", "write a digest");
        policy_refused(FIRMWARE "db only-these = " A32 "\n# and\ndb must-contain = " B32 "\n",
                       "4: db must contain this, and db only-these does not");
        policy_refused(FIRMWARE "boot-loader = " A32 "aa\n", "64 (SHA-256) or 96 (SHA-384) hexadecimal");
        policy_refused(FIRMWARE "uki = g" A32 "\n", "hexadecimal");
        policy_refused(FIRMWARE "kernel = " A32 "\n", "2: kernel is what a UKI starts");
        policy_refused(FIRMWARE "command-line =\n", "no command line");
        policy_refused(FIRMWARE "command-line like =\n", "no command line");
        policy_refused(FIRMWARE "command-line like = root=**\n", "** stands alone between spaces");
        policy_refused("[ima]\nfile = " A32 " /usr/**x\n", "** stands alone between slashes");
        policy_refused("[ima]\nfile = " A32 "\n", "a pattern has 1 to");
        policy_refused("[ima]\nfile = /usr/bin/x\n", "write DIGEST PATH");
        policy_refused("[ima]\ndigest = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "64 (SHA-256), 96 or 128");
        policy_refused("[ima]\nrequire = no\n", "write yes");
        policy_refused("[ima]\nexclude = /var/**\n", "2: nothing to exclude from");
        policy_refused("[release]\ntoken-evidence = maybe\n", "2: the value of");
        policy_refused("[release]\ntoken-interval = 30 parsecs\n", "2: write a time");
        policy_refused("[release]\ntoken-interval = 2d\n", "2: write a time");
        policy_refused("[release]\ntoken-interval = -1\n", "2: write a time");
        policy_refused("[release]\ntoken-interval = 0\ntoken-interval = 0\n", "3: token-interval is there already");
        policy_refused("[release]\ntoken-evidence = yes\ntoken-evidence = yes\n", "3: token-evidence is there already");
        policy_refused("[release]\nnetworks =\n", "no network");
        policy_refused("[release]\nnetworks = 10.0.0.1/8\n", "10.0.0.1/8 has bits after its prefix");
        policy_refused("[release]\nnetworks = 10.0.0.0/33\n", "not a network");
        policy_refused("[release]\nnetworks = 10.0.0.0/8, 11.0.0.0/8\n", "not a network");
        policy_refused("[release]\nnetworks = example.org\n", "not a network");
        policy_refused("[release]\nanother-nk-window = 2h\n", "at most 3600 s");
        policy_refused("[release]\nmax-absence = 0\n", "write a time");
        policy_refused("[release]\nmax-absence = 1d\nmax-absence = 2d\n", "is there already");
        policy_refused("[set x]\nbank = sha256\npcr 0 = " A32 "\n[firmware]\ndebug = refuse\n[set x]\npcr 1 = " A32 "\n",
                       "7: [set x] is there already");
        policy_refused("[firmware replaced]\nsecure-boot = on\n", "has no place in [firmware replaced]");
        policy_refused("[firmware replaced]\ndriver = none\n", "has no place in [firmware replaced]");
        policy_refused("[ima replaced]\nexclude = /**\n", "has no place in [ima replaced]");
}

static void matches(const char *pattern, char separator, const char *text, bool expected) {
        uint64_t budget = 1000000;
        char why[256];

        assert_int_equal(pattern_check(pattern, separator, why, sizeof(why)), 0);
        if (pattern_match(pattern, text, separator, &budget) != expected)
                fail_msg("%s on %s", pattern, text);
}

static void patterns(void **state) {
        matches("/usr/bin/true", '/', "/usr/bin/true", true);
        matches("/usr/bin/true", '/', "/usr/bin/tru", false);
        matches("/usr/bin/true", '/', "/usr/bin/truee", false);
        matches("/usr/bin/true", '/', "/usr/bin/true/", false);
        matches("/usr/*/true", '/', "/usr/bin/true", true);
        matches("/usr/*/true", '/', "/usr/a/b/true", false);
        matches("/usr/*", '/', "/usr/", true);
        matches("/usr/b?n/*", '/', "/usr/bin/x", true);
        matches("/usr/b?n/*", '/', "/usr/b/n/x", false);
        matches("/usr/**", '/', "/usr/a/b/c", true);
        matches("/usr/**", '/', "/usr", true);
        matches("/usr/**", '/', "/usrx/a", false);
        matches("/usr/**/c", '/', "/usr/a/b/c", true);
        matches("/usr/**/c", '/', "/usr/c", true);
        matches("/usr/**/c", '/', "/usr/c/c/d", false);
        matches("/**/b/**/d", '/', "/a/b/c/b/c/d", true);
        matches("/**/b/*/d", '/', "/a/b/c/c/b/c/d", true);
        matches("*.so.*", '/', "libc.so.6", true);
        matches("*a*b*c", '/', "xaxbxbxc", true);
        matches("*a*b*c", '/', "xaxbxbx", false);
        matches("/usr/../**", '/', "/usr/bin", false);
        matches("root=* ro quiet", ' ', "root=UUID=1 ro quiet", true);
        matches("root=* ro quiet", ' ', "root=UUID=1 init=/bin/sh ro quiet", false);
        matches("root=* ro quiet", ' ', "root=UUID=1 ro quiet rd.break", false);
        matches("root=* ** quiet", ' ', "root=UUID=1 quiet", true);
        matches("root=* ** quiet", ' ', "root=UUID=1 a b c quiet", true);
        matches("**", ' ', "a b", true);
}

static void pattern_budget(void **state) {
        uint64_t budget = 100;

        assert_false(pattern_match("*aaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ' ', &budget));
        assert_int_equal(budget, 0);
        budget = 0;
        assert_false(pattern_match("a", "a", ' ', &budget));
}

#define TOKENS                                                                                                                    \
        "token-evidence does not cover: anything that a node with a token boots (no PCRs, no logs), whether its gate is closed, " \
        "whether it is another boot (no counters)"

static void uncovered_is(const char *text, const char *expected) {
        struct policy policy = policy_parsed(text);
        char *uncovered = policy_uncovered(&policy);

        assert_string_equal(uncovered, expected);
        free(uncovered);
        policy_done(&policy);
}

static void uncovered(void **state) {
        uncovered_is(
                "[set seven]\nbank = sha256\npcr 7 = " A32 "\n",
                "set seven does not cover: firmware (PCR 0), UEFI drivers (PCR 2), boot loader (PCR 4), initramfs (PCR 9, or 11 with a UKI), kernel "
                "command line (PCR 8 with GRUB, 11 and 12 with a UKI), add-ons (PCR 12 and 13)");
        uncovered_is(
                FIRMWARE "secure-boot = on\n",
                "the [firmware] rules do not cover: firmware (PCR 0), boot loader (PCR 4), initramfs (PCR 9, or 11 with a UKI), "
                "kernel command line (PCR 8 with GRUB, 11 and 12 with a UKI), add-ons (PCR 12 and 13)");
        uncovered_is(FIRMWARE "uki = " A32 "\nsecure-boot = on\n",
                     "the [firmware] rules do not cover: firmware (PCR 0), initramfs (PCR 9, or 11 with a UKI), "
                     "kernel command line (PCR 8 with GRUB, 11 and 12 with a UKI), add-ons (PCR 12 and 13)");
        uncovered_is(FIRMWARE "uki = " A32 "\nsecure-boot = on\nadd-ons = refuse\n",
                     "the [firmware] rules do not cover: firmware (PCR 0)");
        uncovered_is("[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 12 = zero\npcr 13 = zero\n" FIRMWARE
                     "uki = " A32 "\nsecure-boot = on\n",
                     "");
        uncovered_is("[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 7 = " A32 "\npcr 11 = " A32 "\n" FIRMWARE
                     "boot-loader = " A32 "\nadd-ons = refuse\n",
                     "");
        uncovered_is(
                "[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 9 = " A32
                "\npcr 12 = zero\npcr 13 = zero\n" FIRMWARE "secure-boot = on\nauthority = " A32
                "\ncommand-line like = ** quiet\n",
                "set x does not cover: boot loader (PCR 4: anything that the listed authorities ever signed), kernel command "
                "line (** lets in any words)");
        uncovered_is("[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32 "\npcr 9 = " A32
                     "\npcr 12 = zero\npcr 13 = zero\n" FIRMWARE "command-line like = root=* ro\n",
                     "");
        uncovered_is("[release]\ntoken-evidence = no\n", "");
        uncovered_is("[release]\ntoken-evidence = yes\n", TOKENS);
        uncovered_is("[set x]\nbank = sha256\npcr 0 = " A32 "\npcr 2 = " A32 "\npcr 4 = " A32 "\npcr 7 = " A32 "\npcr 9 = " A32
                     "\npcr 12 = zero\npcr 13 = zero\n" FIRMWARE
                     "command-line like = root=* ro\n[release]\ntoken-evidence = yes\n",
                     TOKENS);
        /* a driver on the ESP is in none of the lists of images */
        for (size_t i = 0; i < 2; i++)
                uncovered_is(i == 0 ? FIRMWARE "uki = " A32 "\nadd-ons = refuse\nsecure-boot = off\n"
                                    : FIRMWARE "boot-loader = " A32 "\nuki = " A32 "\nadd-ons = refuse\nsecure-boot = off\n",
                             "the [firmware] rules do not cover: firmware (PCR 0), UEFI drivers (PCR 2)");
        uncovered_is(FIRMWARE "uki = " A32 "\nadd-ons = refuse\nsecure-boot = off\ndriver = none\n",
                     "the [firmware] rules do not cover: firmware (PCR 0)");
}

static void release_is_read(void **state) {
        struct policy policy = policy_parsed("[release]\nanother-nk-window = 5min\nmax-absence = 30d\ntoken-evidence = yes\n");

        assert_true(policy.release.token_evidence);
        assert_int_equal(policy.release.another_nk_window, 300);
        assert_int_equal(policy.release.max_absence, 30 * 86400);
        assert_int_equal(policy.release.token_interval, 30);
        assert_int_equal(policy.release.n_networks, 0);
        assert_true(policy_allows_nothing(&policy));
        policy_done(&policy);

        policy = policy_parsed("[release]\ntoken-interval = 5min\n");
        assert_int_equal(policy.release.token_interval, 300);
        policy_done(&policy);
        policy = policy_parsed("[release]\ntoken-interval = 0\n");
        assert_int_equal(policy.release.token_interval, 0);
        policy_done(&policy);

        policy = policy_parsed("");
        assert_false(policy.release.token_evidence);
        assert_int_equal(policy.release.another_nk_window, 0);
        assert_int_equal(policy.release.max_absence, 0);
        policy_done(&policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(release_is_read), cmocka_unit_test(bad_rules), cmocka_unit_test(patterns),
                cmocka_unit_test(pattern_budget),  cmocka_unit_test(uncovered),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
