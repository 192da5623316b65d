package dev.edgesr.core

/**
 * Tiles of a network without bounded receptive field: neighbours fade into each other, the weights
 * of a pixel add up to one. One band of tiles is held as floats; its last rows wait for the next.
 */
internal class Blend(manifest: Manifest, private val plan: Plan) {
    private val scale = manifest.scale
    private val channels = manifest.channels
    private val width = plan.columns.last().keepStop * scale
    private val rampY = plan.rampY * scale

    fun run(tile: (Span, Span) -> Upscaler.Tile, sink: PixelSink, progress: Progress): Boolean {
        val tallest = plan.rows.maxOf { it.keepStop - it.keepStart } * scale
        val bytes = 4L * tallest * width * channels
        if (bytes > LARGEST_BAND) {
            throw Refusal(
                "this network's tiles blend, which takes ${bytes shr 20} MB for an image this wide; " +
                    "crop the photo, or choose a network with a bounded receptive field",
            )
        }
        var waiting = FloatArray(0)
        var done = 0
        for (row in plan.rows) {
            val height = (row.keepStop - row.keepStart) * scale
            val band = FloatArray(height * width * channels)
            val down = weights(row, plan.rows, plan.rampY)
            for (column in plan.columns) {
                val part = tile(row, column)
                add(band, part, column.keepStart * scale, down, weights(column, plan.columns, plan.rampX))
                done++
                if (!progress.after(done, plan.size, part.time)) return false
            }
            for (i in waiting.indices) band[i] += waiting[i]
            val finished = if (row === plan.rows.last()) height else height - rampY
            waiting = band.copyOfRange(finished * width * channels, band.size)
            val pixels = ByteArray(finished * width * channels) {
                Math.rint(band[it].toDouble()).coerceIn(0.0, 255.0).toInt().toByte()
            }
            sink.write(0, row.keepStart * scale, width, finished, pixels)
        }
        return true
    }

    private fun add(band: FloatArray, part: Upscaler.Tile, left: Int, down: FloatArray, across: FloatArray) {
        for (y in 0 until part.height) {
            for (x in 0 until part.width) {
                val weight = down[y] * across[x]
                val to = (y * width + left + x) * channels
                val from = (y * part.width + x) * channels
                for (c in 0 until channels) band[to + c] += (part.pixels[from + c].toInt() and 255) * weight
            }
        }
    }

    private fun weights(span: Span, spans: List<Span>, ramp: Int): FloatArray {
        val length = ramp * scale
        val weights = FloatArray((span.keepStop - span.keepStart) * scale) { 1f }
        for (i in 0 until length) {
            val rise = (i + 0.5f) / length
            if (span !== spans.first()) weights[i] = rise
            if (span !== spans.last()) weights[weights.size - length + i] = 1 - rise
        }
        return weights
    }

    private companion object {
        const val LARGEST_BAND = 192L shl 20
    }
}
