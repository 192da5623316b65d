package dev.edgesr.core

import java.nio.ByteBuffer

/** A plane of a camera's or decoder's picture: samples [pixelStride] apart, rows [rowStride]. */
class Plane(val bytes: ByteBuffer, val rowStride: Int, val pixelStride: Int)

/** YUV 4:2:0 of BT.601 to RGB: in full range from cameras (JFIF), in 16..235 from [video]s. */
object Yuv {
    /** HxWx3 bytes of a rectangle; nearest chroma, which a preview does not show. */
    fun rgb(
        y: Plane, u: Plane, v: Plane, left: Int, top: Int, width: Int, height: Int, video: Boolean = false,
    ): ByteArray {
        val out = ByteArray(width * height * 3)
        val black = if (video) 16 else 0
        val bright = if (video) 255f / 219 else 1f
        val strong = if (video) 255f / 224 else 1f
        var at = 0
        for (row in top until top + height) {
            for (column in left until left + width) {
                val luma = (y.at(column, row) - black) * bright
                val blue = (u.at(column / 2, row / 2) - 128) * strong
                val red = (v.at(column / 2, row / 2) - 128) * strong
                out[at++] = byte(luma + 1.402f * red)
                out[at++] = byte(luma - 0.344136f * blue - 0.714136f * red)
                out[at++] = byte(luma + 1.772f * blue)
            }
        }
        return out
    }

    private fun Plane.at(x: Int, y: Int) = bytes.get(y * rowStride + x * pixelStride).toInt() and 255

    private fun byte(value: Float) = (value + 0.5f).toInt().coerceIn(0, 255).toByte()
}
