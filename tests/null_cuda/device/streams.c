/* Streams and events of the null device: all work is done at once, and each wait for it is counted, unless the host has
 * waited for later work of the same stream. */
#include <cuda_runtime_api.h>
#include <stdlib.h>
#include "null_device.h"

/* --- waits of the host. Times are numbers of records and waits. */

struct event { long recorded; cudaStream_t stream; };

enum { MOST_STREAMS = 256 };
static struct { cudaStream_t stream; long waited; } streams[MOST_STREAMS];
static long device_waited, now;

/* The time of the last wait for a stream; 0 for none. */
static long *waited(cudaStream_t stream) {
  int i = 0;
  while (i < MOST_STREAMS - 1 && streams[i].waited && streams[i].stream != stream) i++;
  streams[i].stream = stream;
  return &streams[i].waited;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  null_waited(WAIT_STREAM);
  *waited(stream) = ++now;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
  null_waited(WAIT_DEVICE);
  device_waited = ++now;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  struct event *event = (struct event *)handle;
  if (event->recorded <= device_waited || event->recorded <= *waited(event->stream)) return cudaSuccess;
  null_waited(WAIT_EVENT);
  *waited(event->stream) = event->recorded;
  return cudaSuccess;
}

/* --- streams; no graph is ever captured */

static cudaError_t make(void **object) {
  *object = calloc(1, 64);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return make((void **)stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
  return make((void **)stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaSuccess; }
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) { *priority = 0; return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) { return cudaSuccess; }

/* --- events; a millisecond lies between any two */

cudaError_t cudaEventCreate(cudaEvent_t *event) { return make((void **)event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) { return make((void **)event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  struct event *event = (struct event *)handle;
  event->recorded = ++now;
  event->stream = stream;
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  return cudaEventRecord(event, stream);
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t first, cudaEvent_t last) {
  *milliseconds = 1;
  return cudaSuccess;
}
