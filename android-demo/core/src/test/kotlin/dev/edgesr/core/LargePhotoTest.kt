package dev.edgesr.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Run with a heap far smaller than the photo: 150 MB, and 600 MB enlarged. */
class LargePhotoTest {
    @get:Rule
    val folder = TemporaryFolder()

    @Test
    fun aPhotoOfFiftyMegapixelsIsUpscaledTileByTile() {
        val manifest = manifest("height" to 192, "width" to 256, "halo" to 6)
        PixelFile(folder.newFile(), WIDTH, HEIGHT).use { photo ->
            val corner = picture(16, 16)
            photo.write(WIDTH - 16, HEIGHT - 16, 16, 16, corner)
            PixelFile(folder.newFile(), 2 * WIDTH, 2 * HEIGHT).use { result ->
                var tiles = 0
                val whole = Upscaler(Placed(manifest, 192, 256), PlainCodec(Tables(manifest)))
                    .upscale(Oriented(photo, 1), result) { done, _, _ -> done == ++tiles }
                assertTrue(whole && tiles > 1000)
                val seen = Viewport.of(2 * WIDTH, 2 * HEIGHT, 1080, 2000, 0.06, 0.0, 0.0)
                assertEquals(seen.rows * seen.columns * 3, seen.sample(result).size)
                // The last tile ends at the corner; `Placed` adds where a pixel lay in it.
                val wanted = ByteArray(32 * 32 * 3) { i ->
                    val (y, x) = i / 3 / 32 to i / 3 % 32
                    (corner[(y / 2 * 16 + x / 2) * 3 + i % 3] + 3 * (384 - 32 + y) + 5 * (512 - 32 + x)).toByte()
                }
                assertArrayEquals(wanted, result.read(2 * WIDTH - 32, 2 * HEIGHT - 32, 32, 32))
                assertTrue(consistency(result, photo, 2)!! in 1.0..60.0)
            }
        }
    }

    private companion object {
        const val WIDTH = 8192
        const val HEIGHT = 6144
    }
}
