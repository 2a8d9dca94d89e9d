/* Empty: the CUDA headers of the Python packages lack the part that belongs to nvcc, and host code needs none of it. */
#pragma once
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDACC
#define __THROW
