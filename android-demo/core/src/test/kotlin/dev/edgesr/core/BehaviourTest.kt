package dev.edgesr.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import javax.imageio.ImageIO

class BehaviourTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun aBackendThatFailsIsReplacedAndTheReasonIsSaid() {
        val manifest = manifest()
        val tried = ArrayList<Backend>()
        val choice = Backends.choose(Backend.NPU, manifest) { backend ->
            tried.add(backend)
            if (backend != Backend.CPU) throw Refusal("no ${backend.id} library")
            Placed(manifest, 24, 32)
        }
        assertEquals(listOf(Backend.NPU, Backend.GPU, Backend.CPU), tried)
        assertEquals("CPU, since NPU: no npu library; GPU: no gpu library", choice.describe())
        assertEquals("CPU", Backends.choose(Backend.CPU, manifest) { Placed(manifest, 24, 32) }.describe())
    }

    @Test
    fun impossibleBackendsAreNotTried() {
        val choice = Backends.choose(Backend.NNAPI, manifest()) { Placed(manifest(), 24, 32) }
        assertEquals(Backend.CPU, choice.backend)
        assertTrue("LiteRT left NNAPI behind" in choice.describe())
        val onnx = manifest("target" to "onnx", "artifact" to "net.onnx")
        val npu = Backends.choose(Backend.NPU, onnx) { Placed(onnx, 24, 32) }
        assertTrue("through NNAPI" in npu.describe())
        assertEquals(Backend.NNAPI, Backends.choose(Backend.NNAPI, onnx) { Placed(onnx, 24, 32) }.backend)
    }

    @Test
    fun whereOnlyOneBackendWillDoItsFailureIsTheAnswer() {
        refused("net.tflite does not run here. GPU: no OpenCL") {
            Backends.choose(Backend.GPU, manifest(), strict = true) { backend ->
                if (backend == Backend.GPU) throw Refusal("no OpenCL") else Placed(manifest(), 24, 32)
            }
        }
        refused("NPU: a; GPU: a; CPU: a") { Backends.choose(Backend.NPU, manifest()) { throw Refusal("a") } }
    }

    @Test
    fun upscalingCanBeCancelled() {
        val manifest = manifest()
        val out = MemoryPixels(400, 400)
        var last = 0
        val whole = Upscaler(Placed(manifest, 24, 32), PlainCodec(Tables(manifest)))
            .upscale(image(200, 200), out) { done, all, time ->
                last = done
                assertTrue(all > 10 && time.infer >= 0)
                done < 3
            }
        assertFalse(whole)
        assertEquals(3, last)
    }

    @Test
    fun aFileHoldsTheSamePixelsAsMemory() {
        val source = image(50, 61)
        val file = folder.newFile()
        PixelFile(file, 61, 50).use { pixels ->
            pixels.write(0, 0, 61, 50, source.bytes)
            assertArrayEquals(source.read(7, 9, 20, 30), pixels.read(7, 9, 20, 30))
            pixels.write(3, 4, 2, 2, ByteArray(12) { 1 })
            assertArrayEquals(ByteArray(12) { 1 }, pixels.read(3, 4, 2, 2))
        }
        assertFalse(file.exists())
    }

    @Test
    fun photosAreTurnedAsTheirOrientationSays() {
        val source = image(4, 3)
        fun pixel(image: PixelSource, x: Int, y: Int) = image.read(x, y, 1, 1).toList()
        // Where the stored top left pixel is shown, as the EXIF standard defines the eight values.
        val corners = mapOf(1 to (0 to 0), 2 to (2 to 0), 3 to (2 to 3), 4 to (0 to 3), 5 to (0 to 0), 6 to (3 to 0),
            7 to (3 to 2), 8 to (0 to 2))
        for ((orientation, place) in corners) {
            val shown = Oriented(source, orientation)
            assertEquals(if (orientation < 5) 3 to 4 else 4 to 3, shown.width to shown.height)
            assertEquals("$orientation", pixel(source, 0, 0), pixel(shown, place.first, place.second))
            val whole = MemoryPixels(shown.width, shown.height, shown.read(0, 0, shown.width, shown.height))
            for (x in 0 until shown.width) {
                for (y in 0 until shown.height) assertEquals(pixel(whole, x, y), pixel(shown, x, y))
            }
        }
        // The second stored pixel tells a turn from a mirror.
        assertEquals(pixel(source, 1, 0), pixel(Oriented(source, 6), 3, 1))
        assertEquals(pixel(source, 1, 0), pixel(Oriented(source, 8), 0, 1))
        assertEquals(pixel(source, 1, 0), pixel(Oriented(source, 5), 0, 1))
    }

    @Test
    fun pngsAreReadBack() {
        val source = image(33, 47)
        val stream = ByteArrayOutputStream()
        Png.write(source, stream)
        val read = ImageIO.read(ByteArrayInputStream(stream.toByteArray()))
        assertEquals(47 to 33, read.width to read.height)
        for (y in 0 until 33) {
            for (x in 0 until 47) {
                val (r, g, b) = source.read(x, y, 1, 1).map { it.toInt() and 255 }
                assertEquals(r shl 16 or (g shl 8) or b, read.getRGB(x, y) and 0xffffff)
            }
        }
    }

    @Test
    fun jsonSurvivesTheRoundTrip() {
        val value = mapOf("a" to listOf(1L, 2.5, null, true), "ü\"\\\n" to mapOf("b" to "c\u0001"))
        assertEquals(value, Json.read(Json.write(value)))
        assertEquals(listOf(-1L, 1e-7, "ä/\t"), Json.read(" [-1, 1e-7 , \"\\u00e4\\/\\t\"] "))
        assertEquals("[null]", Json.write(listOf(Double.NaN)))
    }

    @Test
    fun aBenchmarkReportsWhatTheHarnessReads() {
        val manifest = manifest()
        val arguments = BenchArguments.read(mapOf("model" to "net.tflite", "runs" to "4", "backend" to "gpu"))
        val report = Bench.run(arguments, manifest, { backend ->
            if (backend == Backend.GPU) throw Refusal("no OpenCL")
            Placed(manifest, 24, 32)
        }, PlainCodec(Tables(manifest)))
        val read = Json.read(report.json(1234, mapOf("thermal" to 0))) as Map<*, *>
        assertEquals(1L, read["edgesr_run"])
        assertEquals(4, (read["samples_ms"] as List<*>).size)
        assertEquals(24L * 32 * 4 * 3, read["out_bytes"])
        assertEquals("cpu", read["backend"])
        assertEquals(listOf(mapOf("backend" to "gpu", "why" to "no OpenCL")), read["attempts"])
        val any = manifest("height" to null, "width" to null)
        refused("takes any size") { Bench.run(arguments, any, { Placed(any, 8, 8) }, PlainCodec(Tables(any))) }
    }
}
