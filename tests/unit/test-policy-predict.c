/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <openssl/sha.h>

#include "policy-text.h"
#include "policy/predict.h"
#include "policy/replace.h"

enum { OPTIONAL_AT = 64 + 4 + 20, SECTIONS_AT = OPTIONAL_AT + 240, HEADERS = 1024 };

static void put32(uint8_t *at, uint32_t value) {
        for (size_t i = 0; i < 4; i++)
                at[i] = (uint8_t) (value >> 8 * i);
}

static void put16(uint8_t *at, uint16_t value) {
        at[0] = (uint8_t) value;
        at[1] = (uint8_t) (value >> 8);
}

struct image {
        uint8_t data[8192];
        size_t size, n;
};

/* PE32+, no sections yet. */
static void image_begin(struct image *image) {
        *image = (struct image){ .size = HEADERS };
        memcpy(image->data, "MZ", 2);
        put32(image->data + 60, 64);
        memcpy(image->data + 64, "PE\0\0", 4);
        put16(image->data + 64 + 4 + 16, 240);
        put16(image->data + OPTIONAL_AT, 0x20b);
        put32(image->data + OPTIONAL_AT + 60, HEADERS);
        put32(image->data + OPTIONAL_AT + 64, 0x12345678); /* checksum */
        put32(image->data + OPTIONAL_AT + 108, 16);
}

static uint8_t *image_section(struct image *image, const char *name, const void *content, size_t size) {
        uint8_t *header = image->data + SECTIONS_AT + 40 * image->n++;
        size_t raw = (size + 15) / 16 * 16;

        memcpy(header, name, MIN(strlen(name), 8U));
        put32(header + 8, (uint32_t) size);
        put32(header + 16, (uint32_t) raw);
        put32(header + 20, (uint32_t) image->size);
        memcpy(image->data + image->size, content, size);
        image->size += raw;
        put16(image->data + 64 + 4 + 2, (uint16_t) image->n);
        return header;
}

static void image_text(struct image *image, const char *name, const char *text) {
        image_section(image, name, text, strlen(text));
}

static void parses(const struct image *image, struct pe *ret) {
        char error[256] = "";

        if (pe_parse(image->data, image->size, ret, error, sizeof(error)) < 0)
                fail_msg("%s", error);
}

static void no_pe(const struct image *image, const char *words) {
        char error[256] = "";
        struct pe pe;

        assert_int_equal(pe_parse(image->data, image->size, &pe, error, sizeof(error)), -EBADMSG);
        if (!strstr(error, words))
                fail_msg("said: %s", error);
        assert_int_equal(pe_parse(image->data, image->size, &pe, NULL, 0), -EBADMSG);
}

static void authenticode_is(const struct image *image, const uint8_t expected[static 32]) {
        uint8_t digest[WIRE_DIGEST_MAX];
        struct pe pe;

        parses(image, &pe);
        assert_int_equal(pe_authenticode(&pe, 0x0b, digest), 0);
        assert_memory_equal(digest, expected, 32);
}

static void hash_but(const struct image *image, size_t end, uint8_t ret[static 32]) {
        size_t checksum = OPTIONAL_AT + 64, security = OPTIONAL_AT + 112 + 32;
        uint8_t rest[sizeof(image->data)];
        size_t n = 0;

        for (size_t i = 0; i < end; i++)
                if (!(i >= checksum && i < checksum + 4) && !(i >= security && i < security + 8))
                        rest[n++] = image->data[i];
        SHA256(rest, n, ret);
}

