/* What can no generator undercut? One in C that does the least there is to do for each arrival.
 *
 *   floor --port N --rate N --seconds S --slots N --grace S --request FILE --out FILE
 *
 * One thread, one epoll, keep-alive connections to 127.0.0.1, all made before the load begins.  A
 * timer of the kernel wakes it for each arrival, and each answer wakes it again; late arrivals wait
 * in order.  It sends the octets of --request and takes what comes in one read for the answer: no
 * HTTP is parsed, so this is no load generator, but what is left of one when its own work is free.
 *
 * FILE of --out holds JSON: requests, errors, unfinished, and p50, p95, p99 of the response time
 * (from due time) in milliseconds.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000L

enum { MOST_REQUEST = 4096, MOST_ANSWER = 65536, EVENTS = 256 };

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(s, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    return s;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const int64_t *sorted, long count, double share)
{
    return count ? (double)sorted[(long)(share * (double)(count - 1))] / 1e6 : 0.0;
}

int main(int count, char **words)
{
    static const struct option known[] = {
        {"port", 1, 0, 'p'},  {"rate", 1, 0, 'r'},    {"seconds", 1, 0, 's'}, {"slots", 1, 0, 'n'},
        {"grace", 1, 0, 'g'}, {"request", 1, 0, 'q'}, {"out", 1, 0, 'o'},     {0, 0, 0, 0}};
    long port = 0, rate = 0, slots = 0;
    double seconds = 0, grace = 0;
    const char *request_path = NULL, *out_path = NULL;
    for (int c; (c = getopt_long(count, words, "", known, NULL)) != -1;)
        switch (c) {
        case 'p': port = atol(optarg); break;
        case 'r': rate = atol(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'n': slots = atol(optarg); break;
        case 'g': grace = atof(optarg); break;
        case 'q': request_path = optarg; break;
        case 'o': out_path = optarg; break;
        default: return 2;
        }
    if (port < 1 || rate < 1 || slots < 1 || seconds <= 0 || !request_path || !out_path) {
        fputs("floor: an option is missing; see the head of floor.c\n", stderr);
        return 2;
    }
    static char request[MOST_REQUEST], answer[MOST_ANSWER];
    FILE *file = fopen(request_path, "rb");
    if (!file)
        die(request_path);
    size_t length = fread(request, 1, sizeof request, file);
    fclose(file);

    long total = (long)((double)rate * seconds + 0.5), sent = 0, over = 0, errors = 0, kept = 0;
    int64_t *times = calloc((size_t)total, sizeof *times), *due = calloc((size_t)slots, sizeof *due);
    int *sockets = calloc((size_t)slots, sizeof *sockets), *idle = calloc((size_t)slots, sizeof *idle);
    if (!times || !due || !sockets || !idle)
        die("calloc");
    int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) < 0)
        die("epoll");
    long free_slots = slots;
    for (long i = 0; i < slots; i++) {
        sockets[i] = connected((int)port);
        idle[i] = (int)i;
        event.data.u64 = (uint64_t)i;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[i], &event) < 0)
            die("epoll_ctl");
    }

    int64_t begin = now() + SECOND / 100, last = begin + (int64_t)((seconds + grace) * 1e9), set_for = -1;
    while (over < total) {
        while (sent < total && free_slots) {
            int64_t wanted = begin + sent * SECOND / rate;
            if (wanted > now())
                break;
            int slot = idle[--free_slots];
            due[slot] = wanted;
            if (send(sockets[slot], request, length, MSG_NOSIGNAL) != (ssize_t)length)
                die("send");
            sent++;
        }
        /* With no arrival left it wakes for the end. */
        int64_t wake = sent < total && free_slots ? begin + sent * SECOND / rate : last;
        if (wake != set_for) {
            struct itimerspec at = {.it_value = {wake / SECOND, wake % SECOND}};
            if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL) < 0)
                die("timerfd_settime");
            set_for = wake;
        }
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u64 == UINT64_MAX) {
                uint64_t rings;
                if (read(timer, &rings, sizeof rings) < 0 && errno != EAGAIN)
                    die("read");
                continue;
            }
            long slot = (long)events[i].data.u64;
            ssize_t got = recv(sockets[slot], answer, sizeof answer, 0);
            if (got <= 0)
                die("recv");
            if (memcmp(answer, "HTTP/1.1 200", 12))
                errors++;
            times[kept++] = now() - due[slot];
            idle[free_slots++] = (int)slot;
            over++;
        }
        if (now() >= last)
            break;
    }

    qsort(times, (size_t)kept, sizeof *times, ascending);
    file = fopen(out_path, "w");
    if (!file)
        die(out_path);
    fprintf(file,
            "{\"requests\":%ld,\"errors\":%ld,\"unfinished\":%ld,\"dropped\":%ld,"
            "\"p50\":%f,\"p95\":%f,\"p99\":%f}\n",
            sent, errors, sent - over, total - sent, percentile(times, kept, 0.50),
            percentile(times, kept, 0.95), percentile(times, kept, 0.99));
    if (fclose(file))
        die(out_path);
    return 0;
}
