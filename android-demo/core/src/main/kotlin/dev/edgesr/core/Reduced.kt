package dev.edgesr.core

import kotlin.math.ceil
import kotlin.math.floor

/**
 * MATLAB's bicubic reduction of an image by a whole factor, its kernel widened as `imresize` does:
 * `edgesr/data/bicubic.py`. Computed where it is read, out of one row of [source] at a time.
 */
class Reduced(private val source: PixelSource, private val scale: Int) : PixelSource {
    override val width = source.width / scale
    override val height = source.height / scale

    private val centre = (scale - 1) / 2.0
    private val first = floor(centre - 2 * scale).toInt() + 1
    private val weights = run {
        val raw = DoubleArray(ceil(centre + 2 * scale).toInt() - first) { cubic((centre - first - it) / scale) }
        val sum = raw.sum()
        DoubleArray(raw.size) { raw[it] / sum }
    }

    override fun read(x: Int, y: Int, width: Int, height: Int): ByteArray {
        val left = maxOf(0, x * scale + first)
        val right = minOf(source.width, (x + width - 1) * scale + first + weights.size)
        val out = ByteArray(width * height * 3)
        for (row in 0 until height) {
            val line = across(down(y + row, left, right - left), left, x, width)
            System.arraycopy(line, 0, out, row * line.size, line.size)
        }
        return out
    }

    /** One row of the result before its columns are reduced; rounded, as MATLAB does between the passes. */
    private fun down(row: Int, left: Int, wide: Int): DoubleArray {
        val sum = DoubleArray(wide * 3)
        for ((tap, weight) in weights.withIndex()) {
            val line = source.read(left, mirrored(row * scale + first + tap, source.height), wide, 1)
            for (i in sum.indices) sum[i] += weight * (line[i].toInt() and 255)
        }
        for (i in sum.indices) sum[i] = round(sum[i])
        return sum
    }

    private fun across(down: DoubleArray, left: Int, x: Int, width: Int): ByteArray {
        val out = ByteArray(width * 3)
        for (column in 0 until width) {
            val start = (x + column) * scale + first
            for (channel in 0 until 3) {
                var sum = 0.0
                for ((tap, weight) in weights.withIndex()) {
                    sum += weight * down[(mirrored(start + tap, source.width) - left) * 3 + channel]
                }
                out[column * 3 + channel] = round(sum).toInt().toByte()
            }
        }
        return out
    }
}
