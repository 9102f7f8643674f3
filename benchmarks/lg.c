// lg.c - load generator: one thread, epoll, HTTP/1.1 keep-alive on loopback, one JSON line of results.
//
// usage: lg -p PORT -c CONNECTIONS -d SECONDS [-w WARM_SECONDS] [-r RATE] [-n REQUESTS] [-u PATH] [-b BODY_FILE]
//           [-H "name: value"]... [-e EVENTS] [-x [-s START]]
//
// Closed loop: a connection asks as soon as it is answered. With -r open loop: so many requests a second, each timed
// from when it was due, so that a gateway that falls behind cannot hide it (no coordinated omission).
// -n  so many requests and no more; -d is then the longest it may take
// -e  an answer with fewer server-sent events than this counts as short
// -x  the digits 00000000 of the body become a running counter (from START), so that no cache has seen the question
// Measured between warm-up and end: n, rps, latencies in microseconds to the first (ttfb) and last byte of the body,
// ev_s. Counted from start to end: tot, totev, short. Counted after the warm-up: non2xx, errs (cut off or refused).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"

typedef struct {
  int fd, asked;      // asked: a request is on its way
  double due, first;  // when it was due; when the first byte of the answer's body came
  Answer answer;
} Connection;

static Connection *connections;
static int connection_count = 1, port, poller, first_error;
static char *request, *counter;
static size_t request_length;
static unsigned long number;
static double measured_from, ends;
static long limit, started, answered, all_events, events, minimum_events, shorts, refused, errors, reconnects;
static float *latencies, *firsts;
static size_t measured, capacity;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static int in_window(double t) { return t >= measured_from && t <= ends; }

static int may_start(void) { return !limit || started < limit; }

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

static void hang_up(Connection *c) {
  close(c->fd);
  c->fd = -1;
  c->asked = 0;
}

static int dial(Connection *c) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (void *)&address, sizeof address)) {
    close(fd);
    c->fd = -1;
    return -1;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  c->fd = fd;
  c->asked = 0;
  return 0;
}

static void count_up(void) {
  unsigned long value = ++number;
  for (int i = 7; i >= 0; i--, value /= 10) counter[i] = '0' + value % 10;
}

static void ask(Connection *c, double due) {
  started++;
  c->due = due;
  c->first = 0;
  c->asked = 0;
  answer_begin(&c->answer);
  if (c->fd < 0 && dial(c)) {
    errors++;
    return;
  }
  c->asked = 1;
  if (counter) count_up();
  for (size_t sent = 0; sent < request_length;) {
    ssize_t wrote = write(c->fd, request + sent, request_length - sent);
    if (wrote >= 0) {
      sent += wrote;
    } else if (errno != EAGAIN) {
      errors++;
      hang_up(c);
      return;
    }
  }
}

static void record(Connection *c, double t) {
  if (measured == capacity) {
    capacity = capacity ? capacity * 2 : 65536;
    latencies = realloc(latencies, capacity * sizeof *latencies);
    firsts = realloc(firsts, capacity * sizeof *firsts);
  }
  latencies[measured] = (t - c->due) * 1e6;
  firsts[measured++] = (c->first - c->due) * 1e6;
}

static void finish(Connection *c, double t) {
  answered++;
  if (c->answer.events < minimum_events) shorts++;
  if (in_window(t)) {
    if (c->answer.status >= 200 && c->answer.status < 300) {
      record(c, t);
    } else {
      refused++;
      if (!first_error) first_error = c->answer.status;
    }
  }
  c->asked = 0;
  if (c->answer.closing) {
    hang_up(c);
    reconnects++;
  }
}

static void take(Connection *c) {
  static char buffer[65536];
  for (;;) {
    ssize_t got = read(c->fd, buffer, sizeof buffer);
    double t = now();
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      if (c->asked && answer_ends_with_connection(&c->answer)) {
        c->answer.closing = 1;
        finish(c, t);
        return;
      }
      if (c->asked && t >= measured_from) errors++;
      hang_up(c);
      return;
    }
    size_t used = c->answer.in_body ? 0 : answer_head(&c->answer, buffer, got);
    if (c->answer.in_body && (used < (size_t)got || !c->answer.left)) {
      long before = c->answer.events;
      int complete = answer_body(&c->answer, buffer + used, got - used);
      if (!c->first) c->first = t;
      all_events += c->answer.events - before;
      if (in_window(t)) events += c->answer.events - before;
      if (complete) {
        finish(c, t);
        return;
      }
    }
    if ((size_t)got < sizeof buffer) return;
  }
}

static void ask_where_idle(void) {
  for (int i = 0; i < connection_count; i++)
    if (!connections[i].asked && may_start()) ask(&connections[i], now());
}

