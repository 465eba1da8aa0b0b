/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/file.h"
#include "boot/askpassword.h"
#include "boot/control.h"
#include "boot/crypttab.h"
#include "boot/gate.h"

/* What the initramfs' own files say: crypttab, generated units, questions for a passphrase; and the control socket's lines. */

static struct crypttab parsed(const char *text) {
        struct crypttab crypttab = {};

        assert_int_equal(crypttab_parse(text, strlen(text), &crypttab), 0);
        return crypttab;
}

static void crypttab_lines(void **state _unused_) {
        _cleanup_(crypttab_done) struct crypttab crypttab =
                parsed("# comment\n\nroot\tUUID=7a11b007-0000-4000-8000-000000000002   none   luks,discard,x-initrd.attach\n"
                       "data /dev/vdb /etc/key luks,readonly,header=/boot/header.img\n"
                       "swap PARTUUID=abc /dev/urandom swap,cipher=aes-xts-plain64\n"
                       "short\n"
                       "last LABEL=x");
        const struct crypttab_entry *entry = crypttab_find(&crypttab, "root");

        assert_int_equal(crypttab.n, 4);
        assert_string_equal(entry->device, "/dev/disk/by-uuid/7a11b007-0000-4000-8000-000000000002");
        assert_true(entry->options.discard && !entry->options.readonly && !entry->not_luks && !entry->header);
        entry = crypttab_find(&crypttab, "data");
        assert_true(entry->options.readonly);
        assert_string_equal(entry->options.header, "/boot/header.img");
        assert_true(crypttab_find(&crypttab, "swap")->not_luks);
        assert_string_equal(crypttab_find(&crypttab, "last")->device, "/dev/disk/by-label/x");
        assert_null(crypttab_find(&crypttab, "short"));
}

static void crypttab_another_user_of_a_pcr(void **state _unused_) {
        _cleanup_(crypttab_done) struct crypttab crypttab =
                parsed("a /dev/a none tpm2-measure-pcr=yes\nb /dev/b none tpm2-measure-pcr=9\nc /dev/c none tpm2-measure-pcr=no\n"
                       "d /dev/d none luks\n");

        assert_true(crypttab.items[0].measures_pcr);
        assert_int_equal(crypttab.items[0].measure_pcr, 15);
        assert_true(crypttab.items[1].measures_pcr);
        assert_int_equal(crypttab.items[1].measure_pcr, 9);
        assert_false(crypttab.items[2].measures_pcr);
        assert_false(crypttab.items[3].measures_pcr);
}

static void crypttab_bad_bytes(void **state _unused_) {
        struct crypttab crypttab = {};
        static const char nul[] = "root\0x /dev/a\nb /dev/b\n";
        _cleanup_(freep) char *many = malloc(300 * 8 + 1);
        size_t used = 0;

        assert_int_equal(crypttab_parse(nul, sizeof nul - 1, &crypttab), 0);
        assert_int_equal(crypttab.n, 1);
        crypttab_done(&crypttab);
        crypttab = parsed("../evil /dev/a\n");
        assert_int_equal(crypttab.n, 0);
        crypttab_done(&crypttab);
        for (unsigned i = 0; i < 300; i++)
                used += (size_t) sprintf(many + used, "n%03u /d\n", i);
        assert_int_equal(crypttab_parse(many, used, &crypttab), -E2BIG);
}

static void a_generated_unit(void **state _unused_) {
        static const char unit[] = "[Unit]\nDescription=Cryptography Setup for %I\n[Service]\nType=oneshot\n"
                                   "ExecStart=/lib/systemd/systemd-cryptsetup attach 'luks-a b' "
                                   "'/dev/disk/by-uuid/x\\x20y' '/key' 'discard,no-read-workqueue'\n"
                                   "ExecStop=/lib/systemd/systemd-cryptsetup detach 'luks-a b'\n";
        _cleanup_(crypttab_done) struct crypttab crypttab = {};

        assert_int_equal(crypttab_from_unit(unit, strlen(unit), &crypttab), 0);
        assert_int_equal(crypttab.n, 1);
        assert_string_equal(crypttab.items[0].name, "luks-a b");
        assert_string_equal(crypttab.items[0].device, "/dev/disk/by-uuid/x y");
        assert_true(crypttab.items[0].options.discard && crypttab.items[0].options.no_read_workqueue);
        assert_int_equal(crypttab_from_unit("[Unit]\n", 7, &crypttab), -ENOENT);
}

static void unit_names(void **state _unused_) {
        char name[256];

        unit_escape("luks-1", name);
        assert_string_equal(name, "luks\\x2d1");
        unit_escape(".a_b:c.d e", name);
        assert_string_equal(name, "\\x2ea_b:c.d\\x20e");
}

#define QUESTION "[Ask]\nPID=123\nSocket=/run/x\nAcceptCached=1\nId=cryptsetup:/dev/vda\nMessage=Please\n"