/* Signing changes the checksum, the directory entry and the end of the file: the digest stays. */
static void authenticode(void **state) {
        uint8_t expected[32], other[WIRE_DIGEST_MAX];
        struct image image;
        struct pe pe;

        image_begin(&image);
        image_text(&image, ".text", "some code");
        image_text(&image, ".data", "some data");
        hash_but(&image, image.size, expected);
        authenticode_is(&image, expected);

        put32(image.data + OPTIONAL_AT + 64, 0);
        put32(image.data + OPTIONAL_AT + 112 + 32, (uint32_t) image.size);
        put32(image.data + OPTIONAL_AT + 112 + 36, 24);
        image.size += 24;
        image.data[image.size - 1] = 0xcc;
        authenticode_is(&image, expected);

        /* anything else changes it: what is behind the sections, too */
        image.size += 8;
        hash_but(&image, image.size - 24, expected);
        authenticode_is(&image, expected);
        image.data[SECTIONS_AT] ^= 1;
        parses(&image, &pe);
        assert_int_equal(pe_authenticode(&pe, 0x0b, other), 0);
        assert_memory_not_equal(other, expected, 32);
        assert_int_equal(pe_authenticode(&pe, 0x0c, other), 0);
        assert_int_equal(pe_authenticode(&pe, 0x04, other), -ENOTSUP);
}

/* The order of the file, not of the table. */
static void authenticode_sorts_sections(void **state) {
        uint8_t expected[32], swapped[40];
        struct image image;

        image_begin(&image);
        image_text(&image, ".b", "second in the table");
        image_text(&image, ".a", "first in the table");
        memcpy(swapped, image.data + SECTIONS_AT, 40);
        memmove(image.data + SECTIONS_AT, image.data + SECTIONS_AT + 40, 40);
        memcpy(image.data + SECTIONS_AT + 40, swapped, 40);
        hash_but(&image, image.size, expected);
        authenticode_is(&image, expected);
}

static void bad_images(void **state) {
        struct image image, good;
        uint8_t *header;

        image_begin(&good);
        header = image_section(&good, ".text", "x", 1);

        image = good;
        image.data[0] = 'X';
        no_pe(&image, "MZ");
        image = good;
        image.size = 63;
        no_pe(&image, "MZ");
        image = good;
        put32(image.data + 60, 0xfffffffe);
        no_pe(&image, "not where it should be");
        image = good;
        image.data[64] = 'X';
        no_pe(&image, "not where it should be");
        image = good;
        put16(image.data + 64 + 4 + 2, 0);
        no_pe(&image, "0 sections");
        image = good;
        put16(image.data + 64 + 4 + 2, 97);
        no_pe(&image, "97 sections");
        image = good;
        put16(image.data + OPTIONAL_AT, 0x107);
        no_pe(&image, "unknown kind");
        image = good;
        put16(image.data + 64 + 4 + 16, 100);
        no_pe(&image, "cut short");
        image = good;
        put16(image.data + 64 + 4 + 16, 120); /* counts 16 directories, has one */
        no_pe(&image, "cut short");
        image = good;
        put32(image.data + OPTIONAL_AT + 60, (uint32_t) good.size + 1);
        no_pe(&image, "size of its headers");
        image = good;
        put32(image.data + OPTIONAL_AT + 60, SECTIONS_AT);
        no_pe(&image, "size of its headers");
        image = good;
        put32(image.data + (header - good.data) + 20, (uint32_t) good.size - 15);
        no_pe(&image, "not inside the file");
        image = good;
        put32(image.data + (header - good.data) + 16, 0xffffffff);
        no_pe(&image, "not inside the file");
        image = good;
        put32(image.data + (header - good.data) + 8, 0xffffffff);
        no_pe(&image, "larger than");
        for (size_t size = 0; size < good.size; size++) {
                image = good;
                image.size = size;
                no_pe(&image, "");
        }
}

