/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-boot.h"

#include <stdio.h>
#include <time.h>

#include "base/encode.h"

static void secure_boot(void **state) {
        struct boot boot;

        boot_set_up(&boot);
        decides(FIRMWARE "secure-boot = on\n", &boot, NULL);
        decides(FIRMWARE "secure-boot = off\n", &boot, "Secure Boot was on");
        boot.facts.deployed_or_user = false;
        decides(FIRMWARE "secure-boot = on\n", &boot, "setup or audit mode");
        boot.facts.deployed_or_user = true;
        boot.facts.secure_boot = 0;
        decides(FIRMWARE "secure-boot = on\n", &boot, "Secure Boot was off");
        decides(FIRMWARE "secure-boot = off\n", &boot, NULL);
        boot.facts.secure_boot = -1;
        decides(FIRMWARE "secure-boot = off\n", &boot, "did not say");
        decides(FIRMWARE "secure-boot = on\n", &boot, "did not say");
}

static void debug(void **state) {
        struct boot boot;

        boot_set_up(&boot);
        decides(FIRMWARE "debug = refuse\n", &boot, NULL);
        boot.facts.debug = 1;
        decides(FIRMWARE "debug = refuse\n", &boot, "debug mode");
        boot.facts.debug = -1;
        decides(FIRMWARE "debug = refuse\n", &boot, "debug mode");
}

/* Events that are not backed by a quoted PCR are never believed: every rule needs its PCRs proven, and read whole. */
static void invariant_2_rules_need_proven_pcrs(void **state) {
        static const struct {
                const char *rule;
                uint32_t pcrs;
        } rules[] = {
                { "secure-boot = on", 1 << 7 },
                { "debug = refuse", 1 << 7 },
                { "db only-these = " A32 "\ndb only-these = " B32, 1 << 7 },
                { "db must-contain = " A32, 1 << 7 },
                { "dbx must-contain = " C32, 1 << 7 },
                { "authority = " A32, 1 << 7 },
                { "uki = " A32 "\nkernel = " B32, 1 << 4 },
                { "boot-loader = " A32 "\nboot-loader = " B32, 1 << 4 },
                { "driver = none", 1 << 2 },
                { "driver = " C32, 1 << 2 },
                { "command-line = root=/dev/sda ro", 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12 },
        };
        char text[512];
        struct boot boot;

        for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                struct policy policy;

                (void) snprintf(text, sizeof(text), FIRMWARE "%s\n", rules[i].rule);
                policy = policy_parsed(text);
                assert_int_equal(policy_log_pcrs(&policy), rules[i].pcrs);
                assert_int_equal(policy_pcrs(&policy, 0x0b), rules[i].pcrs | 1 << 1);
                assert_false(policy_wants_ima(&policy));
                policy_done(&policy);

                boot_set_up(&boot);
                decides(text, &boot, NULL);
                for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                        bool needed = rules[i].pcrs & 1U << pcr;

                        boot.facts.proven = 0xffffff & ~(1U << pcr);
                        decides(text, &boot, needed ? "does not give the value" : NULL);
                        boot.facts.proven = 0xffffff;
                        boot.facts.unread = 1U << pcr;
                        (void) snprintf(boot.facts.unread_why[pcr], sizeof(boot.facts.unread_why[pcr]), "odd event");
                        decides(text, &boot, needed ? "odd event" : NULL);
                        boot.facts.unread = 0;
                }
                boot.input.facts = NULL;
                decides(text, &boot, "no firmware event log");
        }
}

static void signature_lists(void **state) {
        struct boot boot;

        boot_set_up(&boot);
        decides(FIRMWARE "db only-these = " A32 "\n", &boot, "x509 " B32 " was measured and is not on the list");
        decides(FIRMWARE "db only-these = " C32 "\ndb only-these = " B32 "\ndb only-these = " A32 "\n", &boot, NULL);
        decides(FIRMWARE "db must-contain = " A32 "\ndb must-contain = " C32 "\n", &boot, C32 " is not in");
        decides(FIRMWARE "dbx must-contain = " A32 "\n", &boot, A32 " is not in");
        decides(FIRMWARE "authority = " B32 "\n", &boot, "is not on the list");
        boot.facts.authorities.n = 0;
        decides(FIRMWARE "authority = " A32 "\n", &boot, "nothing was measured");
        boot.facts.db.n = 0; /* refuses everything: as good as only these */
        decides(FIRMWARE "db only-these = " A32 "\n", &boot, NULL);
        decides(FIRMWARE "pk only-these = " A32 "\n", &boot, "nothing was measured");
        decides(FIRMWARE "kek only-these = " A32 "\n", &boot, "nothing was measured");
}

