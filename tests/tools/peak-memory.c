/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peak-memory COMMAND...: the peak resident size of the command in KiB, on standard output, its own output on standard error. A
 * small parent: ru_maxrss of a child starts with what its parent had at the fork. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char *argv[]) {
        struct rusage usage;
        pid_t pid;
        int status;

        if (argc < 2)
                return 2;
        pid = fork();
        if (pid == 0) {
                if (dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
                        execvp(argv[1], argv + 1);
                _exit(127);
        }
        if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
                return 1;
        printf("%ld\n", usage.ru_maxrss);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