/* A section in memory: zeros after what the file has, nothing of what the file has after it. */
static void sections(void **state) {
        const struct pe_section *section;
        struct image image;
        struct blob content;
        uint8_t *header;
        struct pe pe;

        image_begin(&image);
        header = image_section(&image, ".initrd", "0123456789abcdef", 16);
        put32(header + 8, 20);
        image_text(&image, ".cmdline", "quiet");
        parses(&image, &pe);
        assert_int_equal(pe_find(&pe, ".initrd", &section), 0);
        assert_int_equal(pe_content(&pe, section, &content), 0);
        assert_int_equal(content.size, 20);
        assert_memory_equal(content.data, "0123456789abcdef\0\0\0\0", 20);
        blob_done(&content);
        assert_int_equal(pe_find(&pe, ".cmdline", &section), 0);
        assert_int_equal(pe_content(&pe, section, &content), 0);
        assert_int_equal(content.size, 5);
        blob_done(&content);
        assert_int_equal(pe_find(&pe, ".linux", &section), -ENOENT);
        image_text(&image, ".cmdline", "init=/bin/sh");
        parses(&image, &pe);
        assert_int_equal(pe_find(&pe, ".cmdline", &section), -ENOTUNIQ);
}

#define STUB_252 "#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####"

/* stub NULL: it does not say which it is. */
static void make_uki_of(struct image *uki, const char *stub, const char *command_line) {
        struct image kernel;

        image_begin(&kernel);
        image_text(&kernel, ".text", "kernel");
        image_begin(uki);
        image_text(uki, ".text", "stub");
        image_text(uki, ".osrel", "ID=x\n");
        image_text(uki, ".cmdline", command_line);
        image_section(uki, ".linux", kernel.data, kernel.size);
        image_text(uki, ".initrd", "initrd");
        if (stub)
                image_text(uki, ".sdmagic", stub);
}

static void make_uki(struct image *uki, const char *command_line) {
        make_uki_of(uki, STUB_252, command_line);
}

static void extend(uint8_t value[static 32], const void *data, size_t size) {
        uint8_t both[64];

        memcpy(both, value, 32);
        SHA256(data, size, both + 32);
        SHA256(both, 64, value);
}

static struct pcr_values base_values(void) {
        struct pcr_values pcrs = { .n = 1, .banks[0] = { .alg = 0x0b, .mask = 0xbfff } };

        for (unsigned pcr = 0; pcr < 8; pcr++)
                memset(pcrs.banks[0].values[pcr], 0x40 + (int) pcr, 32);
        return pcrs;
}

static void predictions(void **state) {
        static const char *const names[] = { ".linux", ".osrel", ".cmdline", ".initrd" };
        struct pcr_values pcrs = base_values();
        struct predict_input input = { .pcrs = &pcrs, .bank = 0x0b, .without = 1 << 15 };
        struct prediction prediction;
        uint8_t eleven[32] = {};
        char error[256] = "";
        struct image uki;
        struct pe pe;

        make_uki(&uki, "quiet");
        input.uki = uki.data;
        input.uki_size = uki.size;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), 0);
        assert_int_equal(prediction.set.mask, 0x3bff); /* as the boot had, without IMA's and the gate */
        assert_int_equal(prediction.set.zero, 1 << 8 | 1 << 12 | 1 << 13);
        assert_int_equal(prediction.set.values[7][0], 0x47);

        assert_null(strstr(prediction.notes, "systemd-stub"));

        parses(&uki, &pe);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const struct pe_section *section;
                struct blob content;

                assert_int_equal(pe_find(&pe, names[i], &section), 0);
                assert_int_equal(pe_content(&pe, section, &content), 0);
                extend(eleven, names[i], strlen(names[i]) + 1);
                extend(eleven, content.data, content.size);
                blob_done(&content);
        }
        extend(eleven, "enter-initrd", 12);
        assert_memory_equal(prediction.set.values[11], eleven, 32);

        /* the initramfs would be more than the section */
        image_text(&uki, ".pcrsig", "{}");
        input.uki_size = uki.size;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), 0);
        assert_int_equal(prediction.set.mask, 0x39ff);
        assert_non_null(strstr(prediction.notes, "PCR 9 is left out"));
        assert_memory_equal(prediction.set.values[11], eleven, 32);
}

