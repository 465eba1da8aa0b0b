/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/encode.h"
#include "base/file.h"
#include "evidence/eventlog.h"
#include "evidence/facts.h"
#include "soft-log.h"

/* What logs prove. The attacker of these tests boots something else, and then writes the log: he has any text, type and data that
 * he wants, but the digests are those that the TPM saw. */

enum {
        BSA = (int) 0x80000003,
        ACTION = (int) 0x80000007,
        CONFIG = (int) 0x80000001,
        AUTHORITY = (int) 0x800000e0,
        IPL = 0xd,
        TAG = 6
};

static struct soft_log made;
static struct boot_facts facts;
static char error[160];

static int start(void **state _unused_) {
        soft_log_start(&made);
        return 0;
}

static int done(void **state _unused_) {
        soft_log_done(&made);
        boot_facts_done(&facts);
        return 0;
}

static void read_made(void) {
        boot_facts_done(&facts);
        if (boot_facts_read(made.bytes.data, made.bytes.size, &made.pcrs, 0xb, &facts, error, sizeof error) < 0)
                fail_msg("%s", error);
}

static void unread(unsigned pcr, const char *why) {
        assert_true(facts.unread & 1U << pcr);
        if (!strstr(facts.unread_why[pcr], why))
                fail_msg("said: %s", facts.unread_why[pcr]);
}

static void has(const struct fact_digests *digests, size_t i, const char *name, const char *hex) {
        uint8_t digest[WIRE_DIGEST_MAX];

        assert_true(i < digests->n);
        assert_string_equal(digests->items[i].name, name);
        assert_int_equal(digests->items[i].size, strlen(hex) / 2);
        assert_int_equal(hex_decode(hex, digest, strlen(hex) / 2), 0);
        assert_memory_equal(digests->items[i].digest, digest, strlen(hex) / 2);
}

static void has_hash(const struct fact_digests *digests, size_t i, const char *name, const void *data, size_t size) {
        _cleanup_(freep) char *hex = NULL;
        uint8_t digest[32];

        assert_int_equal(sha256(data, size, digest), 0);
        hex = hex_encode(digest, sizeof digest);
        has(digests, i, name, hex);
}

static void read_vector(const char *name) {
        struct pcr_values quoted;
        struct blob data = {};
        char file[64];

        snprintf(file, sizeof file, "%s.ev", name);
        soft_vector(file, &data);
        soft_vector_pcrs(name, &quoted);
        boot_facts_done(&facts);
        assert_int_equal(boot_facts_read(data.data, data.size, &quoted, 0xb, &facts, error, sizeof error), 0);
        blob_done(&data);
        assert_int_equal(facts.proven, 0xfffbff);
        assert_int_equal(facts.contradicted, 0x400);
        assert_int_equal(facts.unread, 0);
}

/* Digests as sha256sum and sbverify have them. */
static void recorded_uki_with_secure_boot(void **state _unused_) {
        static const char certificate[] = "282e8130b7070f107aaecc25d3992ca4440270860b09088792a5075fab0d13f8";

        read_vector("ovmf4m-uki-sb");
        assert_int_equal(facts.secure_boot, 1);
        assert_int_equal(facts.debug, 0);
        assert_true(facts.deployed_or_user);
        has(&facts.pk, 0, "x509", certificate);
        has(&facts.kek, 0, "x509", certificate);
        has(&facts.db, 0, "x509", certificate);
        has_hash(&facts.dbx, 0, "sha256", "", 0);
        has(&facts.authorities, 0, "x509", certificate);
        assert_int_equal(facts.authorities.n, 1);
        assert_int_equal(facts.applications.n, 1);
        has(&facts.applications, 0, "", "e0a2970b1e3e0b62e8df6efd7234c1ecdc2b9bb47898a230ed651a3e84f8e0ea");
        assert_int_equal(facts.sections.n, 4);
        has(&facts.sections, 0, ".linux", "26f2e57c99338feaf71c46fa4babdc7e1a6c115943002d109fdb746667104f5f");
        has(&facts.sections, 3, ".initrd", "ab79055f9e26bcd4eb921a8f9026ef95431d0590e08f55716acf57a524ffce1d");
        assert_int_equal(facts.loaded.n, 2);
        has(&facts.loaded, 1, "initrd", "ab79055f9e26bcd4eb921a8f9026ef95431d0590e08f55716acf57a524ffce1d");
        assert_true(facts.initrd_measured);
        assert_int_equal(facts.n_command_lines, 0);
}

