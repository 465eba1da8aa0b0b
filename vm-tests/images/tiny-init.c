/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PID 1 of the tiny root: prints what a scenario wants to know about the boot, one fact a line, then powers off.
 *
 * ROOT device type | DM name | PCR index value | EVENT-LOG bytes | RUN mode size path | GATE-CLOSED why | MEMORY kB | DONE
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#define EVENT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"
#define OURS "/run/tallyboot"

static void print_root(void)
{
    char device[128], dir[128], type[32], last[168] = "none";
    FILE *mounts = fopen("/proc/mounts", "r");

    /* The last one is what is on top. */
    while (mounts && fscanf(mounts, "%127s %127s %31s %*[^\n]", device, dir, type) == 3)
        if (!strcmp(dir, "/"))
            snprintf(last, sizeof last, "%s %s", device, type);
    printf("ROOT %s\n", last);
}

static void print_first_line(const char *what, const char *path)
{
    char line[160] = "";
    FILE *file = fopen(path, "r");

    if (!file || !fgets(line, sizeof line, file))
        strcpy(line, "unreadable");
    line[strcspn(line, "\n")] = '\0';
    printf("%s %s\n", what, line);
    if (file)
        fclose(file);
}

static void print_mappings(void)
{
    char path[300];
    struct dirent *entry;
    DIR *dir = opendir("/sys/block");

    while (dir && (entry = readdir(dir))) {
        if (strncmp(entry->d_name, "dm-", 3))
            continue;
        snprintf(path, sizeof path, "/sys/block/%s/dm/name", entry->d_name);
        print_first_line("DM", path);
    }
}

static void print_pcrs(void)
{
    char path[64], what[16];

    if (access("/sys/class/tpm/tpm0/pcr-sha256/0", R_OK)) {
        printf("PCR none\n");
        return;
    }
    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "/sys/class/tpm/tpm0/pcr-sha256/%d", i);
        snprintf(what, sizeof what, "PCR %d", i);
        print_first_line(what, path);
    }
}

static void print_event_log_size(void)
{
    char chunk[4096];
    size_t size = 0, got;
    FILE *log = fopen(EVENT_LOG, "r");

    while (log && (got = fread(chunk, 1, sizeof chunk, log)) > 0)
        size += got;
    printf("EVENT-LOG %zu\n", size);
}

static int print_path(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)flag;
    (void)ftw;
    printf("RUN %o %lld %s\n", (unsigned)st->st_mode, (long long)st->st_size, path);
    return 0;
}

int main(void)
{
    /* A systemd initramfs has mounted these already; then it fails, which is fine. */
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL);

    int console = open("/dev/console", O_WRONLY);
    if (console >= 0)
        dup2(console, STDOUT_FILENO);

    /* What the initramfs still had to say stands on a line of its own. */
    printf("\n");
    print_root();
    print_mappings();
    print_pcrs();
    print_event_log_size();
    nftw(OURS, print_path, 8, FTW_PHYS);
    print_first_line("GATE-CLOSED", OURS "/gate-closed");
    print_first_line("MEMORY", "/proc/meminfo");
    printf("DONE\n");

    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
