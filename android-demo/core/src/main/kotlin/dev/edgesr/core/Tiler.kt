package dev.edgesr.core

/**
 * Where to cut an image so that the tiles give the pixels of the whole: `edgesr/runtime/tiles.py`,
 * line for line, and held to it by golden cases. Windows lie inside the image, the last one is
 * shifted inwards, neighbours overlap by two halos and are cut in the middle. All lengths are LR
 * pixels.
 */
data class Tiling(
    /** The artifact's fixed input; null when any height will do. */
    val height: Int? = null,
    val width: Int? = null,
    /** Both sides of a window, and its place, divide by this. */
    val multiple: Int = 1,
    /** Null: no tile equals the whole image; neighbours fade into each other. */
    val halo: Int? = null,
    /** Memory one LR pixel takes while the network runs. */
    val bytesPerPixel: Int = 4096,
) {
    companion object {
        fun of(manifest: Manifest) =
            Tiling(manifest.height, manifest.width, manifest.padMultiple, manifest.halo)
    }
}

/** One window along one axis: what is read, and what of it is kept. */
data class Span(val start: Int, val stop: Int, val keepStart: Int, val keepStop: Int)

/** The windows of an image: every row span with every column span. */
data class Plan(
    val rows: List<Span>,
    val columns: List<Span>,
    /** LR pixels by which kept parts overlap and fade; 0 where tiles are exact. */
    val rampY: Int,
    val rampX: Int,
    /** A sentence for the user; empty when the result equals the whole image's bit for bit. */
    val whyInexact: String,
) {
    val size: Int get() = rows.size * columns.size
}

object Tiler {
    const val MEMORY = 384 shl 20
    private const val LARGEST_SIDE = 512
    private const val LEAST_SIDE = 24

    /** Covers an image of [height] x [width]; throws [Refusal] when the input cannot hold a halo. */
    fun plan(height: Int, width: Int, tiling: Tiling, memory: Int = MEMORY): Plan {
        if (height < 1 || width < 1) throw Refusal("an image of ${width}x$height has nothing to upscale")
        val fixed = listOf(tiling.height, tiling.width)
        val image = listOf(height, width)
        val sides = image.zip(fixed) { length, given -> padded(length, given, tiling) }
        val windows = windows(sides, fixed, tiling, memory)
        val (rows, rampY) = axis(sides[0], windows[0], tiling)
        val (columns, rampX) = axis(sides[1], windows[1], tiling)
        val count = rows.size * columns.size
        var why = ""
        if (count > 1 && tiling.halo == null) {
            why = "the network has no bounded receptive field: $count tiles blend"
        }
        if (image.zip(sides).any { (length, side) -> up(length, tiling.multiple) < side }) {
            why = "an image of ${width}x$height is smaller than the input of ${windows[1]}x${windows[0]}: " +
                "mirrored beyond its border, which changes the pixels next to it"
        }
        return Plan(rows, columns, rampY, rampX, why)
    }

    private fun padded(length: Int, fixed: Int?, tiling: Tiling): Int {
        val least = if (tiling.halo != null) 1 else LEAST_SIDE
        return maxOf(up(maxOf(length, least), tiling.multiple), fixed ?: 0)
    }

    private fun windows(sides: List<Int>, fixed: List<Int?>, tiling: Tiling, memory: Int): List<Int> {
        val budget = memory / maxOf(1, tiling.bytesPerPixel)
        val area = sides[0].toLong() * sides[1]
        var whole = area <= budget
        if (whole && tiling.halo != null) whole = area <= LARGEST_SIDE.toLong() * LARGEST_SIDE
        val multiple = tiling.multiple
        val halo = up(tiling.halo ?: 0, multiple)
        val root = kotlin.math.sqrt(budget.toDouble()).toInt()
        val core = maxOf(root - 2 * halo, 32, halo)
        var side = minOf(core + 2 * halo, maxOf(LARGEST_SIDE, 3 * halo))
        if (tiling.halo == null) side = maxOf(root, LEAST_SIDE, 4 * multiple)
        return sides.zip(fixed) { length, given ->
            val free = if (whole) length else minOf(length, up(side, multiple))
            given ?: if (tiling.halo == null) free else even(length, free, halo, multiple)
        }
    }

    /** The smallest window that needs no more tiles than [window] does. */
    private fun even(length: Int, window: Int, halo: Int, multiple: Int): Int {
        val step = window - 2 * halo
        if (window >= length || step < multiple) return window
        val tiles = 1 + ceil(length - window, step)
        return minOf(window, up(ceil(length + 2 * halo * (tiles - 1), tiles), multiple))
    }

    private fun axis(length: Int, window: Int, tiling: Tiling): Pair<List<Span>, Int> {
        if (window >= length) return listOf(Span(0, length, 0, length)) to 0
        val multiple = tiling.multiple
        val halo = tiling.halo
        val overlap = if (halo == null) maxOf(1, window / 4) else 2 * up(halo, multiple)
        val ramp = if (halo == null) maxOf(1, overlap / 2) else 0
        val step = (window - overlap) / multiple * multiple
        if (step < multiple) {
            throw Refusal(
                "windows of $window pixels leave nothing inside a halo of $halo on each side; " +
                    "export with a --shape of at least ${overlap + 8 * multiple} pixels a side",
            )
        }
        val gaps = ceil(length - window, step)
        val last = length - window
        val starts = (0 until gaps).map { (it.toLong() * last / gaps).toInt() / multiple * multiple } + last
        val middles = starts.zipWithNext { left, right -> (right + left + window) / 2 }
        val fade = ramp / 2
        val begins = listOf(0) + middles.map { it - fade }
        val ends = middles.map { it - fade + ramp } + length
        return starts.indices.map { Span(starts[it], starts[it] + window, begins[it], ends[it]) } to ramp
    }

    private fun ceil(value: Int, by: Int) = (value + by - 1) / by

    private fun up(value: Int, multiple: Int) = ceil(value, multiple) * multiple
}