static void recorded_others(void **state _unused_) {
        read_vector("ovmf4m-uki");
        assert_int_equal(facts.secure_boot, 0);
        assert_false(facts.deployed_or_user);
        assert_int_equal(facts.applications.n, 2);
        read_vector("ovmf4m-ms-direct");
        assert_int_equal(facts.secure_boot, 1);
        assert_int_equal(facts.kek.n, 2);
        has(&facts.kek, 1, "x509", "a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503");
        assert_int_equal(facts.applications.n, 0);
        read_vector("seabios-tis");
        assert_int_equal(facts.secure_boot, -1);
        assert_int_equal(facts.drivers.n, 2);
        assert_int_equal(facts.applications.n, 0);
        read_vector("ovmf4m-crb");
        read_vector("ovmf4m-tis");
        read_vector("seabios-crb");
}

/* The log of a real machine, which is not part of this repository: GRUB, shim, no Secure Boot. Quoted as it replays. */
static void recorded_on_a_real_machine(void **state _unused_) {
        _cleanup_(blob_done) struct blob data = {};
        struct eventlog_pcrs pcrs;

        if (file_read("../shared/data/eventlog-hw/bios_measurements.ev", 1024 * 1024, &data) < 0)
                skip();
        assert_int_equal(eventlog_replay(data.data, data.size, 0xb, &pcrs, error, sizeof error), 0);
        memcpy(made.pcrs.banks[0].values, pcrs.values, sizeof pcrs.values);
        assert_int_equal(boot_facts_read(data.data, data.size, &made.pcrs, 0xb, &facts, error, sizeof error), 0);
        assert_int_equal(facts.proven, 0xffffff);
        assert_int_equal(facts.unread, 0);
        assert_int_equal(facts.secure_boot, 0);
        assert_true(facts.deployed_or_user);
        assert_int_equal(facts.dbx.n, 460);
        assert_int_equal(facts.applications.n, 3);
        assert_int_equal(facts.drivers.n, 3);
        assert_int_equal(facts.loaded.n, 10);
        assert_int_equal(facts.mok.n, 3);
        assert_string_equal(facts.mok.items[2].name, "MokListTrusted");
        assert_string_equal(facts.variables.items[0].name, "SbatLevel");
        assert_int_equal(facts.authorities.n, 0);
        assert_int_equal(facts.n_command_lines, 2);
        assert_string_equal(facts.command_lines[0].text, facts.command_lines[1].text);
        assert_memory_equal(facts.command_lines[0].text, "(hd3,gpt2)/vmlinuz-", 19);
}

static void only_quoted_pcrs_are_believed(void **state _unused_) {
        soft_log_variable(&made, CONFIG, 'g', "SecureBoot", "\1", 1);
        soft_log_separators(&made);
        soft_log_text(&made, 4, BSA, "an application");
        read_made();
        assert_int_equal(facts.secure_boot, 1);
        assert_int_equal(facts.applications.n, 1);

        made.pcrs.banks[0].mask = 0xffff6f; /* neither 4 nor 7 */
        read_made();
        assert_int_equal(facts.proven | facts.contradicted, made.pcrs.banks[0].mask);
        assert_int_equal(facts.secure_boot, -1);
        assert_int_equal(facts.debug, -1);
        assert_int_equal(facts.applications.n, 0);
}

static void a_pcr_with_another_value_proves_nothing(void **state _unused_) {
        soft_log_variable(&made, CONFIG, 'g', "SecureBoot", "\1", 1);
        soft_log_separators(&made);
        soft_log_text(&made, 4, BSA, "an application");
        soft_extend(&made, 4, "one more", 8);
        soft_extend(&made, 7, "one more", 8);
        read_made();
        assert_int_equal(facts.contradicted, 0x90);
        assert_int_equal(facts.proven, 0xffff6f);
        assert_int_equal(facts.secure_boot, -1);
        assert_int_equal(facts.applications.n, 0);
        assert_int_equal(facts.authorities.n, 0);
}

static void an_event_that_never_was_contradicts(void **state _unused_) {
        struct pcr_values before;

        soft_log_separators(&made);
        before = made.pcrs;
        soft_log_text(&made, 12, IPL, "x");
        made.pcrs = before;
        read_made();
        assert_int_equal(facts.contradicted, 1U << 12);
        assert_int_equal(facts.n_command_lines, 0);
}

