/* When did each request really arrive? An HTTP/1.1 server that writes it down.
 *
 *   stamper --dump FILE [--records N] [--service-us N [--concurrency C]]
 *           [--stall-at SECONDS --stall-for SECONDS]
 *
 * One thread, one epoll, keep-alive connections on 127.0.0.1. It prints its port and answers every
 * request with the same small JSON document. For each it keeps, in memory that is there from the
 * beginning, when the request was complete and when its answer had been handed to the kernel (both
 * CLOCK_MONOTONIC, nanoseconds), and the number in the request's X-Seq header, -1 without one.
 *
 * The stamps are written to FILE on SIGTERM, which ends the server, and on GET /__dump, which does
 * not. The end of standard input ends it too, so it never outlives whoever holds the other end.
 *
 * FILE holds the eight bytes CLSTAMP1; six int64: stamps kept, requests seen, connections accepted,
 * most open at once, requests refused, stamps lost because --records was too small; then three
 * int64 a stamp: arrival, written (0 when the connection went away before), number.
 *
 * --service-us delays every answer. With --concurrency C at most C requests are worked on at once
 * and the others queue in order of arrival, so that the server can do C / N a microsecond.
 * --stall-for stops the whole server for that long, --stall-at after its first request.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    IN_BYTES = 16384,    /* a request's head must fit */
    OUT_BYTES = 4096,    /* answers that wait for the peer to read */
    ANSWER_BYTES = 256,  /* no answer is longer */
    MOST_CONNECTIONS = 10000,
    MOST_DELAYED = 65536,
    MOST_CONCURRENCY = 1024,
    EVENTS = 256,
};

#define MOST_BODY (1L << 30)
#define SECOND 1000000000L

/* What an epoll event is about: these, or a connection's slot with its generation above it. */
enum { LISTENER = 0xfffffff0u, SIGNALS, STANDARD_INPUT, DELAYS, STALL };

struct stamp {
    int64_t arrival, written, number;
};

struct connection {
    int fd;
    uint32_t slot, generation;
    bool readable;  /* there may be more to read: epoll tells of it only once */
    bool ended;     /* the peer has sent its last byte */
    bool delayed;   /* an answer is being waited for */
    bool closing;   /* to be closed once the answers are out */
    bool in_body, head, dump, last;
    int64_t number, read_at, body_left;
    int64_t first_stamp, stamps; /* of the answers in out */
    size_t in_length, out_length, out_sent;
    char in[IN_BYTES], out[OUT_BYTES];
};

struct delayed {
    uint32_t slot, generation;
    int64_t stamp, due;
};

static struct {
    int epoll, listener, signals, delays, stall;
    const char *dump_path;
    int64_t service, concurrency, stall_at, stall_for;
    struct stamp *stamps;
    int64_t kept, most_stamps, requests, accepted, open, most_open, refused, lost;
    struct connection *connections[MOST_CONNECTIONS];
    uint32_t generation, free_slots[MOST_CONNECTIONS], free_count, slots;
    struct delayed queue[MOST_DELAYED];
    uint32_t queue_begin, queue_length;
    int64_t free_at[MOST_CONCURRENCY];
    bool begun;
} server;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void set_timer(int timer, int64_t when) {
    struct itimerspec spec = {.it_value = {when / SECOND, when % SECOND}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL) < 0) die("timerfd_settime");
}

/* Written beside its place and moved there: a file that exists is whole. */
static void dump(void) {
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", server.dump_path) >= (int)sizeof part) {
        fprintf(stderr, "--dump: the path is too long\n");
        exit(1);
    }
    int64_t counts[] = {server.kept,      server.requests, server.accepted,
                        server.most_open, server.refused,  server.lost};
    FILE *file = fopen(part, "wb");
    if (!file) die(part);
    size_t kept = (size_t)server.kept;
    bool whole = fwrite("CLSTAMP1", 8, 1, file) == 1 && fwrite(counts, sizeof counts, 1, file) == 1 &&
                 fwrite(server.stamps, sizeof *server.stamps, kept, file) == kept;
    if (fclose(file) != 0 || !whole || rename(part, server.dump_path) < 0) die(server.dump_path);
}

/* Connections. */

static void close_connection(struct connection *c) {
    close(c->fd);
    server.connections[c->slot] = NULL;
    server.free_slots[server.free_count++] = c->slot;
    server.open--;
    free(c);
}

static struct connection *find(uint32_t slot, uint32_t generation) {
    struct connection *c = slot < MOST_CONNECTIONS ? server.connections[slot] : NULL;
    return c && c->generation == generation ? c : NULL;
}

