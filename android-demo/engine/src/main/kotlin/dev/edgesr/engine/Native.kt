package dev.edgesr.engine

import java.nio.ByteBuffer

/** The functions of `libedgesr.so` (`jni/jni.c`). Failures arrive as `Refusal`. */
internal object Native {
    @JvmStatic
    external fun open(
        ort: Boolean, library: String, model: String, backend: Int, threads: Int, dtype: Int,
        input: IntArray, output: IntArray,
    ): Long

    @JvmStatic
    external fun tensor(handle: Long, output: Boolean): ByteBuffer

    @JvmStatic
    external fun run(handle: Long)

    @JvmStatic
    external fun full(handle: Long): Int

    @JvmStatic
    external fun runtime(handle: Long): String

    @JvmStatic
    external fun close(handle: Long)

    @JvmStatic
    external fun encode(
        pixels: ByteArray, tensor: ByteBuffer, channels: Int, planar: Boolean, flip: Int,
        table: ByteArray?, floats: FloatArray?,
    )

    @JvmStatic
    external fun decode(
        tensor: ByteBuffer, pixels: ByteArray, channels: Int, planar: Boolean, flip: Int,
        table: ByteArray?, factor: Float,
    )
}
