package dev.edgesr.core

import kotlin.math.floor

/**
 * MATLAB's bicubic enlargement by a whole factor, any rectangle of the result: Keys' kernel with
 * a = -1/2, borders mirrored with the edge repeated, rows before columns. `edgesr/data/bicubic.py`.
 */
class Bicubic(private val scale: Int) {
    /** Weights of the four neighbours, for each of the `scale` positions between two LR pixels. */
    private val weights = Array(scale) { phase ->
        val centre = (phase + 0.5) / scale - 0.5
        val first = floor(centre) - 1
        val raw = DoubleArray(TAPS) { cubic(centre - first - it) }
        val sum = raw.sum()
        DoubleArray(TAPS) { raw[it] / sum }
    }
    private val firsts = IntArray(scale) { floor((it + 0.5) / scale - 0.5).toInt() - 1 }

    /** HxWx3 bytes of a rectangle of the enlarged image; rounded between the passes, as MATLAB does. */
    fun enlarge(source: PixelSource, x: Int, y: Int, width: Int, height: Int): ByteArray {
        val result = region(source, x, y, width, height, 3, true) { rgb, at, to, out ->
            for (channel in 0 until 3) out[to + channel] = (rgb[at + channel].toInt() and 255).toDouble()
        }
        return ByteArray(result.size) { round(result[it]).toInt().toByte() }
    }

    /** HxWx2: Cb and Cr of a rectangle of the enlarged image, neither rounded nor clipped. */
    fun chroma(source: PixelSource, x: Int, y: Int, width: Int, height: Int): FloatArray {
        val result = region(source, x, y, width, height, 2, false) { rgb, at, to, out ->
            out[to] = Colour.cb(rgb, at).toDouble()
            out[to + 1] = Colour.cr(rgb, at).toDouble()
        }
        return FloatArray(result.size) { result[it].toFloat() }
    }

    private inline fun region(
        source: PixelSource, x: Int, y: Int, width: Int, height: Int, channels: Int, rounded: Boolean,
        convert: (ByteArray, Int, Int, DoubleArray) -> Unit,
    ): DoubleArray {
        val top = first(y)
        val left = first(x)
        val rows = first(y + height - 1) + TAPS - top
        val columns = first(x + width - 1) + TAPS - left
        val values = around(source, left, top, columns, rows, channels, convert)
        val down = DoubleArray(height * columns * channels)
        val stride = columns * channels
        for (row in 0 until height) {
            val weight = weights[(y + row) % scale]
            val from = (first(y + row) - top) * stride
            for (i in 0 until stride) {
                var sum = 0.0
                for (tap in 0 until TAPS) sum += weight[tap] * values[from + tap * stride + i]
                down[row * stride + i] = if (rounded) round(sum) else sum
            }
        }
        val out = DoubleArray(height * width * channels)
        for (row in 0 until height) {
            for (column in 0 until width) {
                val weight = weights[(x + column) % scale]
                val from = row * stride + (first(x + column) - left) * channels
                for (channel in 0 until channels) {
                    var sum = 0.0
                    for (tap in 0 until TAPS) sum += weight[tap] * down[from + tap * channels + channel]
                    out[(row * width + column) * channels + channel] = sum
                }
            }
        }
        return out
    }

    /** LR values of a rectangle that may reach beyond the image. */
    private inline fun around(
        source: PixelSource, left: Int, top: Int, columns: Int, rows: Int, channels: Int,
        convert: (ByteArray, Int, Int, DoubleArray) -> Unit,
    ): DoubleArray {
        val xs = IntArray(columns) { mirrored(left + it, source.width) }
        val ys = IntArray(rows) { mirrored(top + it, source.height) }
        val x0 = xs.min()
        val y0 = ys.min()
        val wide = xs.max() - x0 + 1
        val raw = source.read(x0, y0, wide, ys.max() - y0 + 1)
        val values = DoubleArray(rows * columns * channels)
        var to = 0
        for (row in ys) {
            for (column in xs) {
                convert(raw, ((row - y0) * wide + column - x0) * 3, to, values)
                to += channels
            }
        }
        return values
    }

    private fun first(index: Int) = index / scale + firsts[index % scale]

    private companion object {
        const val TAPS = 4
    }
}

/** Keys' kernel with a = -1/2. */
internal fun cubic(distance: Double): Double {
    val d = Math.abs(distance)
    return when {
        d <= 1 -> (1.5 * d - 2.5) * d * d + 1
        d <= 2 -> ((-0.5 * d + 2.5) * d - 4) * d + 2
        else -> 0.0
    }
}

/** Where a place beyond the border reads: mirrored, the edge repeated. */
internal fun mirrored(index: Int, length: Int): Int {
    val place = Math.floorMod(index, 2 * length)
    return if (place < length) place else 2 * length - 1 - place
}

/** To a byte's range, halves upwards. */
internal fun round(value: Double) = floor(value + 0.5).coerceIn(0.0, 255.0)
