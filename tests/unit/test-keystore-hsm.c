/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "softhsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "keystore/manage.h"
#include "pkcs11/wrap.h"

/* The keystore over SoftHSM, in this process: another one's module is tests/service/test_keystore_hsm.py's. */

static struct softhsm *softhsm;
static char path[128], pin[128], file[128], error[512];
static struct store *store;
static struct keystore *keystore;

static int setup(void **state) {
        const struct store_migration migrations[] = { { 1, "CREATE TABLE generations (node TEXT, key TEXT, generation BIGINT,"
                                                           " state BIGINT, handle BIGINT)" },
                                                      keystore_migration,
                                                      { 3, keystore_migration_generations } };

        (void) state;
        softhsm = softhsm_new();
        softhsm_token(softhsm, "hsm");
        (void) snprintf(path, sizeof(path), "%s/database", softhsm->dir);
        (void) snprintf(pin, sizeof(pin), "file:%s/pin", softhsm->dir);
        (void) snprintf(file, sizeof(file), "%s/master", softhsm->dir);
        if (file_write(pin + 5, SOFTHSM_PIN "\n", sizeof(SOFTHSM_PIN), 0600) < 0 || keystore_create_master(file) < 0)
                return -1;
        return store_open(path, "tenant", migrations, 3, &store, error, sizeof(error));
}

static int teardown(void **state) {
        (void) state;
        keystore = keystore_close(keystore);
        store = store_close(store);
        softhsm = softhsm_free(softhsm);
        return 0;
}

/* "key=value" lines, as in [keystore] */
static int read_options(const char *text, struct keystore_options *options) {
        _cleanup_(freep) char *copy = strdup(text);
        char *line, *rest = copy;
        int r;

        error[0] = 0;
        *options = (struct keystore_options){};
        while ((line = strsep(&rest, "\n"))) {
                char *value = strchr(line, '=');

                if (!*line)
                        continue;
                *value++ = 0;
                r = keystore_option(options, "/", line, value, error, sizeof(error));
                if (r < 0)
                        return r;
        }
        return keystore_options_check(options, error, sizeof(error));
}

static int open_text(const char *text) {
        struct keystore_options options;
        int r;

        keystore = keystore_close(keystore);
        r = read_options(text, &options);
        if (r < 0)
                fail_msg("%s: %s", text, error);
        r = keystore_open(&options, store, "tenant", &keystore, error, sizeof(error));
        keystore_options_done(&options);
        return r;
}

static char text[1024];

#define MASTER "master=pkcs11:token=hsm;object=master\nmodule=" SOFTHSM_MODULE "\nmodule-apart=no\npin="

/* Configured with these lines more. */
static const char *with(const char *more) {
        (void) snprintf(text, sizeof(text), MASTER "%s\n%s", pin, more);
        return text;
}

static void expect_open(const char *config) {
        if (open_text(config) < 0)
                fail_msg("%s", error);
}

static void init(const char *config) {
        struct keystore_options options;

        assert_int_equal(read_options(config, &options), 0);
        if (keystore_init(&options, NULL, "tenant", error, sizeof(error)) < 0)
                fail_msg("%s", error);
        keystore_options_done(&options);
}

static void expect_words(const char *in, const char *words) {
        if (!strstr(in, words))
                fail_msg("\"%s\" does not say \"%s\"", in, words);
}

struct half {
        const char *group;
        uint64_t generation;
        struct secret *secret, *out;
        int64_t handle;
};
#define NODE "nodenodenodenodenodenodenodenodenodenodenodenodenode"
#define CONTEXT(half) KEYSTORE_HALF_CONTEXT(NODE, "0123456789abcdef0123456789abcdef", (half)->generation)

static int wrap_fn(struct store_txn *txn, void *userdata) {
        struct half *half = userdata;

        return keystore_wrap(keystore, txn, half->group, CONTEXT(half), half->secret, &half->handle);
}

