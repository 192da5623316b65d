package dev.edgesr.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import java.util.Base64
import java.util.Locale

/** What the parity button shows. */
class Parity(val sha256: String, val identical: Double, val largest: Double, val allowed: Double) {
    val ok: Boolean get() = largest <= allowed

    fun describe(): String {
        val verdict = if (ok) "equal to the laptop's" else "DIFFERS from the laptop's"
        return "%s: %.2f %% of the samples identical, largest difference %.4g (allowed %.4g), sha256 %s".format(
            Locale.ROOT, verdict, 100 * identical, largest, allowed, sha256.take(16),
        )
    }
}

/** The golden pattern and its recorded output, as `export/verify_script.py` defines both. */
object Golden {
    private const val SAMPLES = 1024
    private const val SPREAD = 2654435761L

    /** HxWxC: (7y + 13x + 29c + xy/11) mod 256. */
    fun pattern(height: Int, width: Int, channels: Int): ByteArray {
        val out = ByteArray(height * width * channels)
        var at = 0
        for (y in 0 until height) {
            for (x in 0 until width) {
                for (c in 0 until channels) out[at++] = (7 * y + 13 * x + 29 * c + x * y / 11).toByte()
            }
        }
        return out
    }

    /** Where outputs of [size] values are sampled. */
    fun positions(size: Int): IntArray = IntArray(SAMPLES) { (it * SPREAD % size).toInt() }

    /** Runs the pattern and holds the output against the record. Throws [Refusal] without one. */
    fun check(engine: Engine, codec: Codec): Parity {
        val manifest = engine.manifest
        val golden = manifest.golden ?: throw Refusal("${manifest.artifact} has no recorded output; export it again")
        if (manifest.height != golden.height || manifest.width != golden.width) {
            throw Refusal("the output was recorded for tiles of ${golden.width}x${golden.height}, not for these")
        }
        codec.encode(pattern(golden.height, golden.width, manifest.channels), engine.input())
        engine.run()
        return compare(engine.output(), manifest, golden)
    }

    fun compare(output: ByteBuffer, manifest: Manifest, golden: GoldenRecord): Parity {
        val bytes = ByteArray(output.remaining())
        output.duplicate().get(bytes)
        val got = values(bytes, manifest.dtype)
        val samples = try {
            Base64.getDecoder().decode(golden.samples)
        } catch (error: IllegalArgumentException) {
            throw Refusal("the recorded output of ${manifest.artifact} is damaged; export it again", error)
        }
        val wanted = values(samples, manifest.dtype)
        if (wanted.size != SAMPLES) {
            throw Refusal("the recorded output of ${manifest.artifact} is damaged; export it again")
        }
        val differences = positions(got.size).mapIndexed { i, place -> Math.abs(got[place] - wanted[i]) }
        val isInteger = manifest.precision.startsWith("int")
        return Parity(
            sha256 = MessageDigest.getInstance("SHA-256").digest(bytes).hex(),
            identical = differences.count { it == 0.0 } / SAMPLES.toDouble(),
            largest = differences.maxOf { if (it.isNaN()) Double.POSITIVE_INFINITY else it },
            // Both runtimes may be off the reference, to either side.
            allowed = 2 * golden.tolerance * if (isInteger) 1.0 else manifest.valueRange,
        )
    }

    private fun values(bytes: ByteArray, dtype: String): DoubleArray = when (dtype) {
        "float32" -> {
            val floats = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
            DoubleArray(floats.remaining()) { floats.get(it).toDouble() }
        }
        "int8" -> DoubleArray(bytes.size) { bytes[it].toDouble() }
        else -> DoubleArray(bytes.size) { (bytes[it].toInt() and 255).toDouble() }
    }
}
