package dev.edgesr.core

import kotlin.math.log10

/** PSNR in dB as papers report it: Y of BT.601, a border of [shave] pixels left out. */
fun psnr(sr: PixelSource, hr: PixelSource, shave: Int): Double {
    if (sr.width != hr.width || sr.height != hr.height) {
        throw Refusal("${sr.width}x${sr.height} cannot be compared with ${hr.width}x${hr.height}")
    }
    val width = sr.width - 2 * shave
    val height = sr.height - 2 * shave
    if (width < 1 || height < 1) throw Refusal("${sr.width}x${sr.height} has nothing left without its border")
    var sum = 0.0
    for (y in shave until shave + height) {
        val a = sr.read(shave, y, width, 1)
        val b = hr.read(shave, y, width, 1)
        for (x in 0 until width) {
            val difference = Colour.y(a, 3 * x) - Colour.y(b, 3 * x)
            sum += difference * difference
        }
    }
    if (sum == 0.0) return Double.POSITIVE_INFINITY
    return 10 * log10(255.0 * 255.0 * width * height / sum)
}
