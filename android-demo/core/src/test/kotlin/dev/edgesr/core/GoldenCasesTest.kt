package dev.edgesr.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The core against Python's own answers. */
class GoldenCasesTest {
    @Test
    fun tilesAreCutWherePythonCutsThem() {
        val cases = Cases.list("tiles")
        assertTrue(cases.size > 50 && cases.any { "refused" in it })
        for (case in cases) {
            val (height, width) = case.wholes("image")
            val (fixedHeight, fixedWidth) = case.wholes("fixed")
            val halo = (case["halo"] as Long?)?.toInt()
            val tiling = Tiling(fixedHeight, fixedWidth, case.whole("multiple"), halo, case.whole("bytes"))
            if ("refused" in case) {
                refused("nothing inside a halo") { Tiler.plan(height!!, width!!, tiling) }
                continue
            }
            val plan = Tiler.plan(height!!, width!!, tiling)
            val spans = listOf(plan.rows, plan.columns).map { axis ->
                axis.map { listOf(it.start, it.stop, it.keepStart, it.keepStop).map(Int::toLong) }
            }
            assertEquals("$case", case["spans"], spans)
            assertEquals("$case", case.wholes("ramp"), listOf(plan.rampY, plan.rampX))
            assertEquals("$case", case["exact"], plan.whyInexact.isEmpty())
        }
    }

    @Test
    fun imagesOfAnySizeEqualPythons() {
        for (case in Cases.list("upscale")) {
            val (height, width) = case.wholes("image").map { it!! }
            val (tileHeight, tileWidth) = case.wholes("fixed").map { it!! }
            val manifest = manifest(
                "scale" to case["scale"], "colour" to if (case.whole("channels") == 3) "rgb" else "y",
                "height" to tileHeight, "width" to tileWidth, "halo" to case["halo"],
                "pad_multiple" to case["multiple"],
            )
            val out = MemoryPixels(width * manifest.scale, height * manifest.scale)
            val engine = Placed(manifest, tileHeight, tileWidth)
            var calls = 0
            val whole = Upscaler(engine, PlainCodec(Tables(manifest)))
                .upscale(image(height, width), out) { done, _, _ -> done == ++calls }
            assertTrue(whole)
            assertEquals("$case", case.text("sha256"), sha(out.bytes))
        }
    }

    @Test
    fun bicubicIsMatlabs() {
        for ((scale, wanted) in Cases["bicubic"] as Map<*, *>) {
            val factor = scale.toString().toInt()
            val source = image(7, 9)
            val big = Bicubic(factor).enlarge(source, 0, 0, 9 * factor, 7 * factor)
            assertEquals(wanted, sha(big))
            // A rectangle is cut out of the same result.
            val part = Bicubic(factor).enlarge(source, 5, 4, 7, 6)
            assertArrayEquals(Upscaler.crop(big, 9 * factor, 5, 4, 7, 6, 3), part)
        }
    }

    @Test
    fun consistencyIsTheLaptops() {
        for ((name, cases) in Cases["consistency"] as Map<*, *>) {
            val scale = name.toString().toInt()
            for (case in (cases as List<*>).map { it as Map<*, *> }) {
                val (height, width) = case.whole("height") to case.whole("width")
                val enlarged = image(height * scale, width * scale)
                val reduced = Reduced(enlarged, scale)
                val whole = reduced.read(0, 0, width, height)
                assertEquals("x$scale", case.text("reduced"), sha(whole))
                // A rectangle is cut out of the same result.
                val part = reduced.read(width - 4, height - 3, 4, 2)
                assertArrayEquals(Upscaler.crop(whole, width, width - 4, height - 3, 4, 2, 3), part)
                val small = MemoryPixels(width, height, bytes(case.text("small")))
                assertEquals(case.number("decibels"), consistency(enlarged, small, scale)!!, 1e-9)
                assertEquals(Double.POSITIVE_INFINITY, consistency(enlarged, reduced, scale)!!, 0.0)
            }
        }
        assertEquals(null, consistency(image(8, 90), image(4, 45), 2))
    }

