/* edgesr_run: run a .tflite file through the LiteRT C API, time it, keep its output.
 *
 *   edgesr_run --lib=libLiteRt.so --model=m.tflite --in=in.bin --out=out.bin
 *              [--runs=30] [--warmup=3] [--threads=1] [--hw=1]
 *
 * The library is opened at run time and no header of it is needed: the same source builds for a
 * phone, an emulated core and this machine. --hw is LiteRT's set of accelerators: 1 CPU, 2 GPU.
 * Prints one line of JSON with every sample. Exit codes: 2 usage, 3 no library, 4 an old library,
 * 5 a file, 10 LiteRT refused.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

typedef void *Handle;
typedef struct { unsigned rank : 7, has_strides : 1; int32_t dimensions[8]; uint32_t strides[8]; } Layout;
typedef struct { int element_type; Layout layout; } TensorType;

#define FUNCTIONS(X) \
  X(CreateEnvironment, (int, const void *, Handle *)) \
  X(CreateModelFromFile, (Handle, const char *, Handle *)) \
  X(CreateOptions, (Handle *)) \
  X(SetOptionsHardwareAccelerators, (Handle, int)) \
  X(CreateOpaqueOptions, (const char *, void *, void (*)(void *), Handle *)) \
  X(AddOpaqueOptions, (Handle, Handle)) \
  X(CreateCompiledModel, (Handle, Handle, Handle, Handle *)) \
  X(CompiledModelIsFullyAccelerated, (Handle, char *)) \
  X(GetCompiledModelInputBufferRequirements, (Handle, size_t, size_t, Handle *)) \
  X(GetCompiledModelOutputBufferRequirements, (Handle, size_t, size_t, Handle *)) \
  X(CreateManagedTensorBufferFromRequirements, (Handle, const TensorType *, Handle, Handle *)) \
  X(LockTensorBuffer, (Handle, void **, int)) \
  X(UnlockTensorBuffer, (Handle)) \
  X(GetTensorBufferPackedSize, (Handle, size_t *)) \
  X(RunCompiledModel, (Handle, size_t, size_t, Handle *, size_t, Handle *)) \
  X(GetMainModelSubgraphIndex, (Handle, size_t *)) \
  X(GetModelSubgraph, (Handle, size_t, Handle *)) \
  X(GetSubgraphInput, (Handle, size_t, Handle *)) \
  X(GetSubgraphOutput, (Handle, size_t, Handle *)) \
  X(GetRankedTensorType, (Handle, TensorType *))
#define DECLARE(name, arguments) static int (*name) arguments;
FUNCTIONS(DECLARE)

static void fail(int code, const char *what, const char *why) {
  fprintf(stderr, "edgesr_run: %s: %s\n", what, why);
  _exit(code);
}

static void check(int status, const char *what) {
  if (status) {
    char why[32];
    snprintf(why, sizeof why, "LiteRT status %d", status);
    fail(10, what, why);
  }
}
#define CALL(name, ...) check(name(__VA_ARGS__), #name)

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(3, path, dlerror());
#define FIND(name, arguments) \
  if (!(*(void **)&name = dlsym(library, "LiteRt" #name))) fail(4, path, "has no LiteRt" #name);
  FUNCTIONS(FIND)
}

static void keep(void *memory) { (void)memory; }

/* The CPU accelerator's options travel as TOML under its name. */
static void set_threads(Handle options, int threads) {
  static char text[32];
  Handle cpu;
  snprintf(text, sizeof text, "num_threads = %d\n", threads);
  CALL(CreateOpaqueOptions, "xnnpack", text, keep, &cpu);
  CALL(AddOpaqueOptions, options, cpu);
}

static void copy(const char *path, void *memory, size_t size, int write) {
  FILE *file = fopen(path, write ? "wb" : "rb");
  if (!file) fail(5, path, "cannot be opened");
  size_t done = write ? fwrite(memory, 1, size, file) : fread(memory, 1, size, file);
  if (fclose(file) || done != size) fail(5, path, "is not of the size the model takes");
}