/* A driver of the ESP runs before the boot loader, and can measure in its name. */
static void drivers(void **state) {
        struct fact_digest two[2] = { { .size = 32 }, { .size = 32 } };
        struct boot boot;

        boot_set_up(&boot);
        assert_int_equal(hex_decode(A32, two[0].digest, 32) | hex_decode(B32, two[1].digest, 32), 0);
        boot.facts.drivers = (struct fact_digests){ two, 2 };
        decides(FIRMWARE "driver = none\n", &boot, "driver 1 of PCR 2, " A32 ", is not on the list");
        decides(FIRMWARE "driver = " A32 "\n", &boot, "driver 2 of PCR 2, " B32 ", is not on the list");
        decides(FIRMWARE "driver = " A32 "\ndriver = " B32 "\n", &boot, NULL);
        boot.facts.drivers.n = 0;
        decides(FIRMWARE "driver = none\n", &boot, NULL);
}

static void images(void **state) {
        static const char uki[] = FIRMWARE "uki = " A32 "\nkernel = " B32 "\n";
        struct boot boot;

        boot_set_up(&boot);
        decides(uki, &boot, NULL);
        decides(FIRMWARE "uki = " A32 "\n", &boot, "image 2 of PCR 4, " B32 ", is not on the list");
        decides(FIRMWARE "boot-loader = " A32 "\n", &boot, "is not on the list");
        decides(FIRMWARE "boot-loader = " B32 "\nboot-loader = " A32 "\n", &boot, NULL);

        /* the UKI gave up, and the firmware started the kernel; it may try something else before */
        boot.facts.returned = 1;
        decides(uki, &boot, "image 1 of PCR 4, " A32 ", came back to the firmware");
        decides(FIRMWARE "boot-loader = " B32 "\nboot-loader = " A32 "\n", &boot, NULL);
        boot.facts.returned = 2;
        decides(uki, &boot, "came back to the firmware");
        boot.facts.returned = 0;

        /* the kernel alone, with whatever command line and initramfs somebody gave it */
        boot.facts.applications.items = boot.applications + 1;
        boot.facts.applications.n = 1;
        decides(uki, &boot, "was not started by one");
        boot.facts.applications.n = 0;
        decides(uki, &boot, "no boot loader was measured");

        boot.facts.applications.items = boot.applications;
        boot.facts.applications.n = 3;
        boot.applications[2] = fact_of_byte("", 0xbb);
        decides(uki, &boot, "was not started by one");
        boot.applications[2] = fact_of_byte("", 0xaa);
        decides(uki, &boot, "was started after the UKI");
        boot.applications[1] = fact_of_byte("", 0xaa);
        decides(uki, &boot, "was started after the UKI");

        /* a boot loader in front */
        boot.applications[0] = fact_of_byte("", 0xcc);
        boot.applications[2] = fact_of_byte("", 0xbb);
        boot.facts.returned = 1; /* a boot loader that came back is one that was tried first */
        decides(uki, &boot, "is not on the list");
        decides(FIRMWARE "uki = " A32 "\nkernel = " B32 "\nboot-loader = " C32 "\n", &boot, NULL);
        boot.facts.applications.n = 1;
        decides(FIRMWARE "uki = " A32 "\nkernel = " B32 "\nboot-loader = " C32 "\n", &boot, "no UKI was started");

        /* SHA-384 digests say nothing about SHA-256 ones */
        decides(FIRMWARE "boot-loader = " C32 "cccccccccccccccccccccccccccccccc\n", &boot, "is not on the list");
}

