/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemons' configuration: what is wrong is said with file and line. */
#include <stdio.h>

#include "test.h"

#include "base/file.h"
#include "service/service.h"

static const struct service_definition registrar = { .role = "registrar" };
static const struct service_definition tenant = {
        .role = "tenant", .has_payload_dir = true, .has_registrar = true, .has_verifier = true
};

#define SERVICE                           \
        "[service]\n"                     \
        "listen = 127.0.0.1:7601\n"       \
        "certificate = registrar.pem\n"   \
        "key = /keys/registrar.key\n"     \
        "client-ca = ca.pem\n"            \
        "database = registrar.db\n"       \
        "master-key = registrar.master\n" \
        "ek-roots = ek-roots\n"
#define TENANT                           \
        "payload-dir = payload\n"        \
        "[registrar]\n"                  \
        "url = https://127.0.0.1:7601\n" \
        "ca = ca.pem\n"                  \
        "[verifier]\n"                   \
        "url = https://127.0.0.1:7603\n" \
        "ca = /etc/verifier-ca.pem\n"

static char file[] = "/tmp/test-service-config-XXXXXX";

static int read_text(const char *text, const struct service_definition *definition, struct service_config *ret,
                     char error[static 512]) {
        assert_int_equal(file_write(file, text, strlen(text), 0600), 0);
        error[0] = '\0';
        return service_config_read(file, definition, ret, error, 512);
}

static int setup(void **state) {
        int fd = mkstemp(file);

        return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state) {
        return unlink(file);
}

static void good(void **state) {
        struct service_config config = {};
        char error[512];

        assert_int_equal(read_text(SERVICE, &registrar, &config, error), 0);
        assert_string_equal(config.listen, "127.0.0.1:7601");
        assert_string_equal(config.certificate, "/tmp/registrar.pem");
        assert_string_equal(config.key, "/keys/registrar.key");
        assert_string_equal(config.ek_roots, "/tmp/ek-roots");
        assert_true(config.ek_required);
        assert_int_equal(config.nonce_ttl, 120);
        assert_int_equal(config.answers_per_minute, 30);
        assert_int_equal(config.uncertified_per_hour, 20);
        assert_int_equal(config.workers, 16);
        assert_null(config.payload_dir);
        service_config_done(&config);

        assert_int_equal(read_text(SERVICE "ek-certificates = optional\n" TENANT "[limits]\nnonce-ttl = 2min\nworkers = 4\n"
                                           "answers-per-minute = 1000\n",
                                   &tenant, &config, error),
                         0);
        assert_false(config.ek_required);
        assert_string_equal(config.payload_dir, "/tmp/payload");
        assert_string_equal(config.registrar_ca, "/tmp/ca.pem");
        assert_string_equal(config.verifier_url, "https://127.0.0.1:7603");
        assert_string_equal(config.verifier_ca, "/etc/verifier-ca.pem");
        assert_int_equal(config.nonce_ttl, 120);
        assert_int_equal(config.workers, 4);
        assert_int_equal(config.answers_per_minute, 1000);
        service_config_done(&config);
}

static void wrong(void **state) {
        static const struct {
                const char *text, *where;
        } cases[] = {
                { SERVICE "colour = red\n", ":9:" },
                { SERVICE "payload-dir = payload\n", ":9:" }, /* not of this role */
                { SERVICE "[registrar]\nurl = https://x\n", ":10:" },
                { SERVICE "key = other.key\n", ":9:" },
                { SERVICE "ek-certificates = perhaps\n", ":9:" },
                { SERVICE "[limits]\nnonce-ttl = 0\n", ":10:" },
                { SERVICE "[limits]\nnonce-ttl = forever\n", ":10:" },
                { SERVICE "[limits]\nworkers = -1\n", ":10:" },
                { SERVICE "[limits]\nworkers = 100000\n", ":10:" },
                { SERVICE "master-key\n", ":9:" },
                { "listen = 127.0.0.1:1\n", ":1:" },
                { "[service]\nlisten =\n", ":2:" },
                { "[service]\nlisten = 127.0.0.1:1\n", "certificate" }, /* missing */
                { "", "listen" },
        };
        struct service_config config = {};
        char error[512];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_true(read_text(cases[i].text, &registrar, &config, error) < 0);
                if (strncmp(error, file, strlen(file)) != 0 || !strstr(error, cases[i].where))
                        fail_msg("case %zu: %s", i, error);
        }

        assert_int_equal(service_config_read("/nonexistent/x.conf", &registrar, &config, error, sizeof(error)), -ENOENT);
        assert_non_null(strstr(error, "/nonexistent/x.conf"));
}

static void required_certificates_need_roots(void **state) {
        static const char text[] =
                "[service]\nlisten = l\ncertificate = c\nkey = k\nclient-ca = a\ndatabase = d\nmaster-key = m\n";
        struct service_config config = {};
        char error[512];

        assert_true(read_text(text, &registrar, &config, error) < 0);
        assert_non_null(strstr(error, "ek-roots"));
}

static void required_crls_need_a_directory(void **state) {
        static const char text[] =
                "[service]\nlisten = l\ncertificate = c\nkey = k\nclient-ca = a\ndatabase = d\nmaster-key = m\n"
                "ek-roots = r\nek-crl-check = required\n%s";
        struct service_config config = {};
        char error[512], whole[512];

        (void) snprintf(whole, sizeof(whole), text, "");
        assert_true(read_text(whole, &registrar, &config, error) < 0);
        assert_non_null(strstr(error, "ek-crls"));
        (void) snprintf(whole, sizeof(whole), text,
                        "ek-crls = /crls\nek-allow = known\nek-refuse = manufacturer=IFX; firmware=1.2\n");
        if (read_text(whole, &registrar, &config, error) < 0)
                fail_msg("%s", error);
        assert_string_equal(config.ek_crls, "/crls");
        assert_string_equal(config.ek_allow, "/tmp/known");
        assert_string_equal(config.ek_refuse, "manufacturer=IFX; firmware=1.2");
        assert_true(config.ek_crls_required);
        service_config_done(&config);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good),
                cmocka_unit_test(wrong),
                cmocka_unit_test(required_certificates_need_roots),
                cmocka_unit_test(required_crls_need_a_directory),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