/* What other stubs measure is not known: no set that looks like one. */
static void other_stubs(void **state) {
        static const struct {
                const char *magic, *refused;
        } stubs[] = { { STUB_252, NULL },
                      { "#### LoaderInfo: systemd-stub 252 ####", NULL },
                      { "#### LoaderInfo: systemd-stub 251.1-1 ####", "systemd-stub 251.1-1, and what others than 252" },
                      { "#### LoaderInfo: systemd-stub 254.5-1~bpo12+3 ####", "systemd-stub 254.5-1~bpo12+3, and" },
                      { "#### LoaderInfo: systemd-stub 257\x1b[31m ####", "systemd-stub 257, and" },
                      { "#### LoaderInfo: systemd-stub 2520 ####", "systemd-stub 2520, and" },
                      { "#### LoaderInfo: systemd-stub 25", "systemd-stub 25, and" },
                      { "#### LoaderInfo: systemd-stub ", "does not say" },
                      { "#### LoaderInfo: other-stub 252 ####", "does not say" },
                      { NULL, "does not say" } };
        struct pcr_values pcrs = base_values();
        struct predict_input input = { .pcrs = &pcrs, .bank = 0x0b };
        struct prediction prediction;
        struct image uki;

        for (size_t i = 0; i < ELEMENTSOF(stubs); i++) {
                char error[320] = "";
                int r;

                make_uki_of(&uki, stubs[i].magic, "quiet");
                input.uki = uki.data;
                input.uki_size = uki.size;
                r = policy_predict(&input, &prediction, error, sizeof(error));
                assert_int_equal(r, stubs[i].refused ? -ENOTSUP : 0);
                if (stubs[i].refused && (!strstr(error, stubs[i].refused) || !strstr(error, "--capture)")))
                        fail_msg("said: %s", error);
        }

        make_uki(&uki, "quiet");
        image_text(&uki, ".sdmagic", "#### LoaderInfo: systemd-stub 257 ####");
        input.uki_size = uki.size;
        assert_int_equal(policy_predict(&input, &prediction, NULL, 0), -EBADMSG);
}

static void no_prediction(void **state) {
        struct pcr_values pcrs = base_values();
        struct predict_input input = { .pcrs = &pcrs, .bank = 0x0b };
        struct prediction prediction;
        char error[256] = "";
        struct image uki;

        make_uki(&uki, "quiet");
        image_text(&uki, ".cmdline", "other");
        input.uki = uki.data;
        input.uki_size = uki.size;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), -EBADMSG);
        assert_string_equal(error, "the UKI has two sections .cmdline");

        make_uki(&uki, "\xff");
        input.uki_size = uki.size;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), -EBADMSG);
        assert_non_null(strstr(error, "not UTF-8"));

        make_uki(&uki, "quiet");
        memset(pcrs.banks[0].values[0], 0, 32);
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), -ENOTSUP);
        assert_non_null(strstr(error, "PCR 0"));
        input.bank = 0x0c;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), -ENOTSUP);
        assert_non_null(strstr(error, "no sha384 values"));
        input.bank = 0x04;
        assert_int_equal(policy_predict(&input, &prediction, error, sizeof(error)), -ENOTSUP);
}

/* both NULL: refused with these words. */
static void applies(const char *old, const char *next, const char *both, const char *words) {
        struct policy a = policy_parsed(old), b = policy_parsed(next), whole;
        char error[256] = "", *text = NULL, *rest;
        size_t kept = 0;
        int r;

        r = policy_apply(&a, &b, &text, &kept, error, sizeof(error));
        if (!both) {
                assert_true(r < 0);
                assert_non_null(strstr(error, words));
        } else {
                assert_int_equal(r, 0);
                assert_string_equal(text, both);
                whole = policy_parsed(text);
                assert_int_equal(policy_has_replaced(&whole), kept > 0);
                assert_int_equal(policy_retire(&whole, &rest), 0);
                assert_string_equal(rest, next);
                free(rest);
                policy_done(&whole);
        }
        free(text);
        policy_done(&a);
        policy_done(&b);
}

