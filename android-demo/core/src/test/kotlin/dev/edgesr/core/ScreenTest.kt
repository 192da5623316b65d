package dev.edgesr.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.nio.ByteBuffer

class ScreenTest {
    @Test
    fun theScreenNeverGetsMoreThanItHas() {
        for (zoom in listOf(0.013, 0.3, 0.5, 1.0, 4.0)) {
            for (left in listOf(-500.0, 0.0, 12345.6, 25999.0)) {
                val view = Viewport.of(26000, 19000, 1080, 2000, zoom, left, left)
                assertTrue(view.columns in 1..1082 && view.rows in 1..2002)
                assertTrue(view.x + (view.columns - 1) * view.step < 26000)
                assertTrue(view.y + (view.rows - 1) * view.step < 19000)
            }
        }
    }

    @Test
    fun theLoupeShowsPixelsOneToOne() {
        assertEquals(1.0, Viewport.loupe(0.04), 0.0)
        assertEquals(2.0, Viewport.loupe(1.0), 0.0)
    }

    @Test
    fun bothSidesShowTheSamePlace() {
        val small = image(20, 24)
        val big = MemoryPixels(48, 40, Bicubic(2).enlarge(small, 0, 0, 48, 40))
        val near = Viewport(7, 5, 11, 9, 1)
        assertArrayEquals(near.sample(big), near.before(small, 2))
        val nearest = MemoryPixels(48, 40)
        for (y in 0 until 40) for (x in 0 until 48) nearest.write(x, y, 1, 1, small.read(x / 2, y / 2, 1, 1))
        val far = Viewport(3, 1, 9, 8, 4)
        assertArrayEquals(far.sample(nearest), far.before(small, 2))
    }

    @Test
    fun bitmapsAndBytes() {
        val pixels = picture(3, 4)
        assertArrayEquals(pixels, rgb(argb(pixels)))
        assertEquals(-0x1000000 or 0x0102ff, argb(byteArrayOf(1, 2, -1))[0])
    }

    @Test
    fun cameraFrames() {
        fun plane(stride: Int, pixel: Int, vararg values: Int): Plane {
            val bytes = ByteBuffer.allocate(64)
            values.forEachIndexed { i, value -> bytes.put(i / 2 * stride + i % 2 * pixel, value.toByte()) }
            return Plane(bytes, stride, pixel)
        }
        val grey = Yuv.rgb(plane(8, 1, 0, 128, 200, 255), plane(8, 2, 128), plane(8, 2, 128), 0, 0, 2, 2)
        assertArrayEquals(byteArrayOf(0, 0, 0, -128, -128, -128, -56, -56, -56, -1, -1, -1), grey)
        val film = Yuv.rgb(plane(8, 1, 16, 235), plane(8, 2, 128), plane(8, 2, 128), 0, 0, 2, 1, video = true)
        assertArrayEquals(byteArrayOf(0, 0, 0, -1, -1, -1), film)
        val red = Yuv.rgb(plane(8, 1, 76), plane(8, 2, 85), plane(8, 2, 255), 0, 0, 1, 1)
        assertTrue((red[0].toInt() and 255) > 250 && red[1] in 0..3 && red[2] in 0..3)
    }
}