// Asks what is due, as far as connections are free; returns when the next is due.
static double ask_what_is_due(double due, double rate) {
  static int turn;
  for (double t = now(); due <= t && may_start(); due += 1 / rate) {
    int tried = 0;
    while (tried < connection_count && connections[(turn + tried) % connection_count].asked) tried++;
    if (tried == connection_count) break;
    Connection *c = &connections[(turn + tried) % connection_count];
    turn = (turn + tried + 1) % connection_count;
    ask(c, due);
  }
  return due;
}

static void run(double rate) {
  struct epoll_event ready[256];
  double due = now();
  if (!rate) ask_where_idle();
  while (now() <= ends && !(limit && answered + errors >= limit)) {
    double wait = 0.05;
    if (rate) {
      due = ask_what_is_due(due, rate);
      wait = due - now();
      wait = wait <= 0 ? 0.0005 : wait > 0.05 ? 0.05 : wait;
    }
    struct timespec timeout = {0, (long)(wait * 1e9)};
    int count = epoll_pwait2(poller, ready, 256, &timeout, 0);
    for (int i = 0; i < count; i++) {
      Connection *c = ready[i].data.ptr;
      if (c->fd < 0) continue;
      take(c);
      if (!rate && !c->asked && may_start()) ask(c, now());
    }
    if (!rate && count == 0) ask_where_idle();
  }
}

static float quantile(const float *sorted, double part) {
  return measured ? sorted[(size_t)((measured - 1) * part)] : 0;
}

static void report(double seconds) {
  int open = 0;
  for (int i = 0; i < connection_count; i++) open += connections[i].asked;
  qsort(latencies, measured, sizeof *latencies, compare);
  qsort(firsts, measured, sizeof *firsts, compare);
  printf("{\"n\":%zu,\"rps\":%.1f,\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"max\":%.0f,\"ttfb50\":%.0f,\"ttfb99\":%.0f,",
         measured, measured / seconds, quantile(latencies, .5), quantile(latencies, .9), quantile(latencies, .99),
         quantile(latencies, 1), quantile(firsts, .5), quantile(firsts, .99));
  printf("\"ev_s\":%.1f,\"non2xx\":%ld,\"firsterr\":%d,\"errs\":%ld,\"short\":%ld,\"reconn\":%ld,\"open\":%d,"
         "\"tot\":%ld,\"totev\":%ld}\n",
         events / seconds, refused, first_error, errors, shorts, reconnects, open, answered, all_events);
}

static int prepare(const char *path, const char *body_file, const char *headers, int counting) {
  char *body = 0;
  long length = 0;
  if (body_file) {
    FILE *file = fopen(body_file, "rb");
    if (!file || fseek(file, 0, SEEK_END)) return perror(body_file), 1;
    length = ftell(file);
    rewind(file);
    body = malloc(length);
    if (fread(body, 1, length, file) != (size_t)length) return perror(body_file), 1;
    fclose(file);
  }
  request = malloc(length + 16384);
  request_length = snprintf(request, 16384,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: lg/1\r\nAccept: */*\r\n"
                            "Content-Type: application/json\r\n%sContent-Length: %ld\r\n\r\n",
                            path, port, headers, length);
  if (length) memcpy(request + request_length, body, length);
  if (counting && !(counter = memmem(request + request_length, length, "00000000", 8)))
    return fprintf(stderr, "-x: no 00000000 in the body\n"), 1;
  request_length += length;
  return 0;
}

int main(int count, char **arguments) {
  double seconds = 5, warm = 1, rate = 0;
  char *path = "/v1/chat/completions", *body_file = 0, headers[8192] = "";
  int option, counting = 0;
  prctl(PR_SET_TIMERSLACK, 1000);
  signal(SIGPIPE, SIG_IGN);
  while ((option = getopt(count, arguments, "p:c:d:w:r:n:u:b:H:e:xs:")) > 0) switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'c': connection_count = atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      case 'w': warm = atof(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 'n': limit = atol(optarg); break;
      case 'u': path = optarg; break;
      case 'b': body_file = optarg; break;
      case 'H': strcat(strcat(headers, optarg), "\r\n"); break;
      case 'e': minimum_events = atol(optarg); break;
      case 'x': counting = 1; break;
      case 's': number = strtoul(optarg, 0, 10); break;
      default: return 2;
    }
  if (prepare(path, body_file, headers, counting)) return 2;
  poller = epoll_create1(0);
  connections = calloc(connection_count, sizeof *connections);
  for (int i = 0; i < connection_count; i++)
    if (dial(&connections[i])) errors++;
  measured_from = now() + warm;
  ends = measured_from + seconds;
  run(rate);
  report(limit ? now() - measured_from : seconds);
}
