package dev.edgesr.core

import java.io.File
import java.io.IOException
import java.security.MessageDigest

/** `real = scale * (code - zeroPoint)`, in the artifact's own integer type. */
data class Quantization(val scale: Double, val zeroPoint: Int)

/** The output recorded at export: samples of what the golden pattern gives. */
class GoldenRecord(
    val height: Int,
    val width: Int,
    /** The artifact's output type, little endian, at `Golden.positions`; base64. */
    val samples: String,
    /** Codes (int8) or a share of the value range (floats) that two runtimes may differ by. */
    val tolerance: Double,
)

/**
 * What `edgesr export` writes beside an artifact as `<artifact>.json`, as far as the app needs it.
 * A manifest is a file like any other, edited or made to do harm: [read] believes nothing.
 */
data class Manifest(
    val network: String,
    val artifact: String,
    val target: String,
    val precision: String,
    val scale: Int,
    val colour: String,
    val valueRange: Double,
    val layout: String,
    val dtype: String,
    val height: Int?,
    val width: Int?,
    val padMultiple: Int,
    val halo: Int?,
    val input: Quantization?,
    val output: Quantization?,
    val sha256: String,
    val size: Long,
    val parameters: Long,
    val macs: Long?,
    val operators: Map<String, Int>,
    val golden: GoldenRecord?,
) {
    val channels: Int get() = if (colour == "rgb") 3 else 1

    /** For lists and the overlay: `plain-m-x3 int8 x3, 46k parameters`. */
    fun title(): String = "$network $precision x$scale, ${parameters / 1000}k parameters"

    /** A model that takes any size, given tiles of [height] x [width] where it names none. */
    fun sized(height: Int, width: Int): Manifest = copy(
        height = this.height ?: (height / padMultiple * padMultiple),
        width = this.width ?: (width / padMultiple * padMultiple),
    )

    companion object {
        const val VERSION = 1L
        private const val LONGEST = 4 shl 20
        private val HASH = Regex("[0-9a-f]{64}")
        private val DTYPES = mapOf("float32" to null, "uint8" to 0..255, "int8" to -128..127)

        /** The manifest beside [artifact]; checks that the artifact is the file it was made for. */
        fun beside(artifact: File): Manifest {
            val file = File(artifact.path + ".json")
            if (!artifact.isFile) throw Refusal("${artifact.name}: there is no such file; push it again")
            if (!file.isFile) {
                throw Refusal("${artifact.name} has no manifest beside it; push ${file.name} as well")
            }
            if (file.length() > LONGEST) throw Refusal("${file.name} is too long for a manifest")
            try {
                val manifest = read(file.readText(), file.name)
                manifest.checkFile(artifact)
                return manifest
            } catch (error: IOException) {
                throw Refusal("${artifact.name} cannot be read: ${error.message}", error)
            }
        }

        fun read(text: String, where: String): Manifest {
            val value = try {
                Json.read(text)
            } catch (error: Refusal) {
                throw Refusal("$where is no manifest (${error.message}); export the model again", error)
            }
            return Fields(value as? Map<*, *> ?: bad(where, "it is no object"), where).manifest()
        }

        private fun bad(where: String, why: String): Nothing =
            throw Refusal("$where makes no sense: $why; export the model again")
    }

    private class Fields(val map: Map<*, *>, val where: String) {
        fun fail(why: String): Nothing = bad(where, why)

        fun text(name: String) = map[name] as? String ?: fail("`$name` is missing")

        fun choice(name: String, vararg known: String): String {
            val found = text(name)
            if (found !in known) fail("`$name` is `$found`, not ${known.joinToString(" or ")}")
            return found
        }

        fun whole(name: String, range: IntRange, from: Map<*, *> = map): Int {
            val found = from[name] as? Long ?: fail("`$name` is no whole number")
            if (found !in range.first..range.last) fail("`$name` is $found, not within $range")
            return found.toInt()
        }

        fun side(name: String) = if (map[name] == null) null else whole(name, 1..16384)

        fun quantization(name: String, codes: IntRange?): Quantization? {
            if (codes == null) return null
            val found = map[name] as? Map<*, *> ?: fail("`$name` is missing for integer tensors")
            val scale = (found["scale"] as? Number)?.toDouble() ?: fail("`$name` has no scale")
            if (!(scale > 0) || scale.isInfinite()) fail("the scale of `$name` is $scale")
            val zero = found["zero_point"] as? Long ?: fail("`$name` has no zero point")
            if (zero !in codes.first..codes.last) {
                fail("the zero point of `$name` is $zero, which the type cannot hold")
            }
            return Quantization(scale, zero.toInt())
        }

        fun golden(): GoldenRecord? {
            val parity = map["parity"] as? Map<*, *> ?: return null
            val golden = parity["golden"] as? Map<*, *> ?: return null
            val sides = 1..16384
            return GoldenRecord(
                whole("height", sides, golden), whole("width", sides, golden),
                golden["samples"] as? String ?: fail("the golden output has no samples"),
                (parity["tolerance"] as? Number)?.toDouble() ?: 0.0,
            )
        }

        fun manifest(): Manifest {
            val version = map["version"] as? Long ?: fail("`version` is missing")
            if (version > VERSION) {
                throw Refusal("$where is of version $version, this app reads up to $VERSION; update the app")
            }
            val dtype = text("dtype")
            if (dtype !in DTYPES) fail("the app cannot feed tensors of `$dtype`")
            val range = (map["value_range"] as? Number)?.toDouble()
            if (range != 1.0 && range != 255.0) fail("`value_range` is $range")
            val halo = if (map["halo"] == null) null else whole("halo", 0..8192)
            val codes = DTYPES[dtype]
            return Manifest(
                network = text("network"),
                artifact = text("artifact"),
                target = choice("target", "tflite", "onnx"),
                precision = text("precision"),
                scale = whole("scale", 1..16),
                colour = choice("colour", "rgb", "y"),
                valueRange = range,
                layout = choice("layout", "NHWC", "NCHW"),
                dtype = dtype,
                height = side("height"),
                width = side("width"),
                padMultiple = if ("pad_multiple" in map) whole("pad_multiple", 1..4096) else 1,
                halo = if (map["exact_tiling"] == false) null else halo,
                input = quantization("input_quantization", codes),
                output = quantization("output_quantization", codes),
                // Runtimes crash on damaged files rather than refuse them; the hash is the guard.
                sha256 = text("sha256").also { if (!HASH.matches(it)) fail("`sha256` is no hash") },
                size = map["size"] as? Long ?: 0,
                parameters = map["parameters"] as? Long ?: 0,
                macs = map["macs"] as? Long,
                operators = (map["operators"] as? Map<*, *>).orEmpty()
                    .mapNotNull { (name, count) -> (count as? Long)?.let { name.toString() to it.toInt() } }
                    .toMap(),
                golden = golden(),
            )
        }
    }

    private fun checkFile(file: File) {
        if (size > 0 && file.length() != size) {
            throw Refusal(
                "${file.name} is ${file.length()} bytes long and was exported with $size: " +
                    "the copy is not whole; push it again",
            )
        }
        if (sha256Of(file) != sha256) {
            throw Refusal("${file.name} is not the file its manifest was written for (sha256); push both again")
        }
    }
}

/** Of a file, without holding it in memory. */
fun sha256Of(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    file.inputStream().use { stream ->
        val buffer = ByteArray(1 shl 16)
        while (true) {
            val count = stream.read(buffer)
            if (count < 0) break
            digest.update(buffer, 0, count)
        }
    }
    return digest.digest().hex()
}

fun ByteArray.hex(): String = joinToString("") { "%02x".format(it) }
