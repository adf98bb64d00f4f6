// Asks at a fixed rate, whether or not the answers keep up, and says how long they took: `paced PORT PATH RATE CONNECTIONS SECONDS`.
//
// Every request is due at a time fixed beforehand and its latency counts from then, not from when it was sent: what waits because
// the server or this client stood still is seen as waiting (wrk, which asks only when it is answered, leaves that out). A request
// that is due while all connections wait for an answer is sent on the first that is free.
//
// Writes one line of JSON: latencies and the lateness of sending in milliseconds. Answers are 200, with a content-length, of at
// most 16 KiB; anything else ends it with status 1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_LIMIT = 16 * 1024, EVENTS = 256 };
static const int64_t SECOND = 1000000000;
// Nothing has to take longer: an open loop that is answered not at all must end too.
static const int64_t SILENCE_LIMIT = 10 * 1000000000LL;

struct connection {
  int descriptor;
  int64_t due;
  size_t length;
  char answer[ANSWER_LIMIT + 1];
};

static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vfprintf(stderr, format, values);
  va_end(values);
  fputc('\n', stderr);
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * SECOND + time.tv_nsec;
}

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int descriptor = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) < 0) fail("cannot connect: %s", strerror(errno));
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return descriptor;
}

// Reads what is there. Returns whether the answer is complete.
static int read_answer(struct connection *connection) {
  ssize_t count = recv(connection->descriptor, connection->answer + connection->length, ANSWER_LIMIT - connection->length, MSG_DONTWAIT);
  if (count <= 0) fail("a connection ended: %s", count == 0 ? "the server closed it, or its answer is too large" : strerror(errno));
  connection->length += count;
  connection->answer[connection->length] = '\0';
  char *body = strstr(connection->answer, "\r\n\r\n");
  if (body == NULL) return 0;
  if (strncmp(connection->answer, "HTTP/1.1 200", 12) != 0) fail("an answer is not 200: %.200s", connection->answer);
  char *length = strcasestr(connection->answer, "\r\ncontent-length:");
  if (length == NULL || length > body) fail("an answer has no content-length: %.200s", connection->answer);
  size_t complete = body + 4 - connection->answer + strtoul(length + 17, NULL, 10);
  if (connection->length > complete) fail("an answer is longer than its content-length: %.200s", connection->answer);
  return connection->length == complete;
}

static int ascending(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

// The smallest value that so large a part of the sorted values does not exceed.
static double percentile(const double *values, size_t count, double part) {
  size_t index = (size_t)(part * count);
  return values[index < count ? index : count - 1];
}

int main(int argc, char **argv) {
  if (argc != 6) fail("paced PORT PATH RATE CONNECTIONS SECONDS");
  int port = atoi(argv[1]), connections = atoi(argv[4]);
  double rate = atof(argv[3]);
  size_t total = (size_t)(rate * atof(argv[5])), sent = 0, answered = 0;
  if (total == 0 || connections < 1) fail("there is nothing to ask");

  char request[4096];
  int request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", argv[2], port);
  struct connection *all = calloc(connections, sizeof *all), **idle = calloc(connections, sizeof *idle);
  double *latencies = calloc(total, sizeof *latencies), *lateness = calloc(total, sizeof *lateness);
  int idle_count = 0, poll = epoll_create1(0);
  for (int index = 0; index < connections; index++) {
    all[index].descriptor = connect_to(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[index]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[index].descriptor, &event);
    idle[idle_count++] = &all[index];
  }
  // The kernel lets timers be late by 50 microseconds unless asked.
  prctl(PR_SET_TIMERSLACK, 1);

  int64_t began = now();
  while (answered < total) {
    int64_t wait = SILENCE_LIMIT;
    while (sent < total && idle_count > 0) {
      int64_t due = began + (int64_t)(sent * (SECOND / rate)), time = now();
      if (due > time) {
        wait = due - time;
        break;
      }
      struct connection *connection = idle[--idle_count];
      connection->due = due;
      connection->length = 0;
      if (send(connection->descriptor, request, request_length, MSG_NOSIGNAL) != request_length) fail("cannot send: %s", strerror(errno));
      lateness[sent++] = (time - due) / 1e6;
    }
    struct epoll_event events[EVENTS];
    struct timespec timeout = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
    int count = epoll_pwait2(poll, events, EVENTS, &timeout, NULL);
    if (count < 0 && errno != EINTR) fail("cannot wait: %s", strerror(errno));
    if (count == 0 && wait == SILENCE_LIMIT) fail("no answer for ten seconds");
    for (int index = 0; index < count; index++) {
      struct connection *connection = events[index].data.ptr;
      if (!read_answer(connection)) continue;
      latencies[answered++] = (now() - connection->due) / 1e6;
      idle[idle_count++] = connection;
    }
  }
  double took = (now() - began) / 1e9;
  qsort(latencies, total, sizeof *latencies, ascending);
  qsort(lateness, total, sizeof *lateness, ascending);
  printf("{\"requests\": %zu, \"rate\": %.1f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f, \"late_p99_ms\": %.4f}\n", total,
         total / took, percentile(latencies, total, 0.50), percentile(latencies, total, 0.99), percentile(latencies, total, 0.999),
         latencies[total - 1], percentile(lateness, total, 0.99));
}
