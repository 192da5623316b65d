package dev.edgesr.core

/** Milliseconds of one tile's three steps. */
class TileTime(val pre: Double, val infer: Double, val post: Double)

/** Told after each tile; says false to cancel. */
fun interface Progress {
    fun after(done: Int, all: Int, time: TileTime): Boolean
}

/**
 * Images of any size through a model, tile by tile, in bounded memory: `edgesr/runtime/upscale.py`.
 * One window, its result and (where tiles blend) one band of floats are held at a time.
 */
class Upscaler(private val engine: Engine, private val codec: Codec) {
    private val manifest = engine.manifest
    private val scale = manifest.scale
    private val bicubic = Bicubic(scale)

    fun plan(source: PixelSource): Plan = Tiler.plan(source.height, source.width, Tiling.of(manifest))

    /** True when all was written, false when [progress] cancelled. The sink is `scale` times the source. */
    fun upscale(source: PixelSource, sink: PixelSink, progress: Progress): Boolean {
        val plan = plan(source)
        return if (plan.rampY == 0 && plan.rampX == 0) {
            paste(source, sink, plan, progress)
        } else {
            Blend(manifest, plan).run({ row, column -> tile(source, row, column) }, sinkOf(source, sink), progress)
        }
    }

    private fun paste(source: PixelSource, sink: PixelSink, plan: Plan, progress: Progress): Boolean {
        val write = sinkOf(source, sink)
        var done = 0
        for (row in plan.rows) {
            for (column in plan.columns) {
                val tile = tile(source, row, column)
                write.write(
                    column.keepStart * scale, row.keepStart * scale, tile.width, tile.height, tile.pixels,
                )
                done++
                if (!progress.after(done, plan.size, tile.time)) return false
            }
        }
        return true
    }

    /** Cuts off what was mirrored beyond the border, and gives luma its chroma. */
    private fun sinkOf(source: PixelSource, sink: PixelSink) = PixelSink { x, y, width, height, pixels ->
        val inside = minOf(width, source.width * scale - x)
        val below = minOf(height, source.height * scale - y)
        val kept = crop(pixels, width, 0, 0, inside, below, manifest.channels)
        val rgb = if (manifest.channels == 3) kept else Colour.join(kept, bicubic.chroma(source, x, y, inside, below))
        sink.write(x, y, inside, below, rgb)
    }

    /** The kept part of one tile, in the model's own channels. */
    class Tile(val width: Int, val height: Int, val pixels: ByteArray, val time: TileTime)

    private fun tile(source: PixelSource, row: Span, column: Span): Tile {
        val start = System.nanoTime()
        val rgb = window(source, row, column)
        codec.encode(if (manifest.channels == 3) rgb else Colour.luma(rgb), engine.input())
        val ready = System.nanoTime()
        engine.run()
        val ran = System.nanoTime()
        val wide = (column.stop - column.start) * scale
        val pixels = ByteArray(wide * (row.stop - row.start) * scale * manifest.channels)
        codec.decode(engine.output(), pixels)
        val width = (column.keepStop - column.keepStart) * scale
        val height = (row.keepStop - row.keepStart) * scale
        val kept = crop(
            pixels, wide, (column.keepStart - column.start) * scale, (row.keepStart - row.start) * scale,
            width, height, manifest.channels,
        )
        val end = System.nanoTime()
        return Tile(width, height, kept, TileTime((ready - start) / 1e6, (ran - ready) / 1e6, (end - ran) / 1e6))
    }

    private fun window(source: PixelSource, row: Span, column: Span): ByteArray {
        val width = column.stop - column.start
        val height = row.stop - row.start
        if (row.stop <= source.height && column.stop <= source.width) {
            return source.read(column.start, row.start, width, height)
        }
        // A window beyond the border holds the whole side of the image.
        val wide = minOf(column.stop, source.width) - column.start
        val raw = source.read(column.start, row.start, wide, minOf(row.stop, source.height) - row.start)
        val out = ByteArray(width * height * 3)
        for (y in 0 until height) {
            val from = reflected(row.start + y, source.height) - row.start
            for (x in 0 until width) {
                val place = (from * wide + reflected(column.start + x, source.width) - column.start) * 3
                System.arraycopy(raw, place, out, (y * width + x) * 3, 3)
            }
        }
        return out
    }

    companion object {
        /** Reflected at the last pixel, and back at the first, if need be. */
        fun reflected(index: Int, length: Int): Int {
            if (length == 1) return 0
            val place = index % (2 * length - 2)
            return if (place < length) place else 2 * length - 2 - place
        }

        fun crop(pixels: ByteArray, stride: Int, x: Int, y: Int, width: Int, height: Int, channels: Int): ByteArray {
            if (x == 0 && y == 0 && width == stride && width * height * channels == pixels.size) return pixels
            val out = ByteArray(width * height * channels)
            for (row in 0 until height) {
                val from = ((y + row) * stride + x) * channels
                System.arraycopy(pixels, from, out, row * width * channels, width * channels)
            }
            return out
        }
    }
}
