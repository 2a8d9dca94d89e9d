/* Memory of the null device: pages of the host, which read as zero and cost nothing until they are written; and
 * page-locked memory of the host, which is known as such. */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "null_device.h"

enum { MOST_AREAS = 65536 };
static const size_t PAGE = 2 << 20, TOTAL = 80ull << 30;

static struct { char *start; size_t size; enum cudaMemoryType type; } areas[MOST_AREAS];
static int number;
static size_t allocated;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static cudaError_t allocate(void **pointer, size_t size, enum cudaMemoryType type) {
  size = (size + PAGE - 1) & ~(PAGE - 1);
  *pointer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (*pointer == MAP_FAILED || number == MOST_AREAS) return cudaErrorMemoryAllocation;
  pthread_mutex_lock(&lock);
  areas[number].start = *pointer;
  areas[number].type = type;
  areas[number++].size = size;
  if (type == cudaMemoryTypeDevice) allocated += size;
  pthread_mutex_unlock(&lock);
  return cudaSuccess;
}

/* The index of the area that holds a pointer, -1 for other memory. The caller holds the lock. */
static int area_of(const char *pointer) {
  for (int i = 0; i < number; i++)
    if (pointer >= areas[i].start && pointer < areas[i].start + areas[i].size) return i;
  return -1;
}

static cudaError_t release(void *pointer) {
  pthread_mutex_lock(&lock);
  int i = area_of(pointer);
  if (i >= 0) {
    munmap(areas[i].start, areas[i].size);
    if (areas[i].type == cudaMemoryTypeDevice) allocated -= areas[i].size;
    areas[i] = areas[--number];
  }
  pthread_mutex_unlock(&lock);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **pointer, size_t size) { return allocate(pointer, size, cudaMemoryTypeDevice); }
cudaError_t cudaFree(void *pointer) { return release(pointer); }
cudaError_t cudaHostAlloc(void **pointer, size_t size, unsigned flags) {
  return allocate(pointer, size, cudaMemoryTypeHost);
}
cudaError_t cudaFreeHost(void *pointer) { return release(pointer); }
cudaError_t cudaHostRegister(void *pointer, size_t size, unsigned flags) { return cudaSuccess; }
cudaError_t cudaHostUnregister(void *pointer) { return cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  *total = TOTAL;
  *free = TOTAL - allocated;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *pointer) {
  pthread_mutex_lock(&lock);
  int i = area_of(pointer);
  memset(attributes, 0, sizeof *attributes);
  attributes->type = i >= 0 ? areas[i].type : cudaMemoryTypeUnregistered;
  pthread_mutex_unlock(&lock);
  attributes->devicePointer = (void *)pointer;
  return cudaSuccess;
}

/* --- copies and fills. Those between host and device are done, so that inputs arrive and results can be read; those
 * inside the device would move values that no kernel has computed. */

static void copy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
  if (kind == cudaMemcpyHostToDevice) null_counters.to_device++;
  else if (kind == cudaMemcpyDeviceToHost) null_counters.to_host++;
  else null_counters.on_device++;
  if (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToHost) memcpy(to, from, size);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream) {
  copy(to, from, size, kind);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
  copy(to, from, size, kind);
  null_waited(WAIT_COPY);
  return cudaSuccess;
}

static cudaError_t fill(void) {
  null_counters.memsets++;
  null_launched();
  return cudaSuccess;
}
cudaError_t cudaMemset(void *pointer, int value, size_t size) { return fill(); }
cudaError_t cudaMemsetAsync(void *pointer, int value, size_t size, cudaStream_t stream) { return fill(); }
