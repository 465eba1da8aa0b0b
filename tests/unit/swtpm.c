/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "swtpm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "tpm/tpm.h"

static void put_file(const struct swtpm *swtpm, const char *name, const char *text) {
        _cleanup_(freep) char *path = path_join(swtpm->dir, name);

        assert_non_null(path);
        assert_int_equal(file_write(path, text, strlen(text), 0600), 0);
}

char *swtpm_shell(const struct swtpm *swtpm, const char *format, ...) {
        _cleanup_(buffer_done) struct buffer command = {}, output = {};
        char chunk[4096], text[3072];
        size_t n;
        va_list ap;
        FILE *pipe;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);

        buffer_printf(&command, "cd %s && export TPM2TOOLS_TCTI=%s && exec </dev/null 2>stderr && { %s; }", swtpm->dir,
                      swtpm->tcti, text);
        buffer_u8(&command, '\0');
        assert_int_equal(buffer_ok(&command), 0);

        pipe = popen((char *) command.data, "re");
        assert_non_null(pipe);
        while ((n = fread(chunk, 1, sizeof(chunk), pipe)) > 0)
                buffer_append(&output, chunk, n);
        buffer_u8(&output, '\0');
        assert_int_equal(buffer_ok(&output), 0);

        return pclose(pipe) == 0 ? (char *) TAKE_PTR(output.data) : NULL;
}

static void manufacture(struct swtpm *swtpm) {
        _cleanup_(freep) char *localca = NULL, *setup = NULL, *out = NULL;

        localca = format("statedir = %1$s/ca\nsigningkey = %1$s/ca/signkey.pem\nissuercert = %1$s/ca/issuercert.pem\n"
                         "certserial = %1$s/ca/certserial\n",
                         swtpm->dir);
        setup = format("create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = %1$s/localca.conf\n"
                       "create_certs_tool_options = %1$s/localca.options\n",
                       swtpm->dir);
        assert_non_null(localca);
        assert_non_null(setup);
        put_file(swtpm, "localca.conf", localca);
        put_file(swtpm, "localca.options", "--platform-manufacturer Test\n--platform-model QEMU\n--platform-version 1.0\n");
        put_file(swtpm, "setup.conf", setup);

        out = swtpm_shell(swtpm, "mkdir ca state && swtpm_setup --tpm2 --tpmstate state --config setup.conf --create-ek-cert "
                                 "--create-platform-cert --pcr-banks sha1,sha256,sha384 --logfile setup.log >/dev/null");
        if (!out)
                fail_msg("swtpm_setup failed, see %s/setup.log", swtpm->dir);
}

static bool answers(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        return fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0;
}

static void measure_firmware(const struct swtpm *swtpm) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;

        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        for (unsigned pcr = 0; pcr < 8; pcr++)
                assert_int_equal(tpm_pcr_event(tpm, pcr, "firmware", strlen("firmware")), 0);
}

static void run_swtpm(const struct swtpm *swtpm) {
        char state[96], server[128], control[128], log[96];

        (void) snprintf(state, sizeof(state), "dir=%s/state", swtpm->dir);
        (void) snprintf(server, sizeof(server), "type=unixio,path=%s/tpm", swtpm->dir);
        (void) snprintf(control, sizeof(control), "type=unixio,path=%s/tpm.ctrl", swtpm->dir);
        (void) snprintf(log, sizeof(log), "file=%s/log", swtpm->dir);

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--flags", "startup-clear", "--server", server,
               "--ctrl", control, "--log", log, (char *) NULL);
        _exit(127);
}

void swtpm_start(struct swtpm *swtpm) {
        char data[96], control[96];
        uint64_t until = clock_monotonic_ms() + 120000;

        (void) snprintf(data, sizeof(data), "%s/tpm", swtpm->dir);
        (void) snprintf(control, sizeof(control), "%s/tpm.ctrl", swtpm->dir);
        (void) unlink(data);
        (void) unlink(control);

        assert_int_equal(swtpm->pid, 0);
        swtpm->pid = fork();
        assert_true(swtpm->pid >= 0);
        if (swtpm->pid == 0)
                run_swtpm(swtpm);

        while (!answers(control) || !answers(data)) {
                assert_true(clock_monotonic_ms() < until);
                assert_int_equal(waitpid(swtpm->pid, NULL, WNOHANG), 0);
                sleep_ms(5);
        }
        measure_firmware(swtpm);
}

void swtpm_stop(struct swtpm *swtpm) {
        if (swtpm->pid <= 0)
                return;
        (void) kill(swtpm->pid, SIGTERM);
        (void) waitpid(swtpm->pid, NULL, 0);
        swtpm->pid = 0;
}

void swtpm_power_cycle(struct swtpm *swtpm) {
        swtpm_stop(swtpm);
        swtpm_start(swtpm);
}

void swtpm_tool(const struct swtpm *swtpm, const char *command) {
        _cleanup_(freep) char *out = swtpm_shell(swtpm, "%s", command);

        if (!out)
                fail_msg("failed: %s (see %s/stderr)", command, swtpm->dir);
}

void swtpm_expect_empty(const struct swtpm *swtpm) {
        static const char *const kinds[] = { "handles-transient", "handles-loaded-session", "handles-saved-session" };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                _cleanup_(freep) char *handles = swtpm_shell(swtpm, "tpm2_getcap %s", kinds[i]);

                assert_string_equal(handles, "");
        }
}

struct swtpm *swtpm_new(void) {
        struct swtpm *swtpm = calloc(1, sizeof(*swtpm));

        assert_non_null(swtpm);
        (void) snprintf(swtpm->dir, sizeof(swtpm->dir), "/tmp/tb-XXXXXX");
        assert_non_null(mkdtemp(swtpm->dir));
        (void) snprintf(swtpm->tcti, sizeof(swtpm->tcti), "swtpm:path=%s/tpm", swtpm->dir);
        (void) snprintf(swtpm->root, sizeof(swtpm->root), "%s/ca/swtpm-localca-rootca-cert.pem", swtpm->dir);
        (void) snprintf(swtpm->issuer, sizeof(swtpm->issuer), "%s/ca/issuercert.pem", swtpm->dir);

        manufacture(swtpm);
        swtpm_start(swtpm);
        return swtpm;
}

struct swtpm *swtpm_free(struct swtpm *swtpm) {
        if (!swtpm)
                return NULL;

        swtpm_stop(swtpm);
        free(swtpm_shell(swtpm, "rm -rf '%s'", swtpm->dir));
        free(swtpm);
        return NULL;
}
