/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tpm-proxy.h"

#include <endian.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/file.h"
#include "test.h"

enum {
        HEADER = 10,
        MESSAGE_MAX = 4096,
        CC_PCR_READ = 0x17e,
        CC_FLUSH = 0x165,
        CC_QUOTE = 0x158,
        CC_ACTIVATE = 0x147,
        RC_RETRY = 0x922,
        RC_FAILURE = 0x101
};

struct relay {
        int client, tpm, record;
        enum tpm_proxy_mode mode;
        unsigned count;
        uint32_t code;
        const char *control;
        struct tpm_proxy_seen *seen;
        uint8_t message[MESSAGE_MAX];
};

static uint32_t be32_at(const uint8_t *data) {
        uint32_t value;

        memcpy(&value, data, sizeof(value));
        return be32toh(value);
}

static bool receive_all(int fd, uint8_t *ret, size_t size) {
        return size == 0 || recv(fd, ret, size, MSG_WAITALL) == (ssize_t) size;
}

/* Commands and responses begin alike: tag, size of all, code (TPM 2.0 Library, Part 1, 18). 0 at the end. */
static size_t receive(int fd, uint8_t message[static MESSAGE_MAX]) {
        size_t size;

        if (!receive_all(fd, message, HEADER))
                return 0;
        size = be32_at(message + 2);
        if (size < HEADER || size > MESSAGE_MAX || !receive_all(fd, message + HEADER, size - HEADER))
                return 0;
        return size;
}

static bool answer(const struct relay *relay, uint32_t code) {
        uint8_t message[HEADER] = { 0x80, 0x01, 0, 0, 0, HEADER };

        code = htobe32(code);
        memcpy(message + 6, &code, sizeof(code));
        return write_all(relay->client, message, sizeof(message)) >= 0;
}

static bool send_own(struct relay *relay, const uint8_t *command, size_t size) {
        uint8_t response[MESSAGE_MAX];

        return write_all(relay->tpm, command, size) >= 0 && receive(relay->tpm, response) > 0 && be32_at(response + 6) == 0;
}

/* TPM2_PCR_Event of PCR 14, empty authorization, one byte. */
static bool extend(struct relay *relay) {
        static const uint8_t command[] = {
                0x80, 0x02, 0, 0, 0, 30, 0, 0, 0x01, 0x3c, 0, 0, 0, 14, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 'x',
        };

        return send_own(relay, command, sizeof(command));
}

/* TPM2_Clear by the lockout hierarchy, empty authorization. */
static bool clear(struct relay *relay) {
        static const uint8_t command[] = {
                0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x26, 0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
        };

        return send_own(relay, command, sizeof(command));
}

static int connect_to(const char *path);

/* CMD_INIT of swtpm's control channel, then TPM2_Startup(CLEAR), as firmware does. */
static bool power_cycle(struct relay *relay) {
        static const uint8_t init[] = { 0, 0, 0, 2, 0, 0, 0, 0 }, startup[] = { 0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0 };
        uint8_t result[4] = { 1 };
        int control = connect_to(relay->control);
        bool done;

        done = control >= 0 && write_all(control, init, sizeof(init)) >= 0 && receive_all(control, result, sizeof(result)) &&
               be32_at(result) == 0;
        if (control >= 0)
                (void) close(control);
        return done && send_own(relay, startup, sizeof(startup));
}

/* Before the command in relay->message is passed on. Negative: the end; 0: it was answered here; 1: go on. */
static int interfere(struct relay *relay) {
        uint32_t command = be32_at(relay->message + 6);
        bool act = relay->count > 0, uses_key = command == CC_QUOTE || command == CC_ACTIVATE;
        unsigned number = ++relay->seen->commands;

        if (relay->mode == TPM_PROXY_FAILURE)
                return answer(relay, RC_FAILURE) ? 0 : -1;
        if (relay->mode == TPM_PROXY_FAIL_AT && number == relay->count && command != CC_FLUSH) {
                relay->seen->acted = true;
                return answer(relay, relay->code) ? 0 : -1;
        }
        if (relay->mode == TPM_PROXY_BUSY && act) {
                relay->count--;
                return answer(relay, RC_RETRY) ? 0 : -1;
        }
        if (relay->mode == TPM_PROXY_PCR_CHANGES && act && command == CC_PCR_READ) {
                relay->count--;
                return extend(relay) ? 1 : -1;
        }
        if ((relay->mode == TPM_PROXY_CLEARS || relay->mode == TPM_PROXY_RESETS) && act && uses_key) {
                relay->count--;
                relay->seen->acted = relay->mode == TPM_PROXY_CLEARS ? clear(relay) : power_cycle(relay);
                return relay->seen->acted ? 1 : -1;
        }
        return 1;
}

/* One command and its answer; false at the end. */
static bool relay_one(struct relay *relay) {
        size_t size = receive(relay->client, relay->message);
        int r;

        if (size == 0)
                return false;
        (void) write_all(relay->record, relay->message, size);

        r = interfere(relay);
        if (r <= 0)
                return r == 0;

        if (write_all(relay->tpm, relay->message, size) < 0)
                return false;
        size = receive(relay->tpm, relay->message);
        (void) write_all(relay->record, relay->message, size);
        if (relay->mode == TPM_PROXY_CUT) {
                (void) write_all(relay->client, relay->message, size / 2);
                return false;
        }
        return size > 0 && write_all(relay->client, relay->message, size) >= 0;
}

static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        return connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ? -1 : fd;
}

static void serve(int listening, const char *tpm, struct relay *relay) {
        for (;;) {
                relay->client = accept(listening, NULL, NULL);
                relay->tpm = connect_to(tpm);
                if (relay->client < 0 || relay->tpm < 0)
                        _exit(1);
                while (relay_one(relay))
                        ;
                (void) close(relay->client);
                (void) close(relay->tpm);
        }
}

void tpm_proxy_start(const struct swtpm *swtpm, enum tpm_proxy_mode mode, unsigned count, struct tpm_proxy *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char control[128], real_control[128], tpm[96], traffic[96];
        struct relay relay = { .mode = mode, .count = count, .code = ret->code, .control = real_control };
        int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/proxy", swtpm->dir);
        (void) snprintf(control, sizeof(control), "%s/proxy.ctrl", swtpm->dir);
        (void) snprintf(real_control, sizeof(real_control), "%s/tpm.ctrl", swtpm->dir);
        (void) snprintf(tpm, sizeof(tpm), "%s/tpm", swtpm->dir);
        (void) snprintf(traffic, sizeof(traffic), "%s/traffic", swtpm->dir);
        (void) snprintf(ret->tcti, sizeof(ret->tcti), "swtpm:path=%s/proxy", swtpm->dir);

        (void) unlink(address.sun_path);
        (void) unlink(control);
        assert_int_equal(symlink(real_control, control), 0);
        assert_int_equal(bind(listening, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(listening, 8), 0);
        relay.record = open(traffic, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(relay.record >= 0);
        ret->seen = mmap(NULL, sizeof(*ret->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(ret->seen != MAP_FAILED);
        relay.seen = ret->seen;

        ret->pid = fork();
        assert_true(ret->pid >= 0);
        if (ret->pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void) signal(SIGPIPE, SIG_IGN);
                serve(listening, tpm, &relay);
        }
        (void) close(listening);
        (void) close(relay.record);
}

void tpm_proxy_stop(struct tpm_proxy *proxy) {
        (void) kill(proxy->pid, SIGTERM);
        (void) waitpid(proxy->pid, NULL, 0);
        (void) munmap(proxy->seen, sizeof(*proxy->seen));
}
