package dev.edgesr.core

import java.io.Closeable
import java.io.File
import java.io.RandomAccessFile
import java.nio.ByteBuffer

/** RGB pixels that can be read in rectangles; whole photos need not fit into memory. */
interface PixelSource {
    val width: Int
    val height: Int

    /** HxWx3 bytes of a rectangle that lies inside. */
    fun read(x: Int, y: Int, width: Int, height: Int): ByteArray
}

fun interface PixelSink {
    fun write(x: Int, y: Int, width: Int, height: Int, pixels: ByteArray)
}

/** An image in memory. */
class MemoryPixels(
    override val width: Int,
    override val height: Int,
    val bytes: ByteArray = ByteArray(Math.multiplyExact(Math.multiplyExact(width, height), 3)),
) : PixelSource, PixelSink {
    override fun read(x: Int, y: Int, width: Int, height: Int): ByteArray {
        val out = ByteArray(width * height * 3)
        for (row in 0 until height) {
            System.arraycopy(bytes, ((y + row) * this.width + x) * 3, out, row * width * 3, width * 3)
        }
        return out
    }

    override fun write(x: Int, y: Int, width: Int, height: Int, pixels: ByteArray) {
        for (row in 0 until height) {
            System.arraycopy(pixels, row * width * 3, bytes, ((y + row) * this.width + x) * 3, width * 3)
        }
    }
}

/**
 * An image in a file of plain bytes: what a 50-megapixel photo and its enlargement live in. Memory
 * is one rectangle at a time. Throws [Refusal] before writing when the disk is too small for it.
 */
class PixelFile(private val file: File, override val width: Int, override val height: Int) :
    PixelSource, PixelSink, Closeable {
    private val access: RandomAccessFile

    init {
        val bytes = width.toLong() * height * 3
        val free = file.absoluteFile.parentFile?.usableSpace ?: 0
        if (bytes + SPARE > free) {
            throw Refusal(
                "an image of ${width}x$height takes ${bytes shr 20} MB and ${free shr 20} MB are free; " +
                    "make room, or crop the photo",
            )
        }
        access = RandomAccessFile(file, "rw")
        access.setLength(bytes)
    }

    override fun read(x: Int, y: Int, width: Int, height: Int): ByteArray {
        val out = ByteArray(width * height * 3)
        for (row in 0 until height) {
            val part = ByteBuffer.wrap(out, row * width * 3, width * 3)
            var place = offset(x, y + row)
            while (part.hasRemaining()) {
                val count = access.channel.read(part, place)
                if (count < 0) throw Refusal("${file.name} ended early; open the image again")
                place += count
            }
        }
        return out
    }

    override fun write(x: Int, y: Int, width: Int, height: Int, pixels: ByteArray) {
        for (row in 0 until height) {
            val part = ByteBuffer.wrap(pixels, row * width * 3, width * 3)
            var place = offset(x, y + row)
            while (part.hasRemaining()) place += access.channel.write(part, place)
        }
    }

    private fun offset(x: Int, y: Int) = (y.toLong() * width + x) * 3

    /** Closes and deletes: the file is scratch. */
    override fun close() {
        access.close()
        file.delete()
    }

    private companion object {
        const val SPARE = 64L shl 20
    }
}

/** A photo as its EXIF orientation (1 to 8) shows it; cameras store the sensor's own way round. */
class Oriented(private val source: PixelSource, private val orientation: Int) : PixelSource {
    private val turned = orientation in 5..8
    override val width = if (turned) source.height else source.width
    override val height = if (turned) source.width else source.height

    override fun read(x: Int, y: Int, width: Int, height: Int): ByteArray {
        val (ax, ay) = place(x, y)
        val (bx, by) = place(x + width - 1, y + height - 1)
        val left = minOf(ax, bx)
        val top = minOf(ay, by)
        val rawWidth = Math.abs(ax - bx) + 1
        val raw = source.read(left, top, rawWidth, Math.abs(ay - by) + 1)
        if (orientation !in 2..8) return raw
        val out = ByteArray(raw.size)
        var to = 0
        for (row in y until y + height) {
            for (column in x until x + width) {
                val (rx, ry) = place(column, row)
                val from = ((ry - top) * rawWidth + rx - left) * 3
                out[to++] = raw[from]
                out[to++] = raw[from + 1]
                out[to++] = raw[from + 2]
            }
        }
        return out
    }

    /** Where the shown pixel lies in the stored image. */
    private fun place(x: Int, y: Int): Pair<Int, Int> {
        val right = source.width - 1
        val bottom = source.height - 1
        return when (orientation) {
            2 -> right - x to y
            3 -> right - x to bottom - y
            4 -> x to bottom - y
            5 -> y to x
            6 -> y to bottom - x
            7 -> right - y to bottom - x
            8 -> right - y to x
            else -> x to y
        }
    }
}