static void watch(int fd, uint32_t events, uint32_t slot, uint32_t generation) {
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)generation << 32 | slot};
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EAGAIN) return;
            die("accept");
        }
        struct connection *c = server.free_count ? malloc(sizeof *c) : NULL;
        if (!c) {
            close(fd);
            continue;
        }
        /* Without the buffers, which nobody reads before they are written. */
        memset(c, 0, offsetof(struct connection, in));
        c->fd = fd;
        c->slot = server.free_slots[--server.free_count];
        c->generation = ++server.generation;
        server.connections[c->slot] = c;
        server.accepted++;
        if (++server.open > server.most_open) server.most_open = server.open;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c->slot, c->generation);
    }
}

/* Answers. */

static void answer(struct connection *c, const char *status, const char *body) {
    int length = snprintf(c->out + c->out_length, ANSWER_BYTES,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                          "%s\r\n%s",
                          status, strlen(body), c->closing ? "Connection: close\r\n" : "",
                          c->head ? "" : body);
    c->out_length += (size_t)length;
}

static void refuse(struct connection *c, const char *status) {
    server.refused++;
    c->closing = true;
    c->head = false;
    answer(c, status, "{\"status\":\"refused\"}");
}

static void answer_stamped(struct connection *c, int64_t stamp) {
    if (c->last) c->closing = true;
    answer(c, "200 OK", "{\"status\":\"ok\"}");
    if (stamp < 0) return;
    /* Other connections' stamps never come between those of answers that leave together. */
    if (c->stamps == 0) c->first_stamp = stamp;
    c->stamps++;
}

static int64_t keep_stamp(const struct connection *c) {
    server.requests++;
    if (!server.begun) {
        server.begun = true;
        if (server.stall_for) set_timer(server.stall, c->read_at + server.stall_at);
    }
    if (server.kept == server.most_stamps) {
        server.lost++;
        return -1;
    }
    server.stamps[server.kept] = (struct stamp){.arrival = c->read_at, .number = c->number};
    return server.kept++;
}

static void delay(struct connection *c, int64_t stamp) {
    if (server.queue_length == MOST_DELAYED) {
        refuse(c, "503 Service Unavailable");
        return;
    }
    int64_t begin = c->read_at;
    if (server.concurrency) {
        int64_t first = 0;
        for (int64_t i = 1; i < server.concurrency; i++)
            if (server.free_at[i] < server.free_at[first]) first = i;
        if (server.free_at[first] > begin) begin = server.free_at[first];
        server.free_at[first] = begin + server.service;
    }
    /* All take equally long and begin in order, so the queue is in order of due times. */
    uint32_t last = (server.queue_begin + server.queue_length) % MOST_DELAYED;
    server.queue[last] = (struct delayed){c->slot, c->generation, stamp, begin + server.service};
    if (server.queue_length++ == 0) set_timer(server.delays, begin + server.service);
    c->delayed = true;
}

static void complete(struct connection *c) {
    if (c->dump) {
        char body[64];
        dump();
        snprintf(body, sizeof body, "{\"stamps\":%lld}", (long long)server.kept);
        if (c->last) c->closing = true;
        answer(c, "200 OK", body);
        return;
    }
    int64_t stamp = keep_stamp(c);
    if (server.service)
        delay(c, stamp);
    else
        answer_stamped(c, stamp);
}

/* Requests. */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* A whole number of at most 18 digits, -1 for anything else. */
static int64_t number_of(const char *text, size_t length) {
    int64_t value = 0;
    if (length == 0 || length > 18) return -1;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i])) return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static bool has_word(const char *text, size_t length, const char *word) {
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= length; i++)
        if (strncasecmp(text + i, word, size) == 0) return true;
    return false;
}

static bool named(const char *line, size_t length, const char *name) {
    return length == strlen(name) && strncasecmp(line, name, length) == 0;
}

/* METHOD SP target SP HTTP/1.x */
static bool read_request_line(struct connection *c, const char *line, size_t length) {
    const char *end = line + length;
    const char *target = memchr(line, ' ', length);
    if (!target || target == line || target - line > 20) return false;
    for (const char *p = line; p < target; p++)
        if (*p < 'A' || *p > 'Z') return false;
    c->head = named(line, (size_t)(target - line), "HEAD");
    target++;
    const char *version = memchr(target, ' ', (size_t)(end - target));
    if (!version || version == target || end - version != 9) return false;
    if (memcmp(version + 1, "HTTP/1.", 7) != 0 || (version[8] != '0' && version[8] != '1'))
        return false;
    c->last = version[8] == '0';
    c->dump = named(target, (size_t)(version - target), "/__dump");
    return true;
}