static int unwrap_fn(struct store_txn *txn, void *userdata) {
        struct half *half = userdata;

        return keystore_unwrap(keystore, txn, half->handle, CONTEXT(half), &half->out);
}

static void wrap(struct half *half, const char *group) {
        *half = (struct half){ .group = group, .generation = 1 };
        assert_int_equal(secret_random(HALF_SIZE, &half->secret), 0);
        assert_int_equal(keystore_warm(keystore, group, 1), 0);
        assert_int_equal(store_write(store, wrap_fn, half), 0);
}

static int get(struct half *half) {
        int r = store_read(store, unwrap_fn, half);

        if (r >= 0)
                assert_true(secret_equal(half->out, half->secret));
        half->out = secret_free(half->out);
        return r;
}

static int exec_fn(struct store_txn *txn, void *userdata) {
        return store_exec(txn, userdata, STORE_NO_ARGS, NULL);
}

static void sql(const char *statement) {
        assert_int_equal(store_write(store, exec_fn, (void *) statement), 0);
}

static void test_open(void **state) {
        struct keystore_master *masters;
        struct keystore_kek *keks;
        struct half a, b;
        size_t n;

        (void) state;
        /* named at the start: no key, then no such mechanism, then nothing to complain about */
        assert_int_equal(open_text(with("")), -ENOKEY);
        expect_words(error, "master");
        init(with(""));
        expect_open(with(""));
        wrap(&a, "web");
        wrap(&b, "db");
        assert_int_equal(get(&a), 0);
        expect_open(with("cache=0\n"));
        assert_int_equal(get(&a), 0);
        assert_int_equal(get(&b), 0);

        assert_int_equal(keystore_masters(keystore, store, &masters, &n), 0);
        assert_int_equal(n, 1);
        assert_string_equal(masters[0].kind, "pkcs11");
        assert_true(masters[0].is_open);
        assert_true(strlen(masters[0].serial) > 0);
        free(masters);
        assert_int_equal(keystore_keks(store, &keks, &n), 0);
        assert_int_equal(n, 3);
        assert_string_equal(keks[1].mechanism, "gcm"); /* SoftHSM has no KWP */
        free(keks);
        secret_free(a.secret);
        secret_free(b.secret);
}

static void test_refused_at_the_start(void **state) {
        char other[160];

        (void) state;
        init(with(""));
        assert_int_equal(open_text(with("mechanism=kwp\n")), -EOPNOTSUPP);
        expect_words(error, "CKM_AES_KEY_WRAP_KWP");
        assert_int_equal(open_text(with("mechanism=key-wrap-pad\nmac=aes-cmac\nmac-key=no-such-key\n")), -ENOKEY);
        expect_words(error, "no-such-key");

        (void) snprintf(other, sizeof(other), "%s/other", softhsm->dir);
        assert_int_equal(file_write(other, "4321", 4, 0600), 0);
        (void) snprintf(text, sizeof(text), MASTER "file:%s\n", other);
        assert_int_equal(open_text(text), -EACCES);
        expect_words(error, "PIN");
        /* and with the right one not before a person was there: the next wrong one may be the last */
        assert_int_equal(open_text(with("")), -EPERM);
        expect_words(error, "log in once by hand");
        softhsm_shell(softhsm,
                      "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin " SOFTHSM_PIN " --list-objects >/dev/null 2>&1");
        expect_open(with(""));
}

/* Another key under the same label: of another database, or a token made anew. */
static void test_another_master(void **state) {
        struct half a;

        (void) state;
        init(with(""));
        expect_open(with(""));
        wrap(&a, "web");
        keystore = keystore_close(keystore);
        softhsm_shell(softhsm, "pkcs11-tool --module " SOFTHSM_MODULE " --login --pin " SOFTHSM_PIN
                               " --delete-object --type secrkey --label master >/dev/null 2>&1");
        init(with(""));
        assert_int_equal(open_text(with("")), -EKEYREJECTED);
        expect_words(error, "is not the master key");
        secret_free(a.secret);
}

