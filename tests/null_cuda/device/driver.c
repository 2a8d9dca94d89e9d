/* libcuda.so.1 of the null device: what PyTorch's just-in-time compiler asks of the driver when it is loaded. */
#define ACCEPT(name) int name() { return 0; }
ACCEPT(cuInit)
ACCEPT(cuCtxSetCurrent)
ACCEPT(cuDeviceGetAttribute)
ACCEPT(cuDevicePrimaryCtxRetain)
ACCEPT(cuFuncGetAttribute)
ACCEPT(cuFuncSetAttribute)
ACCEPT(cuFuncSetCacheConfig)
ACCEPT(cuGetErrorString)
ACCEPT(cuLaunchCooperativeKernel)
ACCEPT(cuLaunchKernel)
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