/* The status to refuse a head with, NULL for a good one. */
static const char *read_head(struct connection *c, const char *head, size_t length) {
    const char *end = head + length;
    const char *line = head;
    int64_t body = -1;
    c->number = -1;
    for (bool first = true; line < end; first = false) {
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!next) next = end;
        if (first) {
            if (!read_request_line(c, line, (size_t)(next - line))) return "400 Bad Request";
        } else {
            const char *colon = memchr(line, ':', (size_t)(next - line));
            if (!colon || colon == line) return "400 Bad Request";
            size_t name = (size_t)(colon - line);
            const char *value = colon + 1;
            const char *stop = next;
            while (value < stop && (*value == ' ' || *value == '\t')) value++;
            while (stop > value && (stop[-1] == ' ' || stop[-1] == '\t')) stop--;
            size_t size = (size_t)(stop - value);
            if (named(line, name, "Content-Length")) {
                int64_t told = number_of(value, size);
                if (told < 0 || told > MOST_BODY || (body >= 0 && body != told))
                    return "400 Bad Request";
                body = told;
            } else if (named(line, name, "Transfer-Encoding")) {
                return "501 Not Implemented";
            } else if (named(line, name, "Connection")) {
                if (has_word(value, size, "close")) c->last = true;
                if (has_word(value, size, "keep-alive")) c->last = false;
            } else if (named(line, name, "X-Seq")) {
                c->number = number_of(value, size);
            }
        }
        line = next + 2;
    }
    c->body_left = body > 0 ? body : 0;
    return NULL;
}

/* Take in as many requests as are there whole and may be answered now. */
static void parse(struct connection *c) {
    size_t at = 0;
    while (!c->delayed && !c->closing && OUT_BYTES - c->out_length >= ANSWER_BYTES) {
        if (!c->in_body) {
            while (at < c->in_length && (c->in[at] == '\r' || c->in[at] == '\n')) at++;
            size_t there = c->in_length - at;
            const char *head = c->in + at;
            const char *end = there ? memmem(head, there, "\r\n\r\n", 4) : NULL;
            if (!end) {
                if (there == IN_BYTES) refuse(c, "431 Request Header Fields Too Large");
                break;
            }
            const char *status = read_head(c, head, (size_t)(end - head));
            if (status) {
                refuse(c, status);
                break;
            }
            at += (size_t)(end - head) + 4;
            c->in_body = true;
        }
        size_t there = c->in_length - at;
        size_t taken = (int64_t)there < c->body_left ? there : (size_t)c->body_left;
        at += taken;
        c->body_left -= (int64_t)taken;
        if (c->body_left > 0) break;
        c->in_body = false;
        complete(c);
    }
    c->in_length -= at;
    memmove(c->in, c->in + at, c->in_length);
}

/* False when the connection is to be closed. */
static bool flush(struct connection *c) {
    while (c->out_sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN;
        }
        c->out_sent += (size_t)n;
    }
    int64_t written = now();
    for (int64_t i = 0; i < c->stamps; i++) server.stamps[c->first_stamp + i].written = written;
    c->stamps = 0;
    c->out_sent = c->out_length = 0;
    return !c->closing;
}

/* Go on with a connection until it must wait: for bytes, for room to answer, or for its delay. */
static void serve(struct connection *c) {
    for (;;) {
        /* What has been answered goes out before anything else is taken in. */
        if (c->out_length == 0) parse(c);
        if (c->out_length) {
            if (!flush(c)) {
                close_connection(c);
                return;
            }
            if (c->out_length) return;
            if (c->in_length) continue;
        }
        if (c->delayed && c->in_length == IN_BYTES) return;
        if (!c->readable) {
            if (c->ended && !c->delayed) close_connection(c);
            return;
        }
        size_t room = IN_BYTES - c->in_length;
        ssize_t n = recv(c->fd, c->in + c->in_length, room, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) {
                c->readable = false;
                continue;
            }
            close_connection(c);
            return;
        }
        c->read_at = now();
        if (n == 0) {
            c->ended = true;
            c->readable = false;
            continue;
        }
        c->in_length += (size_t)n;
        /* Less than asked for: all there was, and what comes later is told again. */
        if ((size_t)n < room && !c->ended) c->readable = false;
    }
}

static void on_connection(uint32_t slot, uint32_t generation, uint32_t events) {
    struct connection *c = find(slot, generation);
    if (!c) return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        close_connection(c);
        return;
    }
    if (events & EPOLLIN) c->readable = true;
    if (events & EPOLLRDHUP) c->readable = c->ended = true;
    serve(c);
}

/* Faults. */

static void on_delays(void) {
    uint64_t times;
    if (read(server.delays, &times, sizeof times) < 0 && errno != EAGAIN) die("timerfd");
    while (server.queue_length) {
        struct delayed *first = &server.queue[server.queue_begin];
        if (first->due > now()) {
            set_timer(server.delays, first->due);
            return;
        }
        struct delayed it = *first;
        server.queue_begin = (server.queue_begin + 1) % MOST_DELAYED;
        server.queue_length--;
        struct connection *c = find(it.slot, it.generation);
        if (!c) continue;
        c->delayed = false;
        answer_stamped(c, it.stamp);
        serve(c);
    }
}