static void banks(void **state _unused_) {
        soft_log_separators(&made);
        assert_int_equal(boot_facts_read(made.bytes.data, made.bytes.size, &made.pcrs, 0xc, &facts, error, sizeof error),
                         -ENOTSUP);
        assert_string_equal(error, "the quote has no sha384 values");
        made.pcrs.banks[0].alg = 0xc;
        assert_int_equal(boot_facts_read(made.bytes.data, made.bytes.size, &made.pcrs, 0xc, &facts, error, sizeof error),
                         -ENOTSUP);
        assert_non_null(strstr(error, "the log has no sha384 digests"));
        assert_int_equal(boot_facts_read("x", 1, &made.pcrs, 0xc, &facts, error, sizeof error), -EBADMSG);
}

/* The log says that the boot loader of the attacker was something else. */
static void an_application_under_another_type(void **state _unused_) {
        static const char evil[] = "all the bytes of an image that its digest is over";

        soft_log_text(&made, 4, ACTION, "Calling EFI Application from Boot Option");
        soft_log_separators(&made);
        soft_log_text(&made, 4, BSA, "ours");
        soft_log_event(&made, 4, ACTION, evil, sizeof evil);
        soft_log_hashed(&made, 4, 4, evil, sizeof evil, "\0\0\0", 4);
        soft_log_hashed(&made, 4, ACTION, evil, sizeof evil, "Calling EFI Application from Boot Option", 40);
        soft_log_event(&made, 2, ACTION, evil, sizeof evil);
        read_made();
        assert_int_equal(facts.applications.n, 4);
        has_hash(&facts.applications, 0, "", "ours", 4);
        for (size_t i = 1; i < 4; i++)
                has_hash(&facts.applications, i, "", evil, sizeof evil);
        has_hash(&facts.drivers, 0, "", evil, sizeof evil);
}

/* By the digest of the firmware's text, under whatever type. */
static void an_application_that_came_back(void **state _unused_) {
        soft_log_text(&made, 4, ACTION, "Calling EFI Application from Boot Option");
        soft_log_separators(&made);
        soft_log_text(&made, 4, BSA, "ours");
        soft_log_hashed(&made, 4, BSA, "Returning from EFI Application from Boot Option", 47, "\0\0\0", 4);
        soft_log_text(&made, 4, BSA, "another");
        read_made();
        assert_int_equal(facts.applications.n, 2);
        assert_int_equal(facts.returned, 1);
        read_vector("ovmf4m-uki");
        assert_int_equal(facts.returned, 0);
}

static void secure_boot(const void *value, size_t size) {
        soft_log_variable(&made, CONFIG, 'g', "SecureBoot", value, size);
}

/* Off, and the log says on. */
static void secure_boot_off_with_other_data(void **state _unused_) {
        secure_boot("\0", 1);
        assert_int_equal(made.bytes.data[made.bytes.size - 1], 0);
        made.bytes.data[made.bytes.size - 1] = 1;
        soft_log_separators(&made);
        read_made();
        assert_true(facts.proven & 1U << 7);
        unread(7, "event 1: its digest is not that of its data");
        assert_int_equal(facts.secure_boot, -1);
        assert_int_equal(facts.debug, -1);
        assert_false(facts.deployed_or_user);
}

/* Off, as the firmware measured it; then the attacker's system extends what an honest boot would. */
static void secure_boot_measured_later(void **state _unused_) {
        secure_boot("\0", 1);
        soft_log_separators(&made);
        secure_boot("\1", 1);
        read_made();
        assert_int_equal(facts.secure_boot, 0);
}

static void secure_boot_measured_only_later(void **state _unused_) {
        soft_log_separators(&made);
        secure_boot("\1", 1);
        read_made();
        assert_int_equal(facts.secure_boot, -1);
}

static void secure_boot_without_separator(void **state _unused_) {
        secure_boot("\1", 1);
        read_made();
        unread(7, "it has no separator");
        assert_int_equal(facts.secure_boot, -1);
}

static void secure_boot_twice(void **state _unused_) {
        secure_boot("\1", 1);
        secure_boot("\1", 1);
        soft_log_separators(&made);
        read_made();
        unread(7, "SecureBoot is there twice");
        assert_int_equal(facts.secure_boot, -1);
}

static void secure_boot_switched_off_later(void **state _unused_) {
        secure_boot("\1", 1);
        soft_log_separators(&made);
        secure_boot("\0", 1);
        read_made();
        assert_int_equal(facts.secure_boot, 0);
}

