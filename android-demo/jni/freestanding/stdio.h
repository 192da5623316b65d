/* jni.h includes <stdio.h> and uses nothing of it. Used where no C library's headers are at hand
 * (zig has none for Android); the NDK and the host use their own. */
