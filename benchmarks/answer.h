// answer.h - an HTTP/1.1 answer as it comes in, piece by piece; counts server-sent events.
#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, CHUNK_LAST };

typedef struct {
  char head[16384];
  size_t head_length;
  int status, closing, in_body;
  long left;  // of a body with content-length; -1 without
  int chunked, chunk_state;
  long chunk_left, events;
  int matched;  // characters of "data:" at the end of the last piece
} Answer;

static void answer_begin(Answer *a) {
  a->head_length = 0;
  a->status = a->closing = a->in_body = a->chunked = a->chunk_state = a->matched = 0;
  a->chunk_left = a->events = 0;
  a->left = -1;
}

// Whether it ends where the connection does.
static int answer_ends_with_connection(const Answer *a) { return a->in_body && !a->chunked && a->left < 0; }

// Counts "data:", also where it is torn between two pieces.
static void answer_count(Answer *a, const char *p, size_t length) {
  static const char pattern[] = "data:";
  const char *end = p + length;
  while (p < end) {
    if (!a->matched) {
      if (!(p = memchr(p, 'd', end - p))) return;
      p++;
      a->matched = 1;
    } else if (*p == pattern[a->matched]) {
      p++;
      if (++a->matched == 5) {
        a->matched = 0;
        a->events++;
      }
    } else {
      a->matched = 0;
    }
  }
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int answer_chunks(Answer *a, const char *p, const char *end) {
  while (p < end) {
    if (a->chunk_state == CHUNK_DATA) {
      long part = end - p < a->chunk_left ? end - p : a->chunk_left;
      answer_count(a, p, part);
      p += part;
      a->chunk_left -= part;
      if (!a->chunk_left) a->chunk_state = CHUNK_END;
      continue;
    }
    char letter = *p++;
    if (a->chunk_state == CHUNK_LAST) {
      if (letter == '\n') return 1;
    } else if (letter == '\n') {
      a->chunk_state = a->chunk_state == CHUNK_END ? CHUNK_SIZE : a->chunk_left ? CHUNK_DATA : CHUNK_LAST;
    } else if (a->chunk_state == CHUNK_SIZE) {
      if (letter == ';') a->chunk_state = CHUNK_EXTENSION;
      if (hex(letter) >= 0) a->chunk_left = a->chunk_left * 16 + hex(letter);
    }
  }
  return 0;
}

// Takes bytes of the body; whether it is complete.
static int answer_body(Answer *a, const char *p, size_t length) {
  if (a->chunked) return answer_chunks(a, p, p + length);
  answer_count(a, p, length);
  if (a->left < 0) return 0;
  a->left -= length;
  return a->left <= 0;
}

// Takes bytes of the head; how many belonged to it.
static size_t answer_head(Answer *a, const char *p, size_t length) {
  size_t before = a->head_length, room = sizeof a->head - before - 1, part = length < room ? length : room;
  memcpy(a->head + before, p, part);
  a->head_length += part;
  char *end = memmem(a->head, a->head_length, "\r\n\r\n", 4), *field;
  if (!end) return part;
  *end = 0;
  a->status = atoi(a->head + 9);
  if ((field = strcasestr(a->head, "\r\ncontent-length:"))) a->left = atol(field + 17);
  if ((field = strcasestr(a->head, "\r\ntransfer-encoding:")) && strcasestr(field, "chunked")) a->chunked = 1;
  if (strcasestr(a->head, "\r\nconnection: close")) a->closing = 1;
  a->in_body = 1;
  return end + 4 - a->head - before;
}