static void secure_boot_of_another_size_or_owner(void **state _unused_) {
        secure_boot("\1\1", 2);
        soft_log_separators(&made);
        read_made();
        assert_int_equal(facts.secure_boot, 0);

        done(NULL);
        start(NULL);
        soft_log_variable(&made, CONFIG, 's', "SecureBoot", "\1", 1);
        soft_log_separators(&made);
        read_made();
        assert_int_equal(facts.secure_boot, -1);
}

/* The types of events are bound by nothing: their order is. */
static void types_in_pcr_7_do_not_matter(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer list = {};

        soft_signature_list(&list, 'h', "0123456789abcdef0123456789abcdef", 32);
        soft_log_variable(&made, ACTION, 'g', "SecureBoot", "\1", 1);
        soft_log_variable(&made, AUTHORITY, 's', "dbx", list.data, list.size);
        soft_log_separators(&made);
        soft_log_variable(&made, CONFIG, 's', "db", list.data + 28, list.size - 28);
        read_made();
        assert_int_equal(facts.secure_boot, 1);
        assert_int_equal(facts.dbx.n, 1);
        assert_int_equal(facts.db.n, 0);
        assert_int_equal(facts.authorities.n, 1);
        assert_string_equal(facts.authorities.items[0].name, "sha256");
        assert_memory_equal(facts.authorities.items[0].digest, "0123456789abcdef0123456789abcdef", 32);
}

static void setup_and_audit_mode(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer list = {};
        static const char *const modes[] = { "SetupMode", "AuditMode", NULL };

        soft_signature_list(&list, 'x', "certificate", 11);
        for (size_t i = 0; i < 3; i++) {
                done(NULL);
                start(NULL);
                secure_boot("\1", 1);
                soft_log_variable(&made, CONFIG, 'g', "PK", list.data, list.size);
                if (modes[i])
                        soft_log_variable(&made, CONFIG, 'g', modes[i], "\1", 1);
                soft_log_separators(&made);
                read_made();
                assert_int_equal(facts.deployed_or_user, modes[i] == NULL);
                has_hash(&facts.pk, 0, "x509", "certificate", 11);
        }
        done(NULL);
        start(NULL);
        secure_boot("\1", 1);
        soft_log_variable(&made, CONFIG, 'g', "PK", "", 0);
        soft_log_separators(&made);
        read_made();
        assert_false(facts.deployed_or_user);
}

static void debug_and_dma(void **state _unused_) {
        static const char *const texts[] = { "UEFI Debug Mode", "DMA Protection Disabled" };

        for (size_t i = 0; i < 2; i++) {
                done(NULL);
                start(NULL);
                secure_boot("\1", 1);
                /* the data and the type lie */
                soft_log_hashed(&made, 7, CONFIG, texts[i], strlen(texts[i]), "nothing", 7);
                soft_log_separators(&made);
                read_made();
                assert_int_equal(facts.debug, 1);
                assert_int_equal(facts.unread, 0);
        }
}

static void shim_told_not_to_verify(void **state _unused_) {
        secure_boot("\1", 1);
        soft_log_separators(&made);
        soft_log_variable(&made, AUTHORITY, 'm', "SbatLevel", "sbat,1,2021030218\n", 18);
        read_made();
        assert_int_equal(facts.secure_boot, 1);
        has_hash(&facts.variables, 0, "SbatLevel", "sbat,1,2021030218\n", 18);
        assert_int_equal(facts.authorities.n, 0);

        soft_log_variable(&made, AUTHORITY, 'm', "MokSBState", "\1", 1);
        read_made();
        assert_int_equal(facts.secure_boot, 0);
        has_hash(&facts.variables, 1, "MokSBState", "\1", 1);
}

static void authorities(void **state _unused_) {
        uint8_t der[16 + 4 + 256] = {};

        memcpy(der + 16, "\x30\x82\1\0", 4);
        secure_boot("\1", 1);
        soft_log_separators(&made);
        soft_log_variable(&made, AUTHORITY, 's', "db", der, sizeof der);
        soft_log_variable(&made, AUTHORITY, 'm', "Shim", der + 16, sizeof der - 16);
        soft_log_variable(&made, AUTHORITY, 's', "db", der, 100);
        soft_log_text(&made, 7, ACTION, "A text of the vendor's");
        read_made();
        assert_int_equal(facts.authorities.n, 4);
        has_hash(&facts.authorities, 0, "x509", der + 16, sizeof der - 16);
        has_hash(&facts.authorities, 1, "x509", der + 16, sizeof der - 16);
        has_hash(&facts.authorities, 2, "", der, 100);
        has_hash(&facts.authorities, 3, "", "A text of the vendor's", 22);
        assert_int_equal(facts.unread, 0);
        assert_int_equal(facts.secure_boot, 1);
}

