package dev.edgesr.engine

import dev.edgesr.core.Backend
import dev.edgesr.core.Cases
import dev.edgesr.core.Golden
import dev.edgesr.core.Json
import dev.edgesr.core.Manifest
import dev.edgesr.core.MemoryPixels
import dev.edgesr.core.PlainCodec
import dev.edgesr.core.Tables
import dev.edgesr.core.Upscaler
import dev.edgesr.core.bytes
import dev.edgesr.core.image
import dev.edgesr.core.manifest
import dev.edgesr.core.picture
import dev.edgesr.core.refused
import dev.edgesr.core.sha
import dev.edgesr.core.text
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * `libedgesr.so` on a host, with the runtimes' own libraries. `edgesr.models` is a folder of
 * exported files and of `expected.json`: what Python computes with them.
 */
class EngineTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val libraries = Libraries(
        System.getProperty("edgesr.litert") ?: "libLiteRt.so", System.getProperty("edgesr.ort") ?: "libonnxruntime.so",
    )
    private val models: List<File> get() {
        val folder = System.getProperty("edgesr.models")
        assumeTrue("edgesr.models is not set", folder != null)
        return File(folder!!).listFiles()!!.filter { it.extension == "tflite" || it.extension == "onnx" }.sorted()
    }

    private fun open(model: File, manifest: Manifest = Manifest.beside(model), backend: Backend = Backend.CPU) =
        NativeEngine(manifest, model, backend, 1, libraries)

    @Test
    fun modelsComputeWhatTheyDoOnTheLaptop() {
        val expected = Json.read(File(System.getProperty("edgesr.models"), "expected.json").readText()) as Map<*, *>
        assertEquals(expected.keys.map { it.toString() }.sorted(), models.map { it.name })
        for (model in models) {
            val wanted = expected[model.name] as Map<*, *>
            open(model).use { engine ->
                val codec = NativeCodec(engine.manifest)
                val parity = Golden.check(engine, codec)
                assertTrue("${model.name}: ${parity.describe()}", parity.ok)
                assertEquals(model.name, wanted["raw"], parity.sha256)
                val photo = image(150, 201)
                val scale = engine.manifest.scale
                val out = MemoryPixels(201 * scale, 150 * scale)
                assertTrue(Upscaler(engine, codec).upscale(photo, out) { _, _, _ -> true })
                val name = "${model.name}, ${engine.runtime}, 201x150 through tiles"
                assertEquals(name, wanted["upscaled"], sha(out.bytes))
                println("$name: sha256 ${sha(out.bytes).take(16)} as on the laptop")
            }
        }
    }

    @Test
    fun theInputTensorIsTheRuntimesOwnMemory() {
        for (model in models) {
            open(model).use { engine ->
                engine.input().put(0, 77)
                engine.run()
                assertEquals("${model.name} gives another buffer", 77, engine.input().get(0).toInt())
            }
        }
    }

    @Test
    fun nativeCodecsEqualPlainOnes() {
        for (case in Cases.list("codec")) {
            val quantization = mapOf("scale" to case["scale"], "zero_point" to case["zero"])
            val facts = manifest(
                "dtype" to case["dtype"], "layout" to case["layout"], "value_range" to case["range"],
                "input_quantization" to quantization, "output_quantization" to quantization,
            )
            val wanted = bytes(case.text("encoded"))
            val tensor = direct(wanted.size)
            NativeCodec(facts).encode(picture(3, 5), tensor)
            assertArrayEquals("$case", wanted, ByteArray(wanted.size) { tensor.get(it) })
            compare(facts, 37, 29)
            compare(facts.copy(colour = "y"), 37, 29)
        }
    }

    /** Sizes that no vector divides. */
    private fun compare(facts: Manifest, height: Int, width: Int) {
        val pixels = picture(height, width, facts.channels)
        val bytes = pixels.size * if (facts.dtype == "float32") 4 else 1
        val (ours, theirs) = direct(bytes) to direct(bytes)
        val tables = Tables(facts)
        NativeCodec(facts).encode(pixels, ours)
        PlainCodec(tables).encode(pixels, theirs)
        assertEquals("$facts", theirs, ours)
        if (facts.dtype == "float32") {
            for (i in 0 until pixels.size) ours.putFloat(4 * i, ours.getFloat(4 * i) * 1.2f - 0.05f * i % 7)
        }
        val (back, plain) = ByteArray(pixels.size) to ByteArray(pixels.size)
        NativeCodec(facts).decode(ours, back)
        PlainCodec(tables).decode(ours, plain)
        assertArrayEquals("$facts", plain, back)
    }

    private fun direct(size: Int) = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())

    @Test
    fun brokenWeightsAreSaidToBeBroken() {
        val facts = manifest("dtype" to "float32", "input_quantization" to null, "output_quantization" to null)
        val tensor = direct(4 * 24 * 3)
        tensor.putFloat(4 * 23, Float.NaN)
        refused("computes NaN") { NativeCodec(facts).decode(tensor, ByteArray(24 * 3)) }
        refused("larger than the model's output") { NativeCodec(facts).decode(direct(4), ByteArray(24 * 3)) }
        refused("larger than the model's input") { NativeCodec(facts).encode(ByteArray(24 * 3), direct(4)) }
    }

    @Test
    fun filesThatAreNoModels() {
        for (model in models) {
            val facts = Manifest.beside(model)
            val cut = folder.newFile("cut-${model.name}")
            for (bytes in listOf(ByteArray(4096) { 7 }, ByteArray(0), "<!DOCTYPE html>".toByteArray())) {
                cut.writeBytes(bytes)
                refused("no") { open(cut, facts).close() }
            }
            refused("no") { open(File(folder.root, "gone"), facts).close() }
            // Cut short behind its head: LiteRT would crash, so its hash must stop it.
            cut.writeBytes(model.readBytes().copyOf(model.length().toInt() / 2))
            File(cut.path + ".json").writeText(File(model.path + ".json").readText())
            refused("the copy is not whole") { Manifest.beside(cut) }
        }
    }

    @Test
    fun manifestsOfAnotherModel() {
        for (model in models) {
            val facts = Manifest.beside(model)
            val dtype = if (facts.dtype == "uint8") "int8" else "uint8"
            for (wrong in listOf(facts.copy(height = 64), facts.copy(scale = 4), facts.copy(dtype = dtype))) {
                refused("its manifest says otherwise") { open(model, wrong).close() }
            }
            refused("names no size") { open(model, facts.copy(height = null)).close() }
        }
    }

    @Test
    fun backendsThatAreNotHere() {
        for (model in models) {
            val words = if (model.extension == "onnx") "built without it" else "has no NNAPI"
            refused(words) { open(model, backend = Backend.NNAPI).close() }
            // No NPU of this machine's is known to either runtime: the CPU must not step in unsaid.
            refused("") { open(model, backend = Backend.NPU).close() }
        }
    }

    @Test
    fun aClosedEngineIsNotRun() {
        val engine = open(models.first())
        engine.close()
        engine.close()
        refused("is closed") { engine.run() }
        refused("is closed") { engine.output() }
    }
}