/* All that the blob has is held against what it is for. */
static void test_every_byte(void **state) {
        static const char *const configs[] = { "mechanism=key-wrap-pad\n", "mechanism=gcm\n",
                                               "mechanism=cbc-pad\nmac=sha256-hmac\nmac-key=mac\n",
                                               "mechanism=cbc-pad\nmac=aes-cmac\nmac-key=cmac\niv=token\n" };

        (void) state;
        init(with(""));
        for (size_t c = 0; c < ELEMENTSOF(configs); c++) {
                struct half a;

                sql("DELETE FROM keystore_half");
                sql("DELETE FROM keystore_key");
                sql("DELETE FROM keystore_floor");
                sql("DELETE FROM keystore_kek");
                sql("DELETE FROM keystore_inbox");
                sql("DELETE FROM keystore_mac");
                sql("DELETE FROM keystore_masters");
                if (strstr(configs[c], "mac-key")) {
                        struct pkcs11 *pkcs11 = softhsm_open("pkcs11:token=hsm", false);

                        (void) softhsm_key(pkcs11, strstr(configs[c], "hmac") ? PKCS11_GENERIC : PKCS11_AES, PKCS11_USE_MAC,
                                           strstr(configs[c], "hmac") ? "mac" : "cmac");
                        pkcs11_close(pkcs11);
                }
                expect_open(with(configs[c]));
                wrap(&a, "web");
                expect_open(with(configs[c]));
                assert_int_equal(get(&a), 0);
                expect_open(with(configs[c]));
                sql("DROP TABLE IF EXISTS good");
                sql("CREATE TABLE good AS SELECT * FROM keystore_kek WHERE name = 'web'");
                sql("UPDATE keystore_kek SET wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE name = 'web'");
                assert_int_equal(get(&a), -EKEYREJECTED);
                expect_words(keystore_error(), "KEK of group 'web', generation 1");
                sql("UPDATE keystore_kek SET wrapped = (SELECT wrapped FROM keystore_kek s WHERE s.name = '') WHERE name = 'web'");
                assert_int_equal(get(&a), -EKEYREJECTED);
                sql("UPDATE keystore_kek SET wrapped = (SELECT wrapped FROM good) WHERE name = 'web'");
                assert_int_equal(get(&a), 0);
                secret_free(a.secret);
        }
}

struct change {
        size_t at;
        struct blob blob;
};

static int blob_row(const struct store_value *columns, size_t n, void *userdata) {
        (void) n;
        return blob_copy(columns[0].data, columns[0].size, userdata);
}

static int change_fn(struct store_txn *txn, void *userdata) {
        struct change *change = userdata;
        int r;

        if (!change->blob.data) {
                r = store_query(txn, "SELECT wrapped FROM keystore_kek WHERE name = 'web'", STORE_NO_ARGS, blob_row,
                                &change->blob);
                if (r < 0)
                        return r;
        }
        change->blob.data[change->at] ^= 4;
        r = store_exec(txn, "UPDATE keystore_kek SET wrapped = $1 WHERE name = 'web'",
                       STORE_ARGS(store_blob(change->blob.data, change->blob.size)), NULL);
        change->blob.data[change->at] ^= 4;
        return r;
}

static void test_changed(void **state) {
        struct change change = {};
        struct half a;

        (void) state;
        init(with(""));
        expect_open(with("cache=0\n"));
        wrap(&a, "web");
        do {
                assert_int_equal(store_write(store, change_fn, &change), 0);
                assert_int_equal(get(&a), -EKEYREJECTED);
        } while (++change.at < change.blob.size);
        blob_done(&change.blob);
        secret_free(a.secret);
}

/* From a file to the HSM, and on to another key in it with another MAC, with a keystore beside that has the old configuration and
 * one that has both. */
