package dev.edgesr.engine

import dev.edgesr.core.Backend
import dev.edgesr.core.Engine
import dev.edgesr.core.Manifest
import dev.edgesr.core.Refusal
import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Where the runtimes' libraries are; on Android their names do. */
class Libraries(
    val litert: String = "libLiteRt.so",
    val ort: String = "libonnxruntime.so",
)

/**
 * A model in LiteRT (`.tflite`) or ONNX Runtime (`.onnx`), by `libedgesr.so`. One thread at a time.
 *
 * The manifest must name a size; [Manifest.sized] gives one to models that take any.
 */
class NativeEngine(
    override val manifest: Manifest,
    model: File,
    backend: Backend,
    threads: Int,
    libraries: Libraries = Libraries(),
) : Engine {
    private var handle: Long
    override val runtime: String
    override val full: Boolean?
    private val input: ByteBuffer
    private val output: ByteBuffer

    init {
        val height = manifest.height ?: throw Refusal("${manifest.artifact} names no size")
        val width = manifest.width ?: throw Refusal("${manifest.artifact} names no size")
        val ort = manifest.target == "onnx"
        loadLibrary()
        if (!ort) checkIdentifier(model)
        handle = Native.open(
            ort, if (ort) libraries.ort else libraries.litert, model.path, backend.ordinal, threads,
            DTYPES.indexOf(manifest.dtype), shape(height, width),
            shape(height * manifest.scale, width * manifest.scale),
        )
        runtime = Native.runtime(handle)
        full = when (Native.full(handle)) {
            1 -> true
            0 -> false
            else -> null
        }
        input = tensor(false)
        output = tensor(true)
    }

    private fun shape(height: Int, width: Int) =
        if (manifest.layout == "NCHW") {
            intArrayOf(1, manifest.channels, height, width)
        } else {
            intArrayOf(1, height, width, manifest.channels)
        }

    private fun tensor(output: Boolean) = Native.tensor(open(), output).order(ByteOrder.nativeOrder())

    private fun open(): Long = if (handle == 0L) throw Refusal("${manifest.artifact} is closed") else handle

    override fun input(): ByteBuffer {
        open()
        return input
    }

    override fun run() = Native.run(open())

    override fun output(): ByteBuffer {
        open()
        return output
    }

    override fun close() {
        if (handle != 0L) Native.close(handle)
        handle = 0
    }

    /** LiteRT crashes on files that are no FlatBuffers of its kind. */
    private fun checkIdentifier(model: File) {
        val head = ByteArray(8)
        val count = try {
            model.inputStream().use { it.read(head) }
        } catch (error: IOException) {
            throw Refusal("${model.name} cannot be read: ${error.message}", error)
        }
        if (count < 8 || String(head, 4, 4, Charsets.ISO_8859_1) != "TFL3") {
            throw Refusal("${model.name} is no TFLite file; export it again")
        }
    }

    private companion object {
        val DTYPES = listOf("float32", "uint8", "int8")
    }
}

/** Says which processors the app was built for when the library is not among its files. */
internal fun loadLibrary() {
    try {
        System.loadLibrary("edgesr")
    } catch (error: UnsatisfiedLinkError) {
        throw Refusal(
            "this app was not built for this processor (${System.getProperty("os.arch")}); " +
                "build it with `edgesr android build --abi` for it: ${error.message}",
            error,
        )
    }
}