static void broken_signature_lists(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer list = {};

        soft_signature_list(&list, 'h', "0123456789abcdef0123456789abcdef", 32);
        list.data[16] = 0; /* its size: a loop */
        secure_boot("\1", 1);
        soft_log_variable(&made, CONFIG, 's', "dbx", list.data, list.size);
        soft_log_separators(&made);
        read_made();
        unread(7, "dbx is not a list of signatures");
        assert_int_equal(facts.secure_boot, -1);
}

static void too_many_signatures(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer list = {};
        static const uint8_t entry[17];

        soft_signature_list(&list, 'x', entry, 1);
        list.size = 28;
        for (size_t i = 0; i < 32769; i++)
                buffer_append(&list, entry, sizeof entry);
        list.data[16] = (uint8_t) list.size;
        list.data[17] = (uint8_t) (list.size >> 8);
        list.data[18] = (uint8_t) (list.size >> 16);
        secure_boot("\1", 1);
        soft_log_variable(&made, CONFIG, 's', "dbx", list.data, list.size);
        soft_log_separators(&made);
        read_made();
        unread(7, "more than 32768 signatures");
        assert_int_equal(facts.dbx.n, 32768);
}

static void sections(void **state _unused_) {
        static const char *const phases[] = { "enter-initrd", "leave-initrd", "sysinit", "ready" };
        _cleanup_(buffer_done) struct buffer label = {};

        soft_utf16(&label, ".linux");
        soft_log_hashed(&made, 11, IPL, ".linux", 7, label.data, label.size);
        soft_log_hashed(&made, 11, IPL, "the kernel", 10, "whatever", 8);
        for (unsigned i = 0;; i++) {
                read_made();
                assert_int_equal(facts.phases, i);
                assert_int_equal(facts.sections.n, 1);
                has_hash(&facts.sections, 0, ".linux", "the kernel", 10);
                assert_true(facts.proven & ~facts.unread & 1U << 11);
                if (i == ELEMENTSOF(phases))
                        break;
                soft_extend(&made, 11, phases[i], strlen(phases[i]));
        }
        soft_extend(&made, 11, "something else", 14);
        read_made();
        assert_true(facts.contradicted & 1U << 11);
        assert_int_equal(facts.sections.n, 0);
}

static void a_section_under_another_name(void **state _unused_) {
        soft_log_hashed(&made, 11, IPL, ".evil", 6, ".linux", 7);
        soft_log_hashed(&made, 11, IPL, "the kernel", 10, "", 0);
        read_made();
        unread(11, "event 1: not the name of a section");
        assert_int_equal(facts.sections.n, 0);
}

static void a_section_without_content(void **state _unused_) {
        soft_log_hashed(&made, 11, IPL, ".linux", 7, ".linux", 7);
        read_made();
        unread(11, "a section's name without its content");
}

static void grub(unsigned pcr, const char *label, const char *text) {
        char data[256];

        snprintf(data, sizeof data, "%s%s", label, text);
        soft_log_hashed(&made, pcr, IPL, text, strlen(text), data, strlen(data) + 1);
}

static void line_is(size_t i, unsigned pcr, const char *text) {
        assert_true(i < facts.n_command_lines);
        assert_int_equal(facts.command_lines[i].pcr, pcr);
        assert_string_equal(facts.command_lines[i].text, text);
}

static void grub_command_lines(void **state _unused_) {
        grub(8, "grub_cmd: ", "set timeout=5");
        grub(8, "grub_cmd: ", "linux (hd0)/vmlinuz root=/dev/sda");
        grub(8, "kernel_cmdline: ", "(hd0)/vmlinuz root=/dev/sda");
        /* the label is not part of the digest */
        grub(8, "grub_cmd: ", "(hd0)/vmlinuz init=/bin/sh");
        grub(8, "module_cmdline: ", "/vmlinuz init=/bin/sh");
        grub(8, "kernel_cmdline: ", "set timeout=5");
        read_made();
        assert_int_equal(facts.n_command_lines, 5);
        line_is(0, 8, "(hd0)/vmlinuz root=/dev/sda");
        line_is(1, 8, "(hd0)/vmlinuz root=/dev/sda");
        line_is(2, 8, "(hd0)/vmlinuz init=/bin/sh");
        line_is(3, 8, "/vmlinuz init=/bin/sh");
        line_is(4, 8, "set timeout=5");
        assert_false(facts.unread & 1U << 8);
}

