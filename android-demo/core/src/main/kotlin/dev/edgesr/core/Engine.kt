package dev.edgesr.core

import java.io.Closeable
import java.nio.ByteBuffer

/** A model loaded into a runtime. Its tensors are the runtime's own memory: nothing is copied twice. */
interface Engine : Closeable {
    val manifest: Manifest

    /** What runs it, for the overlay and the benchmark: `LiteRT`, `ONNX Runtime 1.29.0`. */
    val runtime: String

    /** Whether the accelerator took every operator; null when the runtime does not tell. */
    val full: Boolean?

    /** The input tensor, to be filled before [run]. Direct, native byte order. */
    fun input(): ByteBuffer

    /** Throws [Refusal] with the runtime's own words when it fails. */
    fun run()

    /** The output tensor of the last [run]; valid until the next. */
    fun output(): ByteBuffer
}
