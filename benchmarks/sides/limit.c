/* The limit: an epoll loop that sends the same pre-framed bytes to everybody, and knows nothing else.
 *
 * Speaks enough of WebSocket and SSE to be read by the load generator (the accept key is not computed). Takes a line
 * "go COUNT INTERVAL_US SIZE" on standard input; see benchmarks/harness/server.py. Linux only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000
#define STAMP 26 /* "stamp=" and twenty digits */

static int viewers[MOST];
static int count_of_viewers;
static char frame[1 << 20];

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void until_ns(long long when) {
    struct timespec t = {when / 1000000000LL, when % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* SIZE is that of the whole frame with its header, as the others' bytes on the wire are counted. */
static void broadcast(int count, long long interval_us, int size) {
    int payload = size - 4;
    frame[0] = (char)0x81;
    frame[1] = 126;
    frame[2] = (char)(payload >> 8);
    frame[3] = (char)(payload & 255);
    memset(frame + 4, 'x', payload);
    long long begun = now_ns();
    for (int n = 0; n < count; n++) {
        until_ns(begun + n * interval_us * 1000);
        char stamp[STAMP + 1];
        snprintf(stamp, sizeof stamp, "stamp=%020lld", now_ns());
        memcpy(frame + size - STAMP, stamp, STAMP);
        for (int i = 0; i < count_of_viewers; i++)
            if (viewers[i] >= 0 && send(viewers[i], frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
                close(viewers[i]);
                viewers[i] = -1;
            }
    }
}

static void greet(int fd) {
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request - 1, 0);
    if (got <= 0) {
        for (int i = 0; i < count_of_viewers; i++)
            if (viewers[i] == fd) viewers[i] = viewers[--count_of_viewers];
        close(fd);
        return;
    }
    request[got] = 0;
    const char *answer = strstr(request, "pgrade: websocket") ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                                                "Connection: Upgrade\r\n\r\n"
                                                              : "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) > 0 && count_of_viewers < MOST) viewers[count_of_viewers++] = fd;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 2048)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN, .data.fd = 0});
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) {
                char line[256];
                int count, size;
                long long interval_us;
                if (!fgets(line, sizeof line, stdin)) return 0;
                if (sscanf(line, "go %d %lld %d", &count, &interval_us, &size) == 3 && size < (int)sizeof frame)
                    broadcast(count, interval_us, size);
            } else if (fd == listener) {
                int viewer = accept(listener, NULL, NULL);
                setsockopt(viewer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(poll, EPOLL_CTL_ADD, viewer, &(struct epoll_event){.events = EPOLLIN, .data.fd = viewer});
            } else
                greet(fd);
        }
    }
}
