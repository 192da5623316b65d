/* What Native.kt calls. A handle is the address of an Engine. */
#include <jni.h>

#include "engine.h"
#include "pixels.h"

#define NATIVE(result, name) JNIEXPORT result JNICALL Java_dev_edgesr_engine_Native_##name

static void refuse(JNIEnv *env, const char *why) {
  jclass refusal = (*env)->FindClass(env, "dev/edgesr/core/Refusal");
  jmethodID make = (*env)->GetMethodID(env, refusal, "<init>", "(Ljava/lang/String;Ljava/lang/Throwable;)V");
  jobject exception = (*env)->NewObject(env, refusal, make, (*env)->NewStringUTF(env, why), NULL);
  (*env)->Throw(env, exception);
}

static Shape shape_of(JNIEnv *env, jint dtype, jintArray dimensions) {
  Shape shape = {dtype, {0}};
  jint sides[4];
  (*env)->GetIntArrayRegion(env, dimensions, 0, 4, sides);
  for (int i = 0; i < 4; i++) shape.dimensions[i] = sides[i];
  return shape;
}

NATIVE(jlong, open)(
    JNIEnv *env, jclass type, jboolean ort, jstring library, jstring model, jint backend, jint threads,
    jint dtype, jintArray input, jintArray output) {
  char error[512] = "";
  Request request = {
      (*env)->GetStringUTFChars(env, library, NULL), (*env)->GetStringUTFChars(env, model, NULL),
      backend, threads, shape_of(env, dtype, input), shape_of(env, dtype, output)};
  Engine *engine = (ort ? open_ort : open_litert)(&request, error, sizeof error);
  (*env)->ReleaseStringUTFChars(env, library, request.library);
  (*env)->ReleaseStringUTFChars(env, model, request.model);
  if (!engine) refuse(env, error);
  return (jlong)(intptr_t)engine;
}

static Engine *engine_of(jlong handle) { return (Engine *)(intptr_t)handle; }

NATIVE(jobject, tensor)(JNIEnv *env, jclass type, jlong handle, jboolean output) {
  Engine *engine = engine_of(handle);
  return output ? (*env)->NewDirectByteBuffer(env, engine->output, (jlong)engine->output_size)
                : (*env)->NewDirectByteBuffer(env, engine->input, (jlong)engine->input_size);
}

NATIVE(void, run)(JNIEnv *env, jclass type, jlong handle) {
  char error[512] = "";
  Engine *engine = engine_of(handle);
  if (engine->run(engine, error, sizeof error)) refuse(env, error);
}

NATIVE(jint, full)(JNIEnv *env, jclass type, jlong handle) { return engine_of(handle)->full; }

NATIVE(jstring, runtime)(JNIEnv *env, jclass type, jlong handle) {
  return (*env)->NewStringUTF(env, engine_of(handle)->runtime);
}

NATIVE(void, close)(JNIEnv *env, jclass type, jlong handle) {
  Engine *engine = engine_of(handle);
  engine->close(engine);
}

/* Arrays are pinned rather than copied; nothing below calls back into Java before letting go. */
#define PIN(array) (array ? (*env)->GetPrimitiveArrayCritical(env, array, NULL) : NULL)
#define LET_GO(array, memory, mode) \
  if (array) (*env)->ReleasePrimitiveArrayCritical(env, array, memory, mode)
enum { COPY_BACK = 0 };

/* table: 256 bytes, or 256 floats where the tensor holds floats. */
NATIVE(void, encode)(
    JNIEnv *env, jclass type, jbyteArray pixels, jobject tensor, jint channels, jboolean planar,
    jint flip, jbyteArray table, jfloatArray floats) {
  size_t area = (size_t)(*env)->GetArrayLength(env, pixels) / channels;
  size_t needed = area * channels * (floats ? 4 : 1);
  void *to = (*env)->GetDirectBufferAddress(env, tensor);
  if (!to || (size_t)(*env)->GetDirectBufferCapacity(env, tensor) < needed) {
    refuse(env, "the tile is larger than the model's input");
    return;
  }
  void *bytes = PIN(table), *reals = PIN(floats), *from = PIN(pixels);
  Codes codes = {area, channels, planar, flip, bytes};
  if (floats) pixels_to_floats(from, to, area, channels, planar, reals);
  else pixels_to_codes(from, to, &codes);
  LET_GO(pixels, from, JNI_ABORT);
  LET_GO(floats, reals, JNI_ABORT);
  LET_GO(table, bytes, JNI_ABORT);
}

/* factor: 0 for integer tensors. */
NATIVE(void, decode)(
    JNIEnv *env, jclass type, jobject tensor, jbyteArray pixels, jint channels, jboolean planar,
    jint flip, jbyteArray table, jfloat factor) {
  size_t area = (size_t)(*env)->GetArrayLength(env, pixels) / channels;
  size_t needed = area * channels * (factor != 0 ? 4 : 1);
  void *from = (*env)->GetDirectBufferAddress(env, tensor);
  if (!from || (size_t)(*env)->GetDirectBufferCapacity(env, tensor) < needed) {
    refuse(env, "the tile is larger than the model's output");
    return;
  }
  void *bytes = PIN(table), *to = PIN(pixels);
  Codes codes = {area, channels, planar, flip, bytes};
  int broken = 0;
  if (factor != 0) broken = floats_to_pixels(from, to, area, channels, planar, factor);
  else codes_to_pixels(from, to, &codes);
  LET_GO(pixels, to, COPY_BACK);
  LET_GO(table, bytes, JNI_ABORT);
  if (broken) refuse(env, "the model computes NaN: its weights are broken");
}