static void addons(void **state) {
        struct boot boot;
        struct policy policy = policy_parsed("[firmware]\nadd-ons = refuse\n");

        assert_int_equal(policy_log_pcrs(&policy), 0);
        assert_int_equal(policy_pcrs(&policy, 0x0b), 1 << 12 | 1 << 13);
        policy_done(&policy);

        boot_set_up(&boot);
        boot.input.facts = NULL; /* of the quoted values alone */
        decides(FIRMWARE "add-ons = refuse\n", &boot, NULL);
        boot.pcrs.banks[0].values[13][31] = 1;
        decides(FIRMWARE "add-ons = refuse\n", &boot, "PCR 13 is not zero");
        boot.pcrs.banks[0].values[13][31] = 0;
        boot.pcrs.banks[0].values[12][0] = 1;
        decides(FIRMWARE "add-ons = refuse\n", &boot, "PCR 12 is not zero");
        boot.pcrs.banks[0].mask = 0xffefff;
        decides(FIRMWARE "add-ons = refuse\n", &boot, "PCR 12 was not quoted");
        boot.pcrs.banks[0].alg = 0x0c;
        decides(FIRMWARE "add-ons = refuse\n", &boot, "PCR 12 was not quoted");
}

static void command_lines(void **state) {
        static const char sda[] = FIRMWARE "command-line = root=/dev/sda ro\n",
                          like[] = FIRMWARE "command-line like = root=/dev/* ro\n";
        struct boot boot;

        /* a UKI: a digest in the log, whatever its tool put behind the text */
        boot_set_up(&boot);
        decides(sda, &boot, NULL);
        decides(like, &boot, "a digest alone, which no pattern can be tried on");
        decides(FIRMWARE "command-line = root=/dev/sdb ro\n", &boot, "another text");
        for (size_t end = 1; end <= 3; end++) {
                static const char *const texts[] = { "", "root=/dev/sda ro\n", "root=/dev/sda ro\0", "root=/dev/sda ro\n\0" };

                boot.sections[1] = fact_of_text(".cmdline", texts[end], 16 + (end + 1) / 2);
                decides(sda, &boot, NULL);
        }

        /* and one more beside it */
        boot.lines[0] = (struct fact_text){ 12, (char *) "init=/bin/sh" };
        boot.facts.n_command_lines = 1;
        decides(sda, &boot, "PCR 12 has another one: init=/bin/sh");

        /* GRUB: the path of the kernel is its own */
        boot.facts.sections.n = 0;
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/sda  ro" };
        decides(sda, &boot, NULL);
        decides(like, &boot, NULL);
        boot.lines[0] = (struct fact_text){ 12, (char *) "/vmlinuz root=/dev/sda ro" };
        decides(sda, &boot, "PCR 12 has another one");
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/sda ro init=/bin/sh" };
        decides(sda, &boot, "PCR 8 has another one");
        decides(like, &boot, "PCR 8 has another one");
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/sda\x1b[2J" };
        decides(sda, &boot, "PCR 8 has another one: /vmlinuz root=/dev/sda\\x1b[2J");

        /* nobody measured one */
        boot.facts.n_command_lines = 0;
        decides(sda, &boot, "no command line was measured");
        decides(FIRMWARE "command-line like = **\n", &boot, "no command line was measured");
}

/* The kernel parts words at every byte that its isspace() takes: 0xa0, the second half of this letter in UTF-8, is one. */
static void a_letter_that_is_a_space_to_the_kernel(void **state) {
        static const char like[] = FIRMWARE "command-line like = root=/dev/* ro\n";
        static const char *const spaces[] = { "\xc3\xa0", "\v", "\f", "\r", "\t", "\n" };
        struct boot boot;

        boot_set_up(&boot);
        boot.facts.sections.n = 0;
        boot.facts.n_command_lines = 1;
        for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++) {
                char text[64];

                (void) snprintf(text, sizeof(text), "/vmlinuz root=/dev/sda%sinit=/bin/sh ro", spaces[i]);
                boot.lines[0] = (struct fact_text){ 8, text };
                decides(like, &boot, "PCR 8 has another one");
        }
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/\xc3\xa9 ro" };
        decides(like, &boot, NULL);
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/\xc3\xa0 ro" };
        decides(FIRMWARE "command-line = root=/dev/\xc3\xa0 ro\n", &boot, NULL);
}

/* One that is opened by what stands for a star takes the words that follow with it, and the kernel never hears of them. */
static void a_quote_that_swallows_words(void **state) {
        static const char like[] = FIRMWARE "command-line like = root=* module.sig_enforce=1 quiet\n";
        struct boot boot;

        boot_set_up(&boot);
        boot.facts.sections.n = 0;
        boot.facts.n_command_lines = 1;
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=/dev/sda module.sig_enforce=1 quiet" };
        decides(like, &boot, NULL);
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root=\"x module.sig_enforce=1 quiet" };
        decides(like, &boot, "PCR 8 has another one");
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz root='x module.sig_enforce=1 quiet" };
        decides(like, &boot, "PCR 8 has another one");
        boot.lines[0] = (struct fact_text){ 8, (char *) "/vmlinuz dyndbg=\"file a +p\" root=/dev/sda" };
        decides(FIRMWARE "command-line like = dyndbg=\"file a +p\" root=*\n", &boot, NULL);
}

