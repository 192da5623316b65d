/* ONNX Runtime through its C API, found at run time: no header or library of it is needed to build.
 *
 * The API is a table of functions that only ever grows; the numbers below are places in it
 * (a test compares them with onnxruntime_c_api.h). */
#include "engine.h"

typedef void *Handle;
typedef struct { void **(*GetApi)(uint32_t version); const char *(*GetVersion)(void); } Base;

#define FUNCTIONS(X) \
  X(GetErrorMessage, 2, const char *, (Handle)) \
  X(CreateEnv, 3, Handle, (int, const char *, Handle *)) \
  X(CreateSession, 7, Handle, (Handle, const char *, Handle, Handle *)) \
  X(Run, 9, Handle, (Handle, Handle, const char *const *, const Handle *, size_t, \
                     const char *const *, size_t, Handle *)) \
  X(CreateSessionOptions, 10, Handle, (Handle *)) \
  X(SetIntraOpNumThreads, 24, Handle, (Handle, int)) \
  X(SessionGetInputTypeInfo, 33, Handle, (Handle, size_t, Handle *)) \
  X(SessionGetOutputTypeInfo, 34, Handle, (Handle, size_t, Handle *)) \
  X(SessionGetInputName, 36, Handle, (Handle, size_t, Handle, char **)) \
  X(SessionGetOutputName, 37, Handle, (Handle, size_t, Handle, char **)) \
  X(CreateTensorWithDataAsOrtValue, 49, Handle, \
    (Handle, void *, size_t, const int64_t *, size_t, int, Handle *)) \
  X(CastTypeInfoToTensorInfo, 55, Handle, (Handle, Handle *)) \
  X(GetTensorElementType, 60, Handle, (Handle, int *)) \
  X(GetDimensionsCount, 61, Handle, (Handle, size_t *)) \
  X(GetDimensions, 62, Handle, (Handle, int64_t *, size_t)) \
  X(CreateCpuMemoryInfo, 69, Handle, (int, int, Handle *)) \
  X(AllocatorFree, 76, Handle, (Handle, void *)) \
  X(GetAllocatorWithDefaultOptions, 78, Handle, (Handle *)) \
  X(ReleaseStatus, 93, void, (Handle)) \
  X(ReleaseMemoryInfo, 94, void, (Handle)) \
  X(ReleaseSession, 95, void, (Handle)) \
  X(ReleaseValue, 96, void, (Handle)) \
  X(ReleaseTypeInfo, 98, void, (Handle)) \
  X(ReleaseSessionOptions, 100, void, (Handle)) \
  X(AddSessionConfigEntry, 130, Handle, (Handle, const char *, const char *)) \
  X(SessionOptionsAppendExecutionProvider, 216, Handle, \
    (Handle, const char *, const char *const *, const char *const *, size_t))
#define VERSION 16 /* of the table: the last function above came with 1.12 */

#define DECLARE(name, place, result, arguments) static result (*name) arguments;
FUNCTIONS(DECLARE)

static void *library;
static const char *release = "";
static Handle environment; /* one for the life of the process */
static Handle (*append_nnapi)(Handle, uint32_t);
static const int ELEMENTS[] = {1, 2, 3}; /* ONNX's float32, uint8, int8 */

typedef struct {
  Engine base;
  Handle session, allocator, values[2];
  char *names[2];
  void *memory;
} Ort;

/* Takes the status: 0 when it says all is well. */
static int failed(Handle status, char *error, size_t size) {
  if (!status) return 0;
  snprintf(error, size, "ONNX Runtime says no: %s", GetErrorMessage(status));
  ReleaseStatus(status);
  return -1;
}
#define TRY(call) do { if (failed(call, error, size)) return -1; } while (0)

static int load(const char *path, char *error, size_t size) {
  if (environment) return 0;
  if (!library) library = dlopen(path, LOAD_NOW);
  if (!library) {
    snprintf(error, size, "this app was built without ONNX Runtime (%s)", dlerror());
    return -1;
  }
  const Base *(*base)(void);
  *(void **)&base = dlsym(library, "OrtGetApiBase");
  void **api = base ? base()->GetApi(VERSION) : NULL;
  if (!api) {
    snprintf(error, size, "the ONNX Runtime of this app is too old");
    return -1;
  }
  release = base()->GetVersion();
#define FIND(name, place, result, arguments) *(void **)&name = api[place];
  FUNCTIONS(FIND)
  *(void **)&append_nnapi = dlsym(library, "OrtSessionOptionsAppendExecutionProvider_Nnapi");
  TRY(CreateEnv(3 /* errors only */, "edgesr", &environment));
  return 0;
}