static void on_stall(void) {
    uint64_t times;
    if (read(server.stall, &times, sizeof times) < 0) return;
    int64_t end = now() + server.stall_for;
    /* Only what ends the server is listened to; it is seen to after the stall is over. */
    struct pollfd ends[] = {{.fd = server.signals, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    for (int64_t left; (left = end - now()) > 0;) {
        struct timespec t = {left / SECOND, left % SECOND};
        if (ppoll(ends, 2, &t, NULL) > 0) return;
    }
}

/* True at the end of standard input. */
static bool input_is_over(void) {
    char ignored[256];
    ssize_t n = read(0, ignored, sizeof ignored);
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

/* Start. */

static int64_t whole(const char *name, const char *text, int64_t least, int64_t most) {
    int64_t value = number_of(text, strlen(text));
    if (value < least || value > most) {
        fprintf(stderr, "%s: %s is not a whole number from %lld to %lld\n", name, text,
                (long long)least, (long long)most);
        exit(2);
    }
    return value;
}

static int64_t nanoseconds(const char *name, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value < 1e6)) {
        fprintf(stderr, "%s: %s is not a number of seconds\n", name, text);
        exit(2);
    }
    return (int64_t)(value * SECOND);
}

static void read_arguments(int count, char **words) {
    server.most_stamps = 1000000;
    for (int i = 1; i < count; i += 2) {
        const char *name = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(name, "--dump"))
            server.dump_path = value;
        else if (!strcmp(name, "--records"))
            server.most_stamps = whole(name, value, 1, 50000000);
        else if (!strcmp(name, "--service-us"))
            server.service = whole(name, value, 0, 60000000) * 1000;
        else if (!strcmp(name, "--concurrency"))
            server.concurrency = whole(name, value, 0, MOST_CONCURRENCY);
        else if (!strcmp(name, "--stall-at"))
            server.stall_at = nanoseconds(name, value);
        else if (!strcmp(name, "--stall-for"))
            server.stall_for = nanoseconds(name, value);
        else {
            fprintf(stderr, "unknown argument %s\n", name);
            exit(2);
        }
    }
    if (!server.dump_path || !*server.dump_path) {
        fprintf(stderr, "--dump FILE is missing\n");
        exit(2);
    }
}

static void limit_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) die("setrlimit");
    rlim_t spare = 32; /* for what is no connection, and one that is accepted to be closed */
    if (limit.rlim_cur <= spare) {
        fprintf(stderr, "too few descriptors are allowed\n");
        exit(1);
    }
    rlim_t most = limit.rlim_cur - spare;
    server.free_count = most < MOST_CONNECTIONS ? (uint32_t)most : MOST_CONNECTIONS;
    /* Handed out from the end, the low ones first. */
    for (uint32_t i = 0; i < server.free_count; i++)
        server.free_slots[i] = server.free_count - 1 - i;
}

static void listen_somewhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server.listener < 0) die("socket");
    if (bind(server.listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(server.listener, 4096) < 0) die("listen");
    if (getsockname(server.listener, (struct sockaddr *)&address, &length) < 0) die("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

static int new_timer(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0) die("timerfd_create");
    return timer;
}

int main(int count, char **words) {
    read_arguments(count, words);
    limit_connections();
    /* Populated now, so that no stamp waits for a page. */
    server.stamps = mmap(NULL, (size_t)server.most_stamps * sizeof *server.stamps,
                         PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (server.stamps == MAP_FAILED) die("mmap");

    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* an interrupted terminal is the bench's to see to */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) die("sigprocmask");
    server.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (server.signals < 0) die("signalfd");

    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0) die("epoll_create1");
    server.delays = new_timer();
    server.stall = new_timer();
    listen_somewhere();
    watch(server.listener, EPOLLIN, LISTENER, 0);
    watch(server.signals, EPOLLIN, SIGNALS, 0);
    watch(server.delays, EPOLLIN, DELAYS, 0);
    watch(server.stall, EPOLLIN, STALL, 0);
    watch(0, EPOLLIN | EPOLLRDHUP, STANDARD_INPUT, 0);

    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(server.epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            uint32_t slot = (uint32_t)events[i].data.u64;
            switch (slot) {
            case LISTENER: accept_all(); break;
            case SIGNALS: dump(); return 0;
            case DELAYS: on_delays(); break;
            case STALL: on_stall(); break;
            case STANDARD_INPUT:
                if (input_is_over()) return 0;
                break;
            default:
                on_connection(slot, (uint32_t)(events[i].data.u64 >> 32), events[i].events);
            }
        }
    }
}
