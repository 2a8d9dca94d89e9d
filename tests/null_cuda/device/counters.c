/* The counters of the null device, and the functions of Python that are called at each launch and wait. */
#include "null_device.h"
#include <stddef.h>
#include <string.h>

typedef void (*hook)(int kind);

struct null_counters null_counters;
static hook launch_hook, wait_hook;

void null_launched(void) {
  if (launch_hook) launch_hook(0);
}

void null_kernel(void) {
  null_counters.kernels++;
  null_launched();
}

void null_waited(enum null_wait kind) {
  null_counters.waits++;
  if (wait_hook) wait_hook(kind);
}

/* --- for Python, by ctypes (null_gpu.py) */

void null_set_launch_hook(hook function) { launch_hook = function; }

void null_set_wait_hook(hook function) { wait_hook = function; }

void null_reset(void) { memset(&null_counters, 0, sizeof null_counters); }

void null_counts(long *out) {
  struct null_counters *c = &null_counters;
  long values[] = {c->kernels, c->products, c->memsets, c->waits, c->to_device, c->to_host, c->on_device};
  memcpy(out, values, sizeof values);
}
