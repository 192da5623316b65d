package dev.edgesr.core

/** Pixels of the small image's border that are left out: there the reduction mirrors. */
private const val BORDER = 2

/**
 * LR consistency in dB: the enlarged image, reduced again, against the image it came from. Needs no
 * original. `edgesr/metrics/consistency.py`; null for images that are nothing but border.
 */
fun consistency(enlarged: PixelSource, small: PixelSource, scale: Int): Double? =
    if (minOf(small.width, small.height) <= 2 * BORDER) null else psnr(Reduced(enlarged, scale), small, BORDER)
