// mock.c - the cheapest upstream that speaks OpenAI's API: one thread, epoll, HTTP/1.1 keep-alive, loopback only.
//
// usage: mock PORT
//
// POST anything   a chat completion of 1.1 KB with usage; or, where the body says "stream":true, 66 server-sent
//                 events of about 250 bytes: a role, 62 words, the end, usage, [DONE]
// GET /count      how many POSTs there were; GET anything else: a list of models
//
// The model in the body says how: mock-gpt at once, mock-think after 50 ms, mock-fast, mock-med and mock-slow with
// 1, 5 and 20 ms between the events of a stream.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 16384, SLOTS = 8192, PIECES = 64, PIECE = 8192 };

typedef struct { int think, delay; } Manner;  // milliseconds before the answer, between two events

typedef struct { char bytes[4096]; size_t length; } Text;

typedef struct Connection {
  int fd, open, busy, stream, left, waits_to_write;
  Manner manner;
  char *in, *out;
  size_t in_length, in_capacity, out_length, out_capacity;
  uint64_t due;
  struct Connection *next;
} Connection;

static const Manner AT_ONCE = {0, 0}, THINK = {50, 0}, FAST = {0, 1}, MED = {0, 5}, SLOW = {0, 20};
static Connection *connections[CONNECTIONS], *wheel[SLOTS];  // wheel: who is due in which millisecond
static uint64_t wheel_now;
static int poller, timers;
static unsigned long asked;
static Text completion, models, stream_head, word, role, stream_end;

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

#define ID "\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\""
#define ABOUT "\"created\":1741570283,\"model\":\"mock-gpt\""
#define CHUNK "{" ID ",\"object\":\"chat.completion.chunk\"," ABOUT
#define CHOICE CHUNK ",\"system_fingerprint\":\"fp_fc9f1d7035\",\"choices\":[{\"index\":0,\"delta\":"

static void add(Text *text, const char *more) {
  text->length += snprintf(text->bytes + text->length, sizeof text->bytes - text->length, "%s", more);
}

static void add_event(Text *text, const char *json) {
  char event[2048];
  int length = snprintf(event, sizeof event, "data: %s\n\n", json);
  char chunk[2100];
  snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", length, event);
  add(text, chunk);
}

static void add_json(Text *text, const char *json) {
  char head[256];
  snprintf(head, sizeof head,
           "HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\n"
           "content-length: %zu\r\n\r\n",
           strlen(json));
  add(text, head);
  add(text, json);
}

static void write_texts(void) {
  static Text body;
  add(&body, "{" ID ",\"object\":\"chat.completion\"," ABOUT ",\"choices\":[{\"index\":0,\"message\":"
             "{\"role\":\"assistant\",\"content\":\"");
  for (int i = 0; i < 90; i++) add(&body, i % 9 ? "token " : "Hello ");
  add(&body, "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":117,\"completion_tokens\":90,\"total_tokens\":207,"
             "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
             "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
             "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_fc9f1d7035\"}");
  add_json(&completion, body.bytes);
  add_json(&models, "{\"object\":\"list\",\"data\":[{\"id\":\"mock-gpt\",\"object\":\"model\",\"created\":1741570283,"
                    "\"owned_by\":\"mock\"}]}");
  add(&stream_head, "HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
                    "x-request-id: req_0123456789\r\ntransfer-encoding: chunked\r\n\r\n");
  add_event(&role, CHOICE "{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}");
  add_event(&word, CHOICE "{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}");
  add_event(&stream_end, CHOICE "{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}");
  add_event(&stream_end, CHUNK ",\"choices\":[],\"usage\":{\"prompt_tokens\":117,\"completion_tokens\":64,"
                               "\"total_tokens\":181}}");
  add_event(&stream_end, "[DONE]");
  add(&stream_end, "0\r\n\r\n");
}

static void watch(Connection *c, int events, int how) {
  struct epoll_event event = {.events = events, .data.fd = c->fd};
  epoll_ctl(poller, how, c->fd, &event);
}

// Writes, and keeps what the socket does not take.
static void put(Connection *c, const char *bytes, size_t length) {
  if (!c->out_length) {
    ssize_t wrote = write(c->fd, bytes, length);
    if (wrote == (ssize_t)length || (wrote < 0 && errno != EAGAIN)) return;
    if (wrote > 0) bytes += wrote, length -= wrote;
  }
  if (c->out_length + length > c->out_capacity) {
    c->out_capacity = (c->out_length + length) * 2;
    c->out = realloc(c->out, c->out_capacity);
  }
  memcpy(c->out + c->out_length, bytes, length);
  c->out_length += length;
  if (!c->waits_to_write) watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  c->waits_to_write = 1;
}

static void put_text(Connection *c, const Text *text) { put(c, text->bytes, text->length); }

static void write_rest(Connection *c) {
  ssize_t wrote = write(c->fd, c->out, c->out_length);
  if (wrote > 0) memmove(c->out, c->out + wrote, c->out_length -= wrote);
  if (c->out_length) return;
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  c->waits_to_write = 0;
}