static void apply_and_retire(void **state) {
#define OLD "[set old]\nbank = sha256\npcr 4 = " A32 "\n"
#define NEW "# new\n[set new]\nbank = sha256\npcr 4 = " B32 "\n"
        applies(OLD, NEW, NEW "\n[set old]\nreplaced = yes\nbank = sha256\npcr 4 = " A32 "\n", NULL);
        applies(OLD, OLD, OLD, NULL);
        applies("", NEW, NEW, NULL);
        applies(OLD, "[set other]\nbank = sha256\npcr 4 = " A32 "\n", "[set other]\nbank = sha256\npcr 4 = " A32 "\n", NULL);
        applies(OLD, "[set old]\nbank = sha256\npcr 4 = " B32 "\n", NULL, "name of its own");
        /* what was kept is kept on */
        applies("[set older]\nreplaced = yes\nbank = sha256\npcr 4 = " A32 "\n", NEW,
                NEW "\n[set older]\nreplaced = yes\nbank = sha256\npcr 4 = " A32 "\n", NULL);

        applies("[firmware]\nuki = " A32 "\ncommand-line = a\n", "[firmware]\nuki = " B32 "\ncommand-line like = b *\n",
                "[firmware]\nuki = " B32 "\ncommand-line like = b *\n\n[firmware replaced]\nuki = " A32 "\ncommand-line = a\n",
                NULL);
        /* a list that the new one does not have: its lines would ask for more */
        applies("[firmware]\nuki = " A32 "\ncommand-line = a\n", "[firmware]\nsecure-boot = on\n",
                "[firmware]\nsecure-boot = on\n", NULL);
        applies("[firmware]\nauthority = " A32 "\n", "[firmware]\nsecure-boot = on\n", "[firmware]\nsecure-boot = on\n", NULL);
        applies("[firmware]\nuki = " A32 "\n", "[firmware]\nboot-loader = " B32 "\n", NULL, "side by side");
        applies("[firmware]\ndb only-these = " A32 "\ndb must-contain = " A32 "\n", "[firmware]\ndb only-these = " B32 "\n",
                "[firmware]\ndb only-these = " B32 "\n\n[firmware replaced]\ndb only-these = " A32 "\n", NULL);
        applies("[firmware]\ndriver = " A32 "\n", "[firmware]\ndriver = none\n",
                "[firmware]\ndriver = none\n\n[firmware replaced]\ndriver = " A32 "\n", NULL);
        applies("[ima]\ndigest = " A32 "\nfile = " A32 " /a\nexclude = /b\n", "[ima]\ndigest = " B32 "\n",
                "[ima]\ndigest = " B32 "\n\n[ima replaced]\ndigest = " A32 "\nfile = " A32 " /a\n", NULL);
        applies("[ima]\ndigest = " A32 "\n", "[ima]\nrequire = yes\n", "[ima]\nrequire = yes\n", NULL);
}

/* Sections in any place, with comments and blanks. */
static void retire_keeps_the_rest(void **state) {
        static const char text[] =
                "# head\n [ set a ]\nbank = sha256\nreplaced = yes\npcr 4 = " A32 "\n# inside\n\n[set b]\nbank = sha256\n"
                "replaced = no\npcr 4 = " B32 "\n[firmware replaced]\nuki = " A32 "\n[firmware]\nuki = " B32;
        struct policy policy = policy_parsed(text);
        char *rest;

        assert_int_equal(policy.n, 2);
        assert_int_equal(policy_retire(&policy, &rest), 0);
        assert_string_equal(rest, "# head\n[set b]\nbank = sha256\nreplaced = no\npcr 4 = " B32 "\n[firmware]\nuki = " B32);
        free(rest);
        policy_done(&policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(authenticode),
                cmocka_unit_test(authenticode_sorts_sections),
                cmocka_unit_test(bad_images),
                cmocka_unit_test(sections),
                cmocka_unit_test(predictions),
                cmocka_unit_test(other_stubs),
                cmocka_unit_test(no_prediction),
                cmocka_unit_test(apply_and_retire),
                cmocka_unit_test(retire_keeps_the_rest),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