    @Test
    fun coloursArePythons() {
        assertArrayEquals(bytes(Cases["luma"] as String), Colour.luma(picture(32, 32)))
        // Halves of Y, and what lies beside one.
        val near = bytes(Cases["near_halves"] as String)
        assertArrayEquals(bytes(Cases["luma_of_near_halves"] as String), Colour.luma(near))
        val chroma = Bicubic(1).chroma(MemoryPixels(near.size / 3, 1, near), 0, 0, near.size / 3, 1)
        assertArrayEquals(bytes(Cases["joined"] as String), Colour.join(Colour.luma(near), chroma))
    }

    @Test
    fun coloursSurviveTheRoundTrip() {
        val rgb = picture(40, 40)
        val chroma = Bicubic(1).chroma(MemoryPixels(40, 40, rgb), 0, 0, 40, 40)
        val exact = DoubleArray(1600) { Colour.y(rgb, 3 * it) }
        val luma = ByteArray(1600) { Math.round(exact[it]).toByte() }
        val back = Colour.join(luma, chroma)
        for (i in back.indices) {
            assertTrue(Math.abs((back[i].toInt() and 255) - (rgb[i].toInt() and 255)) <= 1)
        }
    }

    @Test
    fun tensorsHoldWhatPythonPutsThere() {
        for (case in Cases.list("codec")) {
            val quantization = mapOf("scale" to case["scale"], "zero_point" to case["zero"])
            val tables = Tables(
                manifest(
                    "dtype" to case["dtype"], "layout" to case["layout"], "value_range" to case["range"],
                    "input_quantization" to quantization, "output_quantization" to quantization,
                ),
            )
            val wanted = bytes(case.text("encoded"))
            val tensor = direct(ByteArray(wanted.size))
            PlainCodec(tables).encode(picture(3, 5), tensor)
            assertArrayEquals("$case", wanted, ByteArray(wanted.size) { tensor.get(it) })
            val pixels = ByteArray(45)
            PlainCodec(tables).decode(direct(bytes(case.text("output"))), pixels)
            assertArrayEquals("$case", bytes(case.text("decoded")), pixels)
        }
    }

    private fun direct(bytes: ByteArray): ByteBuffer =
        ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.LITTLE_ENDIAN).also { it.duplicate().put(bytes) }

    @Test
    fun theGoldenPatternIsTheLaptops() {
        assertEquals(Cases["pattern"], sha(Golden.pattern(37, 141, 3)))
        assertEquals(Cases["positions"], Golden.positions(12345).take(50).map { it.toLong() })
    }

    @Test
    fun statisticsAreTheLaptops() {
        val samples = (Cases["samples"] as List<*>).map { it as Double }.toDoubleArray()
        assertEquals(Cases["median"] as Double, Statistics.median(samples), 1e-12)
        assertEquals(Cases["p90"] as Double, Statistics.p90(samples), 1e-12)
        val meter = Meter(capacity = 3)
        samples.forEach(meter::add)
        assertEquals(7.0, meter.read()!!.first, 0.0)
    }

    @Test
    fun psnrIsTheLaptops() {
        val hr = image(40, 30)
        val noise = picture(41, 30).copyOfRange(90, 3690)
        val sr = ByteArray(hr.bytes.size) {
            minOf(255, (hr.bytes[it].toInt() and 255) + (noise[it].toInt() and 15)).toByte()
        }
        assertEquals(Cases["psnr"] as Double, psnr(MemoryPixels(30, 40, sr), hr, 3), 1e-9)
        assertEquals(Double.POSITIVE_INFINITY, psnr(hr, hr, 3), 0.0)
        refused("cannot be compared") { psnr(hr, image(30, 40), 3) }
    }
}
