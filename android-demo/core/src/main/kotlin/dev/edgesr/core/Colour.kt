package dev.edgesr.core

import kotlin.math.floor

/**
 * BT.601 luma and chroma in MATLAB's 8-bit ranges (Y 16..235, Cb and Cr 16..240), as
 * `edgesr/data/colour.py`. Networks that see only luma read Y rounded to a byte; their chroma is
 * enlarged with bicubic.
 */
object Colour {
    fun y(rgb: ByteArray, at: Int): Double =
        (65.481 * rgb.pixel(at) + 128.553 * rgb.pixel(at + 1) + 24.966 * rgb.pixel(at + 2)) / 255 + 16

    fun cb(rgb: ByteArray, at: Int): Double =
        (-37.797 * rgb.pixel(at) - 74.203 * rgb.pixel(at + 1) + 112 * rgb.pixel(at + 2)) / 255 + 128

    fun cr(rgb: ByteArray, at: Int): Double =
        (112 * rgb.pixel(at) - 93.786 * rgb.pixel(at + 1) - 18.214 * rgb.pixel(at + 2)) / 255 + 128

    /** HxWx3 to HxWx1. */
    fun luma(rgb: ByteArray): ByteArray =
        ByteArray(rgb.size / 3) { floor(y(rgb, it * 3) + 0.5).toInt().toByte() }

    /** Y bytes with the Cb and Cr that belong to them, to RGB. */
    fun join(luma: ByteArray, chroma: DoubleArray): ByteArray {
        val out = ByteArray(luma.size * 3)
        for (i in luma.indices) {
            val y = luma.pixel(i) - 16
            val cb = chroma[2 * i] - 128
            val cr = chroma[2 * i + 1] - 128
            for (channel in 0 until 3) {
                val row = TO_RGB[channel]
                val value = row[0] * y + row[1] * cb + row[2] * cr
                out[3 * i + channel] = floor(value + 0.5).coerceIn(0.0, 255.0).toInt().toByte()
            }
        }
        return out
    }

    private fun ByteArray.pixel(at: Int) = (this[at].toInt() and 255).toDouble()

    /** The inverse of the matrix above, by cofactors. */
    private val TO_RGB: Array<DoubleArray> = run {
        val m = arrayOf(
            doubleArrayOf(65.481, 128.553, 24.966),
            doubleArrayOf(-37.797, -74.203, 112.0),
            doubleArrayOf(112.0, -93.786, -18.214),
        )
        fun minor(r: Int, c: Int): Double {
            val (r1, r2) = (r + 1) % 3 to (r + 2) % 3
            val (c1, c2) = (c + 1) % 3 to (c + 2) % 3
            return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        }
        val determinant = (0 until 3).sumOf { m[0][it] * minor(0, it) }
        Array(3) { row -> DoubleArray(3) { column -> 255 * minor(column, row) / determinant } }
    }
}