static void test_move(void **state) {
        struct keystore_progress progress;
        struct half a, b;
        char from[256];

        (void) state;
        (void) snprintf(from, sizeof(from), "master=file:%s\n", file);
        expect_open(from);
        wrap(&a, "web");
        wrap(&b, "db");

        init(with(""));
        (void) snprintf(from, sizeof(from), "old-master=file:%s\n", file);
        expect_open(with(from));
        assert_int_equal(keystore_rewrap_step(keystore, 1, &progress), 1);
        assert_int_equal(get(&a), 0);
        assert_int_equal(get(&b), 0);
        while (keystore_rewrap_step(keystore, 1, &progress) > 0)
                ;
        expect_open(with(""));
        assert_int_equal(get(&a), 0);
        assert_int_equal(get(&b), 0);

        (void) snprintf(
                text, sizeof(text),
                "master=pkcs11:token=hsm;object=next\nmodule=%s\nmodule-apart=no\npin=%s\nmechanism=cbc-pad\nmac=sha256-hmac\n"
                "mac-key=next-mac\nold-master=pkcs11:token=hsm;object=master\nold-module=%s\nold-module-apart=no\nold-pin=%s\n",
                SOFTHSM_MODULE, pin, SOFTHSM_MODULE, pin);
        init(text);
        expect_open(text);
        assert_int_equal(keystore_rewrap_step(keystore, 100, &progress), 0);
        *strstr(text, "old-master") = 0;
        expect_open(text);
        assert_int_equal(get(&a), 0);
        assert_int_equal(get(&b), 0);
        secret_free(a.secret);
        secret_free(b.secret);
}

/* A warm group goes on, a cold one is refused, and comes back by itself. */
static void test_token_away(void **state) {
        struct half a, b;
        char words[512];

        (void) state;
        init(with(""));
        expect_open(with(""));
        wrap(&a, "web");
        wrap(&b, "db");
        expect_open(with(""));
        assert_int_equal(get(&a), 0);
        assert_false(keystore_tick(keystore, words, sizeof(words)));

        softhsm_shell(softhsm, "mv tokens away && mkdir tokens");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(get(&a), 0);
                assert_int_equal(get(&b), -ENOLINK);
        }
        assert_true(keystore_tick(keystore, words, sizeof(words)));
        expect_words(words, "cannot be used");
        assert_false(keystore_tick(keystore, words, sizeof(words)));

        softhsm_shell(softhsm, "rmdir tokens && mv away tokens");
        for (int i = 0; i < 1200 && get(&b) < 0; i++)
                sleep_ms(100);
        assert_int_equal(get(&b), 0);
        assert_true(keystore_tick(keystore, words, sizeof(words)));
        expect_words(words, "again");
        secret_free(a.secret);
        secret_free(b.secret);
}

#define INSIDE "mechanism=key-wrap-pad\nmac=sha256-hmac\nmac-key=master-mac\nalways-sensitive=yes\n"

