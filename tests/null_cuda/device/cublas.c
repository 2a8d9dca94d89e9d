/* cuBLAS of the null device: products are counted, handles and descriptors are empty. No header of cuBLAS is included,
 * so that no prototype stands in the way: the functions ignore their arguments. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "null_device.h"

#define PRODUCT(name) int name() { null_counters.products++; null_launched(); return 0; }
PRODUCT(cublasSgemm_v2)
PRODUCT(cublasDgemm_v2)
PRODUCT(cublasSgemmEx)
PRODUCT(cublasGemmEx)
PRODUCT(cublasSgemmStridedBatched)
PRODUCT(cublasDgemmStridedBatched)
PRODUCT(cublasGemmStridedBatchedEx)
PRODUCT(cublasSgemv_v2)
PRODUCT(cublasSdot_v2)
PRODUCT(cublasDotEx)
PRODUCT(cublasLtMatmul)

#define HANDLE(kind) \
  int kind##Create(void **handle) { *handle = malloc(64); return 0; } \
  int kind##Destroy(void *handle) { free(handle); return 0; }
HANDLE(cublasLtMatmulDesc)
HANDLE(cublasLtMatmulPreference)
HANDLE(cublasLtMatrixLayout)
int cublasCreate_v2(void **handle) { *handle = malloc(64); return 0; }
int cublasDestroy_v2(void *handle) { free(handle); return 0; }

#define ACCEPT(name) int name() { return 0; }
ACCEPT(cublasSetStream_v2)
ACCEPT(cublasSetWorkspace_v2)
ACCEPT(cublasSetMathMode)
ACCEPT(cublasSetPointerMode_v2)
ACCEPT(cublasLtMatmulDescSetAttribute)
ACCEPT(cublasLtMatmulPreferenceSetAttribute)
ACCEPT(cublasLtMatrixLayoutSetAttribute)
int cublasGetMathMode(void *handle, int *mode) { *mode = 0; return 0; }
int cublasGetPointerMode_v2(void *handle, int *mode) { *mode = 0; return 0; }

/* One algorithm, and it fits. */
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *product, void *a, void *b, void *c, void *d, void *preference,
                                   int asked, void *results, int *found) {
  memset(results, 0, 96);
  *found = 1;
  return 0;
}
