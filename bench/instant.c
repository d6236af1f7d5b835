/* An action proxy that answers at once: POST /run echoes `value`, POST /init says yes, both sentinels are printed before
 * the reply, as the project's own proxies do. It stands where the Python interpreter stands (`process.python`): asked
 * with `-c` it tells a version, else it serves the listening socket `--fd` until its standard input ends. In a container
 * it listens at `--port` itself, until it is killed.
 * With it the invoker is measured alone: a Python proxy takes as much of its core as the invoker does of its own.
 * If its file name ends in "late", the sentinels follow the reply. For benchmarks only: it trusts its caller. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define CALLERS 64
#define BUFFER (1 << 20)
#define SENTINEL "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"

static char *unread[CALLERS];
static size_t have[CALLERS];
static int late;

static void sentinels(void) {
    if (write(1, SENTINEL, sizeof SENTINEL - 1) < 0 || write(2, SENTINEL, sizeof SENTINEL - 1) < 0) _exit(1);
}

/* The length of the object that `text` begins with; strings inside it have no braces here. */
static size_t object(const char *text, size_t length) {
    int depth = 0;
    for (size_t at = 0; at < length; at++) {
        if (text[at] == '{') depth++;
        if (text[at] == '}' && --depth == 0) return at + 1;
    }
    return 0;
}

static void answer(int caller, const char *head, const char *body, size_t length) {
    static char reply[BUFFER + 256];
    const char *said = "{\"ok\":true}";
    size_t said_length = strlen(said);
    int run = strncmp(head, "POST /run ", 10) == 0;
    if (run) {
        if (!late) sentinels();
        const char *value = memmem(body, length, "\"value\":", 8);
        if (value != NULL) {
            said = value + 8;
            said_length = object(said, length - (size_t)(said - body));
        }
    }
    int start = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", said_length);
    memcpy(reply + start, said, said_length);
    if (send(caller, reply, (size_t)start + said_length, MSG_NOSIGNAL) < 0) return;
    if (run && late) sentinels();
}

/* Read what came and answer what is whole; return 0 when the caller is gone. */
static int serve(int caller, int slot) {
    ssize_t got = recv(caller, unread[slot] + have[slot], BUFFER - 1 - have[slot], 0);
    if (got <= 0) return 0;
    have[slot] += (size_t)got;
    unread[slot][have[slot]] = 0;
    for (;;) {
        char *end = memmem(unread[slot], have[slot], "\r\n\r\n", 4);
        if (end == NULL) return 1;
        char *length = strcasestr(unread[slot], "content-length:");
        size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
        size_t whole = (size_t)(end + 4 - unread[slot]) + body;
        if (have[slot] < whole) return whole < BUFFER;
        answer(caller, unread[slot], end + 4, body);
        have[slot] -= whole;
        memmove(unread[slot], unread[slot] + whole, have[slot]);
    }
}

static int listening(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, CALLERS) < 0) _exit(1);
    return listener;
}

int main(int count, char **arguments) {
    int listener = 3, watched = 0;
    for (int at = 1; at < count; at++) {
        if (strcmp(arguments[at], "-c") == 0) {
            char path[4096];
            if (realpath(arguments[0], path) == NULL) return 1;
            printf("%s\n3\n11\n", path);
            return 0;
        }
        if (strcmp(arguments[at], "--fd") == 0 && at + 1 < count) listener = atoi(arguments[at + 1]);
        if (strcmp(arguments[at], "--port") == 0 && at + 1 < count) {
            listener = listening(atoi(arguments[at + 1]));
            watched = -1;
        }
    }
    const char *name = arguments[0];
    late = strlen(name) >= 4 && strcmp(name + strlen(name) - 4, "late") == 0;
    struct pollfd waiting[CALLERS + 2] = {{.fd = watched, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    for (int at = 2; at < CALLERS + 2; at++) waiting[at].fd = -1;
    nfds_t used = 2;
    for (;;) {
        poll(waiting, used, -1);
        if (waiting[0].revents != 0) return 0;
        for (nfds_t at = 2; at < used; at++) {
            if (waiting[at].fd >= 0 && waiting[at].revents != 0 && !serve(waiting[at].fd, (int)at - 2)) {
                close(waiting[at].fd);
                waiting[at].fd = -1;
            }
        }
        if (waiting[1].revents != 0) {
            nfds_t at = 2;
            while (at < CALLERS + 2 && waiting[at].fd >= 0) at++;
            int caller = accept(listener, NULL, NULL);
            if (caller < 0 || at == CALLERS + 2) continue;
            int yes = 1;
            setsockopt(caller, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            if (unread[at - 2] == NULL) unread[at - 2] = malloc(BUFFER);
            have[at - 2] = 0;
            waiting[at] = (struct pollfd){.fd = caller, .events = POLLIN};
            if (at + 1 > used) used = at + 1;
        }
    }
}
