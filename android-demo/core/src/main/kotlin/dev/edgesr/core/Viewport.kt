package dev.edgesr.core

/**
 * A rectangle of the enlarged image as the screen needs it, never more pixels than the screen has.
 * Coordinates are pixels of the enlarged image, [step] of which make one on the screen.
 */
class Viewport(val x: Int, val y: Int, val columns: Int, val rows: Int, val step: Int) {
    /** Pixels of [after], every [step]th. */
    fun sample(after: PixelSource): ByteArray = sample(after, x, y, step)

    /** The same place out of the small image: bicubic where the screen shows every pixel. */
    fun before(small: PixelSource, scale: Int): ByteArray =
        if (step == 1) Bicubic(scale).enlarge(small, x, y, columns, rows) else sample(small, x, y, step, scale)

    private fun sample(source: PixelSource, x: Int, y: Int, step: Int, scale: Int = 1): ByteArray {
        val out = ByteArray(rows * columns * 3)
        val left = x / scale
        val wide = (x + (columns - 1) * step) / scale - left + 1
        for (row in 0 until rows) {
            val line = source.read(left, (y + row * step) / scale, wide, 1)
            for (column in 0 until columns) {
                val from = ((x + column * step) / scale - left) * 3
                System.arraycopy(line, from, out, (row * columns + column) * 3, 3)
            }
        }
        return out
    }

    companion object {
        /** Screen pixels per image pixel in the loupe: 1:1 over a picture shown smaller, else twice as large. */
        fun loupe(zoom: Double): Double = if (zoom < 1) 1.0 else 2 * zoom

        /**
         * The part of a [width] x [height] image that a screen of [screenWidth] x [screenHeight]
         * shows: [zoom] screen pixels per image pixel, [left] and [top] at the screen's corner.
         */
        fun of(
            width: Int, height: Int, screenWidth: Int, screenHeight: Int, zoom: Double, left: Double, top: Double,
        ): Viewport {
            val step = maxOf(1, Math.ceil(1 / zoom - 1e-9).toInt())
            val x = left.toInt().coerceIn(0, width - 1)
            val y = top.toInt().coerceIn(0, height - 1)
            val right = Math.ceil(left + screenWidth / zoom).toInt().coerceIn(x + 1, width)
            val bottom = Math.ceil(top + screenHeight / zoom).toInt().coerceIn(y + 1, height)
            return Viewport(x, y, (right - x + step - 1) / step, (bottom - y + step - 1) / step, step)
        }
    }
}

/** HxWx3 bytes to the ARGB numbers a bitmap takes. */
fun argb(rgb: ByteArray): IntArray = IntArray(rgb.size / 3) {
    -0x1000000 or (rgb[3 * it].toInt() and 255 shl 16) or (rgb[3 * it + 1].toInt() and 255 shl 8) or
        (rgb[3 * it + 2].toInt() and 255)
}

/** ARGB numbers of a bitmap to HxWx3 bytes. */
fun rgb(argb: IntArray): ByteArray = ByteArray(argb.size * 3) { (argb[it / 3] shr (16 - it % 3 * 8)).toByte() }
