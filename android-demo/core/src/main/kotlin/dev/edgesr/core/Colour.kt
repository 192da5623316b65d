package dev.edgesr.core

import kotlin.math.floor

/**
 * BT.601 luma and chroma in MATLAB's 8-bit ranges (Y 16..235, Cb and Cr 16..240), byte for byte as
 * `edgesr/data/colour.py`. Networks that see only luma read Y rounded to a byte; their chroma is
 * enlarged with bicubic, as floats.
 */
object Colour {
    /** Rows: Y, Cb, Cr out of R, G, B, times [DENOMINATOR], without their offsets. */
    private val NUMERATORS = arrayOf(
        intArrayOf(65481, 128553, 24966), intArrayOf(-37797, -74203, 112000), intArrayOf(112000, -93786, -18214),
    )
    private const val DENOMINATOR = 255_000

    fun y(rgb: ByteArray, at: Int): Double = weighed(0, rgb, at) / DENOMINATOR.toDouble() + 16

    fun cb(rgb: ByteArray, at: Int): Float = (weighed(1, rgb, at) / DENOMINATOR.toDouble() + 128).toFloat()

    fun cr(rgb: ByteArray, at: Int): Float = (weighed(2, rgb, at) / DENOMINATOR.toDouble() + 128).toFloat()

    private fun weighed(channel: Int, rgb: ByteArray, at: Int): Int {
        val (red, green, blue) = NUMERATORS[channel]
        return red * rgb.pixel(at) + green * rgb.pixel(at + 1) + blue * rgb.pixel(at + 2)
    }

    /** HxWx3 to HxWx1, in whole numbers. */
    fun luma(rgb: ByteArray): ByteArray =
        ByteArray(rgb.size / 3) { ((weighed(0, rgb, it * 3) + DENOMINATOR / 2) / DENOMINATOR + 16).toByte() }

    /** Y bytes with the Cb and Cr that belong to them, to RGB. */
    fun join(luma: ByteArray, chroma: FloatArray): ByteArray {
        val out = ByteArray(luma.size * 3)
        for (i in luma.indices) {
            val y = luma.pixel(i) - 16.0
            val cb = chroma[2 * i] - 128.0
            val cr = chroma[2 * i + 1] - 128.0
            for (channel in 0 until 3) {
                val row = TO_RGB[channel]
                val value = row[0] * y + row[1] * cb + row[2] * cr
                out[3 * i + channel] = floor(value + 0.5).coerceIn(0.0, 255.0).toInt().toByte()
            }
        }
        return out
    }

    private fun ByteArray.pixel(at: Int) = this[at].toInt() and 255

    /** The inverse of the matrix above, by cofactors in whole numbers and one division each. */
    private val TO_RGB: Array<DoubleArray> = run {
        val m = NUMERATORS
        fun minor(r: Int, c: Int): Long {
            val (r1, r2) = (r + 1) % 3 to (r + 2) % 3
            val (c1, c2) = (c + 1) % 3 to (c + 2) % 3
            return m[r1][c1].toLong() * m[r2][c2] - m[r1][c2].toLong() * m[r2][c1]
        }
        val determinant = (0 until 3).sumOf { m[0][it] * minor(0, it) }
        Array(3) { row -> DoubleArray(3) { (DENOMINATOR * minor(it, row)).toDouble() / determinant } }
    }
}