int main(int count, char **arguments) {
  const char *model_path = NULL, *in = NULL, *out = NULL, *library = "libLiteRt.so";
  int runs = 30, warm_up = 3, threads = 1, hardware = 1;
  for (int i = 1; i < count; i++) {
    char *value = strchr(arguments[i], '=');
    if (!value) fail(2, arguments[i], "is no --name=value");
    *value++ = 0;
    if (!strcmp(arguments[i], "--lib")) library = value;
    else if (!strcmp(arguments[i], "--model")) model_path = value;
    else if (!strcmp(arguments[i], "--in")) in = value;
    else if (!strcmp(arguments[i], "--out")) out = value;
    else if (!strcmp(arguments[i], "--runs")) runs = atoi(value);
    else if (!strcmp(arguments[i], "--warmup")) warm_up = atoi(value);
    else if (!strcmp(arguments[i], "--threads")) threads = atoi(value);
    else if (!strcmp(arguments[i], "--hw")) hardware = atoi(value);
    else fail(2, arguments[i], "is not an option");
  }
  if (!model_path || runs < 0 || warm_up < 0) fail(2, "usage", "--model=FILE is needed");
  load(library);

  Handle environment, model, options, compiled, subgraph, tensor, needs, input, output;
  size_t signature, in_size, out_size;
  TensorType type;
  char full = 0;
  void *memory;
  double start = milliseconds();
  CALL(CreateEnvironment, 0, NULL, &environment);
  CALL(CreateModelFromFile, environment, model_path, &model);
  CALL(CreateOptions, &options);
  CALL(SetOptionsHardwareAccelerators, options, hardware);
  set_threads(options, threads);
  CALL(CreateCompiledModel, environment, model, options, &compiled);
  double opened = milliseconds() - start;
  CALL(CompiledModelIsFullyAccelerated, compiled, &full);

  CALL(GetMainModelSubgraphIndex, model, &signature);
  CALL(GetModelSubgraph, model, signature, &subgraph);
  CALL(GetSubgraphInput, subgraph, 0, &tensor);
  CALL(GetRankedTensorType, tensor, &type);
  CALL(GetCompiledModelInputBufferRequirements, compiled, 0, 0, &needs);
  CALL(CreateManagedTensorBufferFromRequirements, environment, &type, needs, &input);
  CALL(GetSubgraphOutput, subgraph, 0, &tensor);
  CALL(GetRankedTensorType, tensor, &type);
  CALL(GetCompiledModelOutputBufferRequirements, compiled, 0, 0, &needs);
  CALL(CreateManagedTensorBufferFromRequirements, environment, &type, needs, &output);
  CALL(GetTensorBufferPackedSize, input, &in_size);
  CALL(GetTensorBufferPackedSize, output, &out_size);

  CALL(LockTensorBuffer, input, &memory, 1);
  if (in) copy(in, memory, in_size, 0);
  else memset(memory, 1, in_size);
  CALL(UnlockTensorBuffer, input);

  double *samples = malloc(sizeof(double) * (runs + 1));
  start = milliseconds();
  CALL(RunCompiledModel, compiled, 0, 1, &input, 1, &output);
  double first = milliseconds() - start;
  for (int i = 0; i < warm_up; i++) CALL(RunCompiledModel, compiled, 0, 1, &input, 1, &output);
  for (int i = 0; i < runs; i++) {
    start = milliseconds();
    CALL(RunCompiledModel, compiled, 0, 1, &input, 1, &output);
    if (hardware != 1) { /* calls to a GPU return early; only reading the result waits */
      CALL(LockTensorBuffer, output, &memory, 0);
      CALL(UnlockTensorBuffer, output);
    }
    samples[i] = milliseconds() - start;
  }
  CALL(LockTensorBuffer, output, &memory, 0);
  if (out) copy(out, memory, out_size, 1);
  CALL(UnlockTensorBuffer, output);

  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"edgesr_run\":1,\"init_ms\":%.3f,\"first_ms\":%.3f,\"full\":%s,\"peak_rss_kb\":%ld,"
         "\"in_bytes\":%zu,\"out_bytes\":%zu,\"samples_ms\":[",
         opened, first, full ? "true" : "false", usage.ru_maxrss, in_size, out_size);
  for (int i = 0; i < runs; i++) printf("%s%.4f", i ? "," : "", samples[i]);
  printf("]}\n");
  fflush(stdout);
  _exit(0); /* LiteRT's destructors are not needed, and some accelerators hang in them */
}