static void questions(void **state _unused_) {
        struct ask ask;

        assert_int_equal(ask_parse(QUESTION, strlen(QUESTION), &ask), 0);
        assert_int_equal(ask.pid, 123);
        assert_string_equal(ask.id, "cryptsetup:/dev/vda");
        assert_int_equal(ask_parse("[Ask]\nPID=0\nId=x\n", 17, &ask), -EBADMSG);
        assert_int_equal(ask_parse("[Ask]\nPID=1x\nId=x\n", 18, &ask), -EBADMSG);
        assert_int_equal(ask_parse("[Ask]\nPID=1\n", 12, &ask), -EBADMSG);
        assert_int_equal(ask_parse("", 0, &ask), -EBADMSG);
}

static void a_question_is_pending_only_for_its_device_and_process(void **state _unused_) {
        char directory[] = "/tmp/tb-ask-XXXXXX", path[64], text[128];

        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof path, "%s/ask.abc", directory);
        snprintf(text, sizeof text, "[Ask]\nPID=%d\nId=cryptsetup:/dev/disk/a\\x20b\n", getpid());
        assert_int_equal(file_write(path, text, strlen(text), 0600), 0);
        assert_true(ask_is_pending(directory, getpid(), "/dev/disk/a b"));
        assert_false(ask_is_pending(directory, getpid(), "/dev/disk/a"));
        assert_false(ask_is_pending(directory, 1, "/dev/disk/a b"));
        assert_false(ask_is_pending(directory, 0, "/dev/disk/a b"));
        assert_true(ask_is_any_pending(directory));
        (void) unlink(path);
        assert_false(ask_is_pending(directory, getpid(), "/dev/disk/a b"));
        assert_false(ask_is_any_pending(directory));
        (void) rmdir(directory);
        assert_false(ask_is_pending(directory, getpid(), "/dev/disk/a b"));
        assert_false(ask_is_any_pending(directory));
}

static void control_lines(void **state _unused_) {
        static const char *const bad[] = { "",
                                           "waits",
                                           "wait root",
                                           "wait root not-a-uuid",
                                           "opened",
                                           "opened a/b",
                                           "opened a\x1b[",
                                           "stop it",
                                           "leave now",
                                           "payload x y",
                                           "wait root 7a11b007-0000-4000-8000-000000000002 x" };
        struct control_request request;

        assert_int_equal(control_request_parse("wait root 7a11b007-0000-4000-8000-000000000002", &request), 0);
        assert_int_equal(request.verb, CONTROL_WAIT);
        assert_string_equal(request.name, "root");
        assert_string_equal(request.uuid, "7a11b007-0000-4000-8000-000000000002");
        assert_int_equal(control_request_parse("opened luks-1", &request), 0);
        assert_int_equal(request.verb, CONTROL_OPENED);
        assert_int_equal(control_request_parse("stop", &request), 0);
        assert_int_equal(control_request_parse("quit", &request), 0);
        assert_int_equal(control_request_parse("leave", &request), 0);
        assert_int_equal(control_request_parse("payload", &request), 0);
        assert_int_equal(control_request_parse("settled", &request), 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(control_request_parse(bad[i], &request), -EBADMSG);
}

static void the_gate_is_closed_in_every_bank_or_open(void **state _unused_) {
        struct pcr_values values = { .n = 2, .banks = { { .alg = 0xb, .mask = 1U << 15 }, { .alg = 0x4, .mask = 1U << 15 } } };

        assert_int_equal(gate_judge(&values, 15), GATE_OPEN);
        values.banks[0].values[15][31] = 1;
        assert_int_equal(gate_judge(&values, 15), GATE_OPEN);
        values.banks[1].values[15][0] = 1;
        assert_int_equal(gate_judge(&values, 15), GATE_CLOSED);
        values.banks[1].mask = 0; /* a bank that was not read */
        assert_int_equal(gate_judge(&values, 15), GATE_OPEN);
        values.n = 0;
        assert_int_equal(gate_judge(&values, 15), GATE_OPEN);
        /* A bank of an algorithm that we do not know counts like any other. */
        values = (struct pcr_values){ .n = 1, .banks = { { .alg = 0x12, .mask = 1U << 15 } } };
        assert_int_equal(gate_judge(&values, 15), GATE_OPEN);
        values.banks[0].values[15][20] = 1;
        assert_int_equal(gate_judge(&values, 15), GATE_CLOSED);
}

static void the_gate_is_ignored_by_one_exact_word(void **state _unused_) {
        assert_true(gate_is_ignored("quiet tallyboot.gate=ignore\n"));
        assert_true(gate_is_ignored("tallyboot.gate=ignore"));
        assert_false(gate_is_ignored("xtallyboot.gate=ignore"));
        assert_false(gate_is_ignored("tallyboot.gate=ignored"));
        assert_false(gate_is_ignored(""));
        assert_false(gate_is_ignored("  "));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(crypttab_lines),
                cmocka_unit_test(crypttab_another_user_of_a_pcr),
                cmocka_unit_test(crypttab_bad_bytes),
                cmocka_unit_test(a_generated_unit),
                cmocka_unit_test(unit_names),
                cmocka_unit_test(questions),
                cmocka_unit_test(a_question_is_pending_only_for_its_device_and_process),
                cmocka_unit_test(control_lines),
                cmocka_unit_test(the_gate_is_closed_in_every_bank_or_open),
                cmocka_unit_test(the_gate_is_ignored_by_one_exact_word),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
