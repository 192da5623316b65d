/* A model in a runtime, tensors in the runtime's own memory. Errors are sentences. */
#pragma once
#include "platform.h"

enum { FLOAT32, UINT8, INT8 }; /* element types, as Native.kt counts them */
enum { CPU, GPU, NPU, NNAPI }; /* as Backend.kt */

typedef struct {
  int dtype;
  int64_t dimensions[4];
} Shape;

typedef struct {
  const char *library, *model;
  int backend, threads;
  Shape input, output; /* what the manifest says; the file must agree */
} Request;

typedef struct Engine Engine;
struct Engine {
  void *input, *output;
  size_t input_size, output_size;
  int full; /* 1: the accelerator took all operators, 0: not all, -1: not told */
  char runtime[48];
  int (*run)(Engine *, char *error, size_t size); /* 0, or an error is written */
  void (*close)(Engine *);
};

/* NULL, and an error is written, when the runtime refuses. */
Engine *open_litert(const Request *, char *error, size_t size);
Engine *open_ort(const Request *, char *error, size_t size);

static inline size_t bytes_of(const Shape *shape) {
  size_t count = shape->dtype == FLOAT32 ? 4 : 1;
  for (int i = 0; i < 4; i++) count *= (size_t)shape->dimensions[i];
  return count;
}
