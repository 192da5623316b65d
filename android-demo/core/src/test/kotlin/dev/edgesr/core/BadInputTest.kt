package dev.edgesr.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Manifests, files and arguments that are wrong: each is refused in words. */
class BadInputTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun aGoodManifestIsRead() {
        val good = manifest()
        assertEquals("net int8 x2, 0k parameters", good.title())
        assertEquals(Quantization(1 / 255.0, 0), good.input)
        assertNull(manifest("exact_tiling" to false).halo)
        assertNull(manifest("height" to null).height)
    }

    @Test
    fun malformedManifests() {
        for ((text, words) in listOf(
            "" to "the end came too early", "{" to "m.json is no manifest", "[1, 2]" to "it is no object",
            "{\"version\": 1,}" to "a name was expected", "{\"a\": 1} x" to "something follows",
            "[".repeat(10000) to "nested deeper", "{\"a\": \"\\u12\"}" to "broken \\u", "{\"a\": 0x1}" to "no value",
            "\"abc" to "does not end", "{\"a\" 1}" to "`:` was expected",
        )) {
            refused(words) { Manifest.read(text, "m.json") }
        }
    }

    @Test
    fun manifestsThatMakeNoSense() {
        for ((change, words) in listOf(
            ("version" to 2) to "update the app", ("version" to null) to "`version` is missing",
            ("scale" to 0) to "`scale` is 0", ("scale" to 2.5) to "`scale` is no whole number",
            ("height" to -1) to "`height` is -1", ("width" to 1000000) to "`width` is 1000000",
            ("pad_multiple" to 0) to "`pad_multiple`", ("halo" to -3) to "`halo`",
            ("colour" to "cmyk") to "`colour` is `cmyk`", ("layout" to "CHW") to "`layout`",
            ("target" to "openvino") to "`target` is `openvino`, not tflite or onnx",
            ("dtype" to "int4") to "cannot feed tensors of `int4`", ("value_range" to 3.0) to "`value_range` is 3.0",
            ("sha256" to null) to "`sha256` is missing", ("sha256" to "abc") to "`sha256` is no hash",
            ("network" to 7) to "`network` is missing",
        )) {
            refused(words) { manifest(change) }
        }
    }

    @Test
    fun quantizationOutOfRange() {
        fun with(scale: Any?, zero: Any?) = "input_quantization" to mapOf("scale" to scale, "zero_point" to zero)
        refused("missing for integer tensors") { manifest("input_quantization" to null) }
        refused("the zero point of `input_quantization` is 256") { manifest(with(0.1, 256)) }
        refused("is -129") { manifest(with(0.1, -129), "dtype" to "int8") }
        refused("the scale of `input_quantization` is 0.0") { manifest(with(0.0, 0)) }
        refused("is -1.0") { manifest(with(-1.0, 0)) }
        refused("has no zero point") { manifest(with(0.1, 1.5)) }
        // Python writes what JSON has no word for.
        refused("is NaN") { Manifest.read(manifestText(with(0.125, 0)).replace("0.125", "NaN"), "m.json") }
        refused("is Infinity") { Manifest.read(manifestText(with(0.125, 0)).replace("0.125", "Infinity"), "m.json") }
        assertEquals(null, manifest("dtype" to "float32", "input_quantization" to null).input)
    }

    @Test
    fun filesThatDoNotFitTheirManifest() {
        val model = folder.newFile("net.tflite")
        model.writeBytes(ByteArray(100) { it.toByte() })
        refused("has no manifest beside it") { Manifest.beside(model) }
        val beside = folder.newFile("net.tflite.json")
        val hash = sha(model.readBytes())
        beside.writeText(manifestText("size" to 100, "sha256" to hash))
        assertEquals("net", Manifest.beside(model).network)
        model.writeBytes(ByteArray(60) { it.toByte() })
        refused("60 bytes long and was exported with 100") { Manifest.beside(model) }
        model.writeBytes(ByteArray(100))
        refused("not the file its manifest was written for") { Manifest.beside(model) }
        model.delete()
        refused("no such file") { Manifest.beside(model) }
    }

    @Test
    fun benchmarkArguments() {
        val usual = BenchArguments.read(mapOf("model" to "net.tflite"))
        assertEquals(BenchArguments("net.tflite", "result", Backend.CPU, 1, 30, 3, false), usual)
        val all = mapOf(
            "model" to "n.onnx", "id" to "a1", "backend" to "nnapi", "threads" to "4", "runs" to "5",
            "warm_up" to "0", "strict" to "true",
        )
        assertEquals(BenchArguments("n.onnx", "a1", Backend.NNAPI, 4, 5, 0, true), BenchArguments.read(all))
        for ((change, words) in listOf(
            ("model" to "../../secret") to "is no file name", ("id" to "a/b") to "no name for a result",
            ("model" to ".hidden") to "is no file name", ("backend" to "tpu") to "no backend is called `tpu`",
            ("threads" to "0") to "`threads` takes", ("runs" to "many") to "`runs` takes", ("run" to "1") to "unknown",
        )) {
            refused(words) { BenchArguments.read(all + change) }
        }
        refused("--es model") { BenchArguments.read(emptyMap()) }
    }

    @Test
    fun aPermissionThatWasTakenAway() {
        assertEquals(Permission.ASK, Permission.next(granted = false, asked = false))
        assertEquals(Permission.GO, Permission.next(granted = true, asked = true))
        // Granted once, revoked in the settings: no second question, no crash.
        assertEquals(Permission.EXPLAIN, Permission.next(granted = false, asked = true))
    }

    @Test
    fun imagesThatDoNotFit() {
        refused("nothing to upscale") { Tiler.plan(0, 5, Tiling()) }
        refused("MB are free") { PixelFile(folder.newFile(), 2_000_000, 2_000_000) }
    }

    @Test
    fun recordedOutputsThatAreDamaged() {
        for (samples in listOf("***", "AAAA")) {
            val broken = manifest(
                "parity" to mapOf("golden" to mapOf("height" to 24, "width" to 32, "samples" to samples)),
            )
            refused("is damaged") { Golden.check(Placed(broken, 24, 32), PlainCodec(Tables(broken))) }
        }
        refused("has no recorded output") { Golden.check(Placed(manifest(), 24, 32), PlainCodec(Tables(manifest()))) }
    }
}
