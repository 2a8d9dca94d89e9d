/* What the files of the null device share: its counters and the functions that Python sets. */
#pragma once
#include <stdatomic.h>

/* What has been asked of the device since the last `null_reset`. `null_counts` reports them in this order. */
struct null_counters {
  atomic_long kernels, products, memsets;          /* work that a GPU would run: kernels, cuBLAS calls, fills */
  atomic_long waits;                               /* calls that return when the GPU has finished */
  atomic_long to_device, to_host, on_device;       /* copies */
};
extern struct null_counters null_counters;

/* Kinds of waits, as Python is told. */
enum null_wait { WAIT_STREAM = 1, WAIT_DEVICE = 2, WAIT_EVENT = 3, WAIT_COPY = 4 };

void null_launched(void);            /* tell Python that one kernel, product or fill was started */
void null_kernel(void);              /* count a kernel, and tell Python */
void null_waited(enum null_wait kind);