/* Without UKI and GRUB, in PCR 9. An initramfs alone, made of the text, is none. */
static void command_line_of_the_kernels_stub(void **state) {
        static const char text[] = FIRMWARE "command-line = root=/dev/sda ro\n";
        uint8_t digest[WIRE_DIGEST_MAX];
        struct boot boot;

        boot_set_up(&boot);
        boot.facts.sections.n = 0;
        if (boot_facts_command_line_digest("root=/dev/sda ro", 0x0b, digest) < 0)
                return;
        boot.loaded[0] = fact_of_byte("", 0);
        memcpy(boot.loaded[0].digest, digest, 32);
        boot.facts.loaded.n = 1;
        decides(text, &boot, "no command line was measured");
        boot.loaded[1] = fact_of_byte("", 0x77);
        boot.facts.loaded.n = 2;
        decides(text, &boot, NULL);
        boot.loaded[1] = boot.loaded[0];
        boot.loaded[0] = fact_of_byte("", 0x77);
        decides(text, &boot, "another text");
}

static void ima(void **state) {
        struct boot boot;
        struct policy policy = policy_parsed("[set x]\nbank = sha256\npcr 0 = " A32 "\n[ima]\nrequire = yes\n");

        assert_true(policy_wants_ima(&policy));
        assert_int_equal(policy_pcrs(&policy, 0x0b), 0x7ff);
        assert_int_equal(policy_log_pcrs(&policy), 0);
        policy_done(&policy);

        boot_set_up(&boot);
#define OK SOME_SET "[ima]\n"
        decides(OK "require = yes\n", &boot, NULL);
        decides(OK "digest = " A32 "\ndigest = " B32 "\ndigest = " C32 "\n", &boot, NULL);
        decides(OK "digest = " A32 "\ndigest = " B32 "\n", &boot,
                "1 of 4 are not on the list; the first is entry 4, " C32 " /var/x/y");
        decides(OK "digest = " A32 "\ndigest = " B32 "\nexclude = /var/**\n", &boot, NULL);
        decides(OK "file = " A32 " /usr/bin/*\nfile = " B32 " /usr/lib/**\nexclude = /var/x/*\n", &boot, NULL);
        decides(OK "file = " B32 " /usr/bin/*\nfile = " A32 " /usr/lib/**\nexclude = /var/x/*\n", &boot, "2 of 4");
        decides(OK "file = " A32 " /usr/bin/*\nfile = " B32 " /usr/lib/*\nexclude = /var/x/*\n", &boot, "1 of 4");

        boot.entries[1].alg = 0x12; /* SM3 has 32 bytes too */
        decides(OK "digest = " A32 "\ndigest = " B32 "\ndigest = " C32 "\n", &boot, "1 of 4");
        boot.entries[1].alg = 0x0b;

        /* a violation has a path that nobody signed */
        boot.entries[3].violation = true;
        decides(OK "digest = " A32 "\ndigest = " B32 "\nexclude = /var/**\n", &boot, "violation");
        decides(OK "require = yes\n", &boot, "violation");
        boot.entries[3].violation = false;
        boot.entries[0].violation = true;
        decides(OK "require = yes\n", &boot, "violation");
        boot.entries[0].violation = false;

        /* "boot_aggregate" is a name like another, but for the first entry */
        boot.entries[3].path = "boot_aggregate";
        decides(OK "digest = " A32 "\ndigest = " B32 "\n", &boot, "1 of 4");
        boot.ima.has_aggregate = false;
        decides(OK "digest = " A32 "\ndigest = " B32 "\ndigest = " C32 "\n", &boot, "entry 1");
        boot.ima.has_aggregate = true;

        boot.input.ima_aggregate_right = false;
        decides(OK "require = yes\n", &boot, "not of this boot");
        boot.input.ima = NULL;
        decides(OK "require = yes\n", &boot, "no IMA list");
}