static void a_command_line_with_another_text(void **state _unused_) {
        grub(8, "kernel_cmdline: ", "(hd0)/vmlinuz root=/dev/sda");
        soft_log_hashed(&made, 8, IPL, "(hd0)/vmlinuz init=/bin/sh", 26, "kernel_cmdline: (hd0)/vmlinuz root=/dev/sda", 44);
        soft_log_hashed(&made, 12, IPL, "init=/bin/sh", 12, "root=/dev/sda", 13);
        read_made();
        unread(8, "event 2: its digest is not that of its text");
        unread(12, "event 3: its digest is not that of its text");
}

static void stub_command_lines(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer wide = {};

        soft_utf16(&wide, "root=/dev/sda quiet");
        soft_log_event(&made, 12, IPL, wide.data, wide.size);
        soft_log_event(&made, 8, IPL, wide.data, wide.size); /* older versions of systemd's boot loader */
        read_made();
        assert_int_equal(facts.n_command_lines, 2);
        line_is(0, 12, "root=/dev/sda quiet");
        line_is(1, 8, "root=/dev/sda quiet");

        soft_log_hashed(&made, 12, IPL, "070701", 6, "Credentials initrd", 19);
        read_made();
        unread(12, "event 3");

        done(NULL);
        start(NULL);
        soft_log_event(&made, 12, IPL, "a\0b", 3);
        read_made();
        unread(12, "event 1: not a text");
}

static void loaded_files_and_lists_of_shim(void **state _unused_) {
        _cleanup_(buffer_done) struct buffer wide = {};
        uint8_t digest[WIRE_DIGEST_MAX];

        soft_utf16(&wide, "root=/dev/sda");
        soft_log_hashed(&made, 9, TAG, wide.data, wide.size, "\xed\";\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions", 34);
        soft_log_hashed(&made, 9, TAG, "initrd", 6, "\xec\";\x8f\r\0\0\0Linux initrd", 21);
        soft_log_hashed(&made, 9, IPL, "x", 1, "(hd0)/vmlinuz", 14);
        soft_log_hashed(&made, 14, IPL, "list", 4, "MokList", 8);
        read_made();
        assert_int_equal(facts.loaded.n, 3);
        assert_int_equal(boot_facts_command_line_digest("root=/dev/sda", 0xb, digest), 0);
        assert_string_equal(facts.loaded.items[0].name, "cmdline");
        assert_memory_equal(facts.loaded.items[0].digest, digest, 32);
        has_hash(&facts.loaded, 1, "initrd", "initrd", 6);
        has_hash(&facts.loaded, 2, "", "x", 1);
        has_hash(&facts.mok, 0, "MokList", "list", 4);
        assert_true(facts.initrd_measured);
        assert_int_equal(boot_facts_command_line_digest("\xff", 0xb, digest), -EINVAL);
        assert_int_equal(boot_facts_command_line_digest("x", 0x12, digest), -ENOTSUP);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, done)
                TEST(recorded_uki_with_secure_boot),
                TEST(recorded_others),
                TEST(recorded_on_a_real_machine),
                TEST(only_quoted_pcrs_are_believed),
                TEST(a_pcr_with_another_value_proves_nothing),
                TEST(an_event_that_never_was_contradicts),
                TEST(banks),
                TEST(an_application_under_another_type),
                TEST(an_application_that_came_back),
                TEST(secure_boot_off_with_other_data),
                TEST(secure_boot_measured_later),
                TEST(secure_boot_measured_only_later),
                TEST(secure_boot_without_separator),
                TEST(secure_boot_twice),
                TEST(secure_boot_switched_off_later),
                TEST(secure_boot_of_another_size_or_owner),
                TEST(types_in_pcr_7_do_not_matter),
                TEST(setup_and_audit_mode),
                TEST(debug_and_dma),
                TEST(shim_told_not_to_verify),
                TEST(authorities),
                TEST(broken_signature_lists),
                TEST(too_many_signatures),
                TEST(sections),
                TEST(a_section_under_another_name),
                TEST(a_section_without_content),
                TEST(grub_command_lines),
                TEST(a_command_line_with_another_text),
                TEST(stub_command_lines),
                TEST(loaded_files_and_lists_of_shim),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
