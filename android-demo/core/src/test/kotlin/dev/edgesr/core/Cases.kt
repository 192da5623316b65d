package dev.edgesr.core

import org.junit.Assert.fail
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.Base64

/** `core.json`: what Python computes. */
object Cases {
    private val all: Map<*, *> = Json.read(
        Cases::class.java.getResource("/core.json")!!.readText(),
    ) as Map<*, *>

    operator fun get(name: String): Any = all[name]!!

    fun list(name: String): List<Map<*, *>> = (all[name] as List<*>).map { it as Map<*, *> }
}

fun Map<*, *>.whole(name: String) = (this[name] as Long).toInt()

fun Map<*, *>.wholes(name: String) = (this[name] as List<*>).map { (it as Long?)?.toInt() }

fun Map<*, *>.text(name: String) = this[name] as String

fun Map<*, *>.number(name: String) = (this[name] as Number).toDouble()

fun bytes(base64: String): ByteArray = Base64.getDecoder().decode(base64)

fun sha(bytes: ByteArray): String = MessageDigest.getInstance("SHA-256").digest(bytes).hex()

/** The generator of `core_cases.picture`. */
fun picture(height: Int, width: Int, channels: Int = 3): ByteArray {
    var state = 12345L
    return ByteArray(height * width * channels) {
        state = (1103515245L * state + 12345L) % (1L shl 31)
        (state shr 16 and 255).toByte()
    }
}

fun image(height: Int, width: Int) = MemoryPixels(width, height, picture(height, width))

fun refused(words: String, block: () -> Unit) {
    try {
        block()
    } catch (refusal: Refusal) {
        if (words !in refusal.message.orEmpty()) fail("`${refusal.message}` does not say `$words`")
        return
    }
    fail("nothing was refused; expected `$words`")
}

fun manifest(vararg changes: Pair<String, Any?>): Manifest = Manifest.read(manifestText(*changes), "m.json")

fun manifestText(vararg changes: Pair<String, Any?>): String {
    val unit = mapOf("scale" to 1 / 255.0, "zero_point" to 0)
    val fields = linkedMapOf<String, Any?>(
        "version" to 1, "network" to "net", "artifact" to "net.tflite", "target" to "tflite",
        "precision" to "int8", "scale" to 2, "colour" to "rgb", "value_range" to 1.0, "layout" to "NHWC",
        "dtype" to "uint8", "height" to 24, "width" to 32, "pad_multiple" to 1, "exact_tiling" to true,
        "halo" to 4, "sha256" to "0".repeat(64), "input_quantization" to unit, "output_quantization" to unit,
    )
    fields.putAll(changes)
    return Json.write(fields)
}

/** An engine in plain code: enlarges by repeating pixels, and adds where they lay in the tile. */
class Placed(override val manifest: Manifest, private val height: Int, private val width: Int) : Engine {
    override val runtime = "plain"
    override val full: Boolean? = null
    private val input = buffer(height * width * manifest.channels)
    private val output = buffer(input.capacity() * manifest.scale * manifest.scale)
    var closed = false
        private set

    override fun input() = input

    override fun run() {
        val scale = manifest.scale
        val channels = manifest.channels
        var at = 0
        for (y in 0 until height * scale) {
            for (x in 0 until width * scale) {
                for (c in 0 until channels) {
                    val pixel = input.get((y / scale * width + x / scale) * channels + c)
                    output.put(at++, (pixel + 3 * y + 5 * x).toByte())
                }
            }
        }
    }

    override fun output() = output

    override fun close() {
        closed = true
    }

    private fun buffer(size: Int): ByteBuffer = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())
}