/* A list that was made to be slow to match is refused, and soon. */
static void ima_is_bounded(void **state) {
        enum { ENTRIES = 2000, LENGTH = 4000 };
        struct ima_entry *entries = calloc(ENTRIES, sizeof(*entries));
        char *path = calloc(1, LENGTH + 1);
        struct boot boot;

        memset(path, 'a', LENGTH);
        for (size_t i = 0; i < ENTRIES; i++)
                entries[i] = ima_entry_of(path, 0xaa);
        boot_set_up(&boot);
        boot.ima = (struct ima_facts){ .entries = entries, .n = ENTRIES };
        decides(OK "file = " A32
                   " *aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n",
                &boot, "takes too long");
        free(entries);
        free(path);
}

/* As many entries as are read, as many files as a policy has: what a node sends costs no product of both. */
static void ima_files_are_found_by_digest(void **state) {
        enum { ENTRIES = IMA_ENTRIES_MAX, FILES = 4096, LINE = 128 };
        struct ima_entry *entries = calloc(ENTRIES, sizeof(*entries));
        char *text = calloc(FILES + 1, LINE), *at = text;
        struct boot boot;
        clock_t began;

        at += sprintf(at, OK);
        for (unsigned i = 0; i < FILES; i++)
                at += sprintf(at, "file = %08x%056x /usr/**\n", i * 2654435761U, 0U);
        for (size_t i = 0; i < ENTRIES; i++)
                entries[i] = ima_entry_of("/usr/x", 0xaa);
        boot_set_up(&boot);
        boot.ima = (struct ima_facts){ .entries = entries, .n = ENTRIES };
        began = clock();
        decides(text, &boot, "are not on the list");
        assert_true(clock() - began < CLOCKS_PER_SEC);
        free(entries);
        free(text);
}

static void release(void **state) {
        struct boot boot;

        boot_set_up(&boot);
#define NET SOME_SET "[release]\n"
        decides(NET "networks = 192.0.2.0/24\n", &boot, NULL);
        decides(NET "networks = 192.0.2.0/29 2001:db8::/32\n", &boot, NULL);
        decides(NET "networks = 192.0.2.8/29\nnetworks = 10.0.0.0/8\n", &boot, "192.0.2.7 is in none of them");
        decides(NET "networks = 192.0.2.7\n", &boot, NULL);
        decides(NET "networks = ::/0\n", &boot, NULL);
        boot.input.address = "::ffff:192.0.2.7";
        decides(NET "networks = 192.0.2.0/24\n", &boot, NULL);
        boot.input.address = "2001:db8:1::1";
        decides(NET "networks = 2001:db8::/33\n", &boot, NULL);
        decides(NET "networks = 0.0.0.0/0\n", &boot, "in none of them");
        boot.input.address = "fe80::1%eth0";
        decides(NET "networks = fe80::/10\n", &boot, NULL);
        boot.input.address = NULL;
        decides(NET "networks = ::/0\n", &boot, "not known");
        boot.input.address = "nonsense";
        decides(NET "networks = ::/0\n", &boot, "in none of them");
}

static void tokens(void **state) {
        struct boot boot;

        boot_set_up(&boot);
        boot.input.token = true;
        boot.input.pcrs = NULL;
        boot.input.facts = NULL;
        boot.input.ima = NULL;
        decides(FIRMWARE "secure-boot = on\n[release]\ntoken-evidence = yes\nnetworks = 192.0.2.0/24\n", &boot, NULL);
        decides("[release]\ntoken-evidence = yes\nnetworks = 10.0.0.0/8\n", &boot, "in none of them");
        decides("[release]\ntoken-evidence = no\n", &boot, "a token says who asks");
        decides("[set x]\nbank = sha256\npcr 4 = " A32 "\n", &boot, "a token says who asks");
        decides("", &boot, "a token says who asks");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(secure_boot),
                cmocka_unit_test(debug),
                cmocka_unit_test(invariant_2_rules_need_proven_pcrs),
                cmocka_unit_test(signature_lists),
                cmocka_unit_test(drivers),
                cmocka_unit_test(images),
                cmocka_unit_test(addons),
                cmocka_unit_test(command_lines),
                cmocka_unit_test(a_letter_that_is_a_space_to_the_kernel),
                cmocka_unit_test(a_quote_that_swallows_words),
                cmocka_unit_test(command_line_of_the_kernels_stub),
                cmocka_unit_test(ima),
                cmocka_unit_test(ima_is_bounded),
                cmocka_unit_test(ima_files_are_found_by_digest),
                cmocka_unit_test(release),
                cmocka_unit_test(tokens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