static int check(Handle info, int which, const Shape *shape, char *error, size_t size) {
  Handle tensor;
  int64_t found[4] = {0};
  size_t rank;
  int type;
  TRY(CastTypeInfoToTensorInfo(info, &tensor));
  TRY(GetTensorElementType(tensor, &type));
  TRY(GetDimensionsCount(tensor, &rank));
  if (rank == 4) TRY(GetDimensions(tensor, found, 4));
  int same = rank == 4 && type == ELEMENTS[shape->dtype];
  for (int i = 0; same && i < 4; i++) same = found[i] < 0 || found[i] == shape->dimensions[i];
  if (same) return 0;
  snprintf(error, size, "the file's %s is %d x %d x %d x %d of type %d, its manifest says otherwise",
           which ? "output" : "input", (int)found[0], (int)found[1], (int)found[2], (int)found[3], type);
  return -1;
}

static int append(Handle options, int backend, char *error, size_t size) {
  if (backend == CPU) return 0;
  if (backend == GPU) {
    TRY(SessionOptionsAppendExecutionProvider(options, "WebGPU", NULL, NULL, 0));
    return 0;
  }
  if (backend != NNAPI || !append_nnapi) {
    snprintf(error, size, "this ONNX Runtime was built without it");
    return -1;
  }
  TRY(append_nnapi(options, 0));
  return 0;
}

static int open_session(Ort *engine, const Request *request, char *error, size_t size) {
  Handle options;
  TRY(CreateSessionOptions(&options));
  int bad = failed(SetIntraOpNumThreads(options, request->threads), error, size) ||
            /* Else x86 without VNNI saturates sums of products. Slow where it has VNNI, but only
               emulators are x86. */
            failed(AddSessionConfigEntry(options, "session.x64quantprecision", "1"), error, size) ||
            append(options, request->backend, error, size) ||
            failed(CreateSession(environment, request->model, options, &engine->session), error, size);
  ReleaseSessionOptions(options);
  return bad ? -1 : 0;
}

static int make_value(
    Ort *engine, int which, void *memory, const Shape *shape, char *error, size_t size) {
  Handle info, place;
  TRY(which ? SessionGetOutputTypeInfo(engine->session, 0, &info)
            : SessionGetInputTypeInfo(engine->session, 0, &info));
  int bad = check(info, which, shape, error, size);
  ReleaseTypeInfo(info);
  if (bad) return bad;
  TRY(GetAllocatorWithDefaultOptions(&engine->allocator));
  TRY(which ? SessionGetOutputName(engine->session, 0, engine->allocator, &engine->names[1])
            : SessionGetInputName(engine->session, 0, engine->allocator, &engine->names[0]));
  TRY(CreateCpuMemoryInfo(1 /* arena */, 0, &place));
  bad = failed(CreateTensorWithDataAsOrtValue(place, memory, bytes_of(shape), shape->dimensions, 4,
                                              ELEMENTS[shape->dtype], &engine->values[which]),
               error, size);
  ReleaseMemoryInfo(place);
  return bad;
}

static int run(Engine *base, char *error, size_t size) {
  Ort *engine = (Ort *)base;
  TRY(Run(engine->session, NULL, (const char *const *)&engine->names[0], &engine->values[0], 1,
          (const char *const *)&engine->names[1], 1, &engine->values[1]));
  return 0;
}

static void shut(Engine *base) {
  Ort *engine = (Ort *)base;
  for (int which = 0; which < 2; which++) {
    if (engine->values[which]) ReleaseValue(engine->values[which]);
    if (engine->names[which]) AllocatorFree(engine->allocator, engine->names[which]);
  }
  if (engine->session) ReleaseSession(engine->session);
  free(engine->memory);
  free(engine);
}

static int start(Ort *engine, const Request *request, char *error, size_t size) {
  if (load(request->library, error, size)) return -1;
  snprintf(engine->base.runtime, sizeof engine->base.runtime, "ONNX Runtime %s", release);
  if (open_session(engine, request, error, size)) return -1;
  Engine *base = &engine->base;
  base->input_size = bytes_of(&request->input);
  base->output_size = bytes_of(&request->output);
  size_t apart = (base->input_size + 63) / 64 * 64;
  engine->memory = malloc(apart + base->output_size + 64);
  if (!engine->memory) {
    snprintf(error, size, "no memory for tensors of %zu bytes", apart + base->output_size);
    return -1;
  }
  base->input = (void *)(((uintptr_t)engine->memory + 63) / 64 * 64);
  base->output = (char *)base->input + apart;
  if (make_value(engine, 0, base->input, &request->input, error, size)) return -1;
  return make_value(engine, 1, base->output, &request->output, error, size);
}

Engine *open_ort(const Request *request, char *error, size_t size) {
  Ort *engine = malloc(sizeof *engine);
  memset(engine, 0, sizeof *engine);
  engine->base.run = run;
  engine->base.close = shut;
  engine->base.full = request->backend == CPU ? 1 : -1;
  if (start(engine, request, error, size)) {
    shut(&engine->base);
    return NULL;
  }
  return &engine->base;
}