static void call_again_in(Connection *c, int milliseconds) {
  c->due = now_ms() + milliseconds;
  c->next = wheel[c->due % SLOTS];
  wheel[c->due % SLOTS] = c;
  timers++;
}

// Goes on with the answer; `left` counts the pieces of a stream: the role, words, the end.
static void go_on(Connection *c) {
  if (!c->open || !c->stream) {
    if (c->open) put_text(c, &completion);
    c->busy = 0;
    return;
  }
  if (c->left == PIECES) {
    Text both = stream_head;
    add(&both, role.bytes);
    put_text(c, &both);
    c->left--;
    if (c->manner.delay) return call_again_in(c, c->manner.delay);
  }
  while (c->left > 1) {
    put_text(c, &word);
    c->left--;
    if (c->manner.delay) return call_again_in(c, c->manner.delay);
  }
  put_text(c, &stream_end);
  c->busy = 0;
}

static Manner manner_of(const char *body, size_t length) {
  const char *model = memmem(body, length, "mock-", 5);
  switch (model && model + 5 < body + length ? model[5] : 0) {
    case 't': return THINK;
    case 'f': return FAST;
    case 'm': return MED;
    case 's': return SLOW;
    default: return AT_ONCE;
  }
}

static void answer_get(Connection *c, int count) {
  if (!count) return put_text(c, &models);
  Text text = {.length = 0};
  char number[24];
  snprintf(number, sizeof number, "%lu", asked);
  add_json(&text, number);
  put_text(c, &text);
}

// The length of the request at the start of what came in, its body in `body` and `length`; 0 while it is not complete.
static size_t request_at_start(Connection *c, char **body, size_t *length) {
  char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
  if (!end) return 0;
  *body = end + 4;
  *end = 0;
  char *field = strcasestr(c->in, "\r\ncontent-length:");
  int chunked = strcasestr(c->in, "\r\ntransfer-encoding:") != 0;
  *end = '\r';
  size_t head = *body - c->in;
  if (chunked) {
    char *last = memmem(*body, c->in_length - head, "0\r\n\r\n", 5);
    *length = last ? last - *body : 0;
    return last ? head + *length + 5 : 0;
  }
  *length = field ? strtoul(field + 17, 0, 10) : 0;
  return c->in_length < head + *length ? 0 : head + *length;
}

static void answer(Connection *c) {
  char *body;
  size_t length, whole;
  while (c->open && !c->busy && c->in_length && (whole = request_at_start(c, &body, &length))) {
    int get = !strncmp(c->in, "GET", 3), count = !strncmp(c->in, "GET /count ", 11);
    if (!get) {
      asked++;
      c->manner = manner_of(body, length);
      c->stream = memmem(body, length, "\"stream\":true", 13) || memmem(body, length, "\"stream\": true", 14);
      c->left = PIECES;
      c->busy = 1;
    }
    memmove(c->in, c->in + whole, c->in_length -= whole);
    if (get) answer_get(c, count);
    if (!get && c->manner.think) call_again_in(c, c->manner.think);
    if (!get && !c->manner.think) go_on(c);
  }
}

static void take(Connection *c) {
  for (;;) {
    if (c->in_capacity - c->in_length < PIECE) c->in = realloc(c->in, c->in_capacity *= 2);
    ssize_t got = read(c->fd, c->in + c->in_length, c->in_capacity - c->in_length);
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      close(c->fd);
      c->open = 0;
      return;
    }
    c->in_length += got;
    if (got < PIECE) break;
  }
  answer(c);
}

static void take_in(int listener) {
  for (int fd, one = 1; (fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
    if (fd >= CONNECTIONS) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Connection *c = connections[fd];
    // One whose stream was cut off still hangs in the wheel; it is left to it.
    if (!c || c->busy) {
      c = connections[fd] = calloc(1, sizeof *c);
      c->in = malloc(c->in_capacity = 2 * PIECE);
    }
    c->fd = fd;
    c->open = 1;
    c->in_length = c->out_length = 0;
    c->waits_to_write = 0;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static void turn_wheel(void) {
  for (uint64_t t = now_ms(); timers && wheel_now <= t; wheel_now++) {
    Connection *c = wheel[wheel_now % SLOTS], *next;
    wheel[wheel_now % SLOTS] = 0;
    for (; c; c = next) {
      next = c->next;
      timers--;
      go_on(c);
      if (!c->busy) answer(c);
    }
  }
  if (!timers) wheel_now = now_ms();
}

int main(int count, char **arguments) {
  if (count != 2) return fprintf(stderr, "usage: mock PORT\n"), 2;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[512];
  signal(SIGPIPE, SIG_IGN);
  write_texts();
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("mock"), 1;
  poller = epoll_create1(0);
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  for (wheel_now = now_ms();; turn_wheel()) {
    int events = epoll_wait(poller, ready, 512, timers ? 1 : 1000);
    for (int i = 0; i < events; i++) {
      if (ready[i].data.fd == listener) {
        take_in(listener);
        continue;
      }
      Connection *c = connections[ready[i].data.fd];
      if (c && c->open && ready[i].events & EPOLLOUT) write_rest(c);
      if (c && c->open && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(c);
    }
  }
}
