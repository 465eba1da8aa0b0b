/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "http/connection.h"

/* A file without a name; where the filesystem has no O_TMPFILE, one whose name is gone at once. */
int upload_open(struct connection *connection) {
        const char *dir = connection->server->options.temporary_dir;
        _cleanup_(freep) char *name = NULL;
        int fd;

        if (!dir)
                return -EOPNOTSUPP;
        fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        if (fd < 0 && errno == EOPNOTSUPP) {
                name = format("%s/upload-XXXXXX", dir);
                if (!name)
                        return -ENOMEM;
                fd = mkostemp(name, O_CLOEXEC);
                if (fd >= 0)
                        (void) unlink(name);
        }
        if (fd < 0)
                return -errno;
        connection->upload_fd = fd;
        return 0;
}

int upload_write(struct connection *connection, const void *data, size_t size) {
        connection->moved += size;
        return write_all(connection->upload_fd, data, size);
}

/* From the file's position to its end. */
int download_begin(struct connection *connection) {
        struct stat st;
        off_t position;

        if (fstat(connection->response.body_fd, &st) < 0 || !S_ISREG(st.st_mode))
                return -EINVAL;
        position = lseek(connection->response.body_fd, 0, SEEK_CUR);
        if (position < 0 || position > st.st_size)
                return -EINVAL;
        connection->stream_left = (uint64_t) (st.st_size - position);
        return 0;
}

/* The next piece to the connection, which asks for it when most of the last one is gone. */
int download_more(struct connection *connection) {
        uint8_t chunk[CHUNK];
        ssize_t n;

        n = read(connection->response.body_fd, chunk, MIN(connection->stream_left, sizeof chunk));
        if (n <= 0)
                return n < 0 ? -errno : -EIO; /* it has become shorter: the connection breaks off, the other side notices */
        connection->stream_left -= (uint64_t) n;
        connection->moved += (uint64_t) n;
        bufferevent_setwatermark(connection->bev, EV_WRITE, connection->stream_left > 0 ? CHUNK / 2 : 0, 0);
        return bufferevent_write(connection->bev, chunk, (size_t) n) == 0 ? 0 : -ENOMEM;
}
