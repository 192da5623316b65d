/* LiteRT through its C API, found at run time: no header or library of it is needed to build.
 *
 * Tensor buffers are locked between runs, so that pixels are written to and read from the very
 * memory the kernels use. */
#include "engine.h"

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
#define ENDINGS(X) X(DestroyCompiledModel) X(DestroyModel) X(DestroyOptions) X(DestroyTensorBuffer)

#define DECLARE(name, arguments) static int (*name) arguments;
FUNCTIONS(DECLARE)
#define DECLARE_ENDING(name) static void (*name)(Handle);
ENDINGS(DECLARE_ENDING)

static void *library;
static Handle environment; /* one for the life of the process, as LiteRT wants it */
static const int ELEMENTS[] = {1, 3, 9}; /* TensorFlow Lite's float32, uint8, int8 */
/* One accelerator alone: with the CPU beside it LiteRT runs everything there when the accelerator
 * is missing, and says nothing. */
static const int HARDWARE[] = {1, 2, 4};

typedef struct {
  Engine base;
  Handle model, options, compiled, buffers[2];
  int locked[2];
} LiteRt;

static int fail(char *error, size_t size, const char *what, int status) {
  snprintf(error, size, "LiteRT says no: %s (status %d)", what, status);
  return status ? status : -1;
}
#define TRY(name, ...) \
  do { int status_ = name(__VA_ARGS__); \
    if (status_) return fail(error, size, #name, status_); } while (0)

static int load(const char *path, char *error, size_t size) {
  if (environment) return 0;
  if (!library) library = dlopen(path, LOAD_NOW);
  if (!library) {
    snprintf(error, size, "this app was built without LiteRT (%s)", dlerror());
    return -1;
  }
#define FIND(name, arguments) \
  if (!(*(void **)&name = dlsym(library, "LiteRt" #name))) \
    return fail(error, size, "the library is too old, it lacks " #name, 0);
  FUNCTIONS(FIND)
#define FIND_ENDING(name) FIND(name, )
  ENDINGS(FIND_ENDING)
  TRY(CreateEnvironment, 0, NULL, &environment);
  return 0;
}

static void keep(void *memory) { (void)memory; }

static int lock(LiteRt *engine, int which, char *error, size_t size) {
  void **memory = which ? &engine->base.output : &engine->base.input;
  TRY(LockTensorBuffer, engine->buffers[which], memory, !which);
  engine->locked[which] = 1;
  return 0;
}

static void unlock(LiteRt *engine, int which) {
  if (engine->locked[which]) UnlockTensorBuffer(engine->buffers[which]);
  engine->locked[which] = 0;
}

static int make_buffer(
    LiteRt *engine, Handle subgraph, int which, const Shape *shape, char *error, size_t size) {
  Handle tensor, needs;
  TensorType type;
  if (which) TRY(GetSubgraphOutput, subgraph, 0, &tensor);
  else TRY(GetSubgraphInput, subgraph, 0, &tensor);
  TRY(GetRankedTensorType, tensor, &type);
  int same = type.element_type == ELEMENTS[shape->dtype] && type.layout.rank == 4;
  for (int i = 0; same && i < 4; i++) same = type.layout.dimensions[i] == shape->dimensions[i];
  if (!same) {
    const int32_t *d = type.layout.dimensions;
    snprintf(error, size, "the file's %s is %d x %d x %d x %d of type %d, its manifest says otherwise",
             which ? "output" : "input", d[0], d[1], d[2], d[3], type.element_type);
    return -1;
  }
  if (which) TRY(GetCompiledModelOutputBufferRequirements, engine->compiled, 0, 0, &needs);
  else TRY(GetCompiledModelInputBufferRequirements, engine->compiled, 0, 0, &needs);
  TRY(CreateManagedTensorBufferFromRequirements, environment, &type, needs, &engine->buffers[which]);
  size_t *bytes = which ? &engine->base.output_size : &engine->base.input_size;
  TRY(GetTensorBufferPackedSize, engine->buffers[which], bytes);
  if (*bytes != bytes_of(shape)) return fail(error, size, "a tensor of another size", 0);
  return 0;
}

static int run(Engine *base, char *error, size_t size) {
  LiteRt *engine = (LiteRt *)base;
  unlock(engine, 0);
  unlock(engine, 1);
  TRY(RunCompiledModel, engine->compiled, 0, 1, &engine->buffers[0], 1, &engine->buffers[1]);
  /* Locking the output waits for accelerators that return early. */
  int status = lock(engine, 1, error, size);
  return status ? status : lock(engine, 0, error, size);
}

static void shut(Engine *base) {
  LiteRt *engine = (LiteRt *)base;
  for (int which = 0; which < 2; which++) {
    unlock(engine, which);
    if (engine->buffers[which]) DestroyTensorBuffer(engine->buffers[which]);
  }
  if (engine->compiled) DestroyCompiledModel(engine->compiled);
  if (engine->options) DestroyOptions(engine->options);
  if (engine->model) DestroyModel(engine->model);
  free(engine);
}

static int start(LiteRt *engine, const Request *request, char *error, size_t size) {
  char threads[32];
  Handle cpu, subgraph;
  size_t index;
  char full = 0;
  int status = load(request->library, error, size);
  if (status) return status;
  TRY(CreateModelFromFile, environment, request->model, &engine->model);
  TRY(CreateOptions, &engine->options);
  TRY(SetOptionsHardwareAccelerators, engine->options, HARDWARE[request->backend]);
  /* The CPU accelerator's options travel as TOML under its name; compiling reads them. */
  snprintf(threads, sizeof threads, "num_threads = %d\n", request->threads);
  TRY(CreateOpaqueOptions, "xnnpack", threads, keep, &cpu);
  TRY(AddOpaqueOptions, engine->options, cpu);
  TRY(CreateCompiledModel, environment, engine->model, engine->options, &engine->compiled);
  TRY(CompiledModelIsFullyAccelerated, engine->compiled, &full);
  engine->base.full = full != 0;
  TRY(GetMainModelSubgraphIndex, engine->model, &index);
  TRY(GetModelSubgraph, engine->model, index, &subgraph);
  if ((status = make_buffer(engine, subgraph, 0, &request->input, error, size))) return status;
  if ((status = make_buffer(engine, subgraph, 1, &request->output, error, size))) return status;
  if ((status = lock(engine, 0, error, size))) return status;
  return lock(engine, 1, error, size);
}

Engine *open_litert(const Request *request, char *error, size_t size) {
  if (request->backend > NPU) {
    fail(error, size, "it has no NNAPI", 0);
    return NULL;
  }
  LiteRt *engine = malloc(sizeof *engine);
  memset(engine, 0, sizeof *engine);
  engine->base.run = run;
  engine->base.close = shut;
  snprintf(engine->base.runtime, sizeof engine->base.runtime, "LiteRT");
  if (start(engine, request, error, size)) {
    shut(&engine->base);
    return NULL;
  }
  return &engine->base;
}
