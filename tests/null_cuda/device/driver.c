/* libcuda.so.1 of the null device: what PyTorch's just-in-time compiler and Triton ask of the driver. Kernels that they
 * have compiled are counted. */
extern void null_kernel(void) __attribute__((weak));  /* of the preloaded library */

static int count(void) {
  if (null_kernel) null_kernel();
  return 0;
}

#define ACCEPT(name) int name() { return 0; }
ACCEPT(cuInit)
ACCEPT(cuCtxSetCurrent)
ACCEPT(cuCtxSetLimit)
ACCEPT(cuDevicePrimaryCtxRetain)
ACCEPT(cuFuncSetAttribute)
ACCEPT(cuFuncSetCacheConfig)
ACCEPT(cuGetErrorString)
ACCEPT(cuLinkAddData_v2)
ACCEPT(cuLinkComplete)
ACCEPT(cuLinkCreate_v2)
ACCEPT(cuModuleGetFunction)
ACCEPT(cuModuleLoad)
ACCEPT(cuModuleLoadData)
ACCEPT(cuModuleLoadDataEx)
ACCEPT(cuModuleUnload)
ACCEPT(cuOccupancyMaxActiveBlocksPerMultiprocessor)
ACCEPT(cuPointerGetAttribute)
ACCEPT(cuTensorMapEncodeTiled)

int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuCtxGetCurrent(void **context) { static int only; *context = &only; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return 0; }
int cuCtxGetLimit(unsigned long *value, int limit) { *value = 1 << 20; return 0; }
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = attribute ? 0 : 1024; return 0; }
int cuLaunchKernel() { return count(); }
int cuLaunchKernelEx() { return count(); }
int cuLaunchCooperativeKernel() { return count(); }

/* Numbers of CUdevice_attribute, as of an H100. */
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 8: *value = 49152; break;    /* shared memory per block */
    case 10: *value = 32; break;      /* warp size */
    case 12: *value = 65536; break;   /* registers per block */
    case 16: *value = 132; break;     /* multiprocessors */
    case 75: *value = 9; break;       /* compute capability */
    case 76: *value = 0; break;
    case 81: *value = 233472; break;  /* shared memory per multiprocessor */
    case 82: *value = 65536; break;   /* registers per multiprocessor */
    case 97: *value = 232448; break;  /* shared memory per block, opted in */
    default: *value = 1;
  }
  return 0;
}