/* KEKs that are used by the token and by nobody else: nothing works without it, and the rows are those of any other keystore. */
static void test_always_sensitive(void **state) {
        struct keystore_verified verified;
        struct keystore_progress progress;
        struct change change = {};
        struct half a, b;
        int64_t generation;
        char from[256];

        (void) state;
        (void) snprintf(from, sizeof(from), "master=file:%s\n", file);
        expect_open(from);
        wrap(&a, "web");
        init(with(INSIDE));
        (void) snprintf(from, sizeof(from), INSIDE "old-master=file:%s\n", file);
        expect_open(with(from));
        assert_int_equal(keystore_rewrap_step(keystore, 100, &progress), 0);
        expect_open(with(INSIDE));
        assert_int_equal(get(&a), 0);
        wrap(&b, "db");
        assert_int_equal(keystore_rotate(keystore, "web", &generation), 0);
        assert_int_equal(keystore_rotate_step(keystore, "web", 100, &progress), 0);
        assert_int_equal(keystore_rotate(keystore, "", &generation), 0);
        assert_int_equal(keystore_rotate_step(keystore, "", 100, &progress), 0);
        expect_open(with(INSIDE));
        assert_int_equal(get(&a), 0);
        assert_int_equal(get(&b), 0);
        sql("UPDATE keystore_half SET wrapped = wrapped");
        assert_int_equal(keystore_verify(keystore, NULL, NULL, &verified), 0);
        assert_int_equal(verified.keks, 3);

        softhsm_shell(softhsm, "mv tokens away && mkdir tokens");
        assert_int_equal(get(&a), -ENOLINK);
        softhsm_shell(softhsm, "rmdir tokens && mv away tokens");
        for (int i = 0; i < 1200 && get(&a) < 0; i++)
                sleep_ms(100);
        assert_int_equal(get(&a), 0);

        do {
                assert_int_equal(store_write(store, change_fn, &change), 0);
                assert_int_equal(get(&a), -EKEYREJECTED);
        } while (++change.at < change.blob.size);
        blob_done(&change.blob);
        assert_int_equal(get(&b), 0);
        sql("UPDATE keystore_key SET wrapped = zeroblob(60) WHERE name = 'db'");
        assert_int_equal(get(&b), -EKEYREJECTED);
        secret_free(a.secret);
        secret_free(b.secret);
}

static void expect_option(const char *lines, const char *words) {
        struct keystore_options options;
        int r = read_options(lines, &options);

        if (r >= 0)
                fail_msg("accepted: %s", lines);
        expect_words(error, words);
        keystore_options_done(&options);
}

static void test_options(void **state) {
        (void) state;
        expect_option("master=/path\n", "file:/path, tpm");
        expect_option("master=pkcs11:token=a?pin-value=1234\n", "PIN");
        expect_option("master=pkcs11:token=a\npin=1234\n", "never is in the configuration");
        assert_null(strstr(error, "1234"));
        expect_option("master=file:/a\ncache=5\n", "cache is for a master key in an HSM");
        expect_option("master=file:/a\nmechanism=gcm\n", "mechanism is for a master key in an HSM");
        expect_option("master=pkcs11:token=a\nmac=aes-mac\n", "aes-mac-64");
        expect_option("master=pkcs11:token=a\nmac=md5\n", "mac must be");
        expect_option("master=pkcs11:token=a\nmechanism=des\n", "mechanism must be");
        expect_option("master=pkcs11:token=a\nmechanism=cbc-pad\n", "cbc-pad needs mac");
        expect_option("master=pkcs11:token=a\nmac=aes-cmac\n", "belong together");
        expect_option("master=pkcs11:token=a\nmac-key=a\n", "belong together");
        expect_option("master=pkcs11:token=a\nmechanism=gcm\nmac=aes-cmac\nmac-key=a\n", "its own authentication");
        expect_option("master=pkcs11:token=a\niv=token\n", "iv = token is for");
        expect_option("master=pkcs11:token=a\niv=theirs\n", "iv must be");
        expect_option("master=pkcs11:token=a\ncache=-1\n", "cache must be");
        expect_option("master=pkcs11:token=a\nalways-sensitive=perhaps\n", "yes or no");
        expect_option("master=pkcs11:token=a\nalways-sensitive=yes\n", "needs mac and mac-key");
        expect_option("master=file:/a\nold-master=file:/a\n", "are the same");
        expect_option("master=file:/a\nold-pin=file:/b\n", "old-pin is for");
        expect_option("old-master=file:/a\n", "'master' is missing");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_open),
                TEST(test_refused_at_the_start),
                TEST(test_another_master),
                TEST(test_every_byte),
                TEST(test_changed),
                TEST(test_move),
                TEST(test_token_away),
                TEST(test_always_sensitive),
                cmocka_unit_test(test_options),
        };

        return cmocka_run_group_tests_name("keystore-hsm", tests, NULL, NULL);
}
